/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "uring/ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Newer than the headers of the oldest liburing we build with. */
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

/* Best first; a kernel that lacks a flag answers EINVAL. */
static const unsigned int ring_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | RING_DEFERS,
	IORING_SETUP_COOP_TASKRUN,
	0,
};

int ring_init(struct ring *r, unsigned int sq_entries, unsigned int cq_entries,
	      unsigned int extra_flags)
{
	bool moves = extra_flags & RING_MOVES;
	int err = -EINVAL;

	extra_flags &= ~RING_MOVES;
	for (unsigned int i = moves ? 1 : 0; i < sizeof(ring_flags) / sizeof(ring_flags[0]); i++) {
		struct io_uring_params p = {
			.flags = ring_flags[i] | extra_flags | IORING_SETUP_CQSIZE |
				 IORING_SETUP_CLAMP,
			.cq_entries = cq_entries,
		};

		err = io_uring_queue_init_params(sq_entries, &r->uring, &p);
		if (err != -EINVAL)
			break;
	}
	if (err < 0)
		return err;
	r->made = true;
	/* A saving only: the ring works without. It is the thread's that does it. */
	if (!moves)
		(void) io_uring_register_ring_fd(&r->uring);
	/* Nothing of ours must live on in a child: see design rule on copies of /dev/ublkcN. */
	(void) io_uring_ring_dontfork(&r->uring);
	return 0;
}

void ring_done(struct ring *r)
{
	if (!r->made)
		return;
	io_uring_queue_exit(&r->uring);
	r->made = false;
}

struct io_uring_sqe *ring_sqe_slow(struct ring *r)
{
	(void) io_uring_submit(&r->uring);
	return io_uring_get_sqe(&r->uring);
}

/* A server that waits for requests does not wait for I/O, but to the kernel it looks so: its CPU
 * counts as "iowait" and the system as stalled (PSI) while nothing is to be done. Linux 6.15 can be
 * told; liburing learned to tell it later than we can ask for. */
static int ring_enter(struct ring *r, unsigned int wait)
{
	struct io_uring_sq *sq = &r->uring.sq;
	unsigned int flags = IORING_ENTER_GETEVENTS | IORING_ENTER_NO_IOWAIT;

	if (!(r->uring.features & IORING_FEAT_NO_IOWAIT))
		return io_uring_submit_and_wait(&r->uring, wait);
	sq->sqe_head = sq->sqe_tail;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	if (r->uring.enter_ring_fd != r->uring.ring_fd)
		flags |= IORING_ENTER_REGISTERED_RING;
	return io_uring_enter((unsigned int) r->uring.enter_ring_fd, sq->sqe_tail - *sq->khead,
			      wait, flags, NULL);
}

/* The kernel ran out of memory between the two of a link: the first goes alone, and the second must
 * not follow it as if it had waited. */
static bool ring_has_cut_a_link(const struct ring *r)
{
	const struct io_uring_sq *sq = &r->uring.sq;
	unsigned int shift = r->uring.flags & IORING_SETUP_SQE128 ? 1 : 0;

	return io_uring_sq_ready(&r->uring) > 0 &&
	       sq->sqes[((*sq->khead - 1) & sq->ring_mask) << shift].flags & IOSQE_IO_LINK;
}

int ring_wait(struct ring *r, unsigned int wait)
{
	int err = ring_enter(r, wait);

	if (err < 0)
		return err != -EINTR && err != -EBUSY && err != -EAGAIN ? err : 0;
	return ring_has_cut_a_link(r) ? -ENOMEM : 0;
}

int ring_run(struct ring *r)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&r->uring, head, cqe)
	{
		struct ur_op *op = (struct ur_op *) (uintptr_t) cqe->user_data;

		r->cqe_flags = cqe->flags;
		op->done(op, cqe->res);
		n++;
	}
	/* Seen only now: no CQE slot is handed back while done() may still submit. */
	io_uring_cq_advance(&r->uring, n);
	return (int) n;
}

int ring_turn(struct ring *r, unsigned int wait)
{
	int err = ring_wait(r, wait);

	return err < 0 ? err : ring_run(r);
}

void ring_leave(struct ring *r)
{
	/* Registered per task; left alone, ring_done() would try it on the wrong one. */
	if (r->made && r->uring.enter_ring_fd != r->uring.ring_fd)
		(void) io_uring_unregister_ring_fd(&r->uring);
}
