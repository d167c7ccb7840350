/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctrl - the control plane: one asynchronous function per command of /dev/ublk-control. Main thread
 * only, never blocks. The commands are executed by the guard process (ublk/guard.h).
 *
 * The caller embeds a struct ctrl_cmd, sets done() and hands it to one of the functions. done() is
 * called exactly once, from ctrl_dispatch(), never from within the function. After it the command
 * may be used again. Results: the kernel's, 0 or positive or -errno, or
 *   -ETIMEDOUT   no answer within the deadline, or nobody to answer (ctrl_open() never succeeded);
 * a START_DEV is cancelled, an ADD_DEV that succeeds after all is deleted again -EOWNERDEAD  the
 * guard died under an ADD_DEV, START_DEV, END_USER_RECOVERY or REG_BUF; other commands are issued
 * again
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ublk/abi.h"
#include "util/failure.h"
#include "util/list.h"

struct ctrl;

#define CTRL_AFFINITY_BYTES 1024 /* 8192 CPUs */

struct ctrl_cmd {
	void (*done)(struct ctrl_cmd *cmd, int res);

	/* In and out, by command; valid from the call to the end of done(). */
	union {
		uint64_t features;
		struct ublksrv_ctrl_dev_info info;
		struct ublk_params params;
		uint8_t affinity[CTRL_AFFINITY_BYTES];
		struct ublk_shmem_buf_reg memory;
	};

	/* private to ctrl.c */
	struct list link; /* ctrl->commands */
	uint64_t id;
	uint64_t deadline_usec; /* CLOCK_MONOTONIC, 0: none */
	uint64_t data;
	uint32_t op;
	uint32_t dev_id;
	uint16_t len;
	int fd; /* REG_BUF */
	bool sent;
};

/** ctrl_new - Return: 0 or -errno. Opens nothing yet.
 *  @node: "/dev/ublk-control" but for tests; @program: see guard_spawn() */
int ctrl_new(const char *node, const char *program, struct ctrl **ret);
struct ctrl *ctrl_free(struct ctrl *c);

/** ctrl_hurry - @cmd, which is under way, is answered with -ETIMEDOUT now, unless an answer comes
 * first
 */
void ctrl_hurry(struct ctrl *c, struct ctrl_cmd *cmd);

/** ctrl_new_connected - for tests: a control plane whose guard is already at the other end of @sock
 */
int ctrl_new_connected(int sock, struct ctrl **ret);

/** ctrl_open - open the control node and start the guard, unless that is done already.
 *  Return: 0, or -errno with @f set (ModuleMissing, KernelUnsupported) */
int ctrl_open(struct ctrl *c, struct failure *f);

/** ctrl_get_fd - one descriptor to poll for input; ctrl_dispatch - when it is readable */
int ctrl_get_fd(const struct ctrl *c);
void ctrl_dispatch(struct ctrl *c);

/** ctrl_ring_error - why the guard could not make its ring, -errno; 0 if it could or is starting */
int ctrl_ring_error(const struct ctrl *c);

/** ctrl_guard_pid - the guard, 0 if there is none */
pid_t ctrl_guard_pid(const struct ctrl *c);

/** ctrl_on_guard_death - tell @fn (main thread) after the guard died and was replaced */
void ctrl_on_guard_death(struct ctrl *c, void (*fn)(void *arg), void *arg);

/* ---- commands; @timeout_usec 0: wait for ever. All results go to cmd->done(). */

/** ctrl_get_features - out: features. Kernels before 6.5 fail. */
void ctrl_get_features(struct ctrl *c, struct ctrl_cmd *cmd, uint64_t timeout_usec);

/** ctrl_add_dev - in: info (zero but for what is asked), out: info as granted. dev_id -1: the
 * driver picks. */
void ctrl_add_dev(struct ctrl *c, struct ctrl_cmd *cmd, uint64_t timeout_usec);

/** ctrl_set_params - in: params, len and types filled */
void ctrl_set_params(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec);

/** ctrl_get_params - out: params; types has DEVT set always */
void ctrl_get_params(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec);

/** ctrl_get_dev_info - out: info. Asks GET_DEV_INFO2; a kernel that lacks it is asked GET_DEV_INFO.
 */
void ctrl_get_dev_info(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec);

/** ctrl_get_queue_affinity - out: affinity, a bit per possible CPU */
void ctrl_get_queue_affinity(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, unsigned int queue,
			     uint64_t timeout_usec);

/** ctrl_start_dev - @server: process that opened the char device (this one) */
void ctrl_start_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, pid_t server,
		    uint64_t timeout_usec);

/** ctrl_start_recovery - may the device be served again? -EBUSY while its old server, or a write of
 *  it, is not over */
void ctrl_start_recovery(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec);

/** ctrl_end_recovery - serve it, after all tags were fetched; as ctrl_start_dev() */
void ctrl_end_recovery(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, pid_t server,
		       uint64_t timeout_usec);

/** ctrl_quiesce_dev - new requests wait in the kernel from now on, and tags that have none are
 * handed back: ABORT. Those at work go on; when committed they are not fetched again, but only the
 * next command of this kind says so. Needs UBLK_F_QUIESCE. */
void ctrl_quiesce_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec);

/** ctrl_stop_dev - waits in the kernel until every request is complete
 *  @only_unused: TRY_STOP_DEV, -EBUSY if somebody has it open (needs UBLK_F_SAFE_STOP_DEV) */
void ctrl_stop_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, bool only_unused,
		   uint64_t timeout_usec);

/** ctrl_del_dev - waits until the id is free again; after the deadline the kernel frees it later */
void ctrl_del_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec);

enum ctrl_sync {
	CTRL_SYNC_ONLY,
	CTRL_SYNC_EXCLUSIVE, /* fail with -EBUSY if it is mounted, swap or stacked upon */
	CTRL_SYNC_HOLD, /* ... and see to it that it is not, until ctrl_release_dev() */
};

/** ctrl_sync_dev - write back the page cache of /dev/ublkbN and flush it. After one with a hold,
 *  whatever its result, a ctrl_release_dev() is due; another one meanwhile just writes back. */
void ctrl_sync_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, enum ctrl_sync how,
		   uint64_t timeout_usec);

/** ctrl_release_dev - end the hold, if there is one */
void ctrl_release_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec);

/** ctrl_reg_buf - register memory that clients share with us (UBLK_F_SHMEM_ZC). Without a deadline:
 *  before the answer nobody knows whether requests name it.
 *  @fd: the file whose first @len bytes are the memory; the caller's, until done()
 *  @read_only: only writes to the device come from it
 *  Result: the number by which requests name it, the lowest that is free */
void ctrl_reg_buf(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, int fd, uint64_t len,
		  bool read_only);

/** ctrl_unreg_buf - forget memory; waits in the kernel until every request is complete. -ENOENT:
 *  there is none of that number */
void ctrl_unreg_buf(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, unsigned int index);
