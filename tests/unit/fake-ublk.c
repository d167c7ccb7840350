/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake-ublk - the data side of ublk_drv, as of Linux 7.2; see fake-uring.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake-internal.h"

enum {
	STRIDE = UBLK_MAX_QUEUE_DEPTH * 24, /* of a queue's descriptors; a whole number of pages */
	BATCH_TAGS_MAX = 128, /* in one completion of FETCH_IO_CMDS */
};

static struct fake_ublk *devices[FAKE_RINGS_MAX];

/* ---- devices */

struct fake_ublk *fake_ublk_new(unsigned int n_queues, unsigned int depth, uint32_t max_io_bytes)
{
	struct fake_ublk *u;
	struct stat st;

	fake_lock();
	u = fake_must(calloc(1, sizeof(*u)));
	u->n_queues = n_queues;
	u->depth = depth;
	u->max_io_bytes = max_io_bytes;
	u->tags = fake_must(calloc((size_t) n_queues * depth, sizeof(*u->tags)));
	u->fetches = fake_must(calloc(n_queues, sizeof(*u->fetches)));
	u->memfd = memfd_create("ublkc", MFD_CLOEXEC);
	if (u->memfd < 0 || ftruncate(u->memfd, (off_t) n_queues * STRIDE) < 0 ||
	    fstat(u->memfd, &st) < 0)
		fake_broken("no memfd: %m");
	u->ino = st.st_ino;
	u->descs = mmap(NULL, (size_t) n_queues * STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED,
			u->memfd, 0);
	if (u->descs == MAP_FAILED)
		fake_broken("no mapping: %m");
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		if (!devices[i]) {
			devices[i] = u;
			break;
		}
	fake_unlock();
	return u;
}

struct fake_ublk *fake_ublk_free(struct fake_ublk *u)
{
	if (!u)
		return NULL;
	fake_lock();
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		if (devices[i] == u)
			devices[i] = NULL;
	(void) munmap(u->descs, (size_t) u->n_queues * STRIDE);
	(void) close(u->memfd);
	free(u->fetches);
	free(u->tags);
	free(u);
	fake_unlock();
	return NULL;
}

int fake_ublk_open(struct fake_ublk *u)
{
	int fd;

	fake_inside++;
	fd = fcntl(u->memfd, F_DUPFD_CLOEXEC, 0);
	fake_inside--;
	return fd;
}

struct fake_ublk *fake_ublk_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		if (devices[i] && devices[i]->ino == st.st_ino)
			return devices[i];
	return NULL;
}

struct fake_tag *fake_tag_of(struct fake_ublk *u, unsigned int q, unsigned int tag)
{
	return &u->tags[q * u->depth + tag];
}

/* The driver copies, to and from memory that commands name. */
static bool has_buffers(const struct fake_ublk *u)
{
	return !(u->flags & (UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG));
}

static unsigned int queue_of(const struct fake_ublk *u, const struct fake_tag *t)
{
	return (unsigned int) (t - u->tags) / u->depth;
}

static unsigned int number_of(const struct fake_ublk *u, const struct fake_tag *t)
{
	return (unsigned int) (t - u->tags) % u->depth;
}

static struct ublksrv_io_desc *desc_of(struct fake_ublk *u, const struct fake_tag *t)
{
	return (struct ublksrv_io_desc *) (void *) (u->descs + (size_t) queue_of(u, t) * STRIDE) +
	       number_of(u, t);
}

static bool is_free(const struct fake_tag *t)
{
	return t->state == TAG_PARKED && !t->request;
}

bool fake_ublk_is_fetched(const struct fake_ublk *u)
{
	for (unsigned int i = 0; i < u->n_queues * u->depth; i++)
		if (u->tags[i].state != TAG_PARKED)
			return false;
	return true;
}

/* ---- requests */

static size_t request_bytes(const struct fake_request *r)
{
	return (size_t) r->n_sectors << 9;
}

static bool has_data(const struct fake_request *r)
{
	return (r->op_flags & 0xff) <= UBLK_IO_OP_WRITE && request_bytes(r) > 0;
}

static bool is_write(const struct fake_request *r)
{
	return (r->op_flags & 0xff) == UBLK_IO_OP_WRITE;
}

/* It has data, and they are the driver's to move. */
static bool is_moved(const struct fake_request *r)
{
	return has_data(r) && !(r->op_flags & UBLK_IO_F_SHMEM_ZC);
}

/* It has no request, and may get one: by a server, or to wait for one. */
static bool can_take(const struct fake_ublk *u, const struct fake_tag *t)
{
	return is_free(t) || (u->outlives && t->state == TAG_NEW && !t->request);
}

void fake_send(struct fake_ublk *u, unsigned int q, unsigned int tag, struct fake_request *r)
{
	struct fake_tag *t = fake_tag_of(u, q, tag);

	fake_lock();
	if (!can_take(u, t))
		fake_broken("tag %u.%u is not free", q, tag);
	if (u->fails_io) {
		r->result = -EIO;
		r->done = true;
		fake_changed();
		return fake_unlock();
	}
	u->n_parked -= is_free(t);
	t->request = r;
	t->sent = ++u->n_sent;
	u->n_busy++;
	if (t->ring)
		fake_wake(t->ring);
	fake_unlock();
}

bool fake_send_any(struct fake_ublk *u, unsigned int q, struct fake_request *r)
{
	bool sent = false;

	fake_lock();
	for (unsigned int i = 0; i < u->depth && !sent; i++)
		if (can_take(u, fake_tag_of(u, q, i))) {
			fake_send(u, q, i, r);
			sent = true;
		}
	fake_unlock();
	return sent;
}

static bool request_done(void *arg)
{
	return ((struct fake_request *) arg)->done;
}

bool fake_wait(struct fake_request *r)
{
	return fake_wait_for(request_done, r);
}

static void tag_end(struct fake_ublk *u, struct fake_tag *t)
{
	u->n_parked--;
	t->state = TAG_ENDED;
	u->n_ended++;
	u->aborts++;
}

/* The disk is gone: what the driver still holds goes back. */
static void queue_end(struct fake_ublk *u, unsigned int q)
{
	struct fake_fetch *f = &u->fetches[q];
	bool batch = u->flags & UBLK_F_BATCH_IO;

	/* One command for all of them: when the last request has ended. */
	for (unsigned int i = 0; batch && i < u->depth; i++)
		if (fake_tag_of(u, q, i)->request)
			return;
	if (batch && !f->ring)
		return;
	for (unsigned int i = 0; i < u->depth; i++) {
		struct fake_tag *t = fake_tag_of(u, q, i);

		if (!is_free(t))
			continue;
		tag_end(u, t);
		if (!batch)
			fake_post(t->ring, t->user_data, UBLK_IO_RES_ABORT, 0);
	}
	if (batch) {
		fake_post(f->ring, f->user_data, UBLK_IO_RES_ABORT, 0);
		f->ring = NULL;
	}
}

void fake_end(struct fake_ublk *u)
{
	fake_lock();
	u->ended = true;
	for (unsigned int q = 0; q < u->n_queues; q++)
		queue_end(u, q);
	fake_changed();
	fake_unlock();
}

static void request_end(struct fake_ublk *u, struct fake_tag *t, int result)
{
	struct fake_request *r = t->request;

	t->request = NULL;
	t->sent = 0;
	u->n_busy--;
	if (is_free(t))
		u->n_parked++;
	r->result = result;
	r->done = true;
	if (u->ended)
		queue_end(u, queue_of(u, t));
	fake_changed();
}

/* ---- pages as registered buffers */

static int pages_register(struct fake_ring *r, struct fake_tag *t, unsigned int index,
			  bool automatic)
{
	struct fake_request *request = t->request;
	int err = fake.on_register ? fake.on_register(automatic) : 0;

	if (err)
		return err;
	if (index >= r->n_pages)
		return -EINVAL;
	if (r->pages[index])
		return -EBUSY;
	if (!t->pages) {
		t->pages = fake_must(calloc(1, sizeof(*t->pages)));
		*t->pages = (struct fake_pages){.ublk = r->ublk,
						.tag = t,
						.bytes = request->data,
						.len = request_bytes(request),
						.to_device = is_write(request)};
	}
	t->pages->refs++;
	r->pages[index] = t->pages;
	fake.n_registered++;
	return 0;
}

static int pages_unregister(struct fake_ring *r, uint64_t index)
{
	struct fake_pages *p;

	if (index >= r->n_pages || !r->pages[index])
		return -EINVAL;
	p = r->pages[index];
	r->pages[index] = NULL;
	fake_pages_put(p);
	return 0;
}

void fake_pages_put(struct fake_pages *p)
{
	struct fake_tag *t = p->tag;

	if (--p->refs)
		return;
	t->pages = NULL;
	/* Committed, and only now nobody uses it any more. */
	if (t->request && t->state == TAG_PARKED)
		request_end(p->ublk, t, t->result);
	free(p);
}

int fake_pages_take(struct fake_op *op)
{
	struct fake_ring *r = op->ring;
	struct fake_pages *p = op->sqe.buf_index < r->n_pages ? r->pages[op->sqe.buf_index] : NULL;

	if (!p)
		return -EFAULT;
	if (p->tag->state != TAG_BUSY)
		fake_broken("an operation on the pages of a request that is over: buffer %u",
			    op->sqe.buf_index);
	if (op->sqe.addr > p->len || op->sqe.len > p->len - op->sqe.addr)
		return -EFAULT;
	if (p->to_device != (op->sqe.opcode == IORING_OP_WRITE_FIXED))
		return -EFAULT;
	p->refs++;
	op->pages = p;
	return 0;
}

/* ---- user copy */

int fake_ublk_copy(const struct fake_op *op)
{
	struct fake_ublk *u = op->ring->ublk;
	bool in = op->sqe.opcode == IORING_OP_READ;
	uint64_t pos = op->sqe.off - UBLKSRV_IO_BUF_OFFSET, skip, n;
	uint8_t *memory = (uint8_t *) (uintptr_t) op->sqe.addr;
	struct fake_tag *t;

	if (!(u->flags & UBLK_F_USER_COPY))
		return -EACCES;
	if (op->sqe.off < UBLKSRV_IO_BUF_OFFSET || pos >> UBLK_QID_OFF >= u->n_queues ||
	    (pos >> UBLK_TAG_OFF & 0xffff) >= u->depth)
		return -EINVAL;
	t = fake_tag_of(u, (unsigned int) (pos >> UBLK_QID_OFF),
			(unsigned int) (pos >> UBLK_TAG_OFF & 0xffff));
	skip = pos & ((1U << UBLK_TAG_OFF) - 1);
	if (t->state != TAG_BUSY || !has_data(t->request) || skip > request_bytes(t->request))
		return -EINVAL;
	if (is_write(t->request) != in)
		return -EACCES;
	n = request_bytes(t->request) - skip;
	if (n > op->sqe.len)
		n = op->sqe.len;
	if (op->most && n > op->most)
		n = op->most;
	if (in)
		memcpy(memory, t->request->data + skip, n);
	else
		memcpy(t->request->data + skip, memory, n);
	return (int) n;
}

/* ---- requests go to the server */

static void copy_to_server(struct fake_ublk *u, struct fake_tag *t)
{
	struct fake_request *r = t->request;

	r->buffer = t->addr;
	if (has_buffers(u) && is_moved(r) && is_write(r) && request_bytes(r) <= u->max_io_bytes)
		memcpy((void *) (uintptr_t) t->addr, r->data, request_bytes(r));
}

/* Return: the server is told of it */
static bool deliver(struct fake_ublk *u, struct fake_tag *t)
{
	struct fake_request *r = t->request;
	struct ublksrv_io_desc d = {.op_flags = r->op_flags,
				    .nr_sectors = r->n_sectors,
				    .start_sector = r->sector,
				    .addr = has_buffers(u) ? t->addr : 0};

	t->sent = 0;
	if (r->op_flags & UBLK_IO_F_SHMEM_ZC)
		d.addr = r->shared;
	t->buf_registered = false;
	if (u->flags & UBLK_F_AUTO_BUF_REG && is_moved(r)) {
		t->buf_registered = pages_register(t->ring, t, t->buf_index, true) == 0;
		if (!t->buf_registered && !t->buf_fallback) {
			request_end(u, t, -EIO);
			return false;
		}
		if (!t->buf_registered)
			d.op_flags |= UBLK_IO_F_NEED_REG_BUF;
	}
	memcpy(desc_of(u, t), &d, sizeof(d));
	if (u->flags & UBLK_F_NEED_GET_DATA && is_moved(r) && is_write(r)) {
		t->state = TAG_ASKED;
		return true;
	}
	copy_to_server(u, t);
	t->state = TAG_BUSY;
	r->deliveries++;
	u->deliveries++;
	return true;
}

/* The oldest that was sent and is not delivered, of @q or, with every queue, of those of @r. */
static struct fake_tag *next_sent(struct fake_ublk *u, const struct fake_ring *r, unsigned int q,
				  bool of_queue)
{
	struct fake_tag *best = NULL;

	for (unsigned int i = 0; i < u->n_queues * u->depth; i++) {
		struct fake_tag *t = &u->tags[i];

		if (t->sent && t->state == TAG_PARKED &&
		    (of_queue ? queue_of(u, t) == q : t->ring == r) &&
		    (!best || t->sent < best->sent))
			best = t;
	}
	return best;
}

/* The next provided buffer. NULL: none is left */
static const struct io_uring_buf *select_buffer(struct fake_ring *r)
{
	uint16_t tail = __atomic_load_n(&r->buffers->tail, __ATOMIC_ACQUIRE);
	uint16_t mask = (uint16_t) (r->n_buffers - 1);

	if ((uint16_t) (tail - r->buffers_head) > r->n_buffers)
		fake_broken("more buffers provided than there is room for");
	/* A buffer provided is ours: nobody reads what was in it. */
	for (; r->buffers_seen != tail; r->buffers_seen++) {
		const struct io_uring_buf *b = &r->buffers->bufs[r->buffers_seen & mask];

		for (uint16_t i = r->buffers_head; i != r->buffers_seen; i++)
			if (r->buffers->bufs[i & mask].bid == b->bid)
				fake_broken("buffer %u is provided twice", b->bid);
		memset((void *) (uintptr_t) b->addr, 0xee, b->len);
	}
	if (r->buffers_head == tail)
		return NULL;
	return &r->buffers->bufs[r->buffers_head & mask];
}

static void dispatch_batch(struct fake_ublk *u, unsigned int q)
{
	unsigned int most = fake.tags_limit ? fake.tags_limit : BATCH_TAGS_MAX;
	struct fake_fetch *f = &u->fetches[q];
	struct fake_tag *t;

	while (f->ring && (t = next_sent(u, NULL, q, true))) {
		const struct io_uring_buf *b = select_buffer(f->ring);
		unsigned int n = 0;

		if (!b) {
			fake_post(f->ring, f->user_data, -ENOBUFS, 0);
			f->ring = NULL;
			return;
		}
		do {
			uint16_t tag = (uint16_t) number_of(u, t);

			if (deliver(u, t))
				memcpy((uint8_t *) (uintptr_t) b->addr + n++ * sizeof(tag), &tag,
				       sizeof(tag));
		} while ((n + 1) * sizeof(uint16_t) <= b->len && n < most &&
			 (t = next_sent(u, NULL, q, true)));
		if (!n)
			continue;
		if (n > fake.max_tags)
			fake.max_tags = n;
		f->ring->buffers_head++;
		fake_post(f->ring, f->user_data, (int) (n * sizeof(uint16_t)),
			  IORING_CQE_F_MORE | IORING_CQE_F_BUFFER |
				  (uint32_t) b->bid << IORING_CQE_BUFFER_SHIFT);
	}
}

void fake_ublk_dispatch(struct fake_ring *r)
{
	struct fake_ublk *u = r->ublk;
	struct fake_tag *t;

	if (!u || u->silent)
		return;
	if (u->flags & UBLK_F_BATCH_IO) {
		for (unsigned int q = 0; q < u->n_queues; q++)
			if (u->fetches[q].ring == r)
				dispatch_batch(u, q);
		return;
	}
	while ((t = next_sent(u, r, 0, false)))
		if (deliver(u, t))
			fake_post(r, t->user_data,
				  t->state == TAG_ASKED ? UBLK_IO_RES_NEED_GET_DATA
							: UBLK_IO_RES_OK,
				  0);
}

/* ---- results come back */

static void check_result(const struct fake_request *r, int result)
{
	bool transfers = (r->op_flags & 0xff) <= UBLK_IO_OP_WRITE;

	if (result > 0 && (size_t) result != request_bytes(r))
		fake_broken("a result of %d for a request of %zu bytes", result, request_bytes(r));
	if (transfers && result == 0 && r->n_sectors)
		fake_broken("a transfer of nothing");
	if (!transfers && result > 0)
		fake_broken("bytes for a request without data");
}

/* @addr: of the next request's memory, and where this one's bytes are taken from */
static void request_commit(struct fake_ring *ring, struct fake_tag *t, int result, uint64_t addr)
{
	struct fake_ublk *u = ring->ublk;
	struct fake_request *r = t->request;

	if (t->state != TAG_BUSY || t->ring != ring)
		fake_broken("tag %u.%u is committed without a request", queue_of(u, t),
			    number_of(u, t));
	check_result(r, result);
	r->commits++;
	u->commits++;
	if (has_buffers(u) && is_moved(r) && !is_write(r) && result > 0)
		memcpy(r->data, (void *) (uintptr_t) addr, (size_t) result);
	t->addr = addr;
	t->result = result;
	t->state = TAG_PARKED;
	if (t->buf_registered)
		(void) pages_unregister(ring, t->buf_index);
	t->buf_registered = false;
	/* As yet nobody may have ended it. */
	if (t->request && !t->pages)
		request_end(u, t, result);
}

/* What a FETCH, COMMIT or element says of the next request's memory. */
static void take_memory(struct fake_ring *r, struct fake_tag *t, uint64_t addr)
{
	struct fake_ublk *u = r->ublk;
	const struct fake_op *op;

	if (!has_buffers(u)) {
		if (addr)
			fake_broken("tag %u.%u names memory, and has none", queue_of(u, t),
				    number_of(u, t));
		return;
	}
	if (!addr)
		fake_broken("tag %u.%u is without a buffer", queue_of(u, t), number_of(u, t));
	op = fake_op_in(r, addr, u->max_io_bytes);
	if (op)
		fake_broken("tag %u.%u gives away a buffer that operation %llu still uses",
			    queue_of(u, t), number_of(u, t), (unsigned long long) op->seq);
}

/* ---- commands for one tag */

static void tag_park(struct fake_op *op, struct fake_tag *t, uint64_t addr)
{
	t->ring = op->ring;
	t->user_data = op->sqe.user_data;
	t->addr = addr;
	t->state = TAG_PARKED;
	fake_op_park(op);
}

static void take_registration(struct fake_op *op, struct fake_tag *t)
{
	struct ublk_auto_buf_reg reg;

	if (!(op->ring->ublk->flags & UBLK_F_AUTO_BUF_REG))
		return;
	memcpy(&reg, &op->sqe.addr, sizeof(reg));
	if (reg.flags & ~UBLK_AUTO_BUF_REG_FALLBACK || reg.reserved0 || reg.reserved1)
		fake_broken("no such automatic registration");
	t->buf_index = reg.index;
	t->buf_fallback = reg.flags & UBLK_AUTO_BUF_REG_FALLBACK;
}

static void tag_fetch(struct fake_op *op, struct fake_tag *t, uint64_t addr)
{
	struct fake_ublk *u = op->ring->ublk;

	if (u->refuse_fetch && u->refuse_queue == queue_of(u, t))
		return fake_op_end(op, u->refuse_fetch);
	if (t->state != TAG_NEW)
		fake_broken("tag %u.%u is fetched again", queue_of(u, t), number_of(u, t));
	take_memory(op->ring, t, addr);
	take_registration(op, t);
	u->n_parked += !t->request;
	tag_park(op, t, addr);
}

static void tag_commit(struct fake_op *op, struct fake_tag *t, const struct ublksrv_io_cmd *cmd)
{
	struct fake_ublk *u = op->ring->ublk;
	unsigned int index = t->buf_index;

	take_memory(op->ring, t, cmd->addr);
	take_registration(op, t);
	if (t->buf_registered && index != t->buf_index)
		fake_broken("another place for the pages of tag %u.%u", queue_of(u, t),
			    number_of(u, t));
	/* What comes back now is for the new command. */
	t->user_data = op->sqe.user_data;
	fake_op_park(op);
	request_commit(op->ring, t, cmd->result, cmd->addr);
}

static void tag_get_data(struct fake_op *op, struct fake_tag *t, uint64_t addr)
{
	struct fake_ublk *u = op->ring->ublk;

	if (t->state != TAG_ASKED || t->ring != op->ring)
		fake_broken("data for tag %u.%u, which has none", queue_of(u, t), number_of(u, t));
	take_memory(op->ring, t, addr);
	t->user_data = op->sqe.user_data;
	t->addr = addr;
	copy_to_server(u, t);
	desc_of(u, t)->addr = addr;
	t->state = TAG_BUSY;
	t->request->deliveries++;
	u->deliveries++;
	fake_op_end(op, UBLK_IO_RES_OK);
}

static void tag_register(struct fake_op *op, struct fake_tag *t, uint64_t index)
{
	if (!(op->ring->ublk->flags & UBLK_F_SUPPORT_ZERO_COPY) ||
	    (t->state == TAG_BUSY && !is_moved(t->request)))
		return fake_op_end(op, -EINVAL);
	if (t->state != TAG_BUSY || t->ring != op->ring)
		return fake_op_end(op, -EBUSY);
	if (t->pages)
		fake_broken("the pages of tag %u.%u are registered twice",
			    queue_of(op->ring->ublk, t), number_of(op->ring->ublk, t));
	fake_op_end(op, pages_register(op->ring, t, (unsigned int) index, false));
}

static void tag_command(struct fake_op *op)
{
	struct fake_ublk *u = op->ring->ublk;
	struct ublksrv_io_cmd cmd;
	struct fake_tag *t;

	memcpy(&cmd, op->cmd, sizeof(cmd));
	if (cmd.q_id >= u->n_queues || cmd.tag >= u->depth)
		fake_broken("no such tag: %u.%u", cmd.q_id, cmd.tag);
	t = fake_tag_of(u, cmd.q_id, cmd.tag);
	switch (op->sqe.cmd_op) {
	case UBLK_U_IO_FETCH_REQ:
		return tag_fetch(op, t, cmd.addr);
	case UBLK_U_IO_COMMIT_AND_FETCH_REQ:
		return tag_commit(op, t, &cmd);
	case UBLK_U_IO_NEED_GET_DATA:
		return tag_get_data(op, t, cmd.addr);
	default:
		fake_broken("io command 0x%x", op->sqe.cmd_op);
	}
}

/* ---- commands for many */

static void take_elem(struct fake_op *op, const struct ublk_batch_io *cmd, const uint8_t *elem,
		      bool commit)
{
	struct fake_ublk *u = op->ring->ublk;
	struct ublk_elem_header h;
	struct fake_tag *t;
	uint64_t addr = 0;

	memcpy(&h, elem, sizeof(h));
	if (cmd->flags & UBLK_BATCH_F_HAS_BUF_ADDR)
		memcpy(&addr, elem + sizeof(h), sizeof(addr));
	if (h.tag >= u->depth)
		fake_broken("no such tag: %u.%u", cmd->q_id, h.tag);
	t = fake_tag_of(u, cmd->q_id, h.tag);
	if (!commit && t->state != TAG_NEW)
		fake_broken("tag %u.%u is prepared again", cmd->q_id, h.tag);
	if (t->buf_registered && t->buf_index != h.buf_index)
		fake_broken("another place for the pages of tag %u.%u", cmd->q_id, h.tag);
	take_memory(op->ring, t, addr);
	t->buf_index = h.buf_index;
	t->buf_fallback = cmd->flags & UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK;
	if (commit)
		return request_commit(op->ring, t, h.result, addr);
	t->ring = op->ring;
	t->addr = addr;
	t->state = TAG_PARKED;
	u->n_parked += !t->request;
}

static void batch_elems(struct fake_op *op, const struct ublk_batch_io *cmd, bool commit)
{
	struct fake_ublk *u = op->ring->ublk;
	const uint8_t *elems = (const uint8_t *) (uintptr_t) op->sqe.addr;
	int n = cmd->nr_elem;

	if (cmd->elem_bytes !=
	    sizeof(struct ublk_elem_header) + (cmd->flags & UBLK_BATCH_F_HAS_BUF_ADDR ? 8 : 0))
		fake_broken("elements of %u bytes", cmd->elem_bytes);
	if (cmd->flags & UBLK_BATCH_F_HAS_BUF_ADDR && !has_buffers(u))
		fake_broken("addresses of buffers that nobody uses");
	if (cmd->flags & UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK && !(u->flags & UBLK_F_AUTO_BUF_REG))
		fake_broken("a fallback of what the device does not do");
	if (cmd->nr_elem > u->depth)
		return fake_op_end(op, -E2BIG);
	if (!cmd->nr_elem)
		fake_broken("a command for nothing");
	if (!commit && u->refuse_fetch && u->refuse_queue == cmd->q_id)
		return fake_op_end(op, u->refuse_fetch);
	if (commit && fake.on_commit)
		n = fake.on_commit(cmd->nr_elem);
	if (n <= 0)
		return fake_op_end(op, n < 0 ? n : -EFAULT);
	for (int i = 0; i < n; i++)
		take_elem(op, cmd, elems + i * cmd->elem_bytes, commit);
	fake_op_end(op, commit ? n * cmd->elem_bytes : 0);
}

static void batch_fetch(struct fake_op *op, const struct ublk_batch_io *cmd)
{
	struct fake_ublk *u = op->ring->ublk;
	struct fake_fetch *f = &u->fetches[cmd->q_id];

	if (op->sqe.rw_flags != 2 /* IORING_URING_CMD_MULTISHOT */ ||
	    !(op->sqe.flags & IOSQE_BUFFER_SELECT) || cmd->elem_bytes != sizeof(uint16_t) ||
	    cmd->flags)
		return fake_op_end(op, -EINVAL);
	if (!op->ring->buffers)
		fake_broken("a fetch without buffers");
	if (f->ring)
		fake_broken("a second fetch of queue %u", cmd->q_id);
	f->ring = op->ring;
	f->user_data = op->sqe.user_data;
	fake_op_park(op);
	if (u->ended)
		queue_end(u, cmd->q_id);
}

static void batch_command(struct fake_op *op)
{
	struct ublk_batch_io cmd;

	memcpy(&cmd, op->cmd, sizeof(cmd));
	if (cmd.q_id >= op->ring->ublk->n_queues || cmd.reserved || cmd.reserved2)
		fake_broken("no such batch command");
	switch (op->sqe.cmd_op) {
	case UBLK_U_IO_PREP_IO_CMDS:
		return batch_elems(op, &cmd, false);
	case UBLK_U_IO_COMMIT_IO_CMDS:
		return batch_elems(op, &cmd, true);
	case UBLK_U_IO_FETCH_IO_CMDS:
		return batch_fetch(op, &cmd);
	default:
		fake_broken("io command 0x%x", op->sqe.cmd_op);
	}
}

void fake_ublk_command(struct fake_op *op)
{
	struct fake_ublk *u = op->ring->ublk;
	struct ublksrv_io_cmd cmd;

	memcpy(&cmd, op->cmd, sizeof(cmd));
	fake.n_commands[op->sqe.cmd_op & 0xf]++;
	if (op->sqe.cmd_op == UBLK_U_IO_UNREGISTER_IO_BUF) {
		fake_op_end(op, u->flags & UBLK_F_SUPPORT_ZERO_COPY
					? pages_unregister(op->ring, cmd.addr)
					: -EINVAL);
	} else if (op->sqe.cmd_op == UBLK_U_IO_REGISTER_IO_BUF) {
		if (cmd.q_id >= u->n_queues || cmd.tag >= u->depth)
			fake_broken("no such tag: %u.%u", cmd.q_id, cmd.tag);
		tag_register(op, fake_tag_of(u, cmd.q_id, cmd.tag), cmd.addr);
	} else if (u->flags & UBLK_F_BATCH_IO) {
		batch_command(op);
	} else {
		tag_command(op);
	}
	fake_changed();
}

/* ---- the server's end of it is closed */

void fake_ublk_lost(struct fake_ring *r)
{
	struct fake_ublk *u = r->ublk;

	for (unsigned int i = 0; i < r->n_pages; i++)
		if (r->pages[i])
			(void) pages_unregister(r, i);
	for (unsigned int i = 0; i < r->n_ops; i++)
		if (r->ops[i].in_use && r->ops[i].pages)
			fake_pages_put(r->ops[i].pages);
	if (!u)
		return;
	for (unsigned int q = 0; q < u->n_queues; q++)
		if (u->fetches[q].ring == r)
			u->fetches[q].ring = NULL;
	for (unsigned int i = 0; i < u->n_queues * u->depth; i++) {
		struct fake_tag *t = &u->tags[i];

		if (t->ring != r || t->state == TAG_ENDED)
			continue;
		if (is_free(t))
			u->n_parked--;
		/* Its request stays with it until the last server has gone. */
		t->state = u->outlives ? TAG_NEW : TAG_ENDED;
		t->ring = NULL;
		t->buf_registered = false;
		u->silent = u->outlives;
		u->n_ended += !u->outlives;
		if (t->request && !u->outlives)
			request_end(u, t, -EIO);
	}
	fake_changed();
}

/* ---- and another takes its place */

static void each_kept(struct fake_ublk *u, void (*what)(struct fake_ublk *u, struct fake_tag *t))
{
	for (unsigned int i = 0; i < u->n_queues * u->depth; i++)
		if (u->tags[i].state == TAG_NEW && u->tags[i].request)
			what(u, &u->tags[i]);
}

static void keep_or_fail(struct fake_ublk *u, struct fake_tag *t)
{
	/* Not told to anybody yet: it waits as it did. */
	if (t->sent && !u->fails_io)
		return;
	if (u->flags & UBLK_F_USER_RECOVERY_REISSUE)
		t->sent = ++u->n_sent;
	else
		request_end(u, t, -EIO);
}

void fake_ublk_released(struct fake_ublk *u)
{
	u->silent = true;
	u->fails_io = u->flags & UBLK_F_USER_RECOVERY_FAIL_IO;
	each_kept(u, keep_or_fail);
}

void fake_ublk_resume(struct fake_ublk *u)
{
	u->silent = u->fails_io = false;
	for (unsigned int i = 0; i < u->n_queues * u->depth; i++)
		if (u->tags[i].sent)
			fake_wake(u->tags[i].ring);
}

static void fail(struct fake_ublk *u, struct fake_tag *t)
{
	request_end(u, t, -EIO);
}

void fake_ublk_fail_kept(struct fake_ublk *u)
{
	each_kept(u, fail);
}
