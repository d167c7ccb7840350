/* SPDX-License-Identifier: GPL-2.0-or-later */
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

#include "fake-internal.h"

enum { HANG_SEC = 20, RING_FDS = 4711 /* registered rings: an index, no descriptor */ };

struct fake fake;
_Thread_local int fake_inside;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct fake_ring rings[FAKE_RINGS_MAX];
static uint64_t next_seq;
static bool killed;

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
	fake_inside++;
	(void) pthread_mutex_lock(&lock);
}

void fake_unlock(void)
{
	(void) pthread_mutex_unlock(&lock);
	fake_inside--;
}

void *fake_must(void *p)
{
	if (!p)
		fake_broken("out of memory");
	return p;
}

static int may_fail(const char *call)
{
	return fake.fail ? fake.fail(call) : 0;
}

/* The guard is another process. */
static bool is_dead(const struct fake_ring *r)
{
	return killed && !r->shift;
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

void fake_wake(struct fake_ring *r)
{
	static const uint64_t one = 1;

	if (r->sleeps)
		(void) !write(r->wake, &one, sizeof(one));
}

void fake_post(struct fake_ring *r, uint64_t user_data, int res, uint32_t flags)
{
	unsigned int tail = r->cq_ktail;

	if (tail - __atomic_load_n(&r->cq_khead, __ATOMIC_ACQUIRE) >= r->cq_entries)
		fake_broken("the completion queue (%u) overflows", r->cq_entries);
	r->cqes[tail & r->cq_mask] =
		(struct io_uring_cqe){.user_data = user_data, .res = res, .flags = flags};
	__atomic_store_n(&r->cq_ktail, tail + 1, __ATOMIC_RELEASE);
	fake_wake(r);
}

static void op_start(struct fake_op *op);

static void op_release(struct fake_op *op)
{
	struct fake_pages *pages = op->pages;

	if (!op->in_use)
		fake_broken("an operation ends twice");
	op->in_use = false;
	op->pages = NULL;
	if (pages)
		fake_pages_put(pages);
}

void fake_op_park(struct fake_op *op)
{
	if (op->next)
		fake_broken("a command that waits, with another linked to it");
	op_release(op);
}

/* What a chain takes for success: of a transfer, every byte. */
static bool is_success(const struct fake_op *op, int res)
{
	switch (op->sqe.opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE_FIXED:
		return res >= 0 && (uint32_t) res == op->sqe.len;
	default:
		return res >= 0;
	}
}

void fake_op_end(struct fake_op *op, int res)
{
	struct fake_op *next = op->next;
	bool ok = is_success(op, res), skips = op->sqe.flags & IOSQE_CQE_SKIP_SUCCESS;

	if (!ok || !skips)
		fake_post(op->ring, op->sqe.user_data, res, 0);
	op_release(op);
	if (ok && next)
		return op_start(next);
	/* Who wants no news of success gets news of the first failure alone. */
	for (; next; next = next->next) {
		if (!skips)
			fake_post(next->ring, next->sqe.user_data, -ECANCELED, 0);
		op_release(next);
	}
}

void fake_answer(struct fake_op *op, int res)
{
	fake_op_end(op, res);
}

void fake_starve(struct fake_op *op)
{
	op->ring->uring->sq.ring_entries = 0;
}

/* ---- operations on files */

static int sys_result(ssize_t n)
{
	return n < 0 ? -errno : (int) n;
}

const struct fake_op *fake_op_in(const struct fake_ring *r, uint64_t addr, uint64_t len)
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

static bool is_ublk_file(const struct fake_op *op)
{
	return op->ring->ublk && op->sqe.flags & IOSQE_FIXED_FILE && op->sqe.fd == 0;
}

static int op_perform(struct fake_op *op)
{
	const struct io_uring_sqe *s = &op->sqe;
	struct iovec v = {.iov_base = (void *) (uintptr_t) s->addr, .iov_len = s->len};

	if (op->pages)
		v.iov_base = op->pages->bytes + s->addr;
	if (op->most && op->most < v.iov_len)
		v.iov_len = op->most;
	if (is_ublk_file(op))
		return fake_ublk_copy(op);
	switch (s->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READ_FIXED:
		return sys_result(preadv2(op->fd, &v, 1, (off_t) s->off, 0));
	case IORING_OP_WRITE:
	case IORING_OP_WRITE_FIXED:
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
		for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
			for (unsigned int j = 0; rings[i].uring && j < rings[i].n_ops; j++) {
				struct fake_op *op = &rings[i].ops[j];

				if (op->in_use && !op->waits && op->seq > after &&
				    (!best || op->seq < best->seq))
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
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		for (unsigned int j = 0; rings[i].uring && j < rings[i].n_ops; j++)
			n += rings[i].ops[j].in_use && !rings[i].ops[j].waits;
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
	memcpy(op->cmd, (const char *) sqe + UBLK_ABI_SQE_CMD_OFFSET,
	       r->shift ? sizeof(op->cmd) : sizeof(*sqe) - UBLK_ABI_SQE_CMD_OFFSET);
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

/* Two operations with one memory, and one of them fills it. */
static void check_memory(struct fake_op *op)
{
	const struct fake_op *other;
	bool fills = op->sqe.opcode == IORING_OP_READ;

	/* A request that is written twice is copied twice, to where it is already. */
	if ((!fills && op->sqe.opcode != IORING_OP_WRITE) || is_ublk_file(op))
		return;
	op->in_use = false; /* itself does not count */
	other = fake_op_in(op->ring, op->sqe.addr, op->sqe.len);
	op->in_use = true;
	if (other && !other->waits && (fills || other->sqe.opcode == IORING_OP_READ))
		fake_broken("operations %llu and %llu use one memory",
			    (unsigned long long) other->seq, (unsigned long long) op->seq);
}

static enum fake_verdict op_verdict(struct fake_op *op, bool control)
{
	if (control)
		return fake.on_control ? fake.on_control(op) : FAKE_DO;
	if (is_ublk_file(op)) {
		fake.n_copies++;
		return fake.on_copy ? fake.on_copy(op) : FAKE_DO;
	}
	fake.n_ops++;
	fake.n_opcode[op->sqe.opcode]++;
	fake.last = op->sqe;
	return fake.on_op ? fake.on_op(op) : FAKE_DO;
}

static void op_start(struct fake_op *op)
{
	bool command = op->sqe.opcode == IORING_OP_URING_CMD;
	enum fake_verdict v;
	int err;

	op->waits = false;
	if (command && is_ublk_file(op))
		return fake_ublk_command(op);
	check_memory(op);
	if (op->sqe.opcode == IORING_OP_READ_FIXED || op->sqe.opcode == IORING_OP_WRITE_FIXED) {
		err = fake_pages_take(op);
		if (err)
			return fake_op_end(op, err);
	}
	v = op_verdict(op, command && !(op->sqe.flags & IOSQE_FIXED_FILE));
	fake_finish(op, v);
	if (v == FAKE_HOLD)
		fake_changed();
}

static void poll_add(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	for (unsigned int i = 0; i < FAKE_POLLS_MAX; i++) {
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
	for (unsigned int i = 0; i < FAKE_POLLS_MAX; i++) {
		if (!r->polls[i].in_use || r->polls[i].user_data != sqe->addr)
			continue;
		r->polls[i].in_use = false;
		fake_post(r, sqe->user_data, 0, 0);
		fake_post(r, sqe->addr, -ECANCELED, 0);
		return;
	}
	for (unsigned int i = 0; i < r->n_ops; i++) {
		if (!r->ops[i].in_use || r->ops[i].sqe.user_data != sqe->addr)
			continue;
		fake_post(r, sqe->user_data, -EALREADY, 0);
		if (!fake.on_cancel || fake.on_cancel(&r->ops[i]))
			fake_answer(&r->ops[i], -EINTR);
		return;
	}
	fake_post(r, sqe->user_data, -ENOENT, 0);
}

static bool is_queue(const struct fake_ring *r)
{
	return r->uring && r->n_files;
}

static void timer_add(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	const struct __kernel_timespec *t = (void *) (uintptr_t) sqe->addr;
	uint64_t *free = NULL;

	for (unsigned int i = 0; i < FAKE_TIMERS_MAX; i++) {
		if (r->timers[i] == sqe->user_data)
			fake_broken("a timer that runs already");
		if (!r->timers[i])
			free = &r->timers[i];
	}
	if (!free)
		fake_broken("too many timers");
	*free = sqe->user_data;
	if (is_queue(r))
		fake.timers_usec += (uint64_t) t->tv_sec * 1000000 + (uint64_t) t->tv_nsec / 1000;
	fake_changed();
}

void fake_timeout(void)
{
	fake_lock();
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		for (unsigned int j = 0; rings[i].uring && j < FAKE_TIMERS_MAX; j++) {
			uint64_t timer = rings[i].timers[j];

			rings[i].timers[j] = 0;
			if (timer)
				fake_post(&rings[i], timer, -ETIME, 0);
		}
	fake_unlock();
}

bool fake_timer_runs(void)
{
	bool runs = false;

	fake_lock();
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		for (unsigned int j = 0; is_queue(&rings[i]) && j < FAKE_TIMERS_MAX; j++)
			runs |= rings[i].timers[j] != 0;
	fake_unlock();
	return runs;
}

/* Return: it is one of those that the ring does by itself. */
static bool is_own(struct fake_ring *r, const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_POLL_ADD:
		poll_add(r, sqe);
		return true;
	case IORING_OP_TIMEOUT:
		timer_add(r, sqe);
		return true;
	case IORING_OP_ASYNC_CANCEL:
		cancel(r, sqe);
		return true;
	default:
		return false;
	}
}

static int submit(struct fake_ring *r, unsigned int n)
{
	struct fake_op *head = NULL, *tail = NULL;

	for (unsigned int i = 0; i < n; i++) {
		const struct io_uring_sqe *sqe = &r->sqes[(r->sq_khead & r->sq_mask) << r->shift];
		bool linked = sqe->flags & IOSQE_IO_LINK;
		struct fake_op *op;

		if (sqe->flags & (IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN))
			fake_broken("SQE with flags 0x%x", sqe->flags);
		if (head || linked || !is_own(r, sqe)) {
			op = op_new(r, sqe);
			op->waits = true;
			if (tail)
				tail->next = op;
			else
				head = op;
			tail = op;
		}
		__atomic_store_n(&r->sq_khead, r->sq_khead + 1, __ATOMIC_RELEASE);
		if (head && !linked) {
			op_start(head);
			head = tail = NULL;
		}
	}
	if (head)
		fake_broken("a link that leads nowhere");
	return (int) n;
}

/* What liburing does before it enters the kernel. */
static int flush_and_submit(struct fake_ring *r)
{
	struct io_uring_sq *sq = &r->uring->sq;

	sq->sqe_head = sq->sqe_tail;
	__atomic_store_n(&r->sq_ktail, sq->sqe_tail, __ATOMIC_RELEASE);
	return submit(r, r->sq_ktail - r->sq_khead);
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
int __wrap_io_uring_register_buffers_sparse(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
				      unsigned int flags);
int __wrap_io_uring_enter(unsigned int fd, unsigned int to_submit, unsigned int wait,
			  unsigned int flags, sigset_t *sig);

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
	for (unsigned int i = 0; i < FAKE_RINGS_MAX && !err && !r; i++)
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
	r->sqes = fake_must(calloc((size_t) r->sq_entries << r->shift, sizeof(*r->sqes)));
	r->cqes = fake_must(calloc(r->cq_entries, sizeof(*r->cqes)));
	r->n_ops = r->cq_entries;
	r->ops = fake_must(calloc(r->n_ops, sizeof(*r->ops)));
	r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake < 0)
		fake_broken("no eventfd: %m");
	memset(ring, 0, sizeof(*ring));
	ring->flags = p->flags;
	ring->features = fake.features;
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
	if (!err)
		r->ublk = fake_ublk_of(r->files[0]);
	fake.files_registered = r->n_files;
	fake_unlock();
	return err;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	int n;

	fake_lock();
	n = is_dead(ring_of(ring)) ? -EOWNERDEAD : may_fail("submit");
	if (!n)
		n = flush_and_submit(ring_of(ring));
	fake_unlock();
	return n;
}

/* Lock held. Return: how many descriptors of @pfd are to be slept on */
static unsigned int ring_polls(struct fake_ring *r, struct pollfd *pfd)
{
	unsigned int n = 0;

	pfd[n++] = (struct pollfd){.fd = r->wake, .events = POLLIN};
	for (unsigned int i = 0; i < FAKE_POLLS_MAX; i++) {
		struct pollfd p = {.fd = r->polls[i].fd, .events = POLLIN};

		if (!r->polls[i].in_use)
			continue;
		if (poll(&p, 1, 0) > 0) {
			r->polls[i].in_use = false;
			fake_post(r, r->polls[i].user_data, p.revents, 0);
		} else {
			pfd[n++] = p;
		}
	}
	return n;
}

/* Lock held. Until @n completions are there. */
static void ring_wait(struct fake_ring *r, unsigned int n)
{
	struct pollfd pfd[1 + FAKE_POLLS_MAX];
	unsigned int n_pfd;
	uint64_t ticks;

	for (;;) {
		if (!fake.polls_first)
			fake_ublk_dispatch(r);
		n_pfd = ring_polls(r, pfd);
		if (fake.polls_first)
			fake_ublk_dispatch(r);
		if (r->cq_ktail - r->cq_khead >= n || is_dead(r))
			return;
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
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait)
{
	struct fake_ring *r = ring_of(ring);
	int n;

	fake_lock();
	fake.n_turns++;
	n = is_dead(r) ? -EOWNERDEAD : may_fail("submit");
	if (n >= 0) {
		n = flush_and_submit(r);
		ring_wait(r, wait);
	}
	fake_unlock();
	return n;
}

/* Only what knows IORING_FEAT_NO_IOWAIT comes this way. */
int __wrap_io_uring_enter(unsigned int fd, unsigned int to_submit, unsigned int wait,
			  unsigned int flags, sigset_t *sig)
{
	bool registered = flags & IORING_ENTER_REGISTERED_RING;
	struct fake_ring *r = NULL;
	int n;

	fake_lock();
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		if (rings[i].uring &&
		    fd == (registered ? RING_FDS + i : (unsigned int) rings[i].wake))
			r = &rings[i];
	if (!r || sig || !(flags & IORING_ENTER_GETEVENTS))
		fake_broken("io_uring_enter(%u, 0x%x)", fd, flags);
	if (to_submit > r->sq_ktail - r->sq_khead)
		fake_broken("%u SQEs to submit, and %u there", to_submit,
			    r->sq_ktail - r->sq_khead);
	fake.n_turns++;
	fake.n_enters++;
	n = is_dead(r) ? -EOWNERDEAD : may_fail("submit");
	if (n >= 0) {
		n = submit(r, to_submit);
		ring_wait(r, wait);
	}
	fake_unlock();
	return n;
}

/* Lock held. */
static void ring_close(struct fake_ring *r)
{
	fake_ublk_lost(r);
	for (unsigned int i = 0; i < r->n_ops; i++)
		fake.dropped += r->ops[i].in_use;
	for (unsigned int i = 0; i < r->n_files; i++)
		(void) close(r->files[i]);
	(void) close(r->wake);
	free(r->sqes);
	free(r->cqes);
	free(r->ops);
	free(r->pages);
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
	ring->enter_ring_fd = RING_FDS + (int) (ring_of(ring) - rings);
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

int __wrap_io_uring_register_buffers_sparse(struct io_uring *ring, unsigned int n)
{
	struct fake_ring *r = ring_of(ring);
	int err;

	fake_lock();
	err = may_fail("register-buffers");
	if (!err && r->pages)
		fake_broken("a second table of buffers");
	if (!err) {
		r->pages = fake_must(calloc(n, sizeof(struct fake_pages *)));
		r->n_pages = n;
	}
	fake_unlock();
	return err;
}

int __wrap_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
				      unsigned int flags)
{
	struct fake_ring *r = ring_of(ring);
	int err;

	fake_lock();
	err = may_fail("register-buf-ring");
	if (!err && (reg->bgid || reg->ring_addr % 4096 || flags ||
		     reg->ring_entries & (reg->ring_entries - 1)))
		fake_broken("no such ring of buffers");
	if (!err) {
		r->buffers = (struct io_uring_buf_ring *) (uintptr_t) reg->ring_addr;
		r->n_buffers = reg->ring_entries;
	}
	fake_unlock();
	return err;
}

/* Lock held. The files of its ring are closed, whatever its thread still thinks. */
static void ring_kill(struct fake_ring *r)
{
	fake_ublk_lost(r);
	r->ublk = NULL;
	for (unsigned int i = 0; i < r->n_ops; i++) {
		fake.dropped += r->ops[i].in_use;
		r->ops[i].in_use = false;
	}
	for (unsigned int i = 0; i < r->n_files; i++)
		(void) close(r->files[i]);
	r->n_files = 0;
	fake_wake(r);
}

void fake_kill(bool on)
{
	fake_lock();
	killed = on;
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		if (rings[i].uring && is_dead(&rings[i]))
			ring_kill(&rings[i]);
	fake_unlock();
}

bool fake_ublk_is_attached(const struct fake_ublk *u)
{
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		if (rings[i].uring && rings[i].ublk == u)
			return true;
	return false;
}

void fake_reset(void)
{
	fake_lock();
	/* A guard leaves its ring to the end of its process. */
	for (unsigned int i = 0; i < FAKE_RINGS_MAX; i++)
		if (rings[i].uring && rings[i].shift)
			ring_close(&rings[i]);
	if (fake.n_rings)
		fake_broken("%u rings are left", fake.n_rings);
	memset(&fake, 0, sizeof(fake));
	fake_unlock();
}
