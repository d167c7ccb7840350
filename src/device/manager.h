/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * manager - the set of devices: names, limits, what is on disk and what runs. Main thread only.
 * Knows nothing of D-Bus; whoever wants to hear of changes registers one listener.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "device/config.h"
#include "device/device.h"
#include "util/failure.h"

struct ctrl;
struct manager;

enum manager_state {
	MANAGER_STARTING,
	MANAGER_RUNNING,
	MANAGER_RELOADING,
	MANAGER_STOPPING,
};

/** manager_state_name - "starting", "running", "reloading", "stopping" */
const char *manager_state_name(enum manager_state s);

/* All are called on the main thread, after the change, before any device_wait is told of it. */
struct manager_listener {
	void (*device_new)(void *arg, struct device *d);
	void (*device_changed)(void *arg, struct device *d);
	void (*device_removed)(void *arg, const char *name); /* the device is already unlinked */
	void (*manager_changed)(void *arg); /* state, number of devices, files */
};

/**
 * manager_new - an empty set
 * @ctrl: borrowed; @config: copied
 * @paths: where devices are looked for; must outlive the manager
 * Return: 0 or -errno
 */
int manager_new(sd_event *event, struct ctrl *ctrl, const struct config_paths *paths,
		const struct daemon_config *config, struct manager **ret);
struct manager *manager_free(struct manager *m); /* only when all devices are stopped */

/** manager_set_listener - @l NULL: nobody listens any more */
void manager_set_listener(struct manager *m, const struct manager_listener *l, void *arg);

/** manager_set_state_dir - where to keep what the next ublkd needs to go on with the devices of
 * this one; without it devices end with their server
 *  @dir: of state_open(); borrowed */
void manager_set_state_dir(struct manager *m, int dir);

/** manager_set_book - where to keep the flight records
 *  @b: borrowed */
struct flight_book;
void manager_set_book(struct manager *m, struct flight_book *b);

/** manager_start - look at the kernel, remove what a dead ublkd left there, define the devices of
 *  the configuration and start those with Autostart=yes.
 *  @ready: called once, when every one of them runs or has failed; may come before this returns
 *  Return: 0 or -errno; problems with the kernel or a device are no error here, they are states */
int manager_start(struct manager *m, void (*ready)(void *arg), void *arg);

/** manager_shutdown - stop all devices, all at once; @done is called once, when none is left
 * running or the time is up
 *  @whole_system: those in use are stopped by force once StopTimeoutSec is over; otherwise they are
 *  left to the kernel, if it keeps them */
void manager_shutdown(struct manager *m, bool whole_system, void (*done)(void *arg), void *arg);

/** manager_keeps_devices - after that: some are left to the kernel, and nothing but _exit() may
 * follow
 */
bool manager_keeps_devices(struct manager *m);

/** manager_leave - prepare for the end of this process and for the ublkd after it: devices that the
 * kernel keeps go on, or wait, the others are stopped; @done is called once. All that is left is to
 * _exit(): what ends the devices in an orderly way would end them. */
void manager_leave(struct manager *m, void (*done)(void *arg), void *arg);

/** manager_shutdown_usec - the longest time either takes until @done */
uint64_t manager_shutdown_usec(const struct manager *m);

/** manager_is_busy - a device runs, or an operation of one is under way; but, while the daemon
 * leaves, not those that the kernel keeps */
bool manager_is_busy(struct manager *m);

/* ---- one device by name */

/** manager_find - by name; NULL if there is none */
struct device *manager_find(struct manager *m, const char *name);
/** manager_find_node - by "ublkb0", "/dev/ublkb0" */
struct device *manager_find_node(struct manager *m, const char *node);

/** manager_add - define a device
 *  @config: checked; taken over on success
 *  Return: 0, or -errno with @f set (name in use, too many devices, shutting down) */
int manager_add(struct manager *m, struct device_config *config, struct device **ret,
		struct failure *f);

/** manager_delete - forget a device that does not run (defined or failed). One that is stopping, or
 *  whose start was given up, is forgotten when that is over. May be called from device_wait.done().
 *  Return: 0, or -errno with @f set */
int manager_delete(struct manager *m, struct device *d, struct failure *f);

/** manager_next - walk the devices in the order of their names; NULL starts and ends */
struct device *manager_next(struct manager *m, const struct device *prev);

/* ---- reload */

struct reload_change {
	char *device;
	const char *change; /* added updated pending-restart orphaned removed invalid unchanged */
	char *detail; /* "" or a sentence */
};

struct reload_result {
	struct reload_change *v;
	size_t n;
};

void reload_result_release(struct reload_result *r);

/** manager_reload - read all files again; never touches a running device's I/O. New devices with
 *  Autostart=yes are started (not waited for).
 *  @r: what became of each device
 *  Return: 0; -EINVAL with @f set if the main file is broken (nothing was changed); -ENOMEM */
int manager_reload(struct manager *m, struct reload_result *r, struct failure *f);

/* ---- what can be seen */

struct manager_status {
	enum manager_state state;
	uint32_t n_devices, n_running, n_failed;
	const char *kernel_problem; /* why no device can be started, NULL if they can */
	uint64_t kernel_features; /* UBLK_F_*, 0 while unknown */
	uint64_t last_reload_usec; /* CLOCK_REALTIME, 0: never */
	uint32_t last_reload_failed; /* devices found invalid by it */
};

/** manager_get_status, manager_get_config - as of now; the configuration changes with a reload */
void manager_get_status(const struct manager *m, struct manager_status *ret);
const struct daemon_config *manager_get_config(const struct manager *m);
