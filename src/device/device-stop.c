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
 * A safe stop is refused if somebody uses the disk. From 7.0 on the kernel decides that, in one
 * step with the stop (TRY_STOP_DEV). Before, the guard keeps the disk claimed from the first
 * write-back until STOP_DEV is over, so that nobody can mount it or stand upon it; who merely has
 * it open is looked for in /proc, and what was written meanwhile is written back last of all.
 *
 * A forced stop does not ask. Whether either gets on is looked at in device-watch.c; a backing
 * operation that never ends keeps its own device ("stuck") and nothing else: the kernel needs its
 * memory, so neither the queue nor the char device can go.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/device-internal.h"
#include "device/manager.h"
#include "target/options.h"
#include "ublk/features.h"
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

void queues_abort(struct device *d)
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

	for (unsigned int i = 0; i < k->n_threads; i++) {
		queue_thread_done(&k->threads[i]);
		device_flight_end(d, &k->threads[i]);
	}
	device_flight_stop(d);
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

/* A thread that has left its queue is not gone while a worker of its ring is at an operation. */
static void join_queues(struct device *d)
{
	for (unsigned int i = 0; i < d->kernel.n_threads; i++)
		queue_thread_join(&d->kernel.threads[i]);
}

static void work_join(struct job *j)
{
	struct device *d = container_of(j, struct device, job);

	join_queues(d);
	d->res = 0;
}

static void work_join_failed(struct job *j)
{
	join_queues(container_of(j, struct device, join));
}

static void on_failed_joined(struct job *j)
{
	struct device *d = container_of(j, struct device, join);

	d->joining = false;
	queues_release(d);
	if (d->awaiting_join)
		device_resume(d, 0);
}

/* For a sequence that goes on when the char device is closed. */
static void queues_release_failed(struct device *d)
{
	d->join = (struct job){.work = work_join_failed, .done = on_failed_joined};
	d->joining = job_start(&d->join, manager_mailbox(d->manager)) == 0;
	/* No thread to be had: then here, late rather than never. */
	if (!d->joining)
		queues_release(d);
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

/* A queue failed under a stop that may yet be refused: the stop is given up, the device recovered,
 * and its users lose nothing by it. */
static bool is_kept(const struct device *d)
{
	return d->queue_failed && device_is_stopping(d) && !d->stop.force && !d->down &&
	       can_recover(d);
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
	if ((d->down || device_is_stopping(d) || d->run == device_run_quiesce) && !k->exit_error)
		return;

	/* One queue without a thread stalls the whole device: all of it has failed. */
	d->queue_failed = true;
	if (d->state == DEVICE_RUNNING && !d->run)
		return device_begin(d, "fail", device_run_failed, DEVICE_STOPPING);
	/* Something is under way and waits for the kernel, which waits for the dead queue's
	 * requests: they end when the char device is closed, or, if the device is kept, wait for
	 * its next queues. */
	if (!d->recovering && d->run != device_run_quiesce && !is_kept(d))
		queues_abort(d);
	else if (is_kept(d) && strcmp(d->sub_state, "sync") == 0)
		ctrl_hurry(manager_ctrl(d->manager), device_cmd(d));
	queues_quit(d);
	if (k->n_exited == k->n_threads)
		queues_release_failed(d);
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
	d->updated = device_config_free(d->updated);
}

/* ---- who has it */

static void work_holders(struct job *j)
{
	struct device *d = container_of(j, struct device, job);
	const struct ublk_param_devt *n = &d->kernel.params.devt;
	dev_t gone = d->kernel.stopped ? makedev(n->disk_major, n->disk_minor) : 0;

	holders_find(d->kernel.dev_id, gone, d->guard, &d->holders);
	d->res = 0;
}

/* What STOP_DEV or DEL_DEV answered. */
static bool is_gone(const struct device *d)
{
	return d->res >= 0 || d->res == -ENODEV;
}

/* Awaitable; without a thread to be had nobody is named. */
static void find_holders(struct device *d)
{
	d->holders = (struct holders){.n = 0};
	d->guard = ctrl_guard_pid(manager_ctrl(d->manager));
	device_run_job(d, work_holders);
}

/* Awaitable: of a DEL_DEV that did not end in time. */
static void find_openers(struct device *d)
{
	d->left_behind = !is_gone(d);
	if (d->left_behind)
		find_holders(d);
	else
		device_resume(d, 0);
}

/* Not deleted in time: either the kernel has not come to it, or it is deleted, and somebody who has
 * the dead disk open keeps nothing but its number. */
static void log_left_behind(struct device *d)
{
	int id = d->kernel.dev_id;
	char path[64];

	if (!d->left_behind)
		return;
	(void) snprintf(path, sizeof(path), "/sys/class/ublk-char/ublkc%d", id);
	if (access(path, F_OK) == 0)
		log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0,
			 "ublk device %d is not deleted yet: trying again", id);
	else
		log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0,
			 "ublk device %d is deleted, and its number is free when its dead disk is "
			 "closed: %s",
			 id, d->holders.n ? d->holders.text : "open");
	/* Deletes what is there still, and is nobody's by then. */
	manager_look_for_left_overs(d->manager);
}

static void forget_kernel(struct device *d)
{
	d->kernel.dev_id = -1;
	d->kernel.cookie = 0;
}

void device_teardown(struct device *d, void (*after)(struct device *d))
{
	struct ctrl *ctrl = manager_ctrl(d->manager);
	struct device_kernel *k = &d->kernel;
	bool gone = k->dev_id < 0; /* not kept over an await */

	d->down = after;
	CO_BEGIN(&d->down_co);

	watch_begin(d, 0);

	/* A start that failed late, or a device whose queues failed: nobody's data is at stake. */
	if ((!k->stopped || d->queue_failed) && !d->keep)
		queues_abort(d);
	if (!k->stopped && !d->queue_failed && !d->keep) {
		device_step(d, "stop-dev");
		CO_AWAIT(&d->down_co, ctrl_stop_dev(ctrl, device_cmd(d), k->dev_id, false, 0));
		k->stopped = is_gone(d);
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
	if (d->joining) {
		d->awaiting_join = true;
		CO_AWAIT(&d->down_co, (void) 0);
		d->awaiting_join = false;
	}
	if (k->n_threads > 0)
		CO_AWAIT(&d->down_co, device_run_job(d, work_join));
	watch_count(d);
	queues_release(d);

	/* With the queues failed the kernel has to see their end first. */
	if (k->dev_id >= 0 && !k->stopped && !d->keep) {
		device_step(d, "stop-dev");
		CO_AWAIT(&d->down_co, ctrl_stop_dev(ctrl, device_cmd(d), k->dev_id, false, 0));
		k->stopped = is_gone(d);
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
		CO_AWAIT(&d->down_co, find_openers(d));
		log_left_behind(d);
		gone |= k->stopped || !d->left_behind;
		forget_kernel(d);
	}
	/* If the kernel did not answer at all, the next daemon may find it. */
	if (!d->keep && gone)
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

/* ---- stop */

bool device_is_stopping(const struct device *d)
{
	return d->run && strcmp(d->operation, "stop") == 0;
}

/* The next part of the sequence. */
static void stop_go_on(struct device *d, void (*run)(struct device *d))
{
	d->run = run;
	d->co = (struct co){0};
	run(d);
}

static void stop_finished(struct device *d)
{
	if (d->watch.aborted)
		log_full(LOG_NOTICE, 0, device_get_name(d), NULL, 0,
			 "stopped by force, %" PRIu64 " requests failed", d->watch.failed);
	else
		log_full(LOG_INFO, 0, device_get_name(d), NULL, 0, "stopped%s",
			 d->stop.force ? " by force, no request failed" : "");
	device_finish(d, DEVICE_DEFINED);
}

/* Somebody else stopped it, or a queue failed: there is nothing left that could go on serving. */
static bool queues_are_gone(const struct device *d)
{
	return d->queue_failed || d->kernel.n_exited > 0;
}

static bool is_refused(const struct device *d)
{
	return !d->stop.force && (!queues_are_gone(d) || is_kept(d));
}

static void explain_refusal(struct device *d)
{
	const char *name = device_get_name(d);
	int id = d->kernel.dev_id, r = d->refusal;

	if (r == -EBUSY)
		(void) failure_set(
			&d->failure, FAILURE_DEVICE_BUSY, r,
			"device '%s' (/dev/ublkb%d) is in use: %s; close it first, or stop "
			"it with mode 'force'",
			name, id,
			d->holders.n	  ? d->holders.text
			: d->holders.more ? "not all processes could be looked at in time"
					  : "open");
	else if (strcmp(d->sub_state, "sync") != 0)
		(void) failure_set(
			&d->failure, FAILURE_KERNEL_FAILED, r,
			"the kernel refused STOP_DEV of /dev/ublkb%d: %s; mode 'force' stops "
			"it all the same",
			id, strerror(-r));
	else if (d->kernel.sync_error)
		(void) device_fail_lost_writes(d);
	else
		(void) failure_set(
			&d->failure, FAILURE_KERNEL_FAILED, r,
			"cannot write back the page cache of /dev/ublkb%d: %s; mode 'force' "
			"stops it all the same",
			id, strerror(-r));
}

/* The device goes on serving, unless force is asked for, or its queues end, while the holders are
 * looked for. */
static void run_refuse(struct device *d)
{
	struct ctrl *ctrl = manager_ctrl(d->manager);

	CO_BEGIN(&d->co);

	/* A stop that comes again by itself is no news: see shutdown.c. */
	if (d->refusal == -EBUSY && !d->holders.n && !d->stop.quiet)
		CO_AWAIT(&d->co, find_holders(d));
	if (!is_kept(d))
		explain_refusal(d);
	if (d->held)
		CO_AWAIT(&d->co, ctrl_release_dev(ctrl, device_cmd(d), d->kernel.dev_id,
						  DEVICE_CTRL_TIMEOUT_USEC));
	d->held = false;
	/* It was to go on serving, and so it shall. */
	if (is_kept(d) || !is_refused(d))
		d->failure = (struct failure){0};
	if (is_kept(d))
		return stop_go_on(d, device_run_failed);
	if (!is_refused(d)) {
		return stop_go_on(d, device_run_stop);
	}
	return device_finish(d, DEVICE_RUNNING);

	CO_END(&d->co);
}

static void stop_refuse(struct device *d, int error)
{
	d->refusal = error;
	stop_go_on(d, run_refuse);
}

static bool try_stop(const struct device *d)
{
	return !d->stop.force && features_has_try_stop(manager_features(d->manager));
}

static void stop_sync(struct device *d)
{
	enum ctrl_sync how = d->stop.force ? CTRL_SYNC_ONLY
			     : try_stop(d) ? CTRL_SYNC_EXCLUSIVE
					   : CTRL_SYNC_HOLD;

	d->held |= how == CTRL_SYNC_HOLD;
	ctrl_sync_dev(manager_ctrl(d->manager), device_cmd(d), d->kernel.dev_id, how,
		      d->stop.force ? DEVICE_CTRL_TIMEOUT_USEC : 0);
}

static void stop_unused(struct device *d)
{
	ctrl_stop_dev(manager_ctrl(d->manager), device_cmd(d), d->kernel.dev_id, try_stop(d), 0);
}

static void run_look(struct device *d);
static void run_stop_dev(struct device *d);

void device_run_stop(struct device *d)
{
	CO_BEGIN(&d->co);

	d->held = false;
	d->holders = (struct holders){.n = 0};
	for (d->i = 0;; d->i++) {
		if (is_kept(d))
			return stop_refuse(d, -ECANCELED);
		device_step(d, "sync");
		CO_AWAIT(&d->co, stop_sync(d));
		if (d->res != -EBUSY || d->i >= DEVICE_BUSY_TRIES)
			break;
		CO_AWAIT(&d->co, device_pause(d, DEVICE_BUSY_PAUSE_USEC));
	}
	/* No such disk: somebody else stopped it, there is nothing to write back. */
	if (d->res < 0 && d->res != -ENOENT && d->res != -ENXIO && is_refused(d))
		return stop_refuse(d, d->res);

	return stop_go_on(d, d->held && d->res >= 0 ? run_look : run_stop_dev);

	CO_END(&d->co);
}

/* Nothing can claim the disk any more: who has it merely open? */
static void run_look(struct device *d)
{
	CO_BEGIN(&d->co);

	for (d->i = 0;; d->i++) {
		device_step(d, "holders");
		CO_AWAIT(&d->co, find_holders(d));
		if (d->res >= 0 && !d->holders.n && !d->holders.more)
			break;
		if (!is_refused(d))
			break;
		/* The daemon's own stop comes again by itself. */
		if (d->stop.quiet || d->i >= DEVICE_OPEN_TRIES)
			return stop_refuse(d, -EBUSY);
		CO_AWAIT(&d->co, device_pause(d, DEVICE_OPEN_PAUSE_USEC));
	}
	if (is_kept(d))
		return stop_refuse(d, -ECANCELED);
	/* Last of all: STOP_DEV of a device that can be recovered drops what is dirty. */
	device_step(d, "sync");
	CO_AWAIT(&d->co, stop_sync(d));
	if (d->res < 0 && is_refused(d))
		return stop_refuse(d, d->res);
	return stop_go_on(d, run_stop_dev);

	CO_END(&d->co);
}

static void run_stop_dev(struct device *d)
{
	CO_BEGIN(&d->co);

	for (d->i = 0;; d->i++) {
		device_step(d, "stop-dev");
		CO_AWAIT(&d->co, stop_unused(d));
		if (d->res != -EBUSY || (d->i >= DEVICE_BUSY_TRIES && !d->stop.force))
			break;
		CO_AWAIT(&d->co, device_pause(d, DEVICE_BUSY_PAUSE_USEC));
	}
	if (!is_gone(d) && is_refused(d))
		return stop_refuse(d, d->res);
	d->kernel.stopped = is_gone(d);
	/* An open disk would keep the device's number. */
	if (d->held)
		CO_AWAIT(&d->co, ctrl_release_dev(manager_ctrl(d->manager), device_cmd(d),
						  d->kernel.dev_id, DEVICE_CTRL_TIMEOUT_USEC));
	d->held = false;
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
