/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shutdown - the end of the daemon, of two kinds.
 *
 * Stop: all devices. All at once, those in use again and again while others go (a device may be the
 * backing of another). When StopTimeoutSec is over, by force if the whole system goes down: it
 * would not otherwise. If it is only the service that ends, what is in use is left to the kernel
 * after a while, where its requests wait for the next ublkd and nothing is lost. What is stuck has
 * had its time: it is forced at once, and then not waited for.
 *
 * Leave, for the ublkd after this one: devices that the kernel keeps go on until the process ends,
 * as if it were killed; those that lose requests that way are quiesced before, as the last thing,
 * since their clients wait from then on. Only what the kernel does not keep is stopped.
 */
#include <errno.h>
#include <string.h>

#include "device/manager-internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

#define RETRY_USEC (500 * UINT64_C(1000))
/* When only this service stops: how long until what is in use is left to the kernel. */
#define KEEP_USEC (5 * UINT64_C(1000000))
/* After force: how long until the daemon leaves without its devices. */
#define LEAVE_USEC (15 * UINT64_C(1000000))

static void shutdown_end(struct manager *m)
{
	void (*down)(void *arg) = m->down;

	sd_event_source_disable_unref(TAKE_PTR(m->shutdown_timer));
	m->down = NULL;
	if (down)
		down(m->down_arg);
}

/* The device started last is asked first. */
static struct device *last_started(struct manager *m, uint64_t before)
{
	struct device *d = NULL, *last = NULL;

	while ((d = manager_next(m, d)))
		if (d->start_order < before && (!last || d->start_order > last->start_order))
			last = d;
	return last;
}

/* The kernel will have it when we are gone; the stop that is under way, if so, has not come to the
 * command that ends it, and is not forced. */
static bool is_to_be_kept(const struct manager *m, const struct device *d)
{
	return m->leaving && (d->state == DEVICE_QUIESCED ||
			      (d->kernel.recovery_flags &&
			       (d->state == DEVICE_RUNNING ||
				(device_is_stopping(d) && !d->stop.force && !d->down &&
				 strcmp(d->sub_state, "stop-dev") != 0))));
}

/* ... and no step is under way that must not be cut off. What is stuck will not get on. */
static bool is_kept(const struct manager *m, const struct device *d)
{
	return (!d->run || d->state == DEVICE_STUCK) && is_to_be_kept(m, d);
}

/* Not in use any more, and waiting brings nothing back. */
static bool has_lost_writes(const struct manager *m, const struct device *d)
{
	return m->shutdown_asked && d->state == DEVICE_RUNNING &&
	       d->last_error.kind == FAILURE_WRITES_LOST;
}

static void shutdown_stop_all(struct manager *m)
{
	struct device_stop_options o = {.quiet = m->shutdown_asked};
	const struct device_stop_options by_force = {.force = true};
	struct device *d = last_started(m, UINT64_MAX);

	for (; d; d = d->start_order ? last_started(m, d->start_order) : NULL) {
		if (is_to_be_kept(m, d))
			continue;
		o.force = m->shutdown_forced || has_lost_writes(m, d);
		if (d->state == DEVICE_RUNNING ||
		    ((d->state == DEVICE_STOPPING || d->state == DEVICE_QUIESCED) && o.force))
			(void) device_stop(d, &o, NULL, NULL);
		else if (d->state == DEVICE_STARTING)
			device_cancel(d);
		else if (d->state == DEVICE_STUCK && !d->stop.force)
			(void) device_stop(d, &by_force, NULL, NULL);
	}
	m->shutdown_asked = true;
}

bool manager_is_busy(struct manager *m)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (device_is_up(d) && !is_kept(m, d))
			return true;
	return false;
}

/* Return: there are some, it is not over yet */
static bool quiesce_all(struct manager *m)
{
	struct device *d = NULL;
	bool any = false;

	while (m->leaving && (d = manager_next(m, d)))
		any |= device_quiesce(d);
	return any;
}

/* There is nothing to be forced. */
static bool is_all_kept(struct manager *m)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (device_is_up(d) && !is_to_be_kept(m, d))
			return false;
	return true;
}

static void warn_of_kept(struct manager *m)
{
	struct device *d = NULL;

	while (m->shutdown_keep_usec < UINT64_MAX && (d = manager_next(m, d)))
		if (is_kept(m, d))
			log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0,
				 "it is in use: left to the kernel, where its requests wait until "
				 "ublkd is started again");
}

/* Nothing is left but what nobody can stop. */
static bool is_hopeless(struct manager *m)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (device_is_up(d) && !is_kept(m, d) && !device_is_given_up(d))
			return false;
	return true;
}

static int on_shutdown_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct manager *m = arg;
	uint64_t now = clock_usec(CLOCK_MONOTONIC);

	if (now >= m->shutdown_end_usec || (manager_is_busy(m) && is_hopeless(m))) {
		log_error("devices are left that do not stop: the kernel ends them with this "
			  "process");
		shutdown_end(m);
		return 0;
	}
	if (now >= m->shutdown_keep_usec)
		m->leaving = true;
	if (now >= m->shutdown_force_usec && !m->shutdown_forced && !is_all_kept(m)) {
		log_warning("StopTimeoutSec is over: stopping by force what is still in use");
		m->shutdown_forced = true;
	}
	shutdown_stop_all(m);
	if (!manager_is_busy(m) && !quiesce_all(m)) {
		warn_of_kept(m);
		shutdown_end(m);
		return 0;
	}
	(void) sd_event_source_set_time_relative(s, RETRY_USEC);
	(void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	return 0;
}

/* From the main loop, not from here: whoever calls this is still at work with a device. */
void shutdown_progress(struct manager *m)
{
	if (!m->shutdown_timer)
		return;
	(void) sd_event_source_set_time_relative(m->shutdown_timer,
						 manager_is_busy(m) ? RETRY_USEC : 0);
	(void) sd_event_source_set_enabled(m->shutdown_timer, SD_EVENT_ONESHOT);
}

uint64_t manager_shutdown_usec(const struct manager *m)
{
	return m->config.stop_timeout_usec + LEAVE_USEC;
}

static void shutdown_begin(struct manager *m, uint64_t keep_usec, void (*done)(void *arg),
			   void *arg)
{
	uint64_t now = clock_usec(CLOCK_MONOTONIC);
	struct device *d = NULL;
	int r;

	m->down = done;
	m->down_arg = arg;
	m->ready = NULL;
	m->state = MANAGER_STOPPING;
	while ((d = manager_next(m, d)))
		manager_autostart_cancel(m, d);
	manager_changed(m);
	m->shutdown_force_usec = now + m->config.stop_timeout_usec;
	m->shutdown_end_usec = now + manager_shutdown_usec(m);
	m->shutdown_keep_usec = keep_usec == UINT64_MAX ? keep_usec : now + keep_usec;
	r = sd_event_add_time_relative(m->event, &m->shutdown_timer, CLOCK_MONOTONIC, 0, 1000,
				       on_shutdown_timer, m);
	if (r < 0) {
		log_full(LOG_ERR, -r, NULL, NULL, 0, "no timer for an orderly end: %s",
			 strerror(-r));
		shutdown_end(m);
	}
}

void manager_shutdown(struct manager *m, bool whole_system, void (*done)(void *arg), void *arg)
{
	uint64_t limit = m->config.stop_timeout_usec;

	shutdown_begin(m,
		       whole_system	   ? UINT64_MAX
		       : limit < KEEP_USEC ? limit
					   : KEEP_USEC,
		       done, arg);
}

void manager_leave(struct manager *m, void (*done)(void *arg), void *arg)
{
	m->leaving = true;
	shutdown_begin(m, UINT64_MAX, done, arg);
}

bool manager_keeps_devices(struct manager *m)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (is_kept(m, d))
			return true;
	return false;
}
