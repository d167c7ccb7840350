/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/abandon.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device-internal.h"
#include "device/kernel-devices.h"
#include "ublk/features.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

#define STOP_USEC (20 * UINT64_C(1000000))
/* The number is free when the last user has closed the disk: no reason to wait for that. */
#define DEL_USEC (500 * UINT64_C(1000))
/* Until a device is looked at again whose server is still ending, and for how long. */
#define AGAIN_MSEC 200
#define ENDING_USEC (30 * UINT64_C(1000000))

struct abandoning {
	struct ctrl *ctrl;
	const char *why_wait;
	struct saved_device **saved;
	size_t n_saved;
	uint64_t ending_until; /* CLOCK_MONOTONIC */
	struct orphan *v;
	size_t n, n_open, n_orphans, n_left;
};

struct orphan {
	struct abandoning *abandon;
	struct co co;
	struct ctrl_cmd cmd;
	int id, res;
	bool ending; /* to be asked for again */
	const char *name; /* of its state file, or NULL */
};

static void orphan_run(struct orphan *o);

static void on_cmd(struct ctrl_cmd *cmd, int res)
{
	struct orphan *o = container_of(cmd, struct orphan, cmd);

	o->res = res;
	orphan_run(o);
}

/* ---- which they are */

static bool is_orphan(struct orphan *o)
{
	const struct ublksrv_ctrl_dev_info *info = &o->cmd.info;
	struct saved_device **s;

	if (!cookie_is_ours(info->ublksrv_flags) || !(info->flags & UBLK_F_USER_RECOVERY))
		return false;
	s = kernel_device_find_saved(info, o->abandon->saved, o->abandon->n_saved);
	if (!s && kernel_device_has_server(info))
		return false;
	o->name = s ? (*s)->config->name : NULL;
	/* In UBLK_S_DEV_FAIL_IO nobody waits. Dead ones are the next ublkd's to delete. */
	return info->state == UBLK_S_DEV_QUIESCED || info->state == UBLK_S_DEV_LIVE;
}

static bool is_ending(const struct orphan *o)
{
	return o->cmd.info.state == UBLK_S_DEV_LIVE &&
	       clock_usec(CLOCK_MONOTONIC) < o->abandon->ending_until;
}

/* ---- what becomes of them */

static void orphan_over(struct orphan *o)
{
	o->abandon->n_open--;
}

static void orphan_unknown(struct orphan *o)
{
	if (o->res != -ENODEV) {
		log_error("ublk device %d does not tell what it is (%s): it is left as it is",
			  o->id, strerror(-o->res));
		o->abandon->n_left++;
	}
	orphan_over(o);
}

static void orphan_waits(struct orphan *o)
{
	log_full(LOG_WARNING, 0, o->name, NULL, 0,
		 "nobody serves ublk device %d: its I/O waits until ublkd is started (%s)", o->id,
		 o->abandon->why_wait);
	orphan_over(o);
}

static void orphan_left(struct orphan *o, const char *why)
{
	log_full(LOG_ERR, 0, o->name, NULL, 0,
		 "nobody serves ublk device %d, and it cannot be taken away (%s): its I/O hangs; "
		 "'systemctl start ublkd-abandon' tries again",
		 o->id, why);
	o->abandon->n_left++;
	orphan_over(o);
}

static void orphan_gone(struct orphan *o)
{
	log_full(LOG_ERR, 0, o->name, NULL, 0,
		 "nobody serves ublk device %d: /dev/ublkb%d is taken away, its users get I/O "
		 "errors (Abandon=fail)",
		 o->id, o->id);
	orphan_over(o);
}

static void orphan_run(struct orphan *o)
{
	struct ctrl *ctrl = o->abandon->ctrl;

	CO_BEGIN(&o->co);
	for (;;) {
		CO_AWAIT(&o->co, ctrl_get_dev_info(ctrl, &o->cmd, o->id, DEVICE_CTRL_TIMEOUT_USEC));
		if (o->res < 0)
			return orphan_unknown(o);
		if (!is_orphan(o))
			return orphan_over(o);
		if (o->abandon->why_wait || !is_ending(o))
			break;
		CO_AWAIT(&o->co, o->ending = true);
	}
	o->abandon->n_orphans++;
	if (o->abandon->why_wait)
		return orphan_waits(o);
	if (o->cmd.info.state == UBLK_S_DEV_LIVE)
		return orphan_left(o, "its backing does not answer its last requests");

	CO_AWAIT(&o->co, ctrl_stop_dev(ctrl, &o->cmd, o->id, false, STOP_USEC));
	if (o->res < 0 && o->res != -ENODEV)
		return orphan_left(o, strerror(-o->res));
	CO_AWAIT(&o->co, ctrl_del_dev(ctrl, &o->cmd, o->id, DEL_USEC));
	return orphan_gone(o);
	CO_END(&o->co);
}

/* ---- all of them, at once */

static void ask_again(struct abandoning *a)
{
	for (size_t i = 0; i < a->n; i++) {
		if (!a->v[i].ending)
			continue;
		a->v[i].ending = false;
		orphan_run(&a->v[i]);
	}
}

static void run_all(struct abandoning *a)
{
	struct pollfd p = {.fd = ctrl_get_fd(a->ctrl), .events = POLLIN};

	for (size_t i = 0; i < a->n; i++)
		orphan_run(&a->v[i]);
	while (a->n_open) {
		if (poll(&p, 1, AGAIN_MSEC) > 0)
			ctrl_dispatch(a->ctrl);
		else
			ask_again(a);
	}
}

static int make_orphans(struct abandoning *a)
{
	_cleanup_free_ int *ids = NULL;
	int r = kernel_devices_list(&ids, &a->n);

	if (r < 0 || !a->n)
		return r;
	a->v = calloc(a->n, sizeof(*a->v));
	if (!a->v)
		return -ENOMEM;
	a->n_open = a->n;
	for (size_t i = 0; i < a->n; i++) {
		a->v[i].abandon = a;
		a->v[i].id = ids[i];
		a->v[i].cmd.done = on_cmd;
	}
	return 0;
}

int abandon_devices(struct ctrl *ctrl, int state_dir, const char *why_wait)
{
	struct abandoning a = {
		.ctrl = ctrl,
		.why_wait = why_wait,
		.ending_until = clock_usec(CLOCK_MONOTONIC) + ENDING_USEC,
	};
	int r;

	a.n_saved = state_load(state_dir, &a.saved);
	r = make_orphans(&a);
	if (r == 0)
		run_all(&a);
	if (r == 0 && !a.n_orphans && !a.n_left)
		log_info("no device waits for an ublkd");
	free(a.v);
	state_free(a.saved, a.n_saved);
	return r < 0 ? r : a.n_left ? -EBUSY : 0;
}

const char *abandon_why_wait(void)
{
	const char *how = getenv("MONITOR_EXIT_CODE"), *status = getenv("MONITOR_EXIT_STATUS");
	const char *result = getenv("MONITOR_SERVICE_RESULT");

	/* It came to its TimeoutStopSec=. */
	if (result && strcmp(result, "timeout") == 0)
		return "it was stopped";
	if (!how || !status || strcmp(how, "exited") != 0)
		return NULL;
	if (strcmp(status, "3") == 0)
		return "it was stopped, though not all of its devices";
	if (strcmp(status, "78") == 0)
		return "its configuration is broken";
	/* Restarted by somebody, faster than StartLimitBurst= allows; nothing was wrong with it. */
	if (strcmp(status, "0") == 0)
		return "it was restarted too often, and has not failed";
	return NULL;
}
