/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exchange-batch - one command for many requests (BATCH_IO, Linux 7.0): PREP_IO_CMDS offers all
 * tags, a multishot FETCH_IO_CMDS brings the tags of new requests in buffers that we provide, and
 * COMMIT_IO_CMDS carries the results of a whole turn of the ring.
 *
 * A single result does not go by the gathered list but from the slot's own element, without a
 * completion: with one request at a time the queue sleeps right after it, and if it is a read or a
 * write, its result is even linked to it, which saves a turn. What is in an element that was
 * gathered stays until the command's completion, because it may have to be sent again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ublk/exchange.h"
#include "ublk/queue.h"
#include "util/list.h"

#ifndef IORING_URING_CMD_MULTISHOT
#define IORING_URING_CMD_MULTISHOT (1U << 1)
#endif

enum {
	TAG_BUFFERS = 16, /* power of two */
	TAG_BUFFER_BYTES = 256, /* the driver fills no more of one */
	TAG_GROUP = 0, /* of provided buffers; a ring has no other */
	COMMITS_MAX = 2,
};

/* Results that go in one command. Should the driver take only a part of them, which it has no
 * reason to, the rest follows at the queue's next turn, which its tick bounds. */
struct commit {
	struct ur_op op;
	struct queue *queue;
	uint8_t *elems; /* n_tags of them */
	unsigned int n;
	unsigned int first; /* the first that the driver has not taken */
	bool in_flight;
};

struct batch {
	struct ur_op prep, fetch;
	struct queue *queue;
	struct commit commits[COMMITS_MAX];
	struct commit *current;
	struct slot *single; /* the only one committed in this turn so far */
	struct io_uring_buf_ring *buf_ring;
	uint8_t *tags; /* TAG_BUFFERS buffers */
	size_t elem_bytes;
	uint16_t flags; /* UBLK_BATCH_F_* */
	int prep_res; /* 1: not answered yet */
};

/* ---- elements */

/* A queue with this exchange has all tags: a tag is the number of its slot. */
static void fill_elem(const struct batch *b, unsigned int tag, int32_t result, uint64_t addr,
		      uint8_t *to)
{
	const struct ublk_elem_header h = {
		.tag = (uint16_t) tag,
		.buf_index = (uint16_t) tag,
		.result = result,
	};

	memcpy(to, &h, sizeof(h));
	if (b->flags & UBLK_BATCH_F_HAS_BUF_ADDR)
		memcpy(to + sizeof(h), &addr, sizeof(addr));
}

static struct io_uring_sqe *batch_command(struct batch *b, struct ur_op *op, uint32_t cmd_op,
					  const void *elems, unsigned int n)
{
	struct queue *q = b->queue;
	struct ublk_batch_io cmd = {
		.q_id = (uint16_t) q->config.q_id,
		.flags = elems ? b->flags : 0,
		.nr_elem = (uint16_t) n,
		.elem_bytes = (uint8_t) (elems ? b->elem_bytes : sizeof(uint16_t)),
	};
	struct io_uring_sqe *sqe = queue_command(q, op, cmd_op);

	if (!sqe)
		return NULL;
	memcpy((char *) sqe + UBLK_ABI_SQE_CMD_OFFSET, &cmd, sizeof(cmd));
	sqe->addr = (uintptr_t) elems;
	return sqe;
}

/* ---- requests come */

static void batch_fetch(struct batch *b)
{
	struct io_uring_sqe *sqe = batch_command(b, &b->fetch, UBLK_U_IO_FETCH_IO_CMDS, NULL, 0);

	if (!sqe)
		return;
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = TAG_GROUP;
	sqe->rw_flags = IORING_URING_CMD_MULTISHOT; /* shares its place with uring_cmd_flags */
}

static void provide(struct batch *b, unsigned int id)
{
	io_uring_buf_ring_add(b->buf_ring, b->tags + id * TAG_BUFFER_BYTES, TAG_BUFFER_BYTES,
			      (unsigned short) id, TAG_BUFFERS - 1, 0);
	io_uring_buf_ring_advance(b->buf_ring, 1);
}

static void batch_fetched(struct ur_op *op, int res)
{
	struct batch *b = container_of(op, struct batch, fetch);
	struct queue *q = b->queue;
	unsigned int flags = q->ring.cqe_flags;

	if (flags & IORING_CQE_F_BUFFER) {
		unsigned int id = flags >> IORING_CQE_BUFFER_SHIFT;
		const uint8_t *tags = b->tags + id * TAG_BUFFER_BYTES;

		q->alone = res == sizeof(uint16_t) && q->n_busy == 0 && b->current->n == 0;
		for (int at = 0; at + (int) sizeof(uint16_t) <= res; at += sizeof(uint16_t)) {
			uint16_t tag;

			memcpy(&tag, tags + at, sizeof(tag));
			if (tag < q->config.n_tags)
				slot_arrived(queue_slot(q, tag));
			else
				queue_ended(q, 0, -EPROTO);
		}
		q->alone = false;
		provide(b, id);
	}
	if (flags & IORING_CQE_F_MORE)
		return;
	if (res >= 0 || res == -ENOBUFS) {
		/* What found no room is copied again when there is: until then nobody knows. */
		q->unannounced = true;
		batch_fetch(b);
	} else {
		queue_ended(q, q->n_live, res);
	}
}

/* ---- results go */

static void commit_send(struct commit *c)
{
	struct batch *b = c->queue->batch;

	if (batch_command(b, &c->op, UBLK_U_IO_COMMIT_IO_CMDS, c->elems + c->first * b->elem_bytes,
			  c->n - c->first))
		c->in_flight = true;
}

static void commit_done(struct ur_op *op, int res)
{
	struct commit *c = container_of(op, struct commit, op);
	struct batch *b = c->queue->batch;

	c->in_flight = false;
	if (res <= 0) {
		c->n = c->first = 0;
		return queue_ended(c->queue, 0, res < 0 ? res : -EPROTO);
	}
	c->first += (unsigned int) res / (unsigned int) b->elem_bytes;
	if (c->first < c->n)
		return commit_send(c);
	c->n = c->first = 0;
}

/* A refusal is the only completion it has. */
static void single_refused(struct ur_op *op, int res)
{
	struct slot *s = container_of(op, struct slot, fetched);

	queue_ended(s->queue, 0, res < 0 ? res : -EPROTO);
}

static void send_single(struct batch *b, struct slot *s)
{
	struct io_uring_sqe *sqe;

	s->fetched.done = single_refused;
	sqe = batch_command(b, &s->fetched, UBLK_U_IO_COMMIT_IO_CMDS, s->elem, 1);

	if (sqe)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static void batch_commit_linked(struct slot *s, int32_t result)
{
	struct batch *b = s->queue->batch;

	fill_elem(b, s->tag, result, slot_memory(s), (uint8_t *) s->elem);
	send_single(b, s);
}

static void batch_commit(struct slot *s, int32_t result)
{
	struct batch *b = s->queue->batch;
	struct commit *c = b->current;

	b->single = s;
	fill_elem(b, s->tag, result, slot_memory(s), c->elems + c->n++ * b->elem_bytes);
}

static unsigned int batch_flush(struct queue *q)
{
	struct batch *b = q->batch;
	struct commit *c = b->current;
	struct commit *next = c == &b->commits[0] ? &b->commits[1] : &b->commits[0];

	if (c->n == 1) {
		memcpy(b->single->elem, c->elems, b->elem_bytes);
		c->n = 0;
		send_single(b, b->single);
	} else if (c->n > 1 && !next->in_flight) {
		/* Else the other list is still the driver's: its completion brings another turn. */
		commit_send(c);
		if (c->in_flight)
			b->current = next;
		return c->in_flight;
	}
	return 0;
}

/* ---- the beginning and the end */

static void batch_prepared(struct ur_op *op, int res)
{
	container_of(op, struct batch, prep)->prep_res = res < 0 ? res : 0;
}

static int batch_arm(struct queue *q)
{
	struct batch *b = q->batch;
	uint64_t memory = b->flags & UBLK_BATCH_F_HAS_BUF_ADDR;
	int r = 0;

	for (unsigned int i = 0; i < q->config.n_tags; i++)
		fill_elem(b, i, 0, memory ? buffer_addr(&q->buffer, i) : 0,
			  b->current->elems + i * b->elem_bytes);
	b->prep_res = 1;
	batch_command(b, &b->prep, UBLK_U_IO_PREP_IO_CMDS, b->current->elems, q->config.n_tags);
	while (r >= 0 && b->prep_res == 1 && !q->error)
		r = ring_turn(&q->ring, 1);
	if (r < 0 || b->prep_res < 0)
		return r < 0 ? r : b->prep_res;
	batch_fetch(b);
	r = ring_turn(&q->ring, 0);
	return r < 0 ? r : 0;
}

static int batch_init_tags(struct batch *b, struct queue *q)
{
	size_t ring_bytes = TAG_BUFFERS * sizeof(struct io_uring_buf);
	struct io_uring_buf_reg reg = {.ring_entries = TAG_BUFFERS, .bgid = TAG_GROUP};
	int r;

	if (posix_memalign((void **) &b->buf_ring, 4096, ring_bytes) != 0)
		return -ENOMEM;
	b->tags = malloc((size_t) TAG_BUFFERS * TAG_BUFFER_BYTES);
	if (!b->tags)
		return -ENOMEM;
	io_uring_buf_ring_init(b->buf_ring);
	reg.ring_addr = (uintptr_t) b->buf_ring;
	r = io_uring_register_buf_ring(&q->ring.uring, &reg, 0);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < TAG_BUFFERS; i++)
		provide(b, i);
	return 0;
}

static int batch_init(struct queue *q)
{
	struct batch *b = calloc(1, sizeof(*b));

	q->batch = b; /* batch_done() releases whatever there is of it */
	if (!b)
		return -ENOMEM;
	b->queue = q;
	b->prep.done = batch_prepared;
	b->fetch.done = batch_fetched;
	if (q->buffer.place == PLACE_MEMORY)
		b->flags |= UBLK_BATCH_F_HAS_BUF_ADDR;
	if (q->config.path.copy == DATA_COPY_ZERO_AUTO)
		b->flags |= UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK;
	b->elem_bytes = sizeof(struct ublk_elem_header) +
			(b->flags & UBLK_BATCH_F_HAS_BUF_ADDR ? sizeof(uint64_t) : 0);
	for (unsigned int i = 0; i < COMMITS_MAX; i++) {
		struct commit *c = &b->commits[i];

		c->queue = q;
		c->op.done = commit_done;
		c->elems = calloc(q->config.n_tags, b->elem_bytes);
		if (!c->elems)
			return -ENOMEM;
	}
	b->current = &b->commits[0];
	return batch_init_tags(b, q);
}

static void batch_done(struct queue *q)
{
	struct batch *b = q->batch;

	if (!b)
		return;
	for (unsigned int i = 0; i < COMMITS_MAX; i++)
		free(b->commits[i].elems);
	free(b->tags);
	free(b->buf_ring);
	free(b);
	q->batch = NULL;
}

const struct exchange exchange_batch = {
	.init = batch_init,
	.arm = batch_arm,
	.commit = batch_commit,
	.commit_linked = batch_commit_linked,
	.flush = batch_flush,
	.done = batch_done,
};
