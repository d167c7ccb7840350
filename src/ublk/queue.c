/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/queue.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/list.h"

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

/* ---- the exchange's side */

struct slot *queue_slot(struct queue *q, unsigned int i)
{
	struct slot *s = &q->slots[i];

	if (s->queue)
		return s;
	s->queue = q;
	s->tag = q->config.first_tag + i * q->config.tag_step;
	s->data.index = i;
	for (unsigned int j = 0; j < q->max_ops; j++)
		q->ops[i * q->max_ops + j].slot = s;
	return s;
}

uint64_t slot_memory(const struct slot *s)
{
	const struct buffer *b = &s->queue->buffer;

	if (b->place != PLACE_MEMORY)
		return 0;
	return buffer_addr(b, s->aborted ? buffer_spare(b) : s->data.index);
}

struct io_uring_sqe *queue_command(struct queue *q, struct ur_op *op, uint32_t cmd_op)
{
	struct io_uring_sqe *sqe = ring_sqe(&q->ring, op);

	if (!sqe) {
		/* A request cannot be answered any more: the queue has failed as a whole. */
		q->error = -EAGAIN;
		return NULL;
	}
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = QUEUE_CHAR_SLOT;
	sqe->cmd_op = cmd_op;
	return sqe;
}

void queue_ended(struct queue *q, unsigned int n_tags, int res)
{
	q->n_live -= n_tags;
	if (res != UBLK_IO_RES_ABORT && !q->quit)
		q->error = res < 0 ? res : -EPROTO;
}

/* Buffers that have seen a large request are looked after: see queue_trim(). */
static void slot_uses_memory(struct slot *s)
{
	if (s->io.len <= BUFFER_KEEP)
		return;
	s->queue->burst = s->queue->grown = true;
	if (s->io.len > s->used)
		s->used = (uint32_t) s->io.len;
}

/* ---- the pages of a request as a registered buffer */

/* Return: false, and the queue has failed, if there was no SQE. */
static bool pages_command(struct slot *s, uint32_t cmd_op, unsigned int sqe_flags)
{
	struct queue *q = s->queue;
	struct ublksrv_io_cmd cmd = {
		.q_id = (uint16_t) q->config.q_id,
		.tag = (uint16_t) s->tag,
		.addr = s->data.index,
	};
	struct io_uring_sqe *sqe = queue_command(q, &s->step, cmd_op);

	if (!sqe)
		return false;
	sqe->flags |= (uint8_t) sqe_flags;
	memcpy((char *) sqe + UBLK_ABI_SQE_CMD_OFFSET, &cmd, sizeof(cmd));
	return true;
}

/* The slower way of a zero-copy path; said once. */
static void slot_fall_back(struct slot *s)
{
	struct queue *q = s->queue;

	s->data.place = PLACE_BOUNCE;
	count(&q->counters.fallbacks, 1);
	if (q->fell_back)
		return;
	q->fell_back = true;
	q->config.fell_back(q->config.arg);
}

/* It completes only if it fails, and then the kernel never lets go of the request: the queue is at
 * its end. */
static void slot_unregistered(struct ur_op *op, int res)
{
	queue_ended(container_of(op, struct slot, step)->queue, 0, res < 0 ? res : -EPROTO);
}

static void slot_unregister(struct slot *s)
{
	s->registered = false;
	s->step.done = slot_unregistered;
	(void) pages_command(s, UBLK_U_IO_UNREGISTER_IO_BUF, IOSQE_CQE_SKIP_SUCCESS);
}

static void slot_serve(struct slot *s, int error);

static void slot_registered(struct ur_op *op, int res)
{
	struct slot *s = container_of(op, struct slot, step);

	s->queue->n_in_flight--;
	if (s->aborted) {
		/* Failed meanwhile; the kernel ends the request when its pages are free. */
		if (res >= 0)
			slot_unregister(s);
		return slot_unref(s, 0);
	}
	if (res < 0) {
		slot_fall_back(s);
		slot_uses_memory(s);
	} else {
		s->registered = true;
	}
	slot_serve(s, 0);
}

static void slot_register(struct slot *s)
{
	s->step.done = slot_registered;
	if (!pages_command(s, UBLK_U_IO_REGISTER_IO_BUF, 0))
		return slot_unref(s, -EIO);
	s->queue->n_in_flight++;
}

/* ---- one request */

/* The kernel fails what is none of these with EIO; the three that callers take for "try again"
 * would make them wait for something that does not come. A flush that is not supported is none to
 * them, and a success. */
static int errno_for_kernel(enum ub_op op, int error)
{
	switch (-error) {
	case EOPNOTSUPP:
		return op == UB_DISCARD || op == UB_WRITE_ZEROES ? error : -EIO;
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
	/* All of it or an errno, never less: what a short result means depends on the kernel. */
	if (error)
		result = errno_for_kernel(s->io.op, error);
	else if (s->io.op == UB_READ || s->io.op == UB_WRITE)
		result = (int32_t) s->io.len;
	/* What the backing cannot do the kernel does by other means: nobody notices. */
	if (error && result != -EOPNOTSUPP)
		count(&q->counters.errors, 1);
	count(&q->counters.done, 1);
	flight_end(&q->flight, s->record, error ? result : 0);
	if (s->registered)
		slot_unregister(s);
	q->exchange->commit(s, result);
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
		io->op = UB_DISCARD; /* moves no bytes, and need not be supported */
		return -EOPNOTSUPP;
	}
	if ((io->op == UB_READ || io->op == UB_WRITE) && io->len > s->queue->config.max_io_bytes)
		return -EINVAL;
	return 0;
}

static int slot_find_shared(struct slot *s, uint64_t addr)
{
	uint64_t index = addr >> UBLK_SHMEM_ZC_IDX_OFF & UBLK_SHMEM_ZC_IDX_MASK;
	uint64_t off = addr & UBLK_SHMEM_ZC_OFF_MASK;
	const struct shared_pool *pools = s->queue->config.pools;
	uint8_t *base;
	uint64_t len;

	if (!pools || index >= QUEUE_POOLS_MAX)
		return -EIO;
	base = atomic_load_explicit(&pools[index].base, memory_order_acquire);
	len = atomic_load_explicit(&pools[index].len, memory_order_relaxed);
	if (!base || off > len || s->io.len > len - off)
		return -EIO;
	s->data.place = PLACE_SHARED;
	s->data.shared = base + off;
	count(&s->queue->counters.shared, 1);
	return 0;
}

/* Return: 0; 1 if the request's pages must be registered first; -errno */
static int slot_find_data(struct slot *s, const struct ublksrv_io_desc *d)
{
	struct queue *q = s->queue;

	s->data.place = q->buffer.place;
	if (s->io.op != UB_READ && s->io.op != UB_WRITE)
		return 0;
	if (d->op_flags & UBLK_IO_F_SHMEM_ZC)
		return slot_find_shared(s, d->addr);
	if (q->config.path.copy == DATA_COPY_ZERO)
		return 1;
	if (d->op_flags & UBLK_IO_F_NEED_REG_BUF)
		slot_fall_back(s);
	if (s->data.place == PLACE_MEMORY || s->data.place == PLACE_BOUNCE)
		slot_uses_memory(s);
	return 0;
}

/* ---- the flight record */

static void slot_record(struct slot *s)
{
	struct queue *q = s->queue;
	const struct ublksrv_io_desc *d = &q->descs[s->tag];

	s->record = flight_begin(&q->flight, s->tag, d->op_flags, d->nr_sectors, s->io.off);
}

/* Between the first request and the main thread's answer only the first one calls. */
static void queue_call(struct queue *q)
{
	if (q->config.called && !atomic_exchange(&q->flight.called, true))
		q->config.called(q->config.arg);
}

/* What found no room in the seat is written down as if it came now. */
static void queue_grow_flight(struct queue *q)
{
	flight_grow(&q->flight);
	for (unsigned int i = 0; i < q->config.n_tags; i++)
		if (q->slots[i].busy && q->slots[i].record == &q->flight.nowhere)
			slot_record(&q->slots[i]);
}

void queue_give_ring(struct queue *q, struct flight_record *ring)
{
	atomic_store_explicit(&q->flight.wants_ring, false, memory_order_relaxed);
	atomic_store_explicit(&q->flight.ring, ring, memory_order_release);
}

/* ---- an operation and its commit at once */

/* All that the request needs is one read or write, whose SQE is the last: what follows is known. */
static bool slot_can_link(const struct slot *s)
{
	const struct queue *q = s->queue;

	/* Whether a durable write through the page cache was one is known after its end. */
	return q->alone && q->exchange->commit_linked && s->last && s->refs == 2 && !s->error &&
	       s->data.place == PLACE_FIXED && !s->registered &&
	       !(s->io.flags & UB_FUA && q->cached) && io_uring_sq_space_left(&q->ring.uring) > 0;
}

static void slot_link(struct slot *s)
{
	struct queue *q = s->queue;

	s->last->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	s->linked =
		container_of((struct ur_op *) (uintptr_t) s->last->user_data, struct slot_op, op);
	s->refs--;
	s->busy = false;
	q->n_busy--;
	q->n_in_flight--;
	count(&q->counters.done, 1);
	flight_end(&q->flight, s->record, FLIGHT_LINKED);
	q->exchange->commit_linked(s, (int32_t) s->io.len);
}

/* The next request of its tag is here: all went well. */
static void slot_settle(struct slot *s)
{
	s->linked->in_use = false;
	s->linked = NULL;
	s->refs = 0;
}

void slot_unlink(struct slot *s)
{
	struct queue *q = s->queue;

	s->linked = NULL;
	s->busy = true;
	q->n_busy++;
	q->n_in_flight++;
	count(&q->counters.done, UINT64_MAX); /* one less */
	if (!flight_reopen(s->record, s->tag, s->io.off))
		slot_record(s);
}

static void slot_serve(struct slot *s, int error)
{
	const struct ub_target *t = s->queue->config.target;

	/* The next sync would succeed without the writes that the failed one has lost. */
	if (!error && (s->io.op == UB_FLUSH || s->io.flags & UB_FUA) && queue_sync_error(s->queue))
		error = -EIO;
	if (!error) {
		if (t->io_size)
			memset(ub_io_priv(&s->io), 0, t->io_size);
		s->last = NULL;
		t->submit(&s->io);
		if (slot_can_link(s))
			return slot_link(s);
		/* A target that does nothing has not done it. */
		if (!s->answered)
			error = -EIO;
	}
	slot_unref(s, error);
}

void slot_arrived(struct slot *s)
{
	struct queue *q = s->queue;
	const struct ublksrv_io_desc *d = &q->descs[s->tag];
	int r;

	if (s->linked)
		slot_settle(s);
	s->busy = true;
	s->announced = false;
	q->n_busy++;
	count(&q->counters.arrived, 1);
	s->record = &q->flight.nowhere;
	/* An aborted slot's operation still looks at the old request. */
	if (q->aborting)
		return slot_commit(s, -EIO);
	/* A failed queue takes nothing new: what is in flight must come to an end. The kernel fails
	 * this one, or gives it to the queue that comes after. */
	if (q->error)
		return;

	r = slot_decode(s, d);
	s->record = flight_begin(&q->flight, s->tag, d->op_flags, d->nr_sectors, s->io.off);
	if (!atomic_load_explicit(&q->flight.watched, memory_order_relaxed))
		queue_call(q);
	s->error = 0;
	s->answered = false;
	s->refs = 1;
	count(&q->counters.ops[s->io.op], 1);
	if (s->io.op == UB_READ)
		count(&q->counters.read_bytes, s->io.len);
	else if (s->io.op == UB_WRITE)
		count(&q->counters.write_bytes, s->io.len);
	if (r == 0)
		r = slot_find_data(s, d);
	if (r > 0)
		return slot_register(s);
	slot_serve(s, r);
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
	for (unsigned int i = 0; i < q->config.n_tags; i++) {
		struct slot *s = &q->slots[i];

		if (!s->busy)
			continue;
		s->aborted = true; /* before the commit: it chooses the buffer */
		slot_commit(s, -EIO);
	}
}

static void queue_do_pong(struct mail *m)
{
	atomic_store(&container_of(m, struct queue, ping_mail)->pinged, false);
}

bool queue_ping(struct queue *q)
{
	if (atomic_exchange(&q->pinged, true))
		return false;
	mailbox_post(&q->mailbox, &q->ping_mail);
	return true;
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

/* ---- the tick, some seconds after the work that asks for it */

static const struct __kernel_timespec tick_after = {.tv_sec = 5};

static void queue_arm_tick(struct queue *q)
{
	struct io_uring_sqe *sqe = ring_sqe(&q->ring, &q->tick_op);

	q->burst = false;
	if (!sqe)
		return;
	sqe->opcode = IORING_OP_TIMEOUT;
	sqe->addr = (uintptr_t) &tick_after;
	sqe->len = 1;
	q->tick_armed = true;
}

static void queue_tick(struct ur_op *op, int res)
{
	struct queue *q = container_of(op, struct queue, tick_op);

	(void) res;
	q->tick_armed = false;
	q->trim_due = q->grown && !q->burst;
}

/* What a burst of large requests made of the buffers goes back to the system. A buffer that the
 * driver holds may have got a write that we do not know of yet: not here. The driver copies on this
 * thread, inside io_uring_enter() (DEFER_TASKRUN), and says so in the same call; between two turns,
 * with every commit sent and every completion seen, whatever is not busy is empty.
 * Return: false if that is not so now */
static bool queue_trim(struct queue *q)
{
	struct io_uring *u = &q->ring.uring;

	if (!(u->flags & RING_DEFERS) || q->unannounced)
		return false;
	/* A read's bytes are in its buffer until its commit is done. */
	(void) io_uring_submit(u);
	if (io_uring_cq_has_overflow(u) || io_uring_cq_ready(u) || io_uring_sq_ready(u))
		return false;
	for (unsigned int i = 0; i < q->config.n_tags; i++) {
		struct slot *s = &q->slots[i];

		if (s->used == 0)
			continue;
		if (s->busy || s->announced || s->aborted) {
			q->burst = true;
			continue;
		}
		buffer_trim(&q->buffer, i, s->used);
		s->used = 0;
	}
	q->grown = q->burst;
	return true;
}

/* Between two turns.
 * Return: how many completions the next one is to wait for. A commit's own would end the sleep
 * before it began, and a commit of which the driver took only a part is sent again at the tick at
 * the latest: without a tick to come there is no sleep on top of it. */
static unsigned int queue_between(struct queue *q)
{
	unsigned int own = q->exchange->flush ? q->exchange->flush(q) : 0;

	/* Not now: then when the timer has run once more. */
	if (q->trim_due && !q->burst)
		q->burst = !queue_trim(q);
	q->trim_due = q->unannounced = false;
	if ((q->burst || own) && !q->tick_armed)
		queue_arm_tick(q);
	if (flight_can_grow(&q->flight))
		queue_grow_flight(q);
	return q->tick_armed ? 1 + own : 1;
}

/* ---- the queue */

static int queue_register_files(struct queue *q)
{
	int fds[1 + UB_FILES_MAX];

	/* The char device and the backing are registered in one ring: so the kernel keeps the
	 * device until the last backing operation is over, however this process ends. */
	fds[QUEUE_CHAR_SLOT] = q->config.char_fd;
	for (unsigned int i = 0; i < q->config.n_files; i++)
		fds[1 + i] = q->config.files[i];
	return io_uring_register_files(&q->ring.uring, fds, 1 + q->config.n_files);
}

static int queue_init_ring(struct queue *q)
{
	const struct queue_config *c = &q->config;
	/* The command's, and those of the operations and of the copies beside them. */
	unsigned int per_tag = q->buffer.place == PLACE_NOWHERE ? 1 + c->target->max_ops
								: 1 + 2 * q->max_ops;
	unsigned int ends = c->n_tags * per_tag + EXCHANGE_EXTRA_CQES;
	int r;

	r = ring_init(&q->ring, c->n_tags < 8 ? 8 : c->n_tags, ends < 64 ? 64 : ends, 0);
	if (r < 0)
		return r;
	r = queue_register_files(q);
	if (r < 0)
		return r;
	if (q->buffer.place == PLACE_FIXED)
		r = io_uring_register_buffers_sparse(&q->ring.uring, c->n_tags);
	if (r < 0)
		return r;
	return q->exchange->init ? q->exchange->init(q) : 0;
}

static int queue_arm(struct queue *q)
{
	int r = queue_init_ring(q);

	if (r < 0)
		return r;
	queue_watch_mailbox(q);
	q->n_live = q->config.n_tags;
	r = q->exchange->arm(q);
	return r < 0 ? r : q->error;
}

static uint32_t find_cached(const int *files, unsigned int n)
{
	uint32_t cached = 0;

	for (unsigned int i = 0; i < n; i++) {
		int flags = fcntl(files[i], F_GETFL);

		if (flags < 0 || !(flags & O_DIRECT))
			cached |= UINT32_C(1) << (1 + i);
	}
	return cached;
}

/* Never before the last operation ended: until then the kernel may use our memory. */
static bool queue_is_over(const struct queue *q)
{
	bool idle = q->n_busy == 0 && (q->n_live == 0 || q->quit);

	return (idle || q->error) && q->n_in_flight == 0;
}

int queue_run(struct queue *q)
{
	unsigned int wait;
	int r = queue_arm(q);

	q->config.armed(q->config.arg, r);
	while (r >= 0 && !queue_is_over(q)) {
		wait = queue_between(q);
		/* Without an SQE to be had there may be nothing to wait for. */
		if (queue_is_over(q))
			break;
		r = ring_wait(&q->ring, wait);
		flight_tick(&q->flight);
		if (r >= 0)
			r = ring_run(&q->ring);
	}
	/* The last turn's commits are only prepared. */
	if (r >= 0) {
		(void) queue_between(q);
		(void) io_uring_submit(&q->ring.uring);
	}
	ring_leave(&q->ring);
	return r < 0 ? r : q->error;
}

/* ---- life */

static size_t line_round(size_t n)
{
	return (n + 63) & ~(size_t) 63;
}

/* What there is of every tag, in a mapping of its own: of idle devices with many tags only the
 * pages that were used are memory; calloc() clears, and so uses, whatever it gives out of its heap.
 */
static int queue_alloc_tables(struct queue *q)
{
	size_t slots = line_round(q->config.n_tags * sizeof(*q->slots));
	size_t ops = line_round((size_t) q->config.n_tags * q->max_ops * sizeof(*q->ops));
	size_t privs = line_round(q->config.n_tags * q->config.target->io_size);
	size_t seat = q->config.seat ? 0 : FLIGHT_SEAT_BYTES;
	uint8_t *p;

	q->tables_len = page_round(slots + ops + privs + seat);
	p = mmap(NULL, q->tables_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	(void) madvise(p, q->tables_len, MADV_NOHUGEPAGE);
	q->tables = p;
	q->slots = (struct slot *) (void *) p;
	q->ops = (struct slot_op *) (void *) (p + slots);
	q->privs = privs ? p + slots + ops : NULL;
	q->seat = seat ? (struct flight_seat *) (void *) (p + slots + ops + privs) : q->config.seat;
	q->seat->q_id = q->config.q_id;
	q->seat->first_tag = q->config.first_tag;
	flight_init(&q->flight, q->seat);
	atomic_init(&q->flight.watched, !q->config.watched);
	return 0;
}

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

DEFINE_CLEANUP(struct queue *, queue_free);

int queue_new(const struct queue_config *config, struct queue **ret)
{
	_cleanup_(queue_freep) struct queue *q = calloc(1, sizeof(*q));
	unsigned int n =
		(config->depth - config->first_tag + config->tag_step - 1) / config->tag_step;
	int r;

	if (!q)
		return -ENOMEM;
	assert(config->n_files <= UB_FILES_MAX && config->first_tag < config->depth);
	q->config = *config;
	/* The thread reads them when the caller is long gone. */
	for (unsigned int i = 0; i < config->n_files; i++)
		q->files[i] = config->files[i];
	q->config.files = q->files;
	q->cached = find_cached(q->files, config->n_files);
	q->config.n_tags = n;
	q->exchange = config->path.batch ? &exchange_batch : &exchange_tag;
	q->mailbox.fd = -1;
	q->max_ops = config->target->max_ops ? config->target->max_ops : 1;
	r = queue_alloc_tables(q);
	if (r < 0)
		return r;
	q->mailbox_op.done = queue_mail;
	q->quit_mail.deliver = queue_do_quit;
	q->abort_mail.deliver = queue_do_abort;
	q->ping_mail.deliver = queue_do_pong;
	q->tick_op.done = queue_tick;
	r = mailbox_init(&q->mailbox);
	if (r < 0)
		return r;
	r = buffer_init(&q->buffer, &config->path, n, config->max_io_bytes);
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
	static struct queue *kept; /* for those who look for leaks */

	if (!q)
		return NULL;
	ring_done(&q->ring);
	if (q->descs)
		(void) munmap((void *) (uintptr_t) q->descs, q->descs_len);
	if (q->mailbox.fd >= 0)
		mailbox_done(&q->mailbox);
	/* The ring itself failed under operations: their memory stays, for good. */
	if (q->n_in_flight) {
		q->next_kept = kept;
		kept = q;
		return NULL;
	}
	if (q->exchange && q->exchange->done)
		q->exchange->done(q);
	buffer_done(&q->buffer);
	if (q->tables)
		(void) munmap(q->tables, q->tables_len);
	free(q);
	return NULL;
}
