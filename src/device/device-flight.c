/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-flight - the flight records of a device's queues, and the stall watch: requests that are
 * under way for longer than StallSec= are told of once each.
 *
 * A queue that gets something to do calls; from then on the main thread looks at its record as
 * often as a request can have become too old, until there was nothing new for a while. An idle
 * device is not looked at. So it is seen, too, when a queue's thread itself does not move.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "device/device-internal.h"
#include "device/flight-book.h"
#include "device/manager.h"
#include "util/cleanup.h"
#include "util/log.h"

/* More than so many at a time are counted, not named. */
#define STALLS_NAMED 8
/* Ages are 32 bits of milliseconds. */
#define STALL_MAX_MS (20U * 24 * 3600 * 1000)
/* Not more often than that, but for shorter limits. */
#define LOOK_MIN_MS 1000U

/* What one look at a device finds. */
struct look {
	struct device *device;
	uint32_t now, limit; /* ms */
	uint32_t next; /* ms until a request can be too old */
	unsigned int n_stalled, n_told;
	bool busy;
	struct flight_entry linked; /* the last of those that may be over */
	struct queue_thread *linked_at; /* NULL: there is none */
};

/* ---- seats and rings */

static struct flight_book *book_of(const struct device *d)
{
	return manager_book(d->manager);
}

static uint32_t limit_ms(const struct device *d)
{
	uint64_t ms = d->config->stall_usec / 1000;

	if (d->config->stall_usec && !ms)
		ms = 1;
	return ms > STALL_MAX_MS ? STALL_MAX_MS : (uint32_t) ms;
}

void device_flight_begin(struct device *d, struct queue_thread *t, struct queue_config *c)
{
	t->called = device_on_queue_called;
	t->device = device_get_name(d);
	t->seat = flight_book_take(book_of(d), t->device, c->q_id, c->first_tag);
	c->seat = t->seat;
	c->watched = limit_ms(d) > 0;
}

void device_flight_end(struct device *d, struct queue_thread *t)
{
	flight_book_give_back_ring(book_of(d), t->seat, t->ring);
	flight_book_give_back(book_of(d), t->seat);
	t->ring = NULL;
	t->seat = NULL;
}

static const struct flight_seat *seat_of(const struct queue_thread *t)
{
	return t->queue->seat;
}

/* ---- looking */

static const struct flight_record *record_at(const struct queue_thread *t, unsigned int i)
{
	if (i < FLIGHT_SEAT_RECORDS)
		return &seat_of(t)->records[i];
	return &t->ring[i - FLIGHT_SEAT_RECORDS];
}

static unsigned int count_records(const struct queue_thread *t)
{
	return FLIGHT_SEAT_RECORDS + (t->ring ? FLIGHT_RECORDS : 0);
}

/* A clock that is read once a turn may be a little ahead of the one that was read here. */
static uint32_t age_of(const struct look *l, const struct flight_entry *e)
{
	uint32_t age = l->now - e->start;

	return age > INT32_MAX ? 0 : age;
}

static bool is_after(uint32_t a, uint32_t b)
{
	return (int32_t) (a - b) > 0;
}

static void tell_stall(struct look *l, const struct queue_thread *t, const struct flight_entry *e)
{
	if (l->n_told++ >= STALLS_NAMED)
		return;
	log_full(LOG_WARNING, 0, device_get_name(l->device), NULL, 0,
		 "queue %u, tag %u: a %s of %" PRIu64 " bytes at %" PRIu64
		 " is not answered since %u.%u s",
		 seat_of(t)->q_id, e->tag, flight_op_name(e->op_flags), e->len, e->off,
		 age_of(l, e) / 1000, age_of(l, e) % 1000 / 100);
}

static void look_at_entry(struct look *l, struct queue_thread *t, const struct flight_entry *e,
			  uint32_t *newest, uint32_t *newest_stalled)
{
	uint32_t age = age_of(l, e);

	if (is_after(e->number, *newest))
		*newest = e->number;
	if (e->result == FLIGHT_LINKED && (!l->linked_at || age_of(l, &l->linked) > age)) {
		l->linked = *e;
		l->linked_at = t;
	}
	if (e->result != FLIGHT_PENDING)
		return;
	l->busy = true;
	if (age < l->limit) {
		if (l->limit - age < l->next)
			l->next = l->limit - age;
		return;
	}
	l->n_stalled++;
	if (!is_after(e->number, t->told))
		return;
	tell_stall(l, t, e);
	if (is_after(e->number, *newest_stalled))
		*newest_stalled = e->number;
}

/* Does its thread take mail? */
static void look_at_thread(struct look *l, struct queue_thread *t)
{
	if (queue_ping(t->queue)) {
		t->pinged = l->now;
		t->stuck_told = false;
		return;
	}
	if (t->stuck_told || l->now - t->pinged < l->limit)
		return;
	t->stuck_told = true;
	log_full(
		LOG_WARNING, 0, device_get_name(l->device), NULL, 0,
		"queue %u does not move since %u s: its thread %d is in the target's code, or in a "
		"system call that does not return",
		seat_of(t)->q_id, (l->now - t->pinged) / 1000,
		atomic_load_explicit(&t->tid, memory_order_relaxed));
}

static void look_at_queue(struct look *l, struct queue_thread *t)
{
	uint32_t newest = t->looked_at, newest_stalled = t->told;
	unsigned int n_before = l->n_stalled;
	struct flight_entry e;

	for (unsigned int i = 0; i < count_records(t); i++)
		if (flight_look(record_at(t, i), &e))
			look_at_entry(l, t, &e, &newest, &newest_stalled);
	l->busy |= newest != t->looked_at;
	t->looked_at = newest;
	t->told = newest_stalled;
	if (l->n_stalled > n_before && l->device->kernel.n_exited == 0)
		look_at_thread(l, t);
}

/* Linked requests end without a word. The last one of all is not over if the disk has more under
 * way than the queues know of. */
static void look_at_linked(struct look *l)
{
	struct queue_thread *t = l->linked_at;

	if (!t || age_of(l, &l->linked) < l->limit || !is_after(l->linked.number, t->told) ||
	    device_in_flight(l->device) <= device_in_queues(l->device))
		return;
	t->told = l->linked.number;
	l->n_stalled++;
	tell_stall(l, t, &l->linked);
}

static struct look look_at_all(struct device *d)
{
	struct look l = {.device = d, .now = flight_now(), .limit = limit_ms(d)};

	l.next = l.limit;
	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		look_at_queue(&l, &d->kernel.threads[i]);
	look_at_linked(&l);
	return l;
}

unsigned int device_count_stalled(const struct device *d)
{
	struct look l = {.now = flight_now(), .limit = limit_ms(d)};
	unsigned int n = 0;

	for (unsigned int i = 0; l.limit && i < d->kernel.n_threads; i++) {
		const struct queue_thread *t = &d->kernel.threads[i];
		struct flight_entry e;

		for (unsigned int j = 0; t->queue && j < count_records(t); j++)
			n += flight_look(record_at(t, j), &e) && e.result == FLIGHT_PENDING &&
			     age_of(&l, &e) >= l.limit;
	}
	return n;
}

/* ---- showing */

static void print_queue(FILE *f, const struct queue_thread *t, uint32_t now)
{
	_cleanup_free_ struct flight_entry *v = calloc(FLIGHT_ENTRIES_MAX, sizeof(*v));
	size_t n = v ? flight_collect(seat_of(t), t->ring, v) : 0;

	flight_print(f, t->device, seat_of(t), v, n, &now);
}

void device_print_requests(const struct device *d, FILE *f)
{
	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		if (d->kernel.threads[i].queue)
			print_queue(f, &d->kernel.threads[i], flight_now());
}

static void write_requests(void *arg, FILE *f)
{
	device_print_requests(arg, f);
}

static void tell_dump(const struct look *l)
{
	struct device *d = l->device;
	struct flight_book *b = book_of(d);
	char more[40] = "";
	int r = b ? flight_book_write(b, device_get_name(d), write_requests, d) : -ENOENT;

	if (l->n_told > STALLS_NAMED)
		(void) snprintf(more, sizeof(more), "%u more like these; ",
				l->n_told - STALLS_NAMED);
	if (r == 0)
		log_full(LOG_NOTICE, 0, device_get_name(d), NULL, 0,
			 "%sits last requests are in '%s/%s.stall'", more, flight_book_dir(b),
			 device_get_name(d));
	else if (*more || b)
		log_full(LOG_NOTICE, -r, device_get_name(d), NULL, 0,
			 "%sits last requests cannot be written to a file: %s", more, strerror(-r));
}

/* ---- the watch */

static int on_stall_timer(sd_event_source *s, uint64_t usec, void *arg);

static void arm(struct device *d, uint32_t ms)
{
	if (sd_event_add_time_relative(manager_event(d->manager), &d->stall_timer, CLOCK_MONOTONIC,
				       (uint64_t) ms * 1000, 250000, on_stall_timer, d) < 0)
		log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0,
			 "no timer: requests that stall are not told of");
}

/* From here on a queue calls when it has a request. Return: one of them did not yet */
static bool stop_watching(struct device *d)
{
	bool was = false;

	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		was |= atomic_exchange(&d->kernel.threads[i].queue->flight.watched, false);
	return was;
}

static int on_stall_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct device *d = arg;
	struct look l;
	uint32_t least;

	(void) s;
	(void) usec;
	sd_event_source_disable_unref(TAKE_PTR(d->stall_timer));
	if (!limit_ms(d) || d->kernel.n_threads == 0)
		return 0;
	l = look_at_all(d);
	if (l.n_told)
		tell_dump(&l);
	/* Nothing for so long, and nothing the time before: the next request calls. What came just
	 * as it was told to call is seen by the last look. */
	if (!l.busy && !stop_watching(d))
		return 0;
	least = l.limit / 4 < LOOK_MIN_MS ? l.limit / 4 + 1 : LOOK_MIN_MS;
	arm(d, l.next < least ? least : l.next);
	return 0;
}

void device_on_queue_called(struct queue_thread *t)
{
	struct device *d = t->owner;
	struct flight *f = &t->queue->flight;

	atomic_store(&f->watched, true);
	if (!t->ring && atomic_load(&f->wants_ring)) {
		t->ring = flight_book_take_ring(book_of(d), t->seat);
		queue_give_ring(t->queue, t->ring);
	}
	if (limit_ms(d) && !d->stall_timer)
		arm(d, limit_ms(d));
}

void device_flight_stop(struct device *d)
{
	sd_event_source_disable_unref(TAKE_PTR(d->stall_timer));
}
