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
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

/* Best first; a kernel that lacks a flag answers EINVAL. */
static const unsigned int ring_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	IORING_SETUP_COOP_TASKRUN,
	0,
};

int ring_init(struct ring *r, unsigned int sq_entries, unsigned int cq_entries,
	      unsigned int extra_flags)
{
	int err = -EINVAL;

	for (unsigned int i = 0; i < sizeof(ring_flags) / sizeof(ring_flags[0]); i++) {
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
	/* A saving only: the ring works without. */
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

struct io_uring_sqe *ring_sqe(struct ring *r, struct ur_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

	if (!sqe) {
		(void) io_uring_submit(&r->uring);
		sqe = io_uring_get_sqe(&r->uring);
		if (!sqe)
			return NULL;
	}
	/* Two of constant size: one of either size becomes a slow `rep stos`. */
	memset(sqe, 0, sizeof(*sqe));
	if (r->uring.flags & IORING_SETUP_SQE128)
		memset(sqe + 1, 0, sizeof(*sqe));
	sqe->user_data = (uintptr_t) op;
	return sqe;
}

int ring_turn(struct ring *r, unsigned int wait)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;
	int err;

	err = io_uring_submit_and_wait(&r->uring, wait);
	if (err < 0 && err != -EINTR && err != -EBUSY && err != -EAGAIN)
		return err;

	io_uring_for_each_cqe(&r->uring, head, cqe)
	{
		struct ur_op *op = (struct ur_op *) (uintptr_t) cqe->user_data;

		op->done(op, cqe->res);
		n++;
	}
	/* Seen only now: no CQE slot is handed back while done() may still submit. */
	io_uring_cq_advance(&r->uring, n);
	return (int) n;
}

void ring_leave(struct ring *r)
{
	/* Registered per task; left alone, ring_done() would try it on the wrong one. */
	if (r->made && r->uring.enter_ring_fd != r->uring.ring_fd)
		(void) io_uring_unregister_ring_fd(&r->uring);
}
