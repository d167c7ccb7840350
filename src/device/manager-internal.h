/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manager-internal - struct manager, for manager.c, reload.c, sweep.c and shutdown.c only. */
#pragma once

#include "device/device-internal.h"
#include "device/manager.h"
#include "uring/mailbox.h"

struct sweep;

struct manager {
	sd_event *event;
	const struct config_paths *paths; /* borrowed */
	struct daemon_config config;
	enum manager_state state;
	struct list devices; /* device->link, sorted by name */
	unsigned int n_devices;

	struct ctrl *ctrl; /* borrowed */
	struct mailbox mailbox;
	sd_event_source *ctrl_source, *mailbox_source;
	struct failure kernel_problem;
	uint64_t features;
	struct ctrl_cmd features_cmd;
	uint64_t n_cookies, n_starts;

	const struct manager_listener *listener;
	void *listener_arg;

	uint64_t last_reload_usec;
	unsigned int last_reload_failed;

	/* start-up */
	void (*ready)(void *arg);
	void *ready_arg;
	unsigned int n_starting; /* autostarts not yet ended, those still to begin included */
	unsigned int n_autostarts; /* of them under way */
	int state_dir; /* borrowed; -1: none */
	struct flight_book *book; /* borrowed; NULL: none */
	struct saved_device *
		*saved; /* of an ublkd before this one; NULL where it was taken care of */
	size_t n_saved;
	struct sweep *sweep;
	sd_event_source *sweep_timer;
	void (*sweep_done)(struct manager *m); /* waits for the next look */
	unsigned int sweep_looks;

	/* shutdown */
	void (*down)(void *arg);
	void *down_arg;
	sd_event_source *shutdown_timer;
	/* CLOCK_MONOTONIC */
	uint64_t shutdown_keep_usec, shutdown_force_usec, shutdown_end_usec;
	bool shutdown_asked, shutdown_forced;
	bool leaving; /* what the kernel keeps is not stopped */
};

/** manager_changed - tell the listener */
void manager_changed(struct manager *m);

/** manager_check_id - no other device than @self (may be NULL) is configured with this one's id */
int manager_check_id(struct manager *m, const struct device_config *config,
		     const struct device *self, struct failure *f);

/** manager_autostart - start a device nobody waits for but manager_start(), now or when others that
 *  are being started have ended; manager_autostart_cancel - not, if it has not begun */
void manager_autostart(struct manager *m, struct device *d);
void manager_autostart_cancel(struct manager *m, struct device *d);

/** manager_adopt - go on with a device that the kernel kept
 *  @s: of its state file; @id: in the kernel */
void manager_adopt(struct manager *m, struct saved_device *s, int id);

/* ---- sweep.c */

/** sweep_start - delete what a dead ublkd left in the kernel: devices with our cookie that no
 * living process serves and no device of ours is. Asynchronous, silent if there is nothing; comes
 * back by itself for those still dying.
 *  @done: called once, when nothing is left or that takes too long; may be NULL */
void sweep_start(struct manager *m, void (*done)(struct manager *m));
void sweep_cancel(struct manager *m);

/* ---- shutdown.c */

/** shutdown_progress - a device ended an operation while the manager stops */
void shutdown_progress(struct manager *m);
