/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue-bed - a queue on a fake ring, on one thread, with a target for a file and a device whose
 * requests come as the test says. A header of functions, because a failed CHECK belongs to the file
 * it is in.
 *
 * While a queue serves, calls that do not belong on the data path are counted, unless the fake
 * makes them.
 */
#pragma once

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fake-uring.h"
#include "target/dev.h"
#include "test.h"
#include "ublk/queue.h"

enum {
	DEPTH = 4,
	MAX_IO = 65536,
	REGIONS = 24, /* of the backing, 64 KiB each */
	FILE_BYTES = REGIONS * MAX_IO,
	SECTORS = MAX_IO / 512,
	REQUESTS_MAX = 64,
};

/* ---- what must not be called between armed and end */

static _Atomic bool serving;
static unsigned int n_allocations, n_clocks, n_locks, n_writes;

#define COUNTED(type, name, params, args, counter)                                                 \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		if (serving && !fake_inside)                                                       \
			(counter)++;                                                               \
		return __real_##name args;                                                         \
	}                                                                                          \
	struct swallow_semicolon

COUNTED(void *, malloc, (size_t n), (n), n_allocations);
COUNTED(void *, calloc, (size_t n, size_t m), (n, m), n_allocations);
COUNTED(void *, realloc, (void *p, size_t n), (p, n), n_allocations);
COUNTED(void, free, (void *p), (p), n_allocations);
COUNTED(int, clock_gettime, (clockid_t c, struct timespec *t), (c, t), n_clocks);
COUNTED(int, pthread_mutex_lock, (pthread_mutex_t * m), (m), n_locks);
COUNTED(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), n_writes);

/* ---- a target for a file, like loop */

static struct ub_file file = {.fd = -1, .slot = 1};

static inline void plain_submit(struct ub_io *io)
{
	switch (io->op) {
	case UB_READ:
		return ub_read(io, &file, io->off);
	case UB_WRITE:
		return ub_write(io, &file, io->off);
	case UB_FLUSH:
		return ub_fdatasync(io, &file);
	case UB_DISCARD:
		return ub_fallocate(io, &file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, -1,
				    io->off);
	case UB_WRITE_ZEROES:
		return ub_fallocate(
			io, &file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			io->flags & UB_NOUNMAP ? -1 : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			io->off);
	}
}

static const struct ub_target plain = {.name = "plain",
				       .submit = plain_submit,
				       .data = UB_DATA_FILES};

/* One that serves without looking at data. */
static inline void no_data_submit(struct ub_io *io)
{
	ub_io_done(io, io->op == UB_DISCARD ? -EOPNOTSUPP : 0);
}

static const struct ub_target no_data = {.name = "no-data",
					 .submit = no_data_submit,
					 .data = UB_DATA_NONE};

/* ---- the bed */

/* How data move, and which tags are the queue's. */
struct bed_path {
	const char *name;
	enum data_copy copy;
	bool batch;
	unsigned int first_tag, tag_step;
};

static const struct bed_path paths[] = {
	{.name = "driver", .copy = DATA_COPY_DRIVER},
	{.name = "driver+batch", .copy = DATA_COPY_DRIVER, .batch = true},
	{.name = "get-data", .copy = DATA_COPY_GET_DATA},
	{.name = "user", .copy = DATA_COPY_USER},
	{.name = "zero", .copy = DATA_COPY_ZERO},
	{.name = "zero-auto", .copy = DATA_COPY_ZERO_AUTO},
	{.name = "zero-auto+batch", .copy = DATA_COPY_ZERO_AUTO, .batch = true},
	{.name = "driver, odd tags", .copy = DATA_COPY_DRIVER, .first_tag = 1, .tag_step = 2},
	{.name = "user, odd tags", .copy = DATA_COPY_USER, .first_tag = 1, .tag_step = 2},
	{.name = "zero, odd tags", .copy = DATA_COPY_ZERO, .first_tag = 1, .tag_step = 2},
	{.name = "zero-auto, odd tags", .copy = DATA_COPY_ZERO_AUTO, .first_tag = 1, .tag_step = 2},
};

static const struct bed_path none_paths[] = {
	{.name = "none", .copy = DATA_COPY_NONE},
	{.name = "none+batch", .copy = DATA_COPY_NONE, .batch = true},
	{.name = "none, odd tags", .copy = DATA_COPY_NONE, .first_tag = 1, .tag_step = 2},
};

enum { N_PATHS = sizeof(paths) / sizeof(paths[0]), N_NONE_PATHS = 3 };

static struct fake_ublk *ublk;
static struct queue *queue;
static int armed;
static unsigned int n_armed, n_fell_back, n_sync_failed;
static _Atomic int sync_error;

/* What clients share with the queue of the next begin_on(). */
static struct shared_pool pools[QUEUE_POOLS_MAX];

static struct fake_request requests[REQUESTS_MAX];
static uint8_t data[REQUESTS_MAX][MAX_IO];
static unsigned int n_requests, n_sent;

static inline void on_armed(void *arg, int res)
{
	armed = res;
	n_armed++;
	serving = true;
}

static inline void on_fell_back(void *arg)
{
	n_fell_back++;
}

static inline void on_sync_failed(void *arg)
{
	n_sync_failed++;
}

static inline struct fake_request *ask(uint32_t op_flags, uint64_t sector, uint32_t n)
{
	struct fake_request *r = &requests[n_requests];

	*r = (struct fake_request){
		.op_flags = op_flags, .sector = sector, .n_sectors = n, .data = data[n_requests]};
	n_requests++;
	return r;
}

static inline bool all_done(void)
{
	for (unsigned int i = 0; i < n_requests; i++)
		if (!requests[i].done)
			return false;
	return true;
}

/* Send what fits, end what is held, end the device. */
static inline bool run_all(void)
{
	struct fake_op *held;

	if (n_sent < n_requests && fake_send_any(ublk, 0, &requests[n_sent])) {
		n_sent++;
		return true;
	}
	held = fake_held(0);
	if (held) {
		fake_finish(held, FAKE_DO);
		return true;
	}
	if (all_done() && !ublk->ended) {
		fake_end(ublk);
		return true;
	}
	return false;
}

static inline void end(void)
{
	int fd = queue ? queue->config.char_fd : -1;

	serving = false;
	/* A check that failed in a hook left the fake behind like this. */
	while (fake_inside)
		fake_unlock();
	queue = queue_free(queue);
	if (fd >= 0)
		(void) close(fd);
	ublk = fake_ublk_free(ublk);
	fake_reset();
	n_requests = n_sent = n_armed = n_fell_back = n_sync_failed = 0;
	sync_error = 0;
	n_allocations = n_clocks = n_locks = n_writes = 0;
	armed = 1;
}

static inline struct data_path path_of(const struct bed_path *p, const struct ub_target *t)
{
	struct data_path_wish w = {.features = UINT64_MAX,
				   .kernel = 7 << 8 | 2,
				   .needs = t->data,
				   .copy = p->copy,
				   .batch = p->batch ? DATA_BATCH_YES : DATA_BATCH_NO,
				   .threads_per_queue = p->tag_step ? p->tag_step : 1};
	struct data_path path;
	struct failure f = {0};

	if (data_path_choose(&w, &path, &f) < 0)
		fake_broken("no path '%s': %s", p->name, f.text);
	return path;
}

static inline void begin_on(const struct bed_path *p, const struct ub_target *t, unsigned int depth)
{
	struct queue_config c = {.depth = depth,
				 .first_tag = p->first_tag,
				 .tag_step = p->tag_step ? p->tag_step : 1,
				 .max_io_bytes = MAX_IO,
				 .path = path_of(p, t),
				 .pools = pools,
				 .files = &file.fd,
				 .n_files = 1,
				 .target = t,
				 .sync_error = &sync_error,
				 .armed = on_armed,
				 .fell_back = on_fell_back,
				 .sync_failed = on_sync_failed};

	end();
	if (file.fd < 0) {
		file.fd = memfd_create("backing", MFD_CLOEXEC);
		CHECK_EQ(ftruncate(file.fd, FILE_BYTES), 0);
	}
	ublk = fake_ublk_new(1, depth, MAX_IO);
	ublk->flags = c.path.flags;
	c.char_fd = fake_ublk_open(ublk);
	CHECK_EQ(queue_new(&c, &queue), 0);
	fake.idle = run_all;
}

static inline void begin_with(const struct ub_target *t, unsigned int depth)
{
	begin_on(&paths[0], t, depth);
}

static inline int run_queue(void)
{
	int r = queue_run(queue);

	serving = false;
	return r;
}

/* It served @n requests, each once and with nothing but operations. */
static inline void check_served(unsigned int n)
{
	CHECK_EQ(armed, 0);
	CHECK_EQ(n_armed, 1);
	CHECK_EQ(n_allocations, 0);
	CHECK(n_clocks <= fake.n_turns); /* the time of a turn */
	CHECK_EQ(n_locks, 0);
	CHECK_EQ(n_writes, 0);
	CHECK_EQ(ublk->deliveries, ublk->commits);
	CHECK_EQ(ublk->deliveries, n);
	CHECK_EQ(queue->counters.arrived, n);
	CHECK_EQ(queue->counters.done, n);
	CHECK_EQ(queue->n_in_flight, 0);
	CHECK_EQ(fake.dropped, 0);
}

static inline void run(void)
{
	CHECK_EQ(run_queue(), 0);
	check_served(n_requests);
	CHECK_EQ(ublk->aborts, queue->config.n_tags);
	for (unsigned int i = 0; i < n_requests; i++)
		CHECK_EQ(requests[i].commits, 1);
}

static inline void put_file(uint64_t off, int c, size_t len)
{
	static uint8_t buf[FILE_BYTES];

	memset(buf, c, len);
	CHECK_EQ(pwrite(file.fd, buf, len, (off_t) off), len);
}

static inline bool all_are(const uint8_t *p, int c, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != c)
			return false;
	return true;
}

static inline bool file_is(uint64_t off, int c, size_t len)
{
	static uint8_t buf[FILE_BYTES];

	return pread(file.fd, buf, len, (off_t) off) == (ssize_t) len && all_are(buf, c, len);
}

/* ---- scripts */

static int script[16]; /* one number per operation; DO: perform */
static unsigned int n_script, script_at;
enum { DO = 1 << 30, MOST = 1 << 29, HOLD = 1 << 28 };

static inline enum fake_verdict on_script(struct fake_op *op)
{
	int s = script_at < n_script ? script[script_at] : DO;

	script_at++;
	if (s & DO && s >= 0)
		return FAKE_DO;
	if (s & HOLD && s >= 0)
		return FAKE_HOLD;
	if (s & MOST && s >= 0) {
		op->most = (uint32_t) (s & ~MOST);
		return FAKE_DO;
	}
	op->res = s;
	return FAKE_ANSWER;
}

#define SCRIPT_FOR(hook, ...)                                                                      \
	do {                                                                                       \
		static const int _s[] = {__VA_ARGS__};                                             \
		memcpy(script, _s, sizeof(_s));                                                    \
		n_script = sizeof(_s) / sizeof(_s[0]);                                             \
		script_at = 0;                                                                     \
		fake.hook = on_script;                                                             \
	} while (0)
#define SCRIPT(...) SCRIPT_FOR(on_op, __VA_ARGS__)
#define COPY_SCRIPT(...) SCRIPT_FOR(on_copy, __VA_ARGS__)

/* One step whenever the queue would sleep. */
static bool (*const *steps)(void);

static inline bool next_step(void)
{
	return *steps && (*steps++)();
}

#define STEPS(...)                                                                                 \
	do {                                                                                       \
		static bool (*const _todo[])(void) = {__VA_ARGS__, NULL};                          \
		steps = _todo;                                                                     \
		fake.idle = next_step;                                                             \
	} while (0)

static inline enum fake_verdict hold(struct fake_op *op)
{
	return FAKE_HOLD;
}

static inline bool step_send_0(void)
{
	fake_send(ublk, 0, queue->config.first_tag, &requests[0]);
	return true;
}

static inline bool step_quit(void)
{
	queue_quit(queue);
	return true;
}

static inline bool step_end_device(void)
{
	fake_end(ublk);
	return true;
}

static inline bool step_release_one(void)
{
	CHECK_EQ(fake_n_held(), 1);
	fake_finish(fake_held(0), FAKE_DO);
	return true;
}
