/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-recover - what device-start.c does otherwise for a device that the kernel kept while
 * nobody served it: because the daemon before this one died or was replaced, or because a queue
 * failed.
 *
 *   open the target, which waits for the locks of the old server -> GET_DEV_INFO,
 * START_USER_RECOVERY, again while the old server is not over -> GET_PARAMS -> queue threads ->
 * END_USER_RECOVERY
 *
 * No write of the old server can come after this: its char device is in the registered files of the
 * rings that carry the backing operations, so the kernel says EBUSY while there are any; and its
 * locks on the backing live as long as they do.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "device/device-internal.h"
#include "device/manager.h"
#include "ublk/features.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

/* A queue that fails again so soon after a recovery has a reason that recovery does not remove. */
#define RECOVERY_TOO_SOON_USEC (10 * UINT64_C(1000000))
#define RECOVERIES_MAX 3
/* Until the old server is asked for again. */
#define RECOVERY_PAUSE_USEC (20 * UINT64_C(1000))

/* How often, and how long after each, the driver is asked for the tags it has not given back: ten
 * seconds in all. */
#define QUIESCE_TRIES 2000
#define QUIESCE_PAUSE_USEC (5 * UINT64_C(1000))

/* ---- before the device is added */

int recovery_flags(const struct device *d, uint64_t *ret, struct failure *f)
{
	uint64_t features = manager_features(d->manager);
	uint64_t flags = 0;

	switch (device_config_recovery(d->config)) {
	case RECOVERY_REISSUE:
		flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
		break;
	case RECOVERY_REQUEUE:
		flags = UBLK_F_USER_RECOVERY | (features & UBLK_F_QUIESCE);
		break;
	case RECOVERY_FAIL_IO:
		flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO;
		break;
	case RECOVERY_AUTO:
	case RECOVERY_NO:
		break;
	}
	/* Who did not ask for it by name can do without. */
	if ((features & flags) != flags && d->config->recovery == RECOVERY_AUTO)
		flags = 0;
	if ((features & flags) != flags)
		return failure_set(f, FAILURE_KERNEL_UNSUPPORTED, EOPNOTSUPP,
				   "Recovery=%s: the driver has no %s, which came with Linux %s: "
				   "set Recovery=auto",
				   recovery_names[d->config->recovery],
				   flags & UBLK_F_USER_RECOVERY_FAIL_IO ? "USER_RECOVERY_FAIL_IO"
									: "USER_RECOVERY",
				   flags & UBLK_F_USER_RECOVERY_FAIL_IO ? "6.13" : "6.1");
	*ret = flags;
	return 0;
}

int recovery_check_start(const struct device *d, struct failure *f)
{
	if (!state_exists(manager_state_dir(d->manager), device_get_name(d)))
		return 0;
	return failure_set(
		f, FAILURE_NOT_RECOVERABLE, EEXIST,
		"the kernel may still have device '%s' of an ublkd before this one, whose "
		"state file state/%s in the runtime directory cannot be used: restart that "
		"ublkd, or delete the ublk device and this file",
		device_get_name(d), device_get_name(d));
}

static void describe_backing(const struct device *d, char *to, size_t size)
{
	size_t used = 0;

	*to = '\0';
	for (unsigned int i = 0; i < d->dev.n_files && used < size; i++) {
		struct stat st;
		bool block;
		dev_t dev;

		if (fstat(d->dev.files[i].fd, &st) < 0)
			continue;
		block = S_ISBLK(st.st_mode);
		dev = block ? st.st_rdev : st.st_dev;
		used += (size_t) snprintf(to + used, size - used, "%s%u:%u:%" PRIu64, i ? " " : "",
					  major(dev), minor(dev), block ? 0 : (uint64_t) st.st_ino);
	}
}

int recovery_save(struct device *d)
{
	struct device_kernel *k = &d->kernel;
	struct saved_device s = {
		.config = d->config,
		.cookie = k->cookie,
		.copy = (int) k->path.copy,
		.batch = k->path.batch ? DATA_BATCH_YES : DATA_BATCH_NO,
		.threads_per_queue = k->threads_per_queue,
		.sync_error = k->sync_error,
	};
	int dir = manager_state_dir(d->manager);
	int r;

	describe_backing(d, d->backing, sizeof(d->backing));
	memcpy(s.backing, d->backing, sizeof(s.backing));
	r = dir < 0 ? -ENOENT : state_save(dir, &s);
	if (r < 0 && dir >= 0)
		log_full(LOG_WARNING, -r, device_get_name(d), NULL, 0,
			 "cannot write its state file (%s): should ublkd die, %s", strerror(-r),
			 k->saved ? "the next one will not know that flushes have to fail"
				  : "this device ends");
	k->saved |= r == 0;
	return r;
}

void recovery_forget(struct device *d)
{
	if (d->kernel.saved)
		state_remove(manager_state_dir(d->manager), device_get_name(d));
	d->kernel.saved = false;
}

/* ---- the sequence */

static int after_open(struct device *d)
{
	char now[STATE_BACKING_MAX];

	if (d->res < 0)
		return device_fail_from_target(d);
	describe_backing(d, now, sizeof(now));
	if (strcmp(now, d->backing) == 0)
		return 0;
	return failure_set(&d->failure, FAILURE_BACKING_UNAVAILABLE, ESTALE,
			   "the backing is another file than the one that device '%s' had (%s now, "
			   "%s before): put that one back, then start the device",
			   device_get_name(d), *now ? now : "none",
			   *d->backing ? d->backing : "none");
}

/* Nobody held it: it may have been stopped, deleted, its number given to another device. */
int recovery_identify(struct device *d, struct failure *f)
{
	const struct ublksrv_ctrl_dev_info *info = &d->cmd.info;
	struct device_kernel *k = &d->kernel;
	int id = k->dev_id;

	if (d->res == -ENODEV || (d->res >= 0 && info->ublksrv_flags != k->cookie)) {
		k->stopped = true;
		k->dev_id = -1;
		k->cookie = 0;
		return failure_set(f, FAILURE_NOT_RECOVERABLE, ESTALE,
				   "ublk device %d is not the one it was", id);
	}
	if (d->res < 0)
		return d->res;
	if (info->state == UBLK_S_DEV_DEAD) {
		k->stopped = true;
		return failure_set(f, FAILURE_NOT_RECOVERABLE, ESTALE,
				   "/dev/ublkb%d was stopped by somebody else, not through ublkd",
				   id);
	}
	return 0;
}

static int after_info(struct device *d)
{
	const struct ublksrv_ctrl_dev_info *info = &d->cmd.info;
	int r = recovery_identify(d, &d->failure);

	if (d->res < 0 && r == d->res)
		return device_fail_from_kernel(d, "GET_DEV_INFO");
	if (r < 0)
		return r;
	if ((info->flags & d->kernel.path.flags) != d->kernel.path.flags)
		return failure_set(&d->failure, FAILURE_NOT_RECOVERABLE, EINVAL,
				   "ublk device %d moves data another way than its state file says",
				   d->kernel.dev_id);
	if (d->kernel.threads_per_queue > info->queue_depth)
		return failure_set(
			&d->failure, FAILURE_NOT_RECOVERABLE, EINVAL,
			"the state file of device '%s' has more threads than ublk device "
			"%d has tags",
			device_get_name(d), d->kernel.dev_id);
	d->kernel.info = *info;
	return 0;
}

static int after_params(struct device *d)
{
	const struct ublk_params *params = &d->cmd.params;
	uint64_t size = params->basic.dev_sectors << 9;

	if (d->res < 0)
		return device_fail_from_kernel(d, "GET_PARAMS");
	if (d->dev.limits.size && d->dev.limits.size < size)
		return failure_set(&d->failure, FAILURE_BACKING_UNAVAILABLE, ENOSPC,
				   "the backing has %" PRIu64 " bytes now, and device '%s' %" PRIu64
				   ": make it as large as it was, then start the device",
				   d->dev.limits.size, device_get_name(d), size);
	d->kernel.params = *params;
	return 0;
}

/* What there was of queues is forgotten. */
static void forget_queues(struct device_kernel *k)
{
	k->quitting = k->aborting = k->fell_back = false;
	k->arm_error = k->exit_error = 0;
}

void device_run_recover(struct device *d)
{
	struct ctrl *ctrl = manager_ctrl(d->manager);
	int dev_id = d->kernel.dev_id;

	CO_BEGIN(&d->co);

	forget_queues(&d->kernel);
	CO_AWAIT(&d->co, device_open_target(d));
	if (after_open(d) < 0)
		return device_start_undo(d);

	device_step(d, "start-recovery");
	for (;;) {
		/* Each time: of a device that was stopped the kernel says EBUSY for ever. */
		CO_AWAIT(&d->co,
			 ctrl_get_dev_info(ctrl, device_cmd(d), dev_id, DEVICE_CTRL_TIMEOUT_USEC));
		if (after_info(d) < 0)
			return device_start_undo(d);
		CO_AWAIT(&d->co, ctrl_start_recovery(ctrl, device_cmd(d), dev_id,
						     DEVICE_CTRL_TIMEOUT_USEC));
		if (d->res != -EBUSY || d->cancelled)
			break;
		CO_AWAIT(&d->co, device_pause(d, RECOVERY_PAUSE_USEC));
	}
	if (d->res < 0) {
		(void) device_fail_from_kernel(d, "START_USER_RECOVERY");
		return device_start_undo(d);
	}

	CO_AWAIT(&d->co, ctrl_get_params(ctrl, device_cmd(d), dev_id, DEVICE_CTRL_TIMEOUT_USEC));
	if (after_params(d) < 0)
		return device_start_undo(d);
	return device_raise(d);

	CO_END(&d->co);
}

/* ---- before the daemon leaves */

/* A request that has arrived is given again to the next server, or, without REISSUE, failed when
 * this one ends. */
static bool must_hand_back(const struct device *d)
{
	return d->state == DEVICE_RUNNING && !d->run && d->kernel.info.flags & UBLK_F_QUIESCE &&
	       d->kernel.n_exited < d->kernel.n_threads;
}

void device_run_quiesce(struct device *d)
{
	CO_BEGIN(&d->co);

	device_step(d, "quiesce");
	/* Each command gets those tags back that have no request just then; a queue that has got
	 * back all ends. */
	for (d->i = 0; d->i < QUIESCE_TRIES && d->kernel.n_exited < d->kernel.n_threads; d->i++) {
		CO_AWAIT(&d->co, ctrl_quiesce_dev(manager_ctrl(d->manager), device_cmd(d),
						  d->kernel.dev_id, DEVICE_CTRL_TIMEOUT_USEC));
		CO_AWAIT(&d->co, device_pause(d, QUIESCE_PAUSE_USEC));
	}
	if (d->kernel.n_exited < d->kernel.n_threads)
		log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0,
			 "requests do not end: the kernel will fail them");
	return device_finish(d, DEVICE_QUIESCED);

	CO_END(&d->co);
}

bool device_quiesce(struct device *d)
{
	if (!must_hand_back(d))
		return false;
	device_begin(d, "quiesce", device_run_quiesce, DEVICE_STOPPING);
	return true;
}

/* ---- who is to be recovered */

static bool is_too_often(struct device *d)
{
	uint64_t now = clock_usec(CLOCK_MONOTONIC);

	if (now - d->recovered_usec > RECOVERY_TOO_SOON_USEC)
		d->n_recoveries = 0;
	d->recovered_usec = now;
	return d->n_recoveries++ >= RECOVERIES_MAX;
}

static void held(struct device *d)
{
	device_finish(d, DEVICE_FAILED);
}

static void run_hold(struct device *d)
{
	d->failure = d->last_error;
	device_teardown(d, held);
}

int device_hold(struct device *d, struct device_wait *w, const struct failure *f)
{
	d->last_error = *f;
	/* The kernel fails its I/O as long as nobody serves it. */
	if (d->kernel.recovery_flags & UBLK_F_USER_RECOVERY_FAIL_IO) {
		device_enter(d, DEVICE_QUIESCED);
		return -f->error;
	}
	device_add_wait(d, w, manager_get_config(d->manager)->stop_timeout_usec);
	device_begin(d, "hold", run_hold, DEVICE_STOPPING);
	return 0;
}

void recovery_after_failure(struct device *d)
{
	struct failure f = d->failure;

	device_finish(d, DEVICE_QUIESCED);
	if (is_too_often(d) || device_recover(d, NULL, &f) < 0)
		log_full(LOG_ERR, 0, device_get_name(d), NULL, 0,
			 "it is held, with its I/O waiting or failing: start it to try again, or "
			 "stop "
			 "it by force");
}
