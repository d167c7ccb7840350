/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io - the operations a target writes its requests with (ublkd/target.h). Queue threads only: no
 * allocation, no lock, no log, no clock.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <sys/uio.h>

#include <ublkd/target.h>

#include "target/dev.h"
#include "ublk/queue.h"
#include "util/list.h"

/* How often one operation is tried again after EAGAIN or EINTR before it counts as failed. */
enum { OP_RETRIES_MAX = 128 };

static struct slot *slot_of(struct ub_io *io)
{
	return container_of(io, struct slot, io);
}

void *ub_io_state(struct ub_io *io)
{
	return slot_of(io)->queue->config.state;
}

void *ub_io_priv(struct ub_io *io)
{
	struct slot *s = slot_of(io);

	return s->queue->privs + s->data.index * s->queue->config.target->io_size;
}

void *ub_io_buf(struct ub_io *io)
{
	struct slot *s = slot_of(io);

	if (s->data.place == PLACE_SHARED)
		return s->data.shared;
	assert(s->data.place == PLACE_MEMORY);
	return (void *) (uintptr_t) buffer_addr(&s->queue->buffer, s->data.index);
}

void ub_io_done(struct ub_io *io, int res)
{
	struct slot *s = slot_of(io);

	assert(s->refs > 0 && res <= 0);
	s->answered = true;
	if (res && !s->error)
		s->error = res;
}

unsigned int ub_file_slot(const struct ub_file *file)
{
	return file->slot;
}

static void op_finish(struct slot_op *op, int error)
{
	struct slot *s = op->slot;

	op->in_use = false;
	slot_unref(s, error);
}

static struct io_uring_sqe *op_sqe(struct slot_op *op)
{
	struct queue *q = op->slot->queue;
	struct io_uring_sqe *sqe = ring_sqe(&q->ring, &op->op);

	if (sqe)
		q->n_in_flight++;
	return sqe;
}

static void op_prep_rw(struct slot_op *op, struct io_uring_sqe *sqe)
{
	struct slot *s = op->slot;
	const struct ub_io *io = &s->io;

	s->last = sqe;
	buffer_prep(&s->queue->buffer, sqe, &s->data, io->op == UB_WRITE, op->file, op->moved,
		    (uint32_t) (io->len - op->moved), op->off + op->moved, op->mode);
}

/* ---- user copy: the operation and a copy, linked
 *
 * Of the two, the first completes only if it fails (or falls short, which breaks the link), and
 * then the second does not: one completion, whatever happens.
 */

static void op_bounced(struct ur_op *ur, int res)
{
	struct slot_op *op = container_of(ur, struct slot_op, bounce);
	struct slot *s = op->slot;

	s->queue->n_in_flight--;
	if (res >= 0 && (uint64_t) res != s->io.len)
		res = -EIO;
	op_finish(op, res < 0 ? res : 0);
}

static struct io_uring_sqe *bounce_sqe(struct slot_op *op)
{
	struct slot *s = op->slot;
	struct queue *q = s->queue;
	struct io_uring_sqe *sqe = ring_sqe(&q->ring, &op->bounce);

	op->bounce.done = op_bounced;
	if (sqe)
		buffer_prep_bounce(&q->buffer, sqe, s->data.index, s->io.op == UB_READ,
				   QUEUE_CHAR_SLOT, q->config.q_id, s->tag, (uint32_t) s->io.len);
	return sqe;
}

static void op_issue_bounced(struct slot_op *op)
{
	struct slot *s = op->slot;
	struct queue *q = s->queue;
	bool write = s->io.op == UB_WRITE;
	struct io_uring_sqe *first, *second;

	/* A link does not reach beyond what is submitted at once. */
	if (io_uring_sq_space_left(&q->ring.uring) < 2)
		(void) io_uring_submit(&q->ring.uring);
	if (io_uring_sq_space_left(&q->ring.uring) < 2)
		return op_finish(op, -EIO);
	first = write ? bounce_sqe(op) : op_sqe(op);
	second = write ? op_sqe(op) : bounce_sqe(op);
	op_prep_rw(op, write ? second : first);
	first->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
}

static void op_prep(struct slot_op *op, struct io_uring_sqe *sqe)
{
	struct slot *s = op->slot;
	struct ub_io *io = &s->io;

	switch (op->kind) {
	case SLOT_OP_RW:
		op_prep_rw(op, sqe);
		return;
	case SLOT_OP_FSYNC:
		sqe->opcode = IORING_OP_FSYNC;
		sqe->fsync_flags = IORING_FSYNC_DATASYNC;
		break;
	case SLOT_OP_FALLOCATE:
		sqe->opcode = IORING_OP_FALLOCATE;
		sqe->off = op->off;
		sqe->addr = io->len;
		sqe->len = (uint32_t) op->mode;
		break;
	case SLOT_OP_BLKDISCARD:
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->cmd_op = QUEUE_BLOCK_URING_CMD_DISCARD;
		sqe->addr = op->off;
		sqe->addr3 = io->len;
		break;
	case SLOT_OP_RAW:
		return;
	}
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = (int) op->file;
}

static void op_issue(struct slot_op *op)
{
	struct io_uring_sqe *sqe;

	if (op->kind == SLOT_OP_RW && op->slot->data.place == PLACE_BOUNCE && !op->copied)
		return op_issue_bounced(op);
	sqe = op_sqe(op);
	if (!sqe)
		return op_finish(op, -EIO);
	op_prep(op, sqe);
}

/* Return: the operation goes on with its rest, and was issued again. */
static bool op_goes_on(struct slot_op *op, int *res)
{
	struct slot *s = op->slot;

	/* Nobody waits for the rest any more. */
	if (s->aborted || s->queue->aborting) {
		*res = -EIO;
		return false;
	}
	if ((*res == -EAGAIN || *res == -EINTR) && op->retries < OP_RETRIES_MAX) {
		op->retries++;
	} else if (op->kind == SLOT_OP_RW && *res >= 0) {
		op->moved += (uint64_t) *res;
		if (op->moved == s->io.len) {
			*res = 0;
			return false;
		}
		if (*res == 0 || op->moved > s->io.len) {
			*res = -EIO; /* behind the end of the file, or a lying one */
			return false;
		}
	} else if (op->kind == SLOT_OP_FALLOCATE && *res == -EOPNOTSUPP && op->fallback_mode >= 0) {
		op->mode = op->fallback_mode;
		op->fallback_mode = -1;
	} else if (op->kind == SLOT_OP_BLKDISCARD && *res == -EOPNOTSUPP) {
		op->kind = SLOT_OP_FALLOCATE;
		op->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		op->fallback_mode = -1;
	} else {
		/* No other operation has a number to tell: who knows what this one did. */
		if (*res > 0)
			*res = -EIO;
		return false;
	}
	op_issue(op);
	return true;
}

/* The first of a device's errors counts: the main thread is told once. */
static void sync_failed(struct queue *q, int error)
{
	int none = 0;

	if (atomic_compare_exchange_strong(q->config.sync_error, &none, error))
		q->config.sync_failed(q->config.arg);
}

void ub_sync_failed(struct ub_io *io, int error)
{
	sync_failed(slot_of(io)->queue, error);
}

/*
 * A sync that fails tells of lost writes once: Linux drops them or takes them for clean, and the
 * next sync succeeds. So it is remembered, and what is under way and does succeed may be that next
 * one. A durable write through the page cache looks at the errors of the whole file and forgets
 * them as a sync does; past the cache every write has its own answer, and no other's.
 */
static int op_synced(const struct slot_op *op, int got, int res)
{
	struct queue *q = op->slot->queue;
	bool durable_write = op->kind == SLOT_OP_RW && op->mode & RWF_DSYNC &&
			     q->cached & UINT32_C(1) << op->file;

	if (op->kind != SLOT_OP_FSYNC && !durable_write)
		return res;
	if (got < 0)
		sync_failed(q, got);
	return res >= 0 && queue_sync_error(q) ? -EIO : res;
}

static void op_done(struct ur_op *ur, int res)
{
	struct slot_op *op = container_of(ur, struct slot_op, op);
	struct slot *s = op->slot;
	int got = res;

	if (s->linked)
		slot_unlink(s);
	s->queue->n_in_flight--;
	/* A write whose first try got so far has its bytes in our memory. */
	op->copied = s->io.op == UB_WRITE;
	if (op->kind == SLOT_OP_RAW) {
		op->in_use = false; /* the continuation may take it again; the reference stays */
		if (s->aborted)
			return slot_unref(s, -EIO);
		res = op->done(&s->io, res);
		return slot_unref(s, res < 0 ? res : 0);
	}
	if (op_goes_on(op, &res))
		return;
	res = op_synced(op, got, res);
	op_finish(op, res < 0 ? res : 0);
}

/* Return: an operation that holds a reference of its request; NULL, and the request will fail, if
 * all are taken. */
static struct slot_op *op_take(struct ub_io *io, enum slot_op_kind kind, struct ub_file *file,
			       uint64_t off)
{
	struct slot *s = slot_of(io);
	struct queue *q = s->queue;

	assert(s->refs > 0);
	s->answered = true;
	for (unsigned int i = 0; i < q->max_ops; i++) {
		struct slot_op *op = &q->ops[s->data.index * q->max_ops + i];

		if (op->in_use)
			continue;
		/* Field by field: the slot stays, what a user copy needs is set when it is. */
		op->op.done = op_done;
		op->off = off;
		op->moved = 0;
		op->kind = kind;
		op->file = file ? file->slot : 0;
		op->mode = 0;
		op->fallback_mode = -1;
		op->retries = 0;
		op->copied = false;
		op->in_use = true;
		slot_ref(s);
		return op;
	}
	ub_io_done(io, -EIO);
	return NULL;
}

static void op_rw(struct ub_io *io, struct ub_file *file, uint64_t off, int rw_flags)
{
	struct slot_op *op;

	/* A target that said it needs no data (UB_DATA_NONE) has none to read or write. */
	if (slot_of(io)->data.place == PLACE_NOWHERE)
		return ub_io_done(io, -EIO);
	op = op_take(io, SLOT_OP_RW, file, off);
	if (!op)
		return;
	op->mode = rw_flags;
	op_issue(op);
}

void ub_read(struct ub_io *io, struct ub_file *file, uint64_t off)
{
	op_rw(io, file, off, 0);
}

void ub_write(struct ub_io *io, struct ub_file *file, uint64_t off)
{
	op_rw(io, file, off, io->flags & UB_FUA ? RWF_DSYNC : 0);
}

void ub_fdatasync(struct ub_io *io, struct ub_file *file)
{
	struct slot_op *op = op_take(io, SLOT_OP_FSYNC, file, 0);

	if (op)
		op_issue(op);
}

void ub_fallocate(struct ub_io *io, struct ub_file *file, int mode, int fallback_mode, uint64_t off)
{
	struct slot_op *op = op_take(io, SLOT_OP_FALLOCATE, file, off);

	if (!op)
		return;
	op->mode = mode;
	op->fallback_mode = fallback_mode;
	op_issue(op);
}

void ub_blkdiscard(struct ub_io *io, struct ub_file *file, uint64_t off)
{
	struct slot_op *op = op_take(io, SLOT_OP_BLKDISCARD, file, off);

	if (op)
		op_issue(op);
}

struct io_uring_sqe *ub_sqe(struct ub_io *io, int (*done)(struct ub_io *io, int res))
{
	struct slot_op *op = op_take(io, SLOT_OP_RAW, NULL, 0);
	struct io_uring_sqe *sqe;

	if (!op)
		return NULL;
	op->done = done;
	sqe = op_sqe(op);
	if (!sqe)
		op_finish(op, -EIO);
	return sqe;
}
