/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-watch - a device that is being taken down is looked at every second: does it get on?
 *
 * If it does not, a forced stop fails its requests; and past its time it is called stuck, with what
 * it waits for. That is a matter of what is seen and told: the sequence stays where it is, at a
 * command in the guard, a queue thread or a job, and goes on when the kernel lets go.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/device-internal.h"
#include "device/manager.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

/* ---- what happens */

static uint64_t counted(const struct device *d, size_t counter)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < d->kernel.n_threads; i++) {
		const struct queue *q = d->kernel.threads[i].queue;

		n += atomic_load_explicit(
			(const _Atomic uint64_t *) (const void *) ((const char *) &q->counters +
								   counter),
			memory_order_relaxed);
	}
	return n;
}

#define COUNTED(d, name) counted(d, offsetof(struct queue_counters, name))

static double seconds_since(uint64_t usec)
{
	return (double) (clock_usec(CLOCK_MONOTONIC) - usec) / 1e6;
}

static void watch_look(struct device *d)
{
	uint64_t done = COUNTED(d, done);

	d->watch.idle_ticks = done == d->watch.done ? d->watch.idle_ticks + 1 : 0;
	d->watch.done = done;
	/* It has a deadline of its own, which is not the end of anything. */
	if (strcmp(d->sub_state, "del-dev") == 0)
		d->watch.idle_ticks = 0;
	if (strcmp(d->sub_state, "sync") == 0)
		d->watch.sync_ticks++;
}

void watch_step(struct device *d)
{
	d->watch.idle_ticks = 0;
}

/* ---- force */

static void fail_requests(struct device *d)
{
	struct device_watch *w = &d->watch;

	if (w->aborted)
		return;
	w->aborted = true;
	w->errors_before = COUNTED(d, errors);
	w->idle_ticks = 0;
	log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0,
		 "stop is forced, and after %.1f s its requests do not end (%" PRIu64
		 " in flight): failing them with EIO",
		 seconds_since(w->begin_usec), device_in_flight(d));
	queues_abort(d);
}

/* While it is written back the disk still takes new requests, which prove nothing for long. */
static void force_look(struct device *d)
{
	if (!d->stop.force || d->down || !d->kernel.threads)
		return;
	if (d->watch.idle_ticks >= DEVICE_IDLE_TICKS || d->watch.sync_ticks >= DEVICE_SYNC_TICKS)
		fail_requests(d);
}

void watch_count(struct device *d)
{
	struct device_watch *w = &d->watch;

	if (w->aborted && d->kernel.n_threads)
		w->failed = COUNTED(d, errors) - w->errors_before;
}

/* ---- stuck */

static const char *what_ends(const struct device *d, char *buf, size_t size)
{
	const struct ub_target *t = d->config->target;
	const char *backing = t->backing && d->target_state ? t->backing(d->target_state) : NULL;
	uint64_t n = device_in_flight(d);

	if (strcmp(d->sub_state, "close") == 0)
		(void) snprintf(buf, size, "its backing '%s' to be closed", backing ? backing : "");
	else if (strcmp(d->sub_state, "del-dev") == 0)
		(void) snprintf(buf, size, "the kernel to delete ublk device %d", d->kernel.dev_id);
	else if (n > 0)
		(void) snprintf(buf, size, "%" PRIu64 " %s to be answered by %s '%s'", n,
				n == 1 ? "request" : "requests",
				backing ? "its backing" : "the target",
				backing ? backing : t->name);
	else
		(void) snprintf(buf, size, "operations of %s '%s' to end",
				backing ? "its backing" : "the target",
				backing ? backing : t->name);
	return buf;
}

void watch_explain(const struct device *d, struct failure *f)
{
	bool can_force = device_is_stopping(d) && !d->stop.force;
	char what[300];

	(void) failure_set(f, FAILURE_DEVICE_STUCK, ETIMEDOUT,
			   "device '%s' is stuck: after %.0f s step '%s' still waits for %s, and "
			   "goes on by itself then%s",
			   device_get_name(d), seconds_since(d->watch.begin_usec), d->sub_state,
			   what_ends(d, what, sizeof(what)),
			   can_force ? "; mode 'force' fails its requests" : "");
}

static bool is_going_down(const struct device *d)
{
	return d->run && d->watch.begin_usec > 0;
}

bool watch_is_late(struct device *d, struct failure *f)
{
	const struct device_watch *w = &d->watch;

	if (!is_going_down(d))
		return false;
	if (d->state != DEVICE_STUCK &&
	    (clock_usec(CLOCK_MONOTONIC) < w->deadline_usec || w->idle_ticks < DEVICE_IDLE_TICKS))
		return false;
	watch_explain(d, f);
	if (d->state == DEVICE_STUCK)
		return true;
	log_full(LOG_ERR, 0, device_get_name(d), NULL, 0, "%s", f->text);
	d->last_error = *f;
	device_enter(d, DEVICE_STUCK);
	return true;
}

bool device_is_given_up(const struct device *d)
{
	return d->state == DEVICE_STUCK &&
	       (d->watch.aborted || !device_is_stopping(d) || d->down) &&
	       d->watch.idle_ticks >= DEVICE_IDLE_TICKS;
}

/* ---- the timer */

static int on_tick(sd_event_source *s, uint64_t usec, void *arg)
{
	struct failure f = {0};
	struct device *d = arg;

	watch_look(d);
	force_look(d);
	(void) watch_is_late(d, &f);
	(void) sd_event_source_set_time_relative(s, DEVICE_TICK_USEC);
	(void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	return 0;
}

void watch_begin(struct device *d, uint64_t timeout_usec)
{
	struct device_watch *w = &d->watch;

	if (w->begin_usec)
		return;
	if (!timeout_usec)
		timeout_usec = manager_get_config(d->manager)->stop_timeout_usec;
	w->begin_usec = clock_usec(CLOCK_MONOTONIC);
	w->deadline_usec = w->begin_usec + timeout_usec;
	w->done = COUNTED(d, done);
	if (sd_event_add_time_relative(manager_event(d->manager), &w->timer, CLOCK_MONOTONIC,
				       DEVICE_TICK_USEC, 1000, on_tick, d) >= 0)
		return;
	/* Nobody will look: what is to be done at a tick is done now. */
	w->timer = NULL;
	if (d->stop.force)
		fail_requests(d);
}

void watch_end(struct device *d)
{
	sd_event_source_disable_unref(d->watch.timer);
	d->watch = (struct device_watch){.timer = NULL};
}

void watch_force(struct device *d, uint64_t timeout_usec)
{
	struct device_watch *w = &d->watch;

	d->stop.force = true;
	d->stop.quiet = false;
	if (!w->aborted)
		w->idle_ticks = w->sync_ticks = 0;
	w->deadline_usec = clock_usec(CLOCK_MONOTONIC) + timeout_usec;
	if (!w->timer)
		fail_requests(d);
}
