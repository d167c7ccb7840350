/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake-internal - between fake-uring.c (rings) and fake-ublk.c (the driver). Lock held throughout.
 */
#pragma once

#include "fake-uring.h"

enum {
	FAKE_FILES_MAX = 16,
	FAKE_POLLS_MAX = 4,
	FAKE_TIMERS_MAX = 16,
	FAKE_RINGS_MAX = 256,
};

/* The pages of a request, as a registered buffer: the request does not end while they are held. */
struct fake_pages {
	struct fake_ublk *ublk;
	struct fake_tag *tag;
	uint8_t *bytes;
	size_t len;
	bool to_device; /* of a WRITE: only to be read from */
	unsigned int refs; /* the table's, and one per operation */
};

struct fake_ring {
	struct io_uring *uring; /* NULL: free */
	unsigned int sq_khead, sq_ktail, sq_mask, sq_entries, sq_flags, sq_dropped;
	unsigned int cq_khead, cq_ktail, cq_mask, cq_entries, cq_flags, cq_overflow;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	struct fake_op *ops;
	unsigned int n_ops, hint;
	unsigned int shift;
	int wake;
	bool sleeps;
	int files[FAKE_FILES_MAX];
	unsigned int n_files;
	struct fake_ublk *ublk;
	struct {
		uint64_t user_data;
		int fd;
		bool in_use;
	} polls[FAKE_POLLS_MAX];
	uint64_t timers[FAKE_TIMERS_MAX]; /* user_data of the TIMEOUTs that run; 0: none */
	struct fake_pages **pages; /* the table of registered buffers */
	unsigned int n_pages;
	struct io_uring_buf_ring *buffers; /* provided ones */
	unsigned int n_buffers;
	uint16_t buffers_head, buffers_seen;
};

/* ---- fake-uring.c */

void *fake_must(void *p);
void fake_post(struct fake_ring *r, uint64_t user_data, int res, uint32_t flags);
void fake_wake(struct fake_ring *r);
/* The operation is over: completion, links, pages. */
void fake_op_end(struct fake_op *op, int res);
/* A command that goes on without its SQE; its completion is posted by who has its user_data. */
void fake_op_park(struct fake_op *op);
/* An operation in flight works in @addr .. @addr + @len. NULL: none */
const struct fake_op *fake_op_in(const struct fake_ring *r, uint64_t addr, uint64_t len);

/* ---- fake-ublk.c */

/* The device behind a ring's first registered file; NULL if that is none. */
struct fake_ublk *fake_ublk_of(int fd);
void fake_ublk_command(struct fake_op *op);
/* READ or WRITE of the char device. Return: as of the call */
int fake_ublk_copy(const struct fake_op *op);
/* What is sent becomes completions. */
void fake_ublk_dispatch(struct fake_ring *r);
/* The ring is closed: what it held fails. */
void fake_ublk_lost(struct fake_ring *r);
/* The pages a *_FIXED operation names, held. Return: 0 or -errno */
int fake_pages_take(struct fake_op *op);
void fake_pages_put(struct fake_pages *p);
