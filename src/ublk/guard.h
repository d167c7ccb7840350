/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guard - the small process that issues the control commands.
 *
 * A control command can sleep uninterruptibly in the kernel, on a worker thread of whoever issued
 * it. Were that the server itself, a `kill -9` at that moment would wait for the worker, the worker
 * for the requests of the device, and the requests for the server's descriptors to be closed:
 * unkillable until reboot. In a process of its own the worker holds nothing the device needs.
 *
 * So the guard has the control node, a ring, and one end of a socketpair; no char device, no
 * backing, no policy. It executes what it is told, in any order, answers each request once, and
 * dies with its parent (or at the end of the socket). If it dies alone, ctrl.c starts another one.
 * While there is nothing to do it has one thread, which sleeps.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ublk/abi.h"
#include "uring/ring.h"
#include "util/list.h"

#define GUARD_PAYLOAD_MAX 1088 /* a CPU mask of 8192 bits, a path and some room */

/* Besides the UBLK_U_CMD_*: */
#define GUARD_OP_READY                                                                             \
	0x1U /* reply only, first of all, id 0: res 0 or why the ring cannot be made */
#define GUARD_OP_CANCEL 0x2U /* request only, no reply: cancel the command whose id is `data` */
#define GUARD_OP_SYNC                                                                              \
	0x3U /* write back and flush /dev/ublkbN, N = dev_id; -ENOENT if there is none */
#define GUARD_OP_RELEASE 0x4U /* end the hold of a SYNC, if there is one */

/* In `data` of SYNC: */
#define GUARD_SYNC_EXCLUSIVE 1U /* fail with EBUSY if somebody claimed it */
#define GUARD_SYNC_HOLD                                                                            \
	2U /* keep it open, with its claim, whatever the result: nobody can mount it or stand upon \
	      it until a RELEASE. Another SYNC of the device meanwhile writes back once more. */

/* SOCK_SEQPACKET, one message each; the payload is cut at `len`. With a REG_BUF, and with nothing
 * else, comes a file descriptor (SCM_RIGHTS): the pages to register are those of its file. */
struct guard_request {
	uint64_t id; /* not 0; chosen by the sender */
	uint32_t op;
	uint32_t dev_id;
	uint64_t data;
	uint16_t len; /* bytes of payload, a path prefix included */
	uint16_t path_len; /* of them the path prefix */
	uint32_t pad;
	uint8_t payload[GUARD_PAYLOAD_MAX];
};

struct guard_reply {
	uint64_t id;
	uint32_t op; /* of the request */
	int32_t res; /* the CQE's result */
	uint32_t dev_id;
	uint16_t len;
	uint16_t path_len;
	uint8_t payload[GUARD_PAYLOAD_MAX]; /* as the kernel left it */
};

#define GUARD_REQUEST_SIZE(len) (offsetof(struct guard_request, payload) + (len))
#define GUARD_REPLY_SIZE(len) (offsetof(struct guard_reply, payload) + (len))

/* Where the spawned guard finds them. */
enum { GUARD_SOCK_FD = 3, GUARD_CONTROL_FD = 4 };

/** guard_main - be the guard; called by main() for `ublkd --guard`
 *  @sock: socketpair end; @control: /dev/ublk-control
 *  Ends the process when the other end is closed; Return: exit status, if that was not to be had */
int guard_main(int sock, int control);

struct guard {
	struct ring ring;
	int sock, control;
	bool ended; /* the other end is closed */
	bool worked; /* there was a command since the timer was armed */
	bool timer_armed;
	bool watching, resting;
	struct ur_op readable;
	struct ur_op idle;
	struct ur_op cancelled; /* nobody waits for the result of a cancel */
	struct list commands;
	struct list holds;
};

/** guard_init - make the ring and tell the other end of @sock whether that went well
 *  Return: 0 or -errno */
int guard_init(struct guard *g, int sock, int control);

/** guard_serve - a session: execute what is asked, until there has been nothing to do for a while.
 *  Return: 1: to be called again, by any thread, when the socket is readable; 0: the other end is
 *  closed, and commands may still be in flight; -errno */
int guard_serve(struct guard *g);

/** guard_spawn - start `PROGRAM --guard` with exactly these two descriptors (and stderr)
 *  @program: what to execute, "/proc/self/exe" but for tests
 *  @ret_sock: our end, non-blocking, close-on-exec
 *  Return: pid (reap it), or -errno */
int guard_spawn(const char *program, int control, int *ret_sock);
