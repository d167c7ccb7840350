/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sweep - delete the ublk devices a dead ublkd left in the kernel. ublkd's are known by their
 * cookie (ublk/features.h); other servers' devices are not touched, nor those of a living ublkd.
 *
 * A device whose server is dead but which is still live is dying: its last backing operations are
 * not over. Nothing can hurry that, so the sweep is repeated until the kernel has taken it down.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/kernel-devices.h"
#include "device/manager-internal.h"
#include "ublk/features.h"
#include "util/cleanup.h"
#include "util/log.h"

/* Until a dying device is looked at again, and how often the start-up waits for it. */
#define SWEEP_AGAIN_USEC (200 * UINT64_C(1000))
#define SWEEP_LOOKS 25
/* A deleted device whose dead disk somebody has open is deleted all the same, its number is free
 * later: no reason to wait. */
#define SWEEP_DEL_USEC (500 * UINT64_C(1000))

struct sweep {
	struct manager *manager;
	void (*done)(struct manager *m);
	struct co co;
	struct ctrl_cmd cmd;
	int res;
	bool dying; /* there was a device to come back to */
	bool unsure; /* there may be a device that was not looked at */
	int *ids;
	size_t n, i;
};

static struct sweep *sweep_free(struct sweep *s)
{
	if (!s)
		return NULL;
	free(s->ids);
	free(s);
	return NULL;
}

enum verdict { NOT_OURS, DYING, LEFT_OVER, KEPT };

static struct saved_device **find_saved(const struct manager *m,
					const struct ublksrv_ctrl_dev_info *info)
{
	return kernel_device_find_saved(info, m->saved, m->n_saved);
}

static enum verdict judge(struct manager *m, const struct ublksrv_ctrl_dev_info *info)
{
	struct device *d = NULL;

	if (!cookie_is_ours(info->ublksrv_flags))
		return NOT_OURS;
	while ((d = manager_next(m, d)))
		if (d->kernel.cookie == info->ublksrv_flags &&
		    (d->kernel.dev_id < 0 || d->kernel.dev_id == (int) info->dev_id))
			return NOT_OURS;
	/* A dying one, too: its recovery waits for it. */
	if (info->state != UBLK_S_DEV_DEAD && info->flags & UBLK_F_USER_RECOVERY)
		return find_saved(m, info) ? KEPT : NOT_OURS;
	/* Another ublkd, alive: it has a runtime directory of its own. */
	if (kernel_device_has_server(info))
		return NOT_OURS;
	if (info->state != UBLK_S_DEV_LIVE)
		return LEFT_OVER;
	return DYING;
}

static void sweep_run(struct sweep *s);

static void sweep_adopt(struct manager *m, const struct ublksrv_ctrl_dev_info *info)
{
	struct saved_device **at = find_saved(m, info);
	struct saved_device *s = TAKE_PTR(*at);

	manager_adopt(m, s, (int) info->dev_id);
	(void) saved_device_free(s);
}

/* Of devices that are not there any more. */
static void sweep_forget(struct manager *m)
{
	for (size_t i = 0; i < m->n_saved; i++) {
		const struct device *d;

		if (!m->saved[i])
			continue;
		d = manager_find(m, m->saved[i]->config->name);
		/* Started since: the file is a new one. */
		if (!d || !d->kernel.saved)
			state_remove(m->state_dir, m->saved[i]->config->name);
		m->saved[i] = saved_device_free(m->saved[i]);
	}
}

static void on_cmd(struct ctrl_cmd *cmd, int res)
{
	struct sweep *s = container_of(cmd, struct sweep, cmd);

	s->res = res;
	sweep_run(s);
}

static int on_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct manager *m = arg;

	sweep_start(m, TAKE_PTR(m->sweep_done));
	return 0;
}

/* Return: true if it will be looked again */
static bool sweep_again(struct manager *m)
{
	sd_event_source_disable_unref(TAKE_PTR(m->sweep_timer));
	if (sd_event_add_time_relative(m->event, &m->sweep_timer, CLOCK_MONOTONIC, SWEEP_AGAIN_USEC,
				       0, on_again, m) >= 0)
		return true;
	log_warning("not looking again for devices left by a dead ublkd: no timer");
	return false;
}

static void sweep_end(struct sweep *s)
{
	struct manager *m = s->manager;
	void (*done)(struct manager * m) = s->done;
	bool soon = m->sweep_looks++ < SWEEP_LOOKS;
	bool again = (s->dying || (s->unsure && soon)) && sweep_again(m);
	bool sure = !s->unsure;

	m->sweep = sweep_free(s);
	/* Whoever starts devices is better off when the old ones are gone: their ids, their locks.
	 */
	if (again && done && soon)
		m->sweep_done = TAKE_PTR(done);
	if (!again && sure)
		sweep_forget(m);
	if (!again)
		m->sweep_looks = 0;
	if (done)
		done(m);
}

static void sweep_run(struct sweep *s)
{
	struct ctrl *ctrl = s->manager->ctrl;
	enum verdict v;

	CO_BEGIN(&s->co);
	for (s->i = 0; s->i < s->n; s->i++) {
		CO_AWAIT(&s->co,
			 ctrl_get_dev_info(ctrl, &s->cmd, s->ids[s->i], DEVICE_CTRL_TIMEOUT_USEC));
		v = s->res < 0 ? NOT_OURS : judge(s->manager, &s->cmd.info);
		s->dying |= v == DYING;
		s->unsure |= s->res < 0 && s->res != -ENODEV;
		if (v == KEPT)
			sweep_adopt(s->manager, &s->cmd.info);
		if (v != LEFT_OVER)
			continue;
		log_warning("ublk device %d was left by %s: deleting it", s->ids[s->i],
			    cookie_server(s->cmd.info.ublksrv_flags) == getpid()
				    ? "a command that did not end"
				    : "an ublkd that died");
		CO_AWAIT(&s->co, ctrl_del_dev(ctrl, &s->cmd, s->ids[s->i], SWEEP_DEL_USEC));
		if (s->res < 0 && s->res != -ENODEV && s->res != -ETIMEDOUT)
			log_warning("ublk device %d cannot be deleted: %s", s->ids[s->i],
				    strerror(-s->res));
	}
	return sweep_end(s);
	CO_END(&s->co);
}

static struct sweep *sweep_new(struct manager *m, void (*done)(struct manager *m))
{
	struct sweep *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return NULL;
	s->manager = m;
	s->done = done;
	s->cmd.done = on_cmd;
	r = kernel_devices_list(&s->ids, &s->n);
	s->unsure = r < 0;
	return r == -ENOMEM ? sweep_free(s) : s;
}

void sweep_start(struct manager *m, void (*done)(struct manager *m))
{
	struct sweep *s;

	if (m->sweep) {
		/* One is under way already; it sees what this one would. */
		if (done)
			done(m);
		return;
	}
	s = sweep_new(m, done);
	if (!s) {
		log_warning("not looking for devices left by a dead ublkd: out of memory");
		if (done)
			done(m);
		return;
	}
	m->sweep = s;
	sweep_run(s);
}

void sweep_cancel(struct manager *m)
{
	m->sweep = sweep_free(m->sweep);
	sd_event_source_disable_unref(TAKE_PTR(m->sweep_timer));
}
