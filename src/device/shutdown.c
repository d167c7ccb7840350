/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shutdown - stop all devices. All at once, those in use again and again while others go (a device
 * may be the backing of another), and by force when StopTimeoutSec is over.
 */
#include <errno.h>
#include <string.h>

#include "device/manager-internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

#define RETRY_USEC (500 * UINT64_C(1000))
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

static void shutdown_stop_all(struct manager *m)
{
	struct device_stop_options o = {.force = m->shutdown_forced, .quiet = m->shutdown_asked};
	struct device *d = last_started(m, UINT64_MAX);

	for (; d; d = d->start_order ? last_started(m, d->start_order) : NULL) {
		if (d->state == DEVICE_RUNNING ||
		    ((d->state == DEVICE_STOPPING || d->state == DEVICE_QUIESCED) && o.force))
			(void) device_stop(d, &o, NULL, NULL);
		else if (d->state == DEVICE_STARTING)
			device_cancel(d);
	}
	m->shutdown_asked = true;
}

bool manager_is_busy(struct manager *m)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (d->run || d->state == DEVICE_RUNNING || d->state == DEVICE_QUIESCED)
			return true;
	return false;
}

static int on_shutdown_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct manager *m = arg;
	uint64_t now = clock_usec(CLOCK_MONOTONIC);

	if (now >= m->shutdown_end_usec) {
		log_error("devices are left that do not stop: the kernel ends them with this "
			  "process");
		shutdown_end(m);
		return 0;
	}
	if (now >= m->shutdown_force_usec && !m->shutdown_forced) {
		log_warning("StopTimeoutSec is over: stopping by force what is still in use");
		m->shutdown_forced = true;
	}
	shutdown_stop_all(m);
	if (!manager_is_busy(m)) {
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

void manager_shutdown(struct manager *m, void (*done)(void *arg), void *arg)
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
	m->shutdown_end_usec = m->shutdown_force_usec + LEAVE_USEC;
	r = sd_event_add_time_relative(m->event, &m->shutdown_timer, CLOCK_MONOTONIC, 0, 1000,
				       on_shutdown_timer, m);
	if (r < 0) {
		log_full(LOG_ERR, -r, NULL, NULL, 0, "no timer for an orderly end: %s",
			 strerror(-r));
		shutdown_end(m);
	}
}
