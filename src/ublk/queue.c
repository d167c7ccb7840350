/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/queue.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/list.h"

enum { CHAR_SLOT = 0 }; /* of the ring's registered files; the target's follow */

static size_t page_round(size_t n)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);

	return (n + page - 1) / page * page;
}

static void count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* ---- one tag */

static void slot_fetch(struct slot *s, uint32_t cmd_op, int32_t result)
{
	struct queue *q = s->queue;
	struct ublksrv_io_cmd cmd = {
		.q_id = (uint16_t) q->config.q_id,
		.tag = (uint16_t) s->tag,
		.result = result,
		.addr = s->aborted ? buffer_spare_addr(&q->buffer)
				   : buffer_fetch_addr(&q->buffer, s->tag),
	};
	struct io_uring_sqe *sqe = ring_sqe(&q->ring, &s->fetched);

	if (!sqe) {
		/* The request cannot be answered any more: the queue has failed as a whole. */
		q->error = -EAGAIN;
		return;
	}
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = CHAR_SLOT;
	sqe->cmd_op = cmd_op;
	memcpy((char *) sqe + UBLK_ABI_SQE_CMD_OFFSET, &cmd, sizeof(cmd));
}

/* The kernel fails what is none of these with EIO; the three that callers take for "try again"
 * would make them wait for something that does not come. */
static int errno_for_kernel(int error)
{
	switch (-error) {
	case EDQUOT:
	case EFBIG:
		return -ENOSPC;
	case EAGAIN:
	case EBUSY:
	case ENOMEM:
		return -EIO;
	default:
		return error;
	}
}

static void slot_commit(struct slot *s, int error)
{
	struct queue *q = s->queue;
	int32_t result = 0;

	assert(s->busy && error <= 0);

	s->busy = false;
	q->n_busy--;
	/* What the backing cannot do the kernel does by other means: nobody notices. */
	if (error && error != -EOPNOTSUPP)
		count(&q->counters.errors, 1);
	count(&q->counters.done, 1);

	/* All of it or an errno, never less: what a short result means depends on the kernel. */
	if (error)
		result = errno_for_kernel(error);
	else if (s->io.op == UB_READ || s->io.op == UB_WRITE)
		result = (int32_t) s->io.len;
	slot_fetch(s, UBLK_U_IO_COMMIT_AND_FETCH_REQ, result);
}

void slot_ref(struct slot *s)
{
	s->refs++;
}

void slot_unref(struct slot *s, int error)
{
	assert(s->refs > 0 && error <= 0);

	if (error && !s->error)
		s->error = error;
	if (--s->refs)
		return;
	if (s->aborted) {
		/* Committed long ago; now its buffer is free again. */
		s->aborted = false;
		return;
	}
	slot_commit(s, s->error);
}

/* Return: 0, or why the request cannot be handed to the target. */
static int slot_decode(struct slot *s, const struct ublksrv_io_desc *d)
{
	uint32_t kind = d->op_flags & 0xff;
	struct ub_io *io = &s->io;

	io->flags = 0;
	io->off = d->start_sector << 9;
	io->len = (uint64_t) d->nr_sectors << 9;
	switch (kind) {
	case UBLK_IO_OP_READ:
		io->op = UB_READ;
		break;
	case UBLK_IO_OP_WRITE:
		io->op = UB_WRITE;
		if (d->op_flags & UBLK_IO_F_FUA)
			io->flags |= UB_FUA;
		break;
	case UBLK_IO_OP_FLUSH:
		io->op = UB_FLUSH;
		io->off = io->len = 0;
		break;
	case UBLK_IO_OP_DISCARD:
		io->op = UB_DISCARD;
		break;
	case UBLK_IO_OP_WRITE_ZEROES:
		io->op = UB_WRITE_ZEROES;
		if (d->op_flags & UBLK_IO_F_NOUNMAP)
			io->flags |= UB_NOUNMAP;
		break;
	default:
		io->op = UB_FLUSH; /* counts no bytes */
		return -EOPNOTSUPP;
	}
	if ((io->op == UB_READ || io->op == UB_WRITE) && io->len > s->queue->config.max_io_bytes)
		return -EINVAL;
	return 0;
}

static void slot_serve(struct slot *s)
{
	struct queue *q = s->queue;
	const struct ub_target *t = q->config.target;
	int error;

	error = slot_decode(s, &q->descs[s->tag]);
	s->error = 0;
	s->answered = false;
	s->refs = 1;
	count(&q->counters.ops[s->io.op], 1);
	if (s->io.op == UB_READ)
		count(&q->counters.read_bytes, s->io.len);
	else if (s->io.op == UB_WRITE)
		count(&q->counters.write_bytes, s->io.len);

	if (!error) {
		if (t->io_size)
			memset(ub_io_priv(&s->io), 0, t->io_size);
		t->submit(&s->io);
		/* A target that does nothing has not done it. */
		if (!s->answered)
			error = -EIO;
	}
	slot_unref(s, error);
}

static void slot_fetched(struct ur_op *op, int res)
{
	struct slot *s = container_of(op, struct slot, fetched);
	struct queue *q = s->queue;

	if (res != UBLK_IO_RES_OK) {
		/* ABORT ends the tag; anything else means the kernel refused the command. */
		q->n_live--;
		if (res != UBLK_IO_RES_ABORT && !q->quit)
			q->error = res < 0 ? res : -EPROTO;
		return;
	}
	s->busy = true;
	q->n_busy++;
	count(&q->counters.arrived, 1);
	/* A failed queue takes nothing new: what is in flight must come to an end. */
	if (q->aborting || q->error)
		slot_commit(s, -EIO);
	else
		slot_serve(s);
}

/* ---- messages */

static void queue_do_quit(struct mail *m)
{
	container_of(m, struct queue, quit_mail)->quit = true;
}

static void queue_do_abort(struct mail *m)
{
	struct queue *q = container_of(m, struct queue, abort_mail);

	q->aborting = true;
	for (unsigned int i = 0; i < q->config.depth; i++) {
		struct slot *s = &q->slots[i];

		if (!s->busy)
			continue;
		s->aborted = true; /* before the commit: it chooses the buffer */
		slot_commit(s, -EIO);
	}
}

void queue_quit(struct queue *q)
{
	mailbox_post(&q->mailbox, &q->quit_mail);
}

void queue_abort(struct queue *q)
{
	mailbox_post(&q->mailbox, &q->abort_mail);
}

static void queue_watch_mailbox(struct queue *q)
{
	struct io_uring_sqe *sqe = ring_sqe(&q->ring, &q->mailbox_op);

	if (!sqe) {
		q->error = -EAGAIN;
		return;
	}
	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = q->mailbox.fd;
	sqe->poll32_events = POLLIN;
}

static void queue_mail(struct ur_op *op, int res)
{
	struct queue *q = container_of(op, struct queue, mailbox_op);

	mailbox_deliver(&q->mailbox);
	queue_watch_mailbox(q);
}

/* ---- the queue */

static int queue_register_files(struct queue *q)
{
	int fds[1 + UB_FILES_MAX];

	/* The char device and the backing are registered in one ring: so the kernel keeps the
	 * device until the last backing operation is over, however this process ends. */
	fds[CHAR_SLOT] = q->config.char_fd;
	for (unsigned int i = 0; i < q->config.n_files; i++)
		fds[1 + i] = q->config.files[i];
	return io_uring_register_files(&q->ring.uring, fds, 1 + q->config.n_files);
}

static int queue_arm(struct queue *q)
{
	unsigned int ends = q->config.depth * (1 + q->max_ops) + 1;
	int r;

	r = ring_init(&q->ring, q->config.depth < 8 ? 8 : q->config.depth, ends < 64 ? 64 : ends,
		      0);
	if (r < 0)
		return r;
	r = queue_register_files(q);
	if (r < 0)
		return r;
	queue_watch_mailbox(q);
	for (unsigned int i = 0; i < q->config.depth; i++)
		slot_fetch(&q->slots[i], UBLK_U_IO_FETCH_REQ, 0);
	q->n_live = q->config.depth;
	/* A refused FETCH is answered at once. */
	r = ring_turn(&q->ring, 0);
	return r < 0 ? r : q->error;
}

/* Never before the last operation ended: until then the kernel may use our memory. */
static bool queue_is_over(const struct queue *q)
{
	bool idle = q->n_busy == 0 && (q->n_live == 0 || q->quit);

	return (idle || q->error) && q->n_in_flight == 0;
}

int queue_run(struct queue *q)
{
	int r = queue_arm(q);

	q->config.armed(q->config.arg, r);
	while (r >= 0 && !queue_is_over(q))
		r = ring_turn(&q->ring, 1);
	/* The last turn's commits are only prepared. */
	if (r >= 0)
		(void) io_uring_submit(&q->ring.uring);
	ring_leave(&q->ring);
	return r < 0 ? r : q->error;
}

/* ---- life */

static int queue_map(struct queue *q)
{
	size_t stride = page_round(UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc));
	void *p;

	q->descs_len = page_round(q->config.depth * sizeof(struct ublksrv_io_desc));
	p = mmap(NULL, q->descs_len, PROT_READ, MAP_SHARED | MAP_POPULATE, q->config.char_fd,
		 UBLKSRV_CMD_BUF_OFFSET + (off_t) (q->config.q_id * stride));
	if (p == MAP_FAILED)
		return -errno;
	q->descs = p;
	(void) madvise(p, q->descs_len, MADV_DONTFORK);
	return 0;
}

static void queue_init_slots(struct queue *q)
{
	for (unsigned int i = 0; i < q->config.depth; i++) {
		struct slot *s = &q->slots[i];

		s->queue = q;
		s->tag = i;
		s->fetched.done = slot_fetched;
		for (unsigned int j = 0; j < q->max_ops; j++)
			q->ops[i * q->max_ops + j].slot = s;
	}
}

DEFINE_CLEANUP(struct queue *, queue_free);

int queue_new(const struct queue_config *config, struct queue **ret)
{
	_cleanup_(queue_freep) struct queue *q = calloc(1, sizeof(*q));
	size_t io_size = config->target->io_size;
	int r;

	if (!q)
		return -ENOMEM;
	assert(config->n_files <= UB_FILES_MAX);
	q->config = *config;
	/* The thread reads them when the caller is long gone. */
	for (unsigned int i = 0; i < config->n_files; i++)
		q->files[i] = config->files[i];
	q->config.files = q->files;
	q->mailbox.fd = -1;
	q->max_ops = config->target->max_ops ? config->target->max_ops : 1;
	q->slots = calloc(config->depth, sizeof(*q->slots));
	q->ops = calloc((size_t) config->depth * q->max_ops, sizeof(*q->ops));
	q->privs = io_size ? calloc(config->depth, io_size) : NULL;
	if (!q->slots || !q->ops || (io_size && !q->privs))
		return -ENOMEM;
	queue_init_slots(q);
	q->mailbox_op.done = queue_mail;
	q->quit_mail.deliver = queue_do_quit;
	q->abort_mail.deliver = queue_do_abort;
	r = mailbox_init(&q->mailbox);
	if (r < 0)
		return r;
	r = buffer_init(&q->buffer, config->depth, config->max_io_bytes);
	if (r < 0)
		return r;
	r = queue_map(q);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(q);
	return 0;
}

struct queue *queue_free(struct queue *q)
{
	if (!q)
		return NULL;
	ring_done(&q->ring);
	if (q->descs)
		(void) munmap((void *) (uintptr_t) q->descs, q->descs_len);
	if (q->mailbox.fd >= 0)
		mailbox_done(&q->mailbox);
	/* The ring itself failed under operations: their memory stays, for good. */
	if (q->n_in_flight)
		return NULL;
	buffer_done(&q->buffer);
	free(q->privs);
	free(q->ops);
	free(q->slots);
	free(q);
	return NULL;
}
