/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-stop - take a device down:
 *
 *   write the page cache back -> (TRY_)STOP_DEV -> teardown
 *
 * and the teardown every ending shares: queues leave -> rings, mappings, char device closed ->
 * DEL_DEV -> target closed (job). A device that was stopped is never started again in the kernel:
 * it is deleted, and the next start adds a new one (a second START_DEV is a kernel oops up to 7.2).
 * A device that nobody serves goes straight to the teardown, once it is known to be still ours.
 *
 * A forced stop does not ask who uses the device, and when its requests stop making progress it
 * fails them. A backing operation that never ends keeps its device in "stopping", and nothing else:
 * the kernel needs its memory, so neither the queue nor the char device can go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/device-internal.h"
#include "device/manager.h"
#include "target/options.h"
#include "ublk/features.h"
#include "util/cleanup.h"
#include "util/log.h"

/* ---- queues */

static void queues_quit(struct device *d)
{
	if (d->kernel.quitting)
		return;
	d->kernel.quitting = true;
	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		queue_quit(d->kernel.threads[i].queue);
}

static void queues_abort(struct device *d)
{
	if (d->kernel.aborting)
		return;
	d->kernel.aborting = true;
	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		queue_abort(d->kernel.threads[i].queue);
}

static void queues_release(struct device *d)
{
	struct device_kernel *k = &d->kernel;

	for (unsigned int i = 0; i < k->n_threads; i++)
		queue_thread_done(&k->threads[i]);
	if (k->threads)
		for (unsigned int i = 0; i < k->info.nr_hw_queues * k->threads_per_queue; i++)
			free(k->threads[i].cpus);
	free(k->threads);
	k->threads = NULL;
	k->n_threads = k->n_exited = k->n_armed = 0;
	if (k->char_fd >= 0)
		(void) close(k->char_fd);
	k->char_fd = -1;
}

/* ---- a queue ended by itself */

static void failed_finished(struct device *d)
{
	if (d->keep)
		return recovery_after_failure(d);
	device_finish(d, DEVICE_FAILED);
}

/* Its requests, those that no queue has answered, wait in the kernel for the next queues. */
static bool can_recover(const struct device *d)
{
	return d->kernel.recovery_flags && d->kernel.exit_error < 0;
}

static void device_run_failed(struct device *d)
{
	device_step(d, "teardown");
	d->keep = can_recover(d);
	device_teardown(d, failed_finished);
}

void device_on_queue_exited(struct queue_thread *t)
{
	struct device *d = t->owner;
	struct device_kernel *k = &d->kernel;

	k->n_exited++;
	if (t->exit_res < 0)
		k->exit_error = t->exit_res;
	if (d->awaiting_exits) {
		if (k->n_exited == k->n_threads)
			device_resume(d, 0);
		return;
	}
	if ((d->down || d->run == device_run_stop || d->run == device_run_quiesce) &&
	    !k->exit_error)
		return;

	/* One queue without a thread stalls the whole device: all of it has failed. */
	d->queue_failed = true;
	if (d->state == DEVICE_RUNNING && !d->run)
		return device_begin(d, "fail", device_run_failed, DEVICE_STOPPING);
	/* A start or stop is under way and waits for the kernel, which waits for the dead queue's
	 * requests: they end when the char device is closed. */
	queues_abort(d);
	queues_quit(d);
	if (k->n_exited == k->n_threads)
		queues_release(d);
}

static void explain_queue_failure(struct device *d)
{
	int r = d->kernel.exit_error;

	if (r < 0)
		(void) failure_set(&d->failure, FAILURE_KERNEL_FAILED, r, "a queue failed: %s",
				   strerror(-r));
	else
		(void) failure_set(&d->failure, FAILURE_CANCELLED, ECANCELED,
				   "/dev/ublkb%d was stopped by somebody else, not through ublkd",
				   d->kernel.dev_id);
}

/* ---- teardown */

/* A thread that has left its queue is not gone while a worker of its ring is at an operation. */
static void work_join(struct job *j)
{
	struct device *d = container_of(j, struct device, job);

	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		queue_thread_join(&d->kernel.threads[i]);
	d->res = 0;
}

static void work_close(struct job *j)
{
	struct device *d = container_of(j, struct device, job);
	const struct ub_target *t = d->config->target;

	if (t->close && d->target_opened)
		t->close(&d->dev, d->target_state);
	dev_release(&d->dev);
	d->res = 0;
}

static void target_release(struct device *d)
{
	options_release(d->config->target->options, d->target_state);
	free(d->target_state);
	d->target_state = NULL;
}

static void log_left_behind(struct device *d, const char *command)
{
	log_full(LOG_WARNING, -d->res, device_get_name(d), NULL, 0,
		 "the kernel answered %s of ublk device %d with: %s", command, d->kernel.dev_id,
		 strerror(-d->res));
}

void device_teardown(struct device *d, void (*after)(struct device *d))
{
	struct ctrl *ctrl = manager_ctrl(d->manager);
	struct device_kernel *k = &d->kernel;

	d->down = after;
	CO_BEGIN(&d->down_co);

	/* A start that failed late, or a device whose queues failed: nobody's data is at stake. */
	if ((!k->stopped || d->queue_failed) && !d->keep)
		queues_abort(d);
	if (!k->stopped && !d->queue_failed && !d->keep) {
		device_step(d, "stop-dev");
		CO_AWAIT(&d->down_co, ctrl_stop_dev(ctrl, device_cmd(d), k->dev_id, false, 0));
		k->stopped = d->res >= 0 || d->res == -ENODEV;
	}

	device_step(d, "queues");
	queues_quit(d);
	if (k->n_exited < k->n_threads) {
		d->awaiting_exits = true;
		CO_AWAIT(&d->down_co, (void) 0);
		d->awaiting_exits = false;
	}
	if (d->queue_failed)
		explain_queue_failure(d);
	if (k->n_threads > 0)
		CO_AWAIT(&d->down_co, device_run_job(d, work_join));
	queues_release(d);

	/* With the queues failed the kernel has to see their end first. */
	if (k->dev_id >= 0 && !k->stopped && !d->keep) {
		device_step(d, "stop-dev");
		CO_AWAIT(&d->down_co, ctrl_stop_dev(ctrl, device_cmd(d), k->dev_id, false, 0));
	}
	/* Now that there is no request, a command that waits for them ends. */
	if (device_pools_quit(d)) {
		device_step(d, "shared-memory");
		CO_AWAIT(&d->down_co, (void) 0);
	}
	device_pools_release(d);
	if (k->dev_id >= 0 && !d->keep) {
		device_step(d, "del-dev");
		CO_AWAIT(&d->down_co,
			 ctrl_del_dev(ctrl, device_cmd(d), k->dev_id, DEVICE_CTRL_TIMEOUT_USEC));
		/* Deleted all the same: somebody has the dead disk open and keeps the number. */
		if (d->res < 0 && d->res != -ENODEV)
			log_left_behind(d, "DEL_DEV");
		k->dev_id = -1;
		k->cookie = 0;
	}
	if (!d->keep)
		recovery_forget(d);

	if (d->target_state) {
		device_step(d, "close");
		CO_AWAIT(&d->down_co, device_run_job(d, work_close));
		/* No thread to be had: then here, late rather than never. */
		if (d->res < 0)
			work_close(&d->job);
		target_release(d);
	}
	d->down = NULL;
	d->down_co.line = 0;
	return after(d);

	CO_END(&d->down_co);
}

/* ---- force */

static uint64_t requests_done(const struct device *d)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		n += atomic_load_explicit(&d->kernel.threads[i].queue->counters.done,
					  memory_order_relaxed);
	return n;
}

static void force_tick_arm(struct device *d);

static int on_force_tick(sd_event_source *s, uint64_t usec, void *arg)
{
	struct device *d = arg;
	uint64_t done;

	sd_event_source_disable_unref(TAKE_PTR(d->force_timer));
	if (d->down || !d->kernel.threads)
		return 0;
	done = requests_done(d);
	/* While it is written back the disk still takes new requests, which prove nothing for long.
	 */
	if (done != d->done_at_tick &&
	    (strcmp(d->sub_state, "sync") != 0 || ++d->sync_ticks < DEVICE_SYNC_TICKS)) {
		force_tick_arm(d);
		return 0;
	}
	log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0,
		 "stop is forced and its requests do not end: failing them with EIO");
	queues_abort(d);
	return 0;
}

static void force_tick_arm(struct device *d)
{
	d->done_at_tick = requests_done(d);
	if (sd_event_add_time_relative(manager_event(d->manager), &d->force_timer, CLOCK_MONOTONIC,
				       DEVICE_FORCE_GRACE_USEC, 1000, on_force_tick, d) < 0)
		queues_abort(d);
}

void device_escalate(struct device *d)
{
	d->stop.force = true;
	if (!d->down && !d->force_timer)
		force_tick_arm(d);
}

/* ---- stop */

static void stop_finished(struct device *d)
{
	log_full(LOG_INFO, 0, device_get_name(d), NULL, 0, "stopped");
	device_finish(d, DEVICE_DEFINED);
}

/* The device goes on serving. */
static void stop_refused(struct device *d)
{
	char who[256];

	if (d->res == -EBUSY) {
		if (!device_in_use(d, who, sizeof(who)))
			(void) snprintf(who, sizeof(who), "open");
		(void) failure_set(
			&d->failure, FAILURE_DEVICE_BUSY, d->res,
			"device '%s' (/dev/ublkb%d) is in use: %s; close it first, or stop "
			"it with mode 'force'",
			device_get_name(d), d->kernel.dev_id, who);
	} else if (strcmp(d->sub_state, "sync") != 0) {
		(void) failure_set(
			&d->failure, FAILURE_KERNEL_FAILED, d->res,
			"the kernel refused STOP_DEV of /dev/ublkb%d: %s; mode 'force' stops "
			"it all the same",
			d->kernel.dev_id, strerror(-d->res));
	} else if (d->kernel.sync_error) {
		(void) device_fail_lost_writes(d);
	} else {
		(void) failure_set(
			&d->failure, FAILURE_KERNEL_FAILED, d->res,
			"cannot write back the page cache of /dev/ublkb%d: %s; mode 'force' "
			"stops it all the same",
			d->kernel.dev_id, strerror(-d->res));
	}
	device_finish(d, DEVICE_RUNNING);
}

/* Somebody else stopped it, or a queue failed: there is nothing left that could go on serving. */
static bool queues_are_gone(const struct device *d)
{
	return d->queue_failed || d->kernel.n_exited > 0;
}

static bool try_stop(const struct device *d)
{
	return !d->stop.force && features_has_try_stop(manager_features(d->manager));
}

void device_run_stop(struct device *d)
{
	struct ctrl *ctrl = manager_ctrl(d->manager);
	int dev_id = d->kernel.dev_id;

	CO_BEGIN(&d->co);

	d->sync_ticks = 0;
	if (d->stop.force)
		force_tick_arm(d);

	for (d->i = 0;; d->i++) {
		device_step(d, "sync");
		CO_AWAIT(&d->co, ctrl_sync_dev(ctrl, device_cmd(d), dev_id, !d->stop.force,
					       d->stop.force ? DEVICE_CTRL_TIMEOUT_USEC : 0));
		if (d->res != -EBUSY || d->i >= DEVICE_BUSY_TRIES)
			break;
		CO_AWAIT(&d->co, device_pause(d, DEVICE_BUSY_PAUSE_USEC));
	}
	/* No such disk: somebody else stopped it, there is nothing to write back. */
	if (d->res < 0 && d->res != -ENOENT && d->res != -ENXIO && !d->stop.force &&
	    !queues_are_gone(d))
		return stop_refused(d);

	for (d->i = 0;; d->i++) {
		device_step(d, "stop-dev");
		CO_AWAIT(&d->co, ctrl_stop_dev(ctrl, device_cmd(d), dev_id, try_stop(d), 0));
		if (d->res != -EBUSY || (d->i >= DEVICE_BUSY_TRIES && !d->stop.force))
			break;
		CO_AWAIT(&d->co, device_pause(d, DEVICE_BUSY_PAUSE_USEC));
	}
	if (d->res < 0 && d->res != -ENODEV && !d->stop.force && !queues_are_gone(d))
		return stop_refused(d);
	d->kernel.stopped = d->res >= 0 || d->res == -ENODEV;
	return device_teardown(d, stop_finished);

	CO_END(&d->co);
}

/* Nothing can be written back: who would take it? */
void device_run_remove(struct device *d)
{
	CO_BEGIN(&d->co);

	device_step(d, "identify");
	d->queue_failed = false;
	CO_AWAIT(&d->co, ctrl_get_dev_info(manager_ctrl(d->manager), device_cmd(d),
					   d->kernel.dev_id, DEVICE_CTRL_TIMEOUT_USEC));
	if (recovery_identify(d, NULL) < 0 && !d->kernel.stopped) {
		(void) device_fail_from_kernel(d, "GET_DEV_INFO");
		return device_finish(d, DEVICE_QUIESCED);
	}
	return device_teardown(d, stop_finished);

	CO_END(&d->co);
}
