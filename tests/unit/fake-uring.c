/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake-uring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "util/list.h"

enum {
	FILES_MAX = 16,
	POLLS_MAX = 4,
	RINGS_MAX = 256,
	HANG_SEC = 20,
	STRIDE = UBLK_MAX_QUEUE_DEPTH * 24, /* of a queue's descriptors; a whole number of pages */
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
	int files[FILES_MAX];
	unsigned int n_files;
	struct fake_ublk *ublk;
	struct {
		uint64_t user_data;
		int fd;
		bool in_use;
	} polls[POLLS_MAX];
};

struct fake fake;
_Thread_local int fake_inside;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct fake_ring rings[RINGS_MAX];
static struct fake_ublk *devices[RINGS_MAX];
static uint64_t next_seq;

void fake_broken(const char *fmt, ...)
{
	va_list ap;

	(void) fprintf(stderr, "\n*** the fake kernel: ");
	va_start(ap, fmt);
	(void) vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void) fprintf(stderr, "\n");
	(void) fflush(stdout);
	abort();
}

uint32_t fake_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t) (*state >> 33);
}

void fake_lock(void)
{
	(void) pthread_mutex_lock(&lock);
	fake_inside++;
}

void fake_unlock(void)
{
	fake_inside--;
	(void) pthread_mutex_unlock(&lock);
}

static void *must(void *p)
{
	if (!p)
		fake_broken("out of memory");
	return p;
}

static int may_fail(const char *call)
{
	return fake.fail ? fake.fail(call) : 0;
}

void fake_changed(void)
{
	(void) pthread_cond_broadcast(&changed);
	if (fake.on_change)
		fake.on_change();
}

bool fake_wait_for(bool (*condition)(void *arg), void *arg)
{
	struct timespec until;
	bool ok;

	(void) clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HANG_SEC / 2;
	fake_lock();
	while (!(ok = condition(arg)))
		if (pthread_cond_timedwait(&changed, &lock, &until) == ETIMEDOUT)
			break;
	ok = ok || condition(arg);
	fake_unlock();
	return ok;
}

/* ---- completions */

static void post(struct fake_ring *r, uint64_t user_data, int res)
{
	unsigned int tail = r->cq_ktail;
	static const uint64_t one = 1;

	if (tail - __atomic_load_n(&r->cq_khead, __ATOMIC_ACQUIRE) >= r->cq_entries)
		fake_broken("the completion queue (%u) overflows", r->cq_entries);
	r->cqes[tail & r->cq_mask] = (struct io_uring_cqe){.user_data = user_data, .res = res};
	__atomic_store_n(&r->cq_ktail, tail + 1, __ATOMIC_RELEASE);
	if (r->sleeps)
		(void) !write(r->wake, &one, sizeof(one));
}

void fake_answer(struct fake_op *op, int res)
{
	if (!op->in_use)
		fake_broken("an operation ends twice");
	op->in_use = false;
	post(op->ring, op->sqe.user_data, res);
}

void fake_starve(struct fake_op *op)
{
	op->ring->uring->sq.ring_entries = 0;
}

/* ---- ublk, the data side */

struct fake_ublk *fake_ublk_new(unsigned int n_queues, unsigned int depth, uint32_t max_io_bytes)
{
	struct fake_ublk *u;
	struct stat st;

	fake_lock();
	u = must(calloc(1, sizeof(*u)));
	u->n_queues = n_queues;
	u->depth = depth;
	u->max_io_bytes = max_io_bytes;
	u->tags = must(calloc((size_t) n_queues * depth, sizeof(*u->tags)));
	u->memfd = memfd_create("ublkc", MFD_CLOEXEC);
	if (u->memfd < 0 || ftruncate(u->memfd, (off_t) n_queues * STRIDE) < 0 ||
	    fstat(u->memfd, &st) < 0)
		fake_broken("no memfd: %m");
	u->ino = st.st_ino;
	u->descs = mmap(NULL, (size_t) n_queues * STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED,
			u->memfd, 0);
	if (u->descs == MAP_FAILED)
		fake_broken("no mapping: %m");
	for (unsigned int i = 0; i < RINGS_MAX; i++)
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
	for (unsigned int i = 0; i < RINGS_MAX; i++)
		if (devices[i] == u)
			devices[i] = NULL;
	(void) munmap(u->descs, (size_t) u->n_queues * STRIDE);
	(void) close(u->memfd);
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

struct fake_tag *fake_tag_of(struct fake_ublk *u, unsigned int q, unsigned int tag)
{
	return &u->tags[q * u->depth + tag];
}

static size_t request_bytes(const struct fake_request *r)
{
	return (size_t) r->n_sectors << 9;
}

void fake_send(struct fake_ublk *u, unsigned int q, unsigned int tag, struct fake_request *r)
{
	struct fake_tag *t = fake_tag_of(u, q, tag);
	struct ublksrv_io_desc d = {
		.op_flags = r->op_flags, .nr_sectors = r->n_sectors, .start_sector = r->sector};

	fake_lock();
	if (t->state != TAG_PARKED)
		fake_broken("tag %u.%u is not parked", q, tag);
	d.addr = r->buffer = t->addr;
	memcpy(u->descs + (size_t) q * STRIDE + tag * sizeof(d), &d, sizeof(d));
	if ((r->op_flags & 0xff) == UBLK_IO_OP_WRITE && request_bytes(r) <= u->max_io_bytes)
		memcpy((void *) (uintptr_t) t->addr, r->data, request_bytes(r));
	t->state = TAG_BUSY;
	t->request = r;
	r->deliveries++;
	u->n_parked--;
	u->n_busy++;
	u->deliveries++;
	post(t->ring, t->user_data, UBLK_IO_RES_OK);
	fake_unlock();
}

bool fake_send_any(struct fake_ublk *u, unsigned int q, struct fake_request *r)
{
	bool sent = false;

	fake_lock();
	for (unsigned int i = 0; i < u->depth && !sent; i++)
		if (fake_tag_of(u, q, i)->state == TAG_PARKED) {
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
	t->state = TAG_ENDED;
	u->n_ended++;
	u->aborts++;
	post(t->ring, t->user_data, UBLK_IO_RES_ABORT);
}

void fake_end(struct fake_ublk *u)
{
	fake_lock();
	u->ended = true;
	for (unsigned int i = 0; i < u->n_queues * u->depth; i++)
		if (u->tags[i].state == TAG_PARKED) {
			u->n_parked--;
			tag_end(u, &u->tags[i]);
		}
	fake_changed();
	fake_unlock();
}

static void request_end(struct fake_ublk *u, struct fake_tag *t, int result)
{
	struct fake_request *r = t->request;

	t->request = NULL;
	u->n_busy--;
	r->result = result;
	r->done = true;
}

/* An operation in flight works in @addr .. @addr + @len. */
static const struct fake_op *op_in(const struct fake_ring *r, uint64_t addr, uint64_t len)
{
	for (unsigned int i = 0; i < r->n_ops; i++) {
		const struct fake_op *op = &r->ops[i];

		if (op->in_use &&
		    (op->sqe.opcode == IORING_OP_READ || op->sqe.opcode == IORING_OP_WRITE) &&
		    op->sqe.addr < addr + len && addr < op->sqe.addr + op->sqe.len)
			return op;
	}
	return NULL;
}

static void request_commit(struct fake_ublk *u, struct fake_tag *t, int result)
{
	struct fake_request *r = t->request;
	bool transfers = (r->op_flags & 0xff) <= UBLK_IO_OP_WRITE;

	r->commits++;
	u->commits++;
	if (result > 0 && (size_t) result != request_bytes(r))
		fake_broken("a result of %d for a request of %zu bytes", result, request_bytes(r));
	if (transfers && result == 0 && r->n_sectors)
		fake_broken("a transfer of nothing");
	if (!transfers && result > 0)
		fake_broken("bytes for a request without data");
	if ((r->op_flags & 0xff) == UBLK_IO_OP_READ && result > 0)
		memcpy(r->data, (void *) (uintptr_t) t->addr, (size_t) result);
	request_end(u, t, result);
}

static void io_command(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	struct fake_ublk *u = r->ublk;
	struct ublksrv_io_cmd cmd;
	struct fake_tag *t;

	memcpy(&cmd, (const char *) sqe + UBLK_ABI_SQE_CMD_OFFSET, sizeof(cmd));
	if (cmd.q_id >= u->n_queues || cmd.tag >= u->depth)
		fake_broken("no such tag: %u.%u", cmd.q_id, cmd.tag);
	t = fake_tag_of(u, cmd.q_id, cmd.tag);
	if (!cmd.addr)
		fake_broken("a fetch without a buffer");
	if (op_in(r, cmd.addr, u->max_io_bytes))
		fake_broken("tag %u.%u gives away a buffer that operation %llu still uses",
			    cmd.q_id, cmd.tag,
			    (unsigned long long) op_in(r, cmd.addr, u->max_io_bytes)->seq);

	if (sqe->cmd_op == UBLK_U_IO_FETCH_REQ) {
		if (u->refuse_fetch && u->refuse_queue == cmd.q_id)
			return post(r, sqe->user_data, u->refuse_fetch);
		if (t->state != TAG_NEW)
			fake_broken("tag %u.%u is fetched again", cmd.q_id, cmd.tag);
	} else if (sqe->cmd_op == UBLK_U_IO_COMMIT_AND_FETCH_REQ) {
		if (t->state != TAG_BUSY || t->ring != r)
			fake_broken("tag %u.%u is committed without a request", cmd.q_id, cmd.tag);
		request_commit(u, t, cmd.result);
	} else {
		fake_broken("io command 0x%x", sqe->cmd_op);
	}
	t->ring = r;
	t->user_data = sqe->user_data;
	t->addr = cmd.addr;
	if (u->ended) {
		tag_end(u, t);
	} else {
		t->state = TAG_PARKED;
		u->n_parked++;
	}
	fake_changed();
}

/* The server's end of it is closed: what it held fails. */
static void ublk_lost(struct fake_ring *r)
{
	struct fake_ublk *u = r->ublk;

	for (unsigned int i = 0; u && i < u->n_queues * u->depth; i++) {
		struct fake_tag *t = &u->tags[i];

		if (t->ring != r || t->state == TAG_ENDED)
			continue;
		if (t->state == TAG_BUSY)
			request_end(u, t, -EIO);
		else if (t->state == TAG_PARKED)
			u->n_parked--;
		t->state = TAG_ENDED;
		u->n_ended++;
	}
	if (u)
		fake_changed();
}

/* ---- operations on files */

static int sys_result(ssize_t n)
{
	return n < 0 ? -errno : (int) n;
}

static int op_perform(struct fake_op *op)
{
	const struct io_uring_sqe *s = &op->sqe;
	struct iovec v = {.iov_base = (void *) (uintptr_t) s->addr, .iov_len = s->len};

	if (op->most && op->most < v.iov_len)
		v.iov_len = op->most;
	switch (s->opcode) {
	case IORING_OP_READ:
		return sys_result(preadv2(op->fd, &v, 1, (off_t) s->off, 0));
	case IORING_OP_WRITE:
		/* Not even RWF_DSYNC: how slow the disk of the build machine is does not count. */
		return sys_result(pwritev2(op->fd, &v, 1, (off_t) s->off, 0));
	case IORING_OP_FSYNC:
		return 0;
	case IORING_OP_FALLOCATE:
		return sys_result(fallocate(op->fd, (int) s->len, (off_t) s->off, (off_t) s->addr));
	case IORING_OP_CLOSE:
		return sys_result(close(s->fd));
	case IORING_OP_NOP:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

void fake_finish(struct fake_op *op, enum fake_verdict how)
{
	fake_lock();
	if (how == FAKE_DO)
		fake_answer(op, op_perform(op));
	else if (how == FAKE_ANSWER)
		fake_answer(op, op->res);
	fake_unlock();
}

struct fake_op *fake_held(unsigned int n)
{
	struct fake_op *best;
	uint64_t after = 0;

	fake_lock();
	do {
		best = NULL;
		for (unsigned int i = 0; i < RINGS_MAX; i++)
			for (unsigned int j = 0; rings[i].uring && j < rings[i].n_ops; j++) {
				struct fake_op *op = &rings[i].ops[j];

				if (op->in_use && op->seq > after && (!best || op->seq < best->seq))
					best = op;
			}
		if (best)
			after = best->seq;
	} while (best && n--);
	fake_unlock();
	return best;
}

unsigned int fake_n_held(void)
{
	unsigned int n = 0;

	fake_lock();
	for (unsigned int i = 0; i < RINGS_MAX; i++)
		for (unsigned int j = 0; rings[i].uring && j < rings[i].n_ops; j++)
			n += rings[i].ops[j].in_use;
	fake_unlock();
	return n;
}

static struct fake_op *op_new(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	struct fake_op *op = NULL;

	for (unsigned int i = 0; i < r->n_ops && !op; i++)
		if (!r->ops[(r->hint + i) % r->n_ops].in_use)
			op = &r->ops[r->hint = (r->hint + i) % r->n_ops];
	if (!op)
		fake_broken("more than %u operations in flight", r->n_ops);
	memset(op, 0, sizeof(*op));
	op->ring = r;
	op->sqe = *sqe;
	if (r->shift)
		memcpy(op->cmd, (const char *) sqe + UBLK_ABI_SQE_CMD_OFFSET, sizeof(op->cmd));
	op->seq = ++next_seq;
	op->in_use = true;
	op->fd = sqe->fd;
	if (sqe->flags & IOSQE_FIXED_FILE) {
		if ((unsigned int) sqe->fd >= r->n_files)
			fake_broken("no registered file %d", sqe->fd);
		op->fd = r->files[sqe->fd];
	}
	return op;
}

static void op_start(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	bool control = sqe->opcode == IORING_OP_URING_CMD && !(sqe->flags & IOSQE_FIXED_FILE);
	struct fake_op *op = op_new(r, sqe);
	enum fake_verdict v = FAKE_DO;

	if (!control) {
		fake.n_ops++;
		fake.n_opcode[sqe->opcode]++;
		fake.last = *sqe;
	}
	if (control && fake.on_control)
		v = fake.on_control(op);
	else if (!control && fake.on_op)
		v = fake.on_op(op);
	fake_finish(op, v);
	if (v == FAKE_HOLD)
		fake_changed();
}

static void poll_add(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	for (unsigned int i = 0; i < POLLS_MAX; i++) {
		if (r->polls[i].in_use)
			continue;
		r->polls[i].user_data = sqe->user_data;
		r->polls[i].fd = sqe->fd;
		r->polls[i].in_use = true;
		return;
	}
	fake_broken("too many polls");
}

static void cancel(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	for (unsigned int i = 0; i < r->n_ops; i++) {
		if (!r->ops[i].in_use || r->ops[i].sqe.user_data != sqe->addr)
			continue;
		post(r, sqe->user_data, -EALREADY);
		if (!fake.on_cancel || fake.on_cancel(&r->ops[i]))
			fake_answer(&r->ops[i], -EINTR);
		return;
	}
	post(r, sqe->user_data, -ENOENT);
}

static int submit(struct fake_ring *r)
{
	struct io_uring_sq *sq = &r->uring->sq;
	int n = 0;

	while (sq->sqe_head != sq->sqe_tail) {
		const struct io_uring_sqe *sqe = &r->sqes[(sq->sqe_head & r->sq_mask) << r->shift];

		switch (sqe->opcode) {
		case IORING_OP_POLL_ADD:
			poll_add(r, sqe);
			break;
		case IORING_OP_ASYNC_CANCEL:
			cancel(r, sqe);
			break;
		case IORING_OP_URING_CMD:
			if (r->ublk && sqe->flags & IOSQE_FIXED_FILE && sqe->fd == 0) {
				io_command(r, sqe);
				break;
			}
			op_start(r, sqe);
			break;
		default:
			op_start(r, sqe);
			break;
		}
		sq->sqe_head++;
		n++;
	}
	__atomic_store_n(&r->sq_khead, sq->sqe_head, __ATOMIC_RELEASE);
	return n;
}

/* ---- liburing */

int __wrap_io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
				      struct io_uring_params *p);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait);
void __wrap_io_uring_queue_exit(struct io_uring *ring);
int __wrap_io_uring_register_files(struct io_uring *ring, const int *files, unsigned int n);
int __wrap_io_uring_register_ring_fd(struct io_uring *ring);
int __wrap_io_uring_unregister_ring_fd(struct io_uring *ring);
int __wrap_io_uring_ring_dontfork(struct io_uring *ring);
int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned int *values);

static unsigned int round_up(unsigned int n)
{
	unsigned int p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static struct fake_ring *ring_of(struct io_uring *ring)
{
	return ring->sq.ring_ptr;
}

int __wrap_io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
				      struct io_uring_params *p)
{
	struct fake_ring *r = NULL;
	int err;

	fake_lock();
	fake.params = *p;
	err = may_fail("init");
	for (unsigned int i = 0; i < RINGS_MAX && !err && !r; i++)
		if (!rings[i].uring)
			r = &rings[i];
	if (!err && !r)
		fake_broken("too many rings");
	if (err) {
		fake_unlock();
		return err;
	}
	*r = (struct fake_ring){.uring = ring, .shift = p->flags & IORING_SETUP_SQE128 ? 1 : 0};
	r->sq_entries = round_up(entries);
	r->sq_mask = r->sq_entries - 1;
	r->cq_entries = round_up(p->flags & IORING_SETUP_CQSIZE ? p->cq_entries : entries * 2);
	r->cq_mask = r->cq_entries - 1;
	r->sqes = must(calloc((size_t) r->sq_entries << r->shift, sizeof(*r->sqes)));
	r->cqes = must(calloc(r->cq_entries, sizeof(*r->cqes)));
	r->n_ops = r->cq_entries;
	r->ops = must(calloc(r->n_ops, sizeof(*r->ops)));
	r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake < 0)
		fake_broken("no eventfd: %m");
	memset(ring, 0, sizeof(*ring));
	ring->flags = p->flags;
	ring->ring_fd = ring->enter_ring_fd = r->wake;
	ring->sq = (struct io_uring_sq){
		.khead = &r->sq_khead,
		.ktail = &r->sq_ktail,
		.kring_mask = &r->sq_mask,
		.kring_entries = &r->sq_entries,
		.kflags = &r->sq_flags,
		.kdropped = &r->sq_dropped,
		.sqes = r->sqes,
		.ring_ptr = r,
		.ring_mask = r->sq_mask,
		.ring_entries = r->sq_entries,
	};
	ring->cq = (struct io_uring_cq){
		.khead = &r->cq_khead,
		.ktail = &r->cq_ktail,
		.kring_mask = &r->cq_mask,
		.kring_entries = &r->cq_entries,
		.kflags = &r->cq_flags,
		.koverflow = &r->cq_overflow,
		.cqes = r->cqes,
		.ring_mask = r->cq_mask,
		.ring_entries = r->cq_entries,
	};
	fake.n_rings++;
	fake_unlock();
	return 0;
}

int __wrap_io_uring_register_files(struct io_uring *ring, const int *files, unsigned int n)
{
	struct fake_ring *r = ring_of(ring);
	struct stat st;
	int err;

	fake_lock();
	err = may_fail("register-files");
	for (unsigned int i = 0; i < n && !err; i++) {
		r->files[i] = fcntl(files[i], F_DUPFD_CLOEXEC, 0);
		if (r->files[i] < 0)
			err = -errno;
		else
			r->n_files++;
	}
	if (!err && fstat(r->files[0], &st) == 0)
		for (unsigned int i = 0; i < RINGS_MAX; i++)
			if (devices[i] && devices[i]->ino == st.st_ino)
				r->ublk = devices[i];
	fake.files_registered = r->n_files;
	fake_unlock();
	return err;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	int n;

	fake_lock();
	n = may_fail("submit");
	if (!n)
		n = submit(ring_of(ring));
	fake_unlock();
	return n;
}

/* Lock held. Return: how many descriptors of @pfd are to be slept on */
static unsigned int ring_polls(struct fake_ring *r, struct pollfd *pfd)
{
	unsigned int n = 0;

	pfd[n++] = (struct pollfd){.fd = r->wake, .events = POLLIN};
	for (unsigned int i = 0; i < POLLS_MAX; i++) {
		struct pollfd p = {.fd = r->polls[i].fd, .events = POLLIN};

		if (!r->polls[i].in_use)
			continue;
		if (poll(&p, 1, 0) > 0) {
			r->polls[i].in_use = false;
			post(r, r->polls[i].user_data, p.revents);
		} else {
			pfd[n++] = p;
		}
	}
	return n;
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait)
{
	struct fake_ring *r = ring_of(ring);
	struct pollfd pfd[1 + POLLS_MAX];
	unsigned int n_pfd;
	uint64_t ticks;
	int n;

	fake_lock();
	n = may_fail("submit");
	if (n < 0) {
		fake_unlock();
		return n;
	}
	n = submit(r);
	for (;;) {
		n_pfd = ring_polls(r, pfd);
		if (r->cq_ktail - r->cq_khead >= wait)
			break;
		if (fake.idle) {
			if (!fake.idle())
				fake_broken("the queue waits for ever");
			continue;
		}
		r->sleeps = true;
		fake_unlock();
		if (poll(pfd, n_pfd, HANG_SEC * 1000) == 0)
			fake_broken("a ring has waited for %d s", HANG_SEC);
		(void) !read(r->wake, &ticks, sizeof(ticks));
		fake_lock();
		r->sleeps = false;
	}
	fake_unlock();
	return n;
}

/* Lock held. */
static void ring_close(struct fake_ring *r)
{
	ublk_lost(r);
	for (unsigned int i = 0; i < r->n_ops; i++)
		fake.dropped += r->ops[i].in_use;
	for (unsigned int i = 0; i < r->n_files; i++)
		(void) close(r->files[i]);
	(void) close(r->wake);
	free(r->sqes);
	free(r->cqes);
	free(r->ops);
	*r = (struct fake_ring){0};
	fake.n_rings--;
}

void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	fake_lock();
	ring_close(ring_of(ring));
	fake_unlock();
}

int __wrap_io_uring_register_ring_fd(struct io_uring *ring)
{
	int err;

	fake_lock();
	err = may_fail("ring-fd");
	fake_unlock();
	if (err)
		return err;
	ring->enter_ring_fd = 4711; /* an index, no descriptor */
	return 1;
}

int __wrap_io_uring_unregister_ring_fd(struct io_uring *ring)
{
	ring->enter_ring_fd = ring->ring_fd;
	return 1;
}

int __wrap_io_uring_ring_dontfork(struct io_uring *ring)
{
	return 0;
}

int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned int *values)
{
	return 0;
}

void fake_reset(void)
{
	fake_lock();
	/* A guard leaves its ring to the end of its process. */
	for (unsigned int i = 0; i < RINGS_MAX; i++)
		if (rings[i].uring && rings[i].shift)
			ring_close(&rings[i]);
	if (fake.n_rings)
		fake_broken("%u rings are left", fake.n_rings);
	memset(&fake, 0, sizeof(fake));
	fake_unlock();
}
