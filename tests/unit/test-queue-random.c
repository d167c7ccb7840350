/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ublk/queue, exchange-*, buffer, target/io: random orders, errors, short transfers, partial
 * commits, failed registrations, trimmed buffers and aborts against a model of the bytes, on every
 * path.
 */
#include "queue-bed.h"

struct model {
	uint8_t bytes[FILE_BYTES];
	struct fake_request *busy[REGIONS]; /* one request per region at a time */
	int expected[REGIONS]; /* error that was injected, 0: none */
	uint8_t fill[REGIONS];
	unsigned int flush_errors, flush_errors_seen, n_fallbacks;
	bool lost; /* a sync failed: from its end on no other may succeed */
	bool too_late[REGIONS]; /* sent after that end */
	uint64_t seed;
	unsigned int left, regions;
	unsigned int abort_after; /* so many turns; 0: not at all */
	bool aborted, no_data;
	bool stale[REGIONS]; /* an operation went on when its request was over */
};

static struct model model;

static unsigned int rnd(unsigned int n)
{
	return fake_random(&model.seed) % n;
}

static enum fake_verdict random_verdict(struct fake_op *op)
{
	static const int errors[] = {-EIO, -ENOSPC, -EROFS};
	bool fsync = op->sqe.opcode == IORING_OP_FSYNC;
	bool sync = fsync || op->sqe.rw_flags & 2 /* RWF_DSYNC */;
	unsigned int region = fsync ? 0 : (unsigned int) (op->sqe.off / MAX_IO);
	unsigned int dice = rnd(100);

	if (dice < 30)
		return FAKE_HOLD;
	if (dice < 40) {
		op->res = rnd(2) ? -EAGAIN : -EINTR;
		return FAKE_ANSWER;
	}
	if (dice < 55)
		op->most = 1 + rnd(op->sqe.len ? op->sqe.len : 1);
	if (dice < 95)
		return FAKE_DO;
	op->res = errors[rnd(3)];
	model.lost |= sync;
	if (fsync)
		model.flush_errors++;
	else
		model.expected[region] = op->res;
	return FAKE_ANSWER;
}

/* Of the copies of user copy, by the tag that is in their offset. */
static enum fake_verdict random_copy(struct fake_op *op)
{
	unsigned int tag = (unsigned int) (op->sqe.off >> UBLK_TAG_OFF) & 0xff;
	struct fake_request *r = fake_tag_of(ublk, 0, tag - (1U << (31 - UBLK_TAG_OFF)))->request;
	unsigned int dice = rnd(100);

	if (!r || dice >= 15)
		return FAKE_DO;
	if (dice < 10)
		return FAKE_HOLD;
	if (dice < 12 && op->sqe.len > 1) {
		op->most = 1 + rnd(op->sqe.len - 1);
		model.expected[r - requests] = -EIO;
		return FAKE_DO;
	}
	op->res = model.expected[r - requests] = -EFAULT;
	return FAKE_ANSWER;
}

static int random_register(bool automatic)
{
	if (rnd(10))
		return 0;
	model.n_fallbacks++;
	return rnd(2) ? -ENOMEM : -EBUSY;
}

static int random_commit(unsigned int n)
{
	return rnd(3) ? (int) n : (int) (1 + rnd(n));
}

static void check_data(unsigned int region, const struct fake_request *r)
{
	uint64_t off = r->sector << 9;
	uint32_t op = r->op_flags & 0xff;
	size_t len = (size_t) r->n_sectors << 9;

	if (model.no_data) {
		CHECK(all_are(r->data, model.fill[region], len));
		return;
	}
	if (op == UBLK_IO_OP_READ && r->result > 0)
		CHECK_EQ(memcmp(r->data, model.bytes + off, len), 0);
	/* A write that failed has left anything in its range, but nothing elsewhere. */
	if (r->result < 0)
		CHECK_EQ(pread(file.fd, model.bytes + off, len, (off_t) off), len);
	else if (op == UBLK_IO_OP_WRITE)
		memset(model.bytes + off, model.fill[region], len);
	else if (op == UBLK_IO_OP_DISCARD || op == UBLK_IO_OP_WRITE_ZEROES)
		memset(model.bytes + off, 0, len);
}

static void check_request(unsigned int region, const struct fake_request *r)
{
	uint32_t op = r->op_flags & 0xff;
	size_t len = (size_t) r->n_sectors << 9;

	CHECK_EQ(r->commits, 1);
	CHECK_EQ(r->deliveries, 1);
	if (model.aborted && r->result == -EIO) {
		model.stale[region] = true;
		return;
	}
	if (model.too_late[region])
		CHECK_EQ(r->result, -EIO);
	if (op == UBLK_IO_OP_FLUSH) {
		model.flush_errors_seen += r->result != 0;
		return;
	}
	if (r->op_flags & UBLK_IO_F_FUA && model.lost && r->result == -EIO)
		return check_data(region, r);
	if (model.expected[region])
		CHECK_EQ(r->result, model.expected[region]);
	else if (op == UBLK_IO_OP_WRITE_ZEROES && r->op_flags & UBLK_IO_F_NOUNMAP && !model.no_data)
		CHECK_EQ(r->result, -EOPNOTSUPP);
	else if (op == UBLK_IO_OP_DISCARD && model.no_data)
		CHECK_EQ(r->result, -EOPNOTSUPP);
	else
		CHECK_EQ(r->result, op <= UBLK_IO_OP_WRITE ? (int) len : 0);
	check_data(region, r);
}

static void random_request(unsigned int region)
{
	static const uint32_t ops[] = {UBLK_IO_OP_READ,
				       UBLK_IO_OP_READ,
				       UBLK_IO_OP_WRITE,
				       UBLK_IO_OP_WRITE,
				       UBLK_IO_OP_WRITE | UBLK_IO_F_FUA,
				       UBLK_IO_OP_FLUSH,
				       UBLK_IO_OP_DISCARD,
				       UBLK_IO_OP_WRITE_ZEROES,
				       UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP};
	struct fake_request *r = &requests[region];
	/* A large one now and then, for the buffers to grow. */
	uint32_t n = rnd(8) ? 1 + rnd(8) : 33 + rnd(SECTORS - 33), at = rnd(SECTORS - n);

	*r = (struct fake_request){.op_flags = ops[rnd(9)], .data = data[region]};
	if (r->op_flags != UBLK_IO_OP_FLUSH) {
		r->sector = (uint64_t) region * SECTORS + at;
		r->n_sectors = n;
	}
	model.fill[region] = (uint8_t) rnd(256);
	memset(r->data, model.fill[region], (size_t) n << 9);
	model.expected[region] = 0;
	model.too_late[region] = sync_error &&
				 (r->op_flags == UBLK_IO_OP_FLUSH || r->op_flags & UBLK_IO_F_FUA);
	if (fake_send_any(ublk, 0, r)) {
		model.busy[region] = r;
		model.left--;
		n_requests++;
	}
}

static unsigned int check_done(void)
{
	unsigned int busy = 0;

	for (unsigned int i = 0; i < model.regions; i++)
		if (model.busy[i] && model.busy[i]->done) {
			check_request(i, model.busy[i]);
			model.busy[i] = NULL;
		} else {
			busy += model.busy[i] != NULL;
		}
	return busy;
}

static bool random_idle(void)
{
	unsigned int busy = check_done(), held = fake_n_held();

	if (model.abort_after && --model.abort_after == 0) {
		queue_abort(queue);
		model.aborted = true;
	}
	/* After an abort the device may go before the last operation. */
	if (!busy && !model.left && (!held || rnd(2)) && !ublk->ended) {
		fake_end(ublk);
		return true;
	}
	if (!busy && !model.left && !held)
		return false;
	if (rnd(12) == 0)
		fake_timeout();
	fake.polls_first = rnd(2);
	fake.tags_limit = rnd(3) ? 0 : 1 + rnd(2);
	if (held && (rnd(2) || !model.left)) {
		for (unsigned int n = rnd(4) ? 1 : 1 + rnd(held); n; n--)
			fake_finish(fake_held(rnd(fake_n_held())), FAKE_DO);
		return true;
	}
	for (unsigned int n = rnd(3) ? 1 : 1 + rnd(model.regions); n && model.left; n--) {
		unsigned int region = rnd(model.regions);

		if (!model.busy[region])
			random_request(region);
	}
	return true;
}

static void begin_random(const struct bed_path *p, const struct ub_target *t, unsigned int seed,
			 unsigned int n)
{
	/* With a command for many it takes more of them for all its buffers to be in use. */
	unsigned int depth = p->batch && seed % 4 == 0 ? 24 : 1 + seed % 6;

	begin_on(p, t, depth * (p->tag_step ? p->tag_step : 1));
	model.seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	model.left = depth > 6 ? 3 * n : n;
	model.regions = depth > 6 ? REGIONS : 8;
	model.flush_errors = model.flush_errors_seen = model.n_fallbacks = 0;
	model.lost = false;
	model.no_data = t->data == UB_DATA_NONE;
	model.aborted = false;
	model.abort_after = 0;
	memset(model.busy, 0, sizeof(model.busy));
	fake.on_op = random_verdict;
	fake.on_copy = random_copy;
	fake.on_register = random_register;
	fake.on_commit = random_commit;
	fake.idle = random_idle;
	fake.features = seed % 2 ? 1U << 17 : 0;
}

static void read_model(void)
{
	for (size_t i = 0; i < REGIONS; i++) {
		if (model.stale[i])
			CHECK_EQ(pread(file.fd, model.bytes + i * MAX_IO, MAX_IO,
				       (off_t) (i * MAX_IO)),
				 MAX_IO);
		model.stale[i] = false;
	}
}

static void read_all(void)
{
	memset(model.stale, true, sizeof(model.stale));
	read_model();
}

static void compare_all(void)
{
	static uint8_t now[FILE_BYTES];

	CHECK_EQ(pread(file.fd, now, FILE_BYTES, 0), FILE_BYTES);
	CHECK_EQ(memcmp(now, model.bytes, FILE_BYTES), 0);
}

static void run_random(const struct bed_path *p, const struct ub_target *t, unsigned int seeds)
{
	for (unsigned int seed = 0; seed < seeds; seed++) {
		unsigned int n;

		begin_random(p, t, seed, 20);
		n = model.left;
		if (seed == 0)
			read_all();
		if (run_queue() != 0 || n_requests != n || ublk->commits != n ||
		    model.flush_errors > model.flush_errors_seen ||
		    (model.flush_errors_seen && !model.lost) || n_sync_failed != model.lost ||
		    (sync_error != 0) != model.lost)
			TEST_FAIL("%s: seed %u: %u requests, %llu commits", p->name, seed,
				  n_requests, (unsigned long long) ublk->commits);
		check_served(n);
		CHECK_EQ(queue->counters.fallbacks, model.n_fallbacks);
		CHECK_EQ(n_fell_back, model.n_fallbacks > 0);
		if (seed % 100 == 99)
			compare_all();
	}
}

enum { SEEDS = 10000, ABORT_SEEDS = 1000 };

#define RANDOM(path, ...)                                                                          \
	static void random_##path(void)                                                            \
	{                                                                                          \
		static const struct bed_path p = {.name = #path, __VA_ARGS__};                     \
		run_random(&p, &plain, SEEDS);                                                     \
	}                                                                                          \
	struct swallow_semicolon

RANDOM(driver, .copy = DATA_COPY_DRIVER);
RANDOM(driver_batch, .copy = DATA_COPY_DRIVER, .batch = true);
RANDOM(get_data, .copy = DATA_COPY_GET_DATA);
RANDOM(user, .copy = DATA_COPY_USER);
RANDOM(zero, .copy = DATA_COPY_ZERO);
RANDOM(zero_auto, .copy = DATA_COPY_ZERO_AUTO);
RANDOM(zero_auto_batch, .copy = DATA_COPY_ZERO_AUTO, .batch = true);

static void random_second_thread(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++)
		if (paths[i].tag_step)
			run_random(&paths[i], &plain, SEEDS / 10);
}

static void random_no_data(void)
{
	for (unsigned int i = 0; i < N_NONE_PATHS; i++)
		run_random(&none_paths[i], &no_data, SEEDS / 10);
}

static void run_random_abort(const struct bed_path *p, const struct ub_target *t)
{
	for (unsigned int seed = 0; seed < ABORT_SEEDS; seed++) {
		unsigned int n;

		begin_random(p, t, seed, 20);
		n = model.left;
		model.abort_after = 1 + rnd(50);
		if (seed == 0)
			read_all();
		read_model();
		if (run_queue() != 0 || n_requests != n || ublk->commits != n)
			TEST_FAIL("%s: seed %u: %u requests, %llu commits", p->name, seed,
				  n_requests, (unsigned long long) ublk->commits);
		check_served(n);
	}
	read_model();
	compare_all();
}

static void random_aborts(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++)
		run_random_abort(&paths[i], &plain);
	for (unsigned int i = 0; i < N_NONE_PATHS; i++)
		run_random_abort(&none_paths[i], &no_data);
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(random_driver),
		CASE(random_driver_batch),
		CASE(random_get_data),
		CASE(random_user),
		CASE(random_zero),
		CASE(random_zero_auto),
		CASE(random_zero_auto_batch),
		CASE(random_second_thread),
		CASE(random_no_data),
		CASE(random_aborts),
	};
	int r = test_run(cases, sizeof(cases) / sizeof(cases[0]));

	end();
	if (file.fd >= 0)
		(void) close(file.fd);
	return r;
}
