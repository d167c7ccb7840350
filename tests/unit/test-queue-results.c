/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ublk/queue, target/io: whatever the kernel says to an operation, nothing is acknowledged that was
 * not done: every operation, every kind of result, once and for ever, on every path; and a sync
 * that failed is not made good by the next one.
 */
#include <limits.h>

#include "queue-bed.h"

/* ---- results */

/* What an operation of a request is told; MOVE | n: that so many bytes are moved. */
enum { MOVE = 1 << 30, ALL_BUT = 1 << 29, AT = 512, LEN = 4096 };

static const int results[] = {
	MOVE | 1,
	MOVE | 511,
	MOVE | 512,
	MOVE | ALL_BUT | 1,
	MOVE | ALL_BUT | 512,
	0,
	LEN + 1,
	2 * LEN,
	INT_MAX,
	-EINTR,
	-EAGAIN,
	-ECANCELED,
	-ENOBUFS,
	-EOPNOTSUPP,
	-EINVAL,
	-EIO,
	-ENOSPC,
	-EDQUOT,
	-EFBIG,
	-EROFS,
	-EBADF,
	-EFAULT,
	-ENOMEM,
	-EBUSY,
	-ENODEV,
	-ENXIO,
	-ENODATA,
	-EILSEQ,
	-ENOLINK,
	-ETIMEDOUT,
	-EINPROGRESS,
	-EALREADY,
	-ESTALE,
	-EPERM,
	-EACCES,
	-EWOULDBLOCK,
	-ETIME,
	-EPROTO,
	-EOVERFLOW,
	-ENOTCONN,
	-ERESTART,
	-512 /* ERESTARTSYS */,
	-529 /* EIOCBQUEUED */,
};

enum { N_RESULTS = sizeof(results) / sizeof(results[0]) };

static int told;
static bool for_ever;
static unsigned int n_told, n_synced;

static enum fake_verdict tell(struct fake_op *op)
{
	bool moves = op->sqe.opcode != IORING_OP_FSYNC && op->sqe.opcode != IORING_OP_FALLOCATE &&
		     op->sqe.opcode != IORING_OP_URING_CMD;
	uint32_t n = (uint32_t) (told & (ALL_BUT - 1));

	if (n_told++ && !for_ever) {
		n_synced += op->sqe.opcode == IORING_OP_FSYNC;
		return FAKE_DO;
	}
	if (told < 0 || !(told & MOVE) || !moves) {
		op->res = told;
		/* To these nothing is success. */
		n_synced += told == 0 && op->sqe.opcode == IORING_OP_FSYNC;
		return FAKE_ANSWER;
	}
	/* Of what is left at last: all of it. */
	if (told & ALL_BUT)
		n = op->sqe.len > n ? op->sqe.len - n : op->sqe.len;
	op->most = n < op->sqe.len ? n : op->sqe.len;
	return FAKE_DO;
}

static void blkdiscard_submit(struct ub_io *io)
{
	ub_blkdiscard(io, &file, io->off);
}

static const struct ub_target blkdiscard = {.name = "blkdiscard",
					    .submit = blkdiscard_submit,
					    .data = UB_DATA_FILES};

static const struct {
	uint32_t op;
	const struct ub_target *target;
} kinds[] = {
	{UBLK_IO_OP_READ, &plain},
	{UBLK_IO_OP_WRITE, &plain},
	{UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, &plain},
	{UBLK_IO_OP_FLUSH, &plain},
	{UBLK_IO_OP_DISCARD, &plain},
	{UBLK_IO_OP_DISCARD, &blkdiscard},
	{UBLK_IO_OP_WRITE_ZEROES, &plain},
	{UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP, &plain},
};

enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* Return: what was acknowledged was done, as far as it can be seen. */
static bool is_true(uint32_t op, const struct fake_request *r)
{
	switch (op & 0xff) {
	case UBLK_IO_OP_READ:
		return r->result == LEN && all_are(r->data, 'o', LEN);
	case UBLK_IO_OP_WRITE:
		return r->result == LEN && file_is(AT, 'w', LEN);
	case UBLK_IO_OP_FLUSH:
		return r->result == 0 && n_synced == 1;
	default:
		/* A plain answer of 0 is the kernel's word. */
		return r->result == 0 && (file_is(AT, 0, LEN) || told == 0);
	}
}

static void tell_once(const struct bed_path *p, unsigned int kind, int what)
{
	uint32_t op = kinds[kind].op;
	struct fake_request *r;

	begin_on(p, kinds[kind].target, p->tag_step ? 2 : 1);
	put_file(0, 'o', MAX_IO);
	told = what;
	n_told = n_synced = 0;
	fake.on_op = tell;
	r = op == UBLK_IO_OP_FLUSH ? ask(op, 0, 0) : ask(op, AT / 512, LEN / 512);
	memset(r->data, (op & 0xff) == UBLK_IO_OP_READ ? '-' : 'w', LEN);
	run();
	if (r->result >= 0 ? !is_true(op, r) : r->result < -4095)
		TEST_FAIL("%s: operation 0x%x, told %d%s: answered %d", p->name, op, what,
			  for_ever ? " for ever" : "", r->result);
	/* Those are done by the block layer; what must be done here is not "not supported". */
	if (r->result == -EOPNOTSUPP)
		CHECK((op & 0xff) == UBLK_IO_OP_DISCARD || (op & 0xff) == UBLK_IO_OP_WRITE_ZEROES);
	/* "Try again", to those who would never stop. */
	CHECK(r->result != -EAGAIN && r->result != -EBUSY && r->result != -ENOMEM);
	CHECK_EQ(queue->counters.errors, r->result < 0 && r->result != -EOPNOTSUPP);
}

static void tell_all(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++)
		for (unsigned int kind = 0; kind < N_KINDS; kind++)
			for (unsigned int j = 0; j < N_RESULTS; j++)
				tell_once(&paths[i], kind, results[j]);
}

static void nothing_is_acknowledged_that_was_not_done(void)
{
	for_ever = false;
	tell_all();
}

static void nor_if_it_is_always_so(void)
{
	for_ever = true;
	tell_all();
}

/* The same of the copies between the client's memory and ours. */
static void copies_are_told_the_same(void)
{
	static const struct bed_path user[] = {{.name = "user", .copy = DATA_COPY_USER}};

	for (int ever = 0; ever < 2; ever++)
		for (unsigned int kind = 0; kind < 3; kind++)
			for (unsigned int j = 0; j < N_RESULTS; j++) {
				struct fake_request *r;

				begin_on(user, &plain, 1);
				put_file(0, 'o', MAX_IO);
				for_ever = ever;
				told = results[j];
				n_told = 0;
				fake.on_copy = tell;
				r = ask(kinds[kind].op, AT / 512, LEN / 512);
				memset(r->data, kind ? 'w' : '-', LEN);
				run();
				if (r->result >= 0 && !is_true(kinds[kind].op, r))
					TEST_FAIL("operation 0x%x, copy told %d: answered %d",
						  kinds[kind].op, told, r->result);
			}
}

/* ---- a sync that failed */

static void begin_one_at_a_time(const struct bed_path *p)
{
	begin_on(p, &plain, p->tag_step ? 2 : 1);
}

static void a_failed_sync_is_not_forgotten(void)
{
	static const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EROFS};

	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_one_at_a_time(&paths[i]);
		script[0] = DO; /* the write */
		script[1] = errors[i % 4];
		n_script = 2;
		script_at = 0;
		fake.on_op = on_script;
		memset(data[0], 'w', MAX_IO);
		ask(UBLK_IO_OP_WRITE, 0, 8);
		ask(UBLK_IO_OP_FLUSH, 0, 0);
		ask(UBLK_IO_OP_FLUSH, 0, 0);
		ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 8);
		ask(UBLK_IO_OP_READ, 0, 8);
		ask(UBLK_IO_OP_WRITE, 8, 8);
		ask(UBLK_IO_OP_DISCARD, 8, 8);
		ask(UBLK_IO_OP_FLUSH, 0, 0);
		run();
		CHECK_EQ(requests[1].result, errors[i % 4] == -EDQUOT ? -ENOSPC : errors[i % 4]);
		CHECK_EQ(requests[2].result, -EIO);
		CHECK_EQ(requests[3].result, -EIO);
		CHECK_EQ(requests[4].result, 4096);
		CHECK(all_are(data[4], 'w', 4096));
		CHECK_EQ(requests[5].result, 4096);
		CHECK_EQ(requests[6].result, 0);
		CHECK_EQ(requests[7].result, -EIO);
		/* The backing is not even asked. */
		CHECK_EQ(fake.n_opcode[IORING_OP_FSYNC], 1);
		CHECK_EQ(n_sync_failed, 1);
		CHECK_EQ(sync_error, errors[i % 4]);
		CHECK_EQ(queue->counters.errors, 4);
	}
}

/* Another queue of the device saw it, or the server before this one. */
static void nor_is_one_of_another_queue(void)
{
	begin_on(&paths[0], &plain, DEPTH);
	sync_error = -ENOSPC;
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 8);
	ask(UBLK_IO_OP_WRITE, 8, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(requests[1].result, -EIO);
	CHECK_EQ(requests[2].result, 4096);
	CHECK_EQ(fake.n_ops, 1);
	CHECK_EQ(n_sync_failed, 0);
	CHECK_EQ(sync_error, -ENOSPC);
}

static bool step_send_both(void)
{
	fake_send(ublk, 0, 0, &requests[0]);
	fake_send(ublk, 0, 1, &requests[1]);
	return true;
}

static bool step_first_fails(void)
{
	struct fake_op *op = fake_held(0);

	CHECK_EQ(fake_n_held(), 2);
	op->res = -EIO;
	fake_finish(op, FAKE_ANSWER);
	return true;
}

/* Of two at once the kernel tells one of the lost writes. */
static void nor_by_one_that_was_under_way(void)
{
	begin_on(&paths[0], &plain, DEPTH);
	fake.on_op = hold;
	STEPS(step_send_both, step_first_fails, step_release_one, step_end_device);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(requests[1].result, -EIO);
	CHECK_EQ(n_sync_failed, 1);
}

/* Through the page cache it is a sync, and takes the news of other writes with it; past the cache
 * it is a write to a bad place. */
static void durable_write_that_fails(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		for (int cached = 0; cached < 2; cached++) {
			begin_one_at_a_time(&paths[i]);
			CHECK_EQ(queue->cached, 2);
			if (!cached)
				queue->cached = 0;
			SCRIPT(-EIO);
			ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 8);
			ask(UBLK_IO_OP_FLUSH, 0, 0);
			ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 8);
			run();
			CHECK_EQ(requests[0].result, -EIO);
			CHECK_EQ(requests[1].result, cached ? -EIO : 0);
			CHECK_EQ(requests[2].result, cached ? -EIO : 4096);
			CHECK_EQ(n_sync_failed, cached);
		}
	}
}

static void plain_write_that_fails(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_one_at_a_time(&paths[i]);
		SCRIPT(-EIO);
		ask(UBLK_IO_OP_WRITE, 0, 8);
		ask(UBLK_IO_OP_FLUSH, 0, 0);
		run();
		CHECK_EQ(requests[0].result, -EIO);
		CHECK_EQ(requests[1].result, 0);
		CHECK_EQ(n_sync_failed, 0);
	}
}

static void sync_that_is_tried_again(void)
{
	begin_on(&paths[0], &plain, 1);
	SCRIPT(-EAGAIN, -EINTR, DO, DO);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK_EQ(requests[1].result, 0);
	CHECK_EQ(n_sync_failed, 0);
}

/* Which files are written past the page cache, of a pipe the flag that says so. */
static void who_goes_past_the_cache(void)
{
	struct queue_config c;
	int pipes[2][2];

	CHECK_EQ(pipe2(pipes[0], O_CLOEXEC | O_DIRECT), 0);
	CHECK_EQ(pipe2(pipes[1], O_CLOEXEC), 0);
	begin_on(&paths[0], &plain, 1);
	c = queue->config;
	c.files = (int[]){pipes[1][1], pipes[0][1], pipes[1][0]};
	c.n_files = 3;
	queue = queue_free(queue);
	CHECK_EQ(queue_new(&c, &queue), 0);
	CHECK_EQ(queue->cached, 1U << 1 | 1U << 3);
	for (int i = 0; i < 4; i++)
		(void) close(pipes[i / 2][i % 2]);
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(nothing_is_acknowledged_that_was_not_done),
		CASE(nor_if_it_is_always_so),
		CASE(copies_are_told_the_same),
		CASE(a_failed_sync_is_not_forgotten),
		CASE(nor_is_one_of_another_queue),
		CASE(nor_by_one_that_was_under_way),
		CASE(durable_write_that_fails),
		CASE(plain_write_that_fails),
		CASE(sync_that_is_tried_again),
		CASE(who_goes_past_the_cache),
	};
	int r = test_run(cases, sizeof(cases) / sizeof(cases[0]));

	end();
	if (file.fd >= 0)
		(void) close(file.fd);
	return r;
}
