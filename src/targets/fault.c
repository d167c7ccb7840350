/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault - a disk that fails on purpose: slow, erroneous, stuck, cut off from power or killed with
 * its server, as it is told, while it runs, and the same again from the same seed. Its data are in
 * memory, or in a regular file.
 *
 * Order: none among requests; FLUSH makes everything completed before it durable.
 * Errors: those that were asked for, and those of the file.
 * Discard and write-zeroes: zeroes in memory, holes in a file.
 *
 * A request: what becomes of it is decided when it arrives; it waits, as long as it is told or is
 * stuck; then it fails or is served. All waiting is timeouts of the ring, in steps short enough for
 * a queue to end in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <ublkd/target.h>

#include "targets/fault-bad.h"
#include "targets/fault-cache.h"
#include "targets/fault-laws.h"

/* ---- options */

enum power { POWER_ON, POWER_CUT_ALL, POWER_CUT_SOME, POWER_CUT_TORN };

static const char *const power_values[] = {"no", "all", "some", "torn", NULL};

/* In the order of enum fault_law. */
static const char *const law_values[] = {"fixed", "uniform", "normal", "long-tail", NULL};

/* Everything, or one of enum ub_op, in its order. */
static const char *const op_values[] = {"all",	   "read",	   "write", "flush",
					"discard", "write-zeroes", NULL};

/* Those that the kernel tells apart. */
static const char *const error_values[] = {"EIO",    "ENOSPC",	"ETIMEDOUT", "ENODATA",
					   "EILSEQ", "ENOLINK", NULL};
static const int error_numbers[] = {EIO, ENOSPC, ETIMEDOUT, ENODATA, EILSEQ, ENOLINK};

enum die {
	DIE_NO,
	DIE_SUBMIT,
	DIE_BEFORE_WRITE,
	DIE_IN_WRITE,
	DIE_AFTER_WRITE,
	DIE_BEFORE_FLUSH,
	DIE_AFTER_FLUSH,
};

static const char *const die_values[] = {"no",		"submit",	"before-write", "in-write",
					 "after-write", "before-flush", "after-flush",	NULL};

struct settings {
	uint64_t latency, spread; /* us */
	uint64_t bandwidth; /* bytes per second; 0: no limit */
	uint64_t error_at, error_length, bad_at, bad_length; /* bytes */
	uint32_t seed;
	uint32_t error_nth, error_every, errors_per_million, bad_per_million, die_after;
	int law, latency_of, error, error_of, stuck_of, power, die;
	bool stuck;
};

/* What counts since the last update. Never changed but for the counts; those that were before stay
 * until close(), since a request keeps to the one that it arrived under. */
struct laws {
	struct laws *before;
	struct settings s;
	_Atomic uint64_t n_latency, n_error, n_die; /* requests that each of them concerned */
	_Atomic uint64_t line_free_at;
};

struct fault {
	/* options */
	char *path;
	bool is_volatile;
	struct settings settings; /* as configured */
	/* after open */
	struct ub_file *file; /* NULL: memory */
	bool holes; /* the file can have some */
	struct fault_cache memory;
	struct fault_bad bad;
	struct laws *_Atomic laws; /* those in force */
	_Atomic uint32_t n_cuts; /* of the power */
};

#define RANGE_MAX (UINT64_C(1) << 60)
#define MILLION 1000000
#define YEAR_USEC (UINT64_C(31536000) * MILLION)

#define ROW(TYPE, f, k, ...) UB_OPT_##TYPE(struct fault, settings.f, k, .live = true, __VA_ARGS__)

static const struct ub_opt fault_options[] = {
	UB_OPT_PATH(struct fault, path, "File",
		    .help = "a regular file for the data; unset: memory of Size="),
	UB_OPT_BOOL(struct fault, is_volatile, "VolatileCache", .dflt = "no",
		    .help = "memory only: what is not flushed can be lost by PowerCut="),
	ROW(UINT, seed, "Seed", .dflt = "1", .help = "of all that happens by chance"),
	ROW(USEC, latency, "Latency", .max = YEAR_USEC, .dflt = "0",
	    .help = "how long requests take"),
	ROW(ENUM, law, "LatencyLaw", .values = law_values, .dflt = "fixed",
	    .help = "how Latency= is meant: always, or in the middle, or at least"),
	ROW(USEC, spread, "LatencySpread", .max = YEAR_USEC, .dflt = "0",
	    .help = "uniform: so much more or less; normal: the standard deviation"),
	ROW(ENUM, latency_of, "LatencyOf", .values = op_values, .dflt = "all",
	    .help = "which requests take so long"),
	ROW(BYTES, bandwidth, "Bandwidth", .help = "bytes per second; unset: no limit"),
	ROW(ENUM, error, "Error", .values = error_values, .dflt = "EIO",
	    .help = "what requests fail with"),
	ROW(ENUM, error_of, "ErrorOf", .values = op_values, .dflt = "all",
	    .help = "which requests may fail"),
	ROW(BYTES, error_at, "ErrorAt", .max = RANGE_MAX, .dflt = "0",
	    .help = "where the range of ErrorLength= begins"),
	ROW(BYTES, error_length, "ErrorLength", .max = RANGE_MAX,
	    .help = "only requests that touch this range fail; unset: anywhere"),
	ROW(UINT, errors_per_million, "ErrorsPerMillion", .max = MILLION, .dflt = "0",
	    .help = "so many of these requests fail, by chance"),
	ROW(UINT, error_nth, "ErrorNth", .dflt = "0", .help = "the n-th of them fails; 0: none"),
	ROW(UINT, error_every, "ErrorEvery", .dflt = "0",
	    .help = "every n-th of them fails; 0: none"),
	ROW(BYTES, bad_at, "BadAt", .max = RANGE_MAX, .dflt = "0",
	    .help = "where the range of BadLength= begins"),
	ROW(BYTES, bad_length, "BadLength", .max = RANGE_MAX,
	    .help = "blocks of this range cannot be read until they are written"),
	ROW(UINT, bad_per_million, "BadPerMillion", .max = MILLION, .dflt = "0",
	    .help = "so many blocks of the disk are bad like that, by chance"),
	ROW(BOOL, stuck, "Stuck", .dflt = "no", .help = "hold requests, until it is no again"),
	ROW(ENUM, stuck_of, "StuckOf", .values = op_values, .dflt = "all",
	    .help = "which requests Stuck= holds"),
	ROW(ENUM, power, "PowerCut", .values = power_values, .dflt = "no",
	    .help = "all fails, until it is no again; what then is left of unflushed writes"),
	ROW(ENUM, die, "Die", .values = die_values, .dflt = "no",
	    .help = "where the server kills itself"),
	ROW(UINT, die_after, "DieAfter", .min = 1, .max = UINT32_MAX, .dflt = "1",
	    .help = "at which of the requests that get there"),
	{0},
};

/* ---- laws */

static struct laws *laws_of(struct fault *f)
{
	return atomic_load_explicit(&f->laws, memory_order_acquire);
}

static uint64_t next(_Atomic uint64_t *count)
{
	return atomic_fetch_add_explicit(count, 1, memory_order_relaxed) + 1;
}

static int check_settings(struct ub_dev *dev, const struct settings *s)
{
	if (s->law != FAULT_UNIFORM || s->spread <= s->latency)
		return 0;
	return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
			   "LatencySpread= must not be greater than Latency= with "
			   "LatencyLaw=uniform: nothing takes less than no time");
}

static struct laws *laws_new(const struct settings *s)
{
	struct laws *l = calloc(1, sizeof(*l));

	if (l)
		l->s = *s;
	return l;
}

static void laws_enter_into_force(struct fault *f, struct laws *l)
{
	l->before = laws_of(f);
	atomic_store_explicit(&f->laws, l, memory_order_release);
}

static struct fault_bad_law bad_law(const struct settings *s)
{
	return (struct fault_bad_law){.at = s->bad_at,
				      .length = s->bad_length,
				      .per_million = s->bad_per_million,
				      .seed = s->seed};
}

static bool same_bad(const struct settings *a, const struct settings *b)
{
	return a->bad_at == b->bad_at && a->bad_length == b->bad_length &&
	       a->bad_per_million == b->bad_per_million && a->seed == b->seed;
}

static bool concerns(int which, const struct ub_io *io)
{
	return which == 0 || which - 1 == (int) io->op;
}

/* ---- opening */

static int open_file(struct ub_dev *dev, struct fault *f, int *ret_fd, struct stat *ret)
{
	bool ro = ub_dev_limits(dev)->read_only;
	int fd = open(f->path, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot open '%s': %s", f->path,
				   strerror(errno));
	*ret_fd = fd;
	if (fstat(fd, ret) < 0 || !S_ISREG(ret->st_mode))
		return ub_dev_fail(dev, UB_E_BACKING, EINVAL,
				   "'%s' is no regular file: give File= one, or leave it out for "
				   "memory",
				   f->path);
	return 0;
}

static int size_of_file(struct ub_dev *dev, const struct fault *f, const struct stat *st)
{
	struct ub_limits *l = ub_dev_limits(dev);
	uint64_t bytes = (uint64_t) st->st_size;

	if (!l->size)
		l->size = bytes - bytes % l->logical_block_size;
	if (l->size && l->size <= bytes)
		return 0;
	return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
			   "'%s' has %" PRIu64
			   " bytes, less than the device: make it larger with 'truncate -s SIZE'",
			   f->path, bytes);
}

static int use_file(struct ub_dev *dev, struct fault *f, int fd, const struct stat *st)
{
	struct ub_limits *l = ub_dev_limits(dev);
	off_t end = (off_t) (((uint64_t) st->st_size | 4095) + 1);
	int r = size_of_file(dev, f, st);

	if (r == 0)
		r = ub_dev_claim(dev, fd, f->path, 0, l->size, !l->read_only);
	if (r < 0)
		return r;
	if (f->is_volatile)
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "VolatileCache=yes is for memory: leave File= out, or set it to "
				   "no");
	/* A hole behind the end changes nothing, and tells whether there can be holes. */
	f->holes = !l->read_only &&
		   fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0;
	l->volatile_cache = !l->read_only;
	return 0;
}

static int open_backing(struct ub_dev *dev, struct fault *f)
{
	struct stat st = {0};
	int fd = -1;
	int r = open_file(dev, f, &fd, &st);

	if (r == 0)
		r = use_file(dev, f, fd, &st);
	if (r < 0) {
		if (fd >= 0)
			(void) close(fd);
		return r;
	}
	f->file = ub_dev_file(dev, fd);
	return f->file ? 0 : ub_dev_fail(dev, UB_E_BACKING, ENOMEM, "out of memory");
}

static int open_memory(struct ub_dev *dev, struct fault *f)
{
	struct ub_limits *l = ub_dev_limits(dev);

	if (!l->size)
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "Size= must be set: there is no file that has one");
	if (fault_cache_init(&f->memory, l->size, f->is_volatile) < 0)
		return ub_dev_fail(
			dev, UB_E_BACKING, ENOMEM,
			"there is no memory for %" PRIu64 " bytes: set a smaller Size=", l->size);
	f->holes = !l->read_only;
	l->volatile_cache = f->is_volatile && !l->read_only;
	return 0;
}

/* What is not fixed by the administrator, and large enough not to be in the way. */
static void fill_limits(struct ub_limits *l, const struct fault *f)
{
	uint64_t most = f->holes ? UINT64_C(32) << 20 : 0;

	if (!l->physical_block_size)
		l->physical_block_size = l->logical_block_size;
	if (!l->max_discard_bytes || !most)
		l->max_discard_bytes = most;
	if (!l->max_write_zeroes_bytes || !most)
		l->max_write_zeroes_bytes = most;
	if (most && !l->discard_granularity)
		l->discard_granularity = l->physical_block_size;
	l->fua = !l->read_only;
}

static int fault_open(struct ub_dev *dev, void *state)
{
	struct ub_limits *l = ub_dev_limits(dev);
	struct fault *f = state;
	struct laws *laws;
	int r = check_settings(dev, &f->settings);

	if (r < 0)
		return r;
	if (!l->logical_block_size)
		l->logical_block_size = 512;
	r = f->path ? open_backing(dev, f) : open_memory(dev, f);
	if (r < 0)
		return r;
	fill_limits(l, f);
	laws = laws_new(&f->settings);
	if (!laws || fault_bad_init(&f->bad, l->size, l->logical_block_size) < 0) {
		free(laws);
		return ub_dev_fail(dev, UB_E_BACKING, ENOMEM, "out of memory");
	}
	laws_enter_into_force(f, laws);
	return 0;
}

static void fault_close(struct ub_dev *dev, void *state)
{
	struct fault *f = state;

	for (struct laws *l = laws_of(f), *before; l; l = before) {
		before = l->before;
		free(l);
	}
	fault_bad_done(&f->bad);
	fault_cache_done(&f->memory);
}

/* ---- changes while it runs */

/* The power comes back: only now is seen what the cut has left, and nobody is looking yet. That is
 * decided here, on the main thread: it takes as long as copying what was not flushed. */
static int power_on(struct ub_dev *dev, struct fault *f, const struct settings *before)
{
	enum fault_cut how = (enum fault_cut)(before->power - POWER_CUT_ALL);

	if (f->file || fault_cache_cut(&f->memory, how, before->seed) == 0)
		return 0;
	return ub_dev_fail(dev, UB_E_IN_USE, EBUSY,
			   "a request from before the power cut is still at work: set PowerCut=no "
			   "again");
}

static int fault_update(struct ub_dev *dev, void *state, const void *options)
{
	const struct settings *now = &((const struct fault *) options)->settings;
	struct fault *f = state;
	const struct settings *before = &laws_of(f)->s;
	int r = check_settings(dev, now);
	struct laws *laws;

	if (r < 0)
		return r;
	laws = laws_new(now);
	if (!laws)
		return ub_dev_fail(dev, UB_E_BACKING, ENOMEM, "out of memory");
	if (before->power != POWER_ON && now->power == POWER_ON) {
		r = power_on(dev, f, before);
		if (r < 0) {
			free(laws);
			return r;
		}
	}
	if (!same_bad(before, now))
		fault_bad_renew(&f->bad);
	laws_enter_into_force(f, laws);
	/* After it: who comes in between counts as cut. */
	if (before->power == POWER_ON && now->power != POWER_ON)
		(void) atomic_fetch_add(&f->n_cuts, 1);
	return 0;
}

/* ---- a request */

#define STEP_USEC 100000 /* no wait is longer, so that a queue that was told to end does */
#define GATE_USEC 100 /* until the memory is asked for again */

struct request {
	struct laws *laws; /* that it arrived under */
	uint64_t wait_usec; /* still to go */
	uint64_t moved; /* bytes from or to the file */
	uint32_t n_cuts; /* of the power when it arrived */
	int error; /* that it ends with; 0: none */
	enum die die; /* where the server dies of it */
	struct __kernel_timespec pause;
};

static enum die die_at(const struct laws *l, const struct ub_io *io)
{
	static const enum ub_op ops[] = {
		[DIE_BEFORE_WRITE] = UB_WRITE, [DIE_IN_WRITE] = UB_WRITE,
		[DIE_AFTER_WRITE] = UB_WRITE,  [DIE_BEFORE_FLUSH] = UB_FLUSH,
		[DIE_AFTER_FLUSH] = UB_FLUSH,
	};

	return l->s.die == DIE_SUBMIT || ops[l->s.die] == io->op ? (enum die) l->s.die : DIE_NO;
}

static void die(void)
{
	(void) raise(SIGKILL);
}

static enum die choose_death(struct laws *l, const struct ub_io *io)
{
	enum die die = l->s.die == DIE_NO ? DIE_NO : die_at(l, io);

	return die != DIE_NO && next(&l->n_die) == l->s.die_after ? die : DIE_NO;
}

static bool touches(const struct ub_io *io, uint64_t at, uint64_t length)
{
	return io->off < at + length && io->off + io->len > at;
}

static bool is_to_fail(struct laws *l, const struct ub_io *io)
{
	const struct settings *s = &l->s;
	uint64_t n;

	if (!concerns(s->error_of, io))
		return false;
	if (s->error_length && !touches(io, s->error_at, s->error_length))
		return false;
	if (!s->error_nth && !s->error_every && !s->errors_per_million)
		return s->error_length > 0;
	n = next(&l->n_error);
	return n == s->error_nth || (s->error_every && n % s->error_every == 0) ||
	       fault_happens(s->errors_per_million, fault_random(s->seed, FAULT_DRAW_ERROR, n));
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static uint64_t choose_wait(struct laws *l, const struct ub_io *io)
{
	const struct settings *s = &l->s;
	uint64_t usec = 0;

	if (s->latency && concerns(s->latency_of, io))
		usec = fault_latency((enum fault_law) s->law, s->latency, s->spread, s->seed,
				     next(&l->n_latency));
	if (s->bandwidth && (io->op == UB_READ || io->op == UB_WRITE))
		usec += fault_transfer(&l->line_free_at, now_ns(), io->len, s->bandwidth) / 1000;
	return usec;
}

/* ---- serving it: memory at once, a file by an operation; each Return: 0 (done, or something is
 * under way), or -errno */

static int fault_go(struct ub_io *io);

static int fault_woken(struct ub_io *io, int res)
{
	if (res == -ETIME || res == 0)
		return fault_go(io);
	return res < 0 ? res : -EIO;
}

static int pause_for(struct ub_io *io, uint64_t usec)
{
	struct io_uring_sqe *sqe = ub_sqe(io, fault_woken);
	struct request *r = ub_io_priv(io);

	if (!sqe)
		return 0; /* it has failed */
	r->pause.tv_sec = 0;
	r->pause.tv_nsec = (long long) usec * 1000;
	sqe->opcode = IORING_OP_TIMEOUT;
	sqe->fd = -1;
	sqe->addr = (uintptr_t) &r->pause;
	sqe->len = 1;
	return 0;
}

static int fault_served(struct ub_io *io)
{
	struct request *r = ub_io_priv(io);
	struct fault *f = ub_io_state(io);
	struct fault_bad_law bad = bad_law(&r->laws->s);

	if (io->op == UB_WRITE || io->op == UB_WRITE_ZEROES)
		fault_bad_heal(&f->bad, &bad, io->off, io->len);
	if (r->die != DIE_NO)
		die(); /* in the write, or behind what it did */
	return 0;
}

static int memory_serve(struct ub_io *io)
{
	struct fault_cache *c = &((struct fault *) ub_io_state(io))->memory;

	switch (io->op) {
	case UB_READ:
		return fault_cache_read(c, io->off, ub_io_buf(io), io->len);
	case UB_WRITE:
		return fault_cache_write(c, io->off, ub_io_buf(io), io->len, io->flags & UB_FUA);
	case UB_FLUSH:
		return fault_cache_flush(c);
	case UB_DISCARD:
	case UB_WRITE_ZEROES:
		return fault_cache_write(c, io->off, NULL, io->len, io->flags & UB_FUA);
	}
	return -EOPNOTSUPP;
}

static int memory_go(struct ub_io *io)
{
	int r = memory_serve(io);

	if (r == -EAGAIN)
		return pause_for(io, GATE_USEC);
	return r < 0 ? r : fault_served(io);
}

/* How far a write gets: all of it, or half if the server dies in it. */
static uint64_t reach(const struct ub_io *io, const struct request *r)
{
	return r->die == DIE_IN_WRITE ? io->len / 2 / FAULT_SECTOR * FAULT_SECTOR : io->len;
}

static int file_go(struct ub_io *io);

static int file_done(struct ub_io *io, int res)
{
	struct request *r = ub_io_priv(io);

	if (res == -EINTR || res == -EAGAIN)
		return pause_for(io, GATE_USEC);
	if (res < 0 && (io->op == UB_FLUSH || io->flags & UB_FUA))
		ub_sync_failed(io, res);
	if (res < 0)
		return res;
	if (io->op != UB_READ && io->op != UB_WRITE)
		return fault_served(io);
	r->moved += (uint64_t) res;
	if (res == 0)
		return -EIO; /* the file is shorter now */
	return r->moved < reach(io, r) ? file_go(io) : fault_served(io);
}

static void file_prep(struct ub_io *io, const struct request *r, struct io_uring_sqe *sqe)
{
	switch (io->op) {
	case UB_READ:
	case UB_WRITE:
		sqe->opcode = io->op == UB_READ ? IORING_OP_READ : IORING_OP_WRITE;
		sqe->addr = (uintptr_t) ub_io_buf(io) + r->moved;
		sqe->len = (uint32_t) (reach(io, r) - r->moved);
		sqe->off = io->off + r->moved;
		sqe->rw_flags = io->flags & UB_FUA ? RWF_DSYNC : 0;
		break;
	case UB_FLUSH:
		sqe->opcode = IORING_OP_FSYNC;
		sqe->fsync_flags = IORING_FSYNC_DATASYNC;
		break;
	case UB_DISCARD:
	case UB_WRITE_ZEROES:
		sqe->opcode = IORING_OP_FALLOCATE;
		sqe->len = FALLOC_FL_KEEP_SIZE |
			   (io->flags & UB_NOUNMAP ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
		sqe->off = io->off;
		sqe->addr = io->len;
		break;
	}
}

static int file_go(struct ub_io *io)
{
	struct fault *f = ub_io_state(io);
	struct request *r = ub_io_priv(io);
	struct io_uring_sqe *sqe = ub_sqe(io, file_done);

	if (!sqe)
		return 0; /* it has failed */
	file_prep(io, r, sqe);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = (int) ub_file_slot(f->file);
	return 0;
}

/* ---- on its way there */

static int refuse(struct ub_io *io, struct fault *f, const struct laws *now)
{
	const struct request *r = ub_io_priv(io);
	struct fault_bad_law bad = bad_law(&r->laws->s);

	if (now->s.power != POWER_ON ||
	    r->n_cuts != atomic_load_explicit(&f->n_cuts, memory_order_acquire))
		return -EIO;
	if (io->op == UB_READ && fault_bad_hits(&f->bad, &bad, io->off, io->len))
		return -ENODATA;
	return 0;
}

/* In memory, or of a single sector, no half of a write would be left to be seen. */
static bool dies_before(const struct fault *f, const struct ub_io *io, const struct request *r)
{
	return r->die == DIE_BEFORE_WRITE || r->die == DIE_BEFORE_FLUSH ||
	       (r->die == DIE_IN_WRITE && (!f->file || reach(io, r) == 0));
}

/* After its arrival, and whenever it wakes up. */
static int fault_go(struct ub_io *io)
{
	struct fault *f = ub_io_state(io);
	struct request *r = ub_io_priv(io);
	const struct laws *now = laws_of(f);
	uint64_t step = r->wait_usec < STEP_USEC ? r->wait_usec : STEP_USEC;
	int error;

	if (now->s.stuck && concerns(now->s.stuck_of, io))
		return pause_for(io, STEP_USEC);
	if (step) {
		r->wait_usec -= step;
		return pause_for(io, step);
	}
	error = r->error ? r->error : refuse(io, f, now);
	if (error)
		return error;
	if (dies_before(f, io, r))
		die();
	return f->file ? file_go(io) : memory_go(io);
}

static void fault_submit(struct ub_io *io)
{
	struct fault *f = ub_io_state(io);
	struct request *r = ub_io_priv(io);
	/* Before the laws, which a cut changes first. */
	uint32_t n_cuts = atomic_load_explicit(&f->n_cuts, memory_order_acquire);
	struct laws *l = laws_of(f);

	r->laws = l;
	r->n_cuts = n_cuts;
	r->die = choose_death(l, io);
	if (r->die == DIE_SUBMIT)
		die();
	r->wait_usec = choose_wait(l, io);
	if (l->s.power != POWER_ON)
		r->error = -EIO;
	else if (is_to_fail(l, io))
		r->error = -error_numbers[l->s.error];
	ub_io_done(io, fault_go(io));
}

/* ---- the target */

static const char *fault_backing(const void *state)
{
	return ((const struct fault *) state)->path;
}

static bool fault_forgets(const void *state)
{
	return !((const struct fault *) state)->path;
}

UB_TARGET(fault, .section = "Fault", .description = "a disk that fails on purpose, for tests",
	  .options = fault_options, .state_size = sizeof(struct fault),
	  .io_size = sizeof(struct request), .data = UB_DATA_MEMORY, .repeatable = true,
	  .open = fault_open, .close = fault_close, .submit = fault_submit, .update = fault_update,
	  .forgets = fault_forgets, .backing = fault_backing);
