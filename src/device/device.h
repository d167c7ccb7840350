/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device - the life of one device: definition, start, stop. Main thread only.
 *
 *   defined --start--> starting --> running --stop--> stopping --> defined
 *                         `-- a step failed: undone backwards --> failed (start is allowed again)
 *
 *   quiesced --start (recover)--> starting --> running; a step failed --> quiesced
 *
 *   stopping, or a start being undone, --time is up, and nothing happens--> stuck; goes on by
 *                         itself, to where it was on the way to, when what it waits for lets go
 *
 * start and stop are sequences (stackless coroutines in device-start.c and device-stop.c). At most
 * one of them runs per device. What the device is doing outlives the caller's patience: a deadline
 * ends the wait for it, not the work.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "device/config.h"
#include "util/failure.h"
#include "util/list.h"

struct device;
struct manager;

enum device_state {
	DEVICE_DEFINED,
	DEVICE_STARTING,
	DEVICE_RUNNING,
	DEVICE_STOPPING,
	DEVICE_FAILED,
	DEVICE_QUIESCED, /* the kernel has it, and nobody serves it */
	DEVICE_STUCK, /* being taken down, past its time, and nothing happens */
};

/** device_state_name - "defined", "starting", "running", "stopping", "failed",
 *  "quiesced", "stuck" */
const char *device_state_name(enum device_state s);

/*
 * A caller waiting for a start or stop. Embedded in the caller's own struct; must stay valid until
 * done() was called, which happens exactly once, never before the call that took it returned.
 */
struct device_wait {
	/* @f: NULL on success. The device may be gone after done() returns. */
	void (*done)(struct device_wait *w, const struct failure *f);
	struct list link; /* device->waits */
	uint64_t deadline_usec; /* CLOCK_MONOTONIC; set by the device */
};

struct device_stop_options {
	bool force; /* stop although it is in use; fail requests that do not end */
	bool quiet; /* being in use is no news: do not log it */
	uint64_t timeout_usec; /* how long the caller waits; 0: the daemon's StopTimeoutSec */
};

/** device_start - bring the device up
 *  @timeout_usec: 0: the daemon's StartTimeoutSec
 *  @w: told when the device serves or why not; may be NULL
 *  Return: 0 (accepted), or -errno with @f set (running, busy with another operation, shutting
 *  down) and @w unused. */
int device_start(struct device *d, uint64_t timeout_usec, struct device_wait *w, struct failure *f);

/** device_recover - serve a device again that the kernel kept (quiesced); as device_start(),
 * without a limit of time: the old server's last write is waited for */
int device_recover(struct device *d, struct device_wait *w, struct failure *f);

/** device_stop - take the device down and delete it from the kernel; its definition stays.
 *  Fails with DeviceBusy, and leaves it running, if it is in use and not forced. A forced one may
 *  join a stop that is under way, or stuck: then it is waited for, and its requests are failed.
 *  Return: as device_start() (not running, stuck, another operation is under way) */
int device_stop(struct device *d, const struct device_stop_options *o, struct device_wait *w,
		struct failure *f);

/* ---- settings of a running device, in device-update.c */

struct device_setting {
	const char *key, *value; /* as in a definition by D-Bus */
};

/** device_update - change settings of the target, those that are live, until the target is closed:
 *  when the device stops, or goes on after a failure. All of them or none.
 *  Return: 0, or -errno with @f set (DeviceNotRunning, InvalidConfiguration, or what the target
 *  says) */
int device_update(struct device *d, const struct device_setting *v, size_t n, struct failure *f);

/** device_get_settings - the definition with what device_update() changed of it; read-only, lives
 *  until the next change of the device */
const struct device_config *device_get_settings(const struct device *d);

/* ---- memory that clients share, in device-pools.c */

#define DEVICE_POOLS_MAX 8

/* A caller who hands memory over or takes it back. Embedded as struct device_wait, and told alike.
 */
struct device_pool_call {
	void (*done)(struct device_pool_call *c, const struct failure *f);
	unsigned int index; /* what requests name the memory by; added: valid when done */
	/* private */
	struct list link; /* device_pools->calls */
	bool remove, read_only;
	int fd; /* added: owned until done */
	void *map; /* added: owned, then the pool's */
	uint64_t len;
};

/** device_add_pool - take requests whose data is in the client's memory without a copy
 *  @fd: all of this file, a memfd sealed with F_SEAL_SHRINK; the caller's
 *  @read_only: only writes to the device come from it
 *  Return: 0 (accepted), or -errno with @f set (DeviceNotRunning, InvalidConfiguration,
 *  InvalidMemory, LimitsExceeded, NoMemory) and @c unused */
int device_add_pool(struct device *d, int fd, bool read_only, struct device_pool_call *c,
		    struct failure *f);

/** device_remove_pool - when it is done, no request uses that memory any more
 *  Return: as device_add_pool() (NoSuchMemory) */
int device_remove_pool(struct device *d, unsigned int index, struct device_pool_call *c,
		       struct failure *f);

struct device_pool {
	unsigned int index;
	uint64_t bytes;
	bool read_only;
};

/** device_get_pools - those in use
 *  Return: how many were stored */
unsigned int device_get_pools(const struct device *d,
			      struct device_pool ret[static DEVICE_POOLS_MAX]);

/* ---- what can be seen of a device; strings belong to the device and live until it changes */

struct device_counters {
	uint64_t read_ops, write_ops, flush_ops, discard_ops, write_zeroes_ops;
	uint64_t read_bytes, write_bytes;
	uint64_t errors;
	uint64_t shared_ops, fallback_ops; /* of the requests: in shared memory; see DataPath */
};

struct device_status {
	const char *name;
	enum device_state state;
	const char *sub_state; /* step of the running sequence, "" if none */
	const char *operation; /* "start", "stop" or "" */
	/* Of the last operation, or that the backing lost writes since; kind FAILURE_NONE: none */
	const struct failure *last_error;
	int dev_id; /* -1: not in the kernel */
	char block_device[32], char_device[32]; /* "" when there is none */
	char data_path[DATA_PATH_NAME_MAX]; /* "" when there is no block device */
	uint64_t size; /* bytes; 0 while unknown */
	bool read_only;
	bool autostart;
	bool needs_restart; /* the file differs from what runs */
	uint32_t queues, queue_depth, logical_block_size, physical_block_size, max_io_bytes;
	const char *target;
	const char *backing; /* "" if the target has none */
	const char *description;
	const char *fragment_path; /* "" if none */
	char *const *dropin_paths; /* NULL-terminated or NULL */
	uint64_t state_change_usec, active_usec; /* CLOCK_REALTIME; 0: never */
};

/** device_get_status, device_get_counters - as of now; without a running device the counters are 0
 */
void device_get_status(const struct device *d, struct device_status *ret);
void device_get_counters(const struct device *d, struct device_counters *ret);

/** device_in_flight - requests that the disk waits for; by the kernel's count or the queues',
 *  whichever is more */
uint64_t device_in_flight(const struct device *d);

/** device_count_stalled - requests that the queues have held for longer than StallSec= */
unsigned int device_count_stalled(const struct device *d);

/** device_print_requests - the last requests of all its queues as lines of JSON */
void device_print_requests(const struct device *d, FILE *f);

/** device_get_threads - thread ids of the queues
 *  Return: how many were stored, at most @max */
unsigned int device_get_threads(const struct device *d, pid_t *ret, unsigned int max);

/** device_get_config - the definition in force; read-only, lives as long as the device or until the
 *  next reload */
const struct device_config *device_get_config(const struct device *d);

/** device_get_name - lives as long as the device */
const char *device_get_name(const struct device *d);

/** device_in_use - mounted, used as swap, or stacked upon; asks the kernel. A process that merely
 * has it open is not looked for: that takes longer, and is done when a stop asks. */
bool device_in_use(const struct device *d);
