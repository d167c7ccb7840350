/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring - an io_uring with the flags this kernel has, and its loop turn. A ring belongs to the
 * thread that made it; another thread may only ring_done() it once that thread is gone.
 */
#pragma once

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "uring/op.h"

/* A flag of ring.uring.flags: completions and the driver's work happen in ring_turn() only. */
#define RING_DEFERS (1U << 13) /* IORING_SETUP_DEFER_TASKRUN */

struct ring {
	struct io_uring uring;
	bool made;
	unsigned int cqe_flags; /* IORING_CQE_F_* of the completion whose done() runs */
};

/* Of extra_flags, and not the kernel's: threads use the ring one after another. */
#define RING_MOVES (1U << 31)

/** ring_init - a ring for one thread that submits and reaps by itself (SINGLE_ISSUER,
 * DEFER_TASKRUN) or, where the kernel lacks these, with COOP_TASKRUN, or plain.
 *  @sq_entries, @cq_entries: powers of two are taken as they are, others rounded up by the kernel
 *  @extra_flags: IORING_SETUP_SQE128 for control commands, RING_MOVES, or 0
 *  Return: 0 or -errno */
int ring_init(struct ring *r, unsigned int sq_entries, unsigned int cq_entries,
	      unsigned int extra_flags);

/** ring_done - unmap and close; the kernel ends what is in flight by itself */
void ring_done(struct ring *r);

/** ring_sqe_slow - of ring_sqe(): the queue is full, submit first */
struct io_uring_sqe *ring_sqe_slow(struct ring *r);

/** ring_sqe - a zeroed SQE for @op; submits first if the queue is full.
 *  Return: the SQE, or NULL if there is none even after a submit (the kernel is out of memory) */
static inline struct io_uring_sqe *ring_sqe(struct ring *r, struct ur_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

	if (!sqe)
		sqe = ring_sqe_slow(r);
	if (!sqe)
		return NULL;
	/* Two of constant size: one of either size becomes a slow `rep stos`. */
	memset(sqe, 0, sizeof(*sqe));
	if (r->uring.flags & IORING_SETUP_SQE128)
		memset(sqe + 1, 0, sizeof(*sqe));
	sqe->user_data = (uintptr_t) op;
	return sqe;
}

/** ring_turn - submit what is prepared, wait for completions, run all that are there.
 *  @wait: completions to wait for, those that the submission brings included
 *  Return: number of completions run, or -errno (-EINTR is 0) */
int ring_turn(struct ring *r, unsigned int wait);

/** ring_wait, ring_run - the two halves of a turn: the system call, and what it brought
 *  Return: 0 or -errno; number of completions run */
int ring_wait(struct ring *r, unsigned int wait);
int ring_run(struct ring *r);

/** ring_leave - last call of the ring's own thread, before another thread does ring_done() */
void ring_leave(struct ring *r);
