/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake-driver - the control side of ublk_drv: devices that are added, started, stopped and deleted
 * by the commands the guard issues on its (fake) ring. The guard is the real one, on a thread of
 * the test. /dev/ublkcN is opened here too, and /sys/class/ublk-char listed.
 *
 * When the last descriptor of the char device is closed, in the process and in its rings, its
 * server has gone: the device ends, or, with USER_RECOVERY, is kept for the next one. That is
 * noticed when the device is looked at the next time, by a command or a client.
 *
 * It insists on what a real driver punishes: no DEL_DEV of a live device, no second START_DEV, no
 * DEL_DEV while the char device is open.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fake-uring.h"
#include "ublk/abi.h"
#include "ublk/guard.h"

enum { DRIVER_DEVS = 8, DRIVER_MEMORIES = 16 };

struct fake_dev {
	bool exists, live, was_live, params_set;
	uint16_t kept; /* UBLK_S_DEV_QUIESCED, UBLK_S_DEV_FAIL_IO, or 0: there is a server, or no
			  disk */
	struct ublksrv_ctrl_dev_info info;
	struct ublk_params params;
	struct fake_ublk *ublk;
	unsigned int openers; /* TRY_STOP_DEV: EBUSY */
	bool claimed; /* SYNC exclusive: EBUSY (mounted) */
	bool held_at_stop; /* STOP_DEV came while the guard had the disk open */
	int char_fd; /* last one handed out */
	unsigned int char_busy; /* so many opens fail */
	int char_error;
	struct { /* SHMEM_ZC */
		bool registered;
		uint64_t len;
		uint32_t flags;
		uint8_t first; /* byte in it, as it was then */
	} memory[DRIVER_MEMORIES];
};

/* What one command does instead of what it is asked. */
struct fake_fault {
	uint32_t op; /* UBLK_U_CMD_*, GUARD_OP_SYNC; 0: no fault */
	int res; /* answer with this ... */
	bool silent; /* ... or do not answer (and do nothing), but to a cancel */
	bool late; /* ... or do it, and answer when driver_release() is called */
	unsigned int times; /* that often; 0: always */
};

struct fake_driver {
	uint64_t features; /* user recovery among them */
	unsigned int max_queues;
	struct fake_dev devs[DRIVER_DEVS];
	struct fake_fault fault;
	bool fsync_waits; /* SYNC takes until no request is under way */
	int char_error; /* every open of a char device */
	int class_error; /* ... of the folder of devices */
	unsigned int char_busy; /* the next so many opens fail with EBUSY */
	unsigned int n_cmds[0x20]; /* by number */
	unsigned int n_syncs, n_flushes, n_cancelled, n_added;
	/* of the devices' own rings; NULL: do it */
	enum fake_verdict (*on_backing)(struct fake_op *op);
};

extern struct fake_driver driver;
/* This thread is the guard. */
extern _Thread_local bool fake_is_guard;

/* How often the guard had nothing to do and ended a session. */
extern _Atomic unsigned int driver_guard_rests;

/* One of the calls taken over here is made, and may fail; only test-fail-nth has it. */
bool bed_may_fail(const char *call) __attribute__((weak));

/* Begin with no devices. */
void driver_reset(void);
/* Be the guard at the other end of @sock, until that is closed. */
void driver_guard_start(int sock);
void driver_guard_join(void);
/* Answer what was late or silent. */
void driver_release(void);
/* Somebody else stops it, not through us. */
void driver_foreign_stop(int id);
/* Another server's: it keeps what it has. */
void driver_foreign_add(int id, uint64_t cookie, uint64_t flags, uint16_t state);
/* It is gone, through whomever. */
void driver_foreign_del(int id);
/* UBLK_S_DEV_*, as it is now. */
unsigned int driver_state(int id);
/* The kernel has none. */
bool driver_is_empty(void);
unsigned int driver_count(uint32_t op);
