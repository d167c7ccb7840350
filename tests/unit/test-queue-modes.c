/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ublk/queue, exchange-*, buffer, target/io: every way that data and commands go. */
#include "queue-bed.h"

enum { KEPT_PAGES = BUFFER_KEEP / 4096 };

static const struct bed_path *path;

/* On the path whose copy and batch these are. */
static void begin(enum data_copy copy, bool batch, unsigned int depth)
{
	for (unsigned int i = 0; i < N_PATHS; i++)
		if (paths[i].copy == copy && paths[i].batch == batch) {
			path = &paths[i];
			return begin_on(path, &plain, depth);
		}
	fake_broken("no such path");
}

static unsigned int n_commands(uint32_t op)
{
	return (unsigned int) fake.n_commands[op & 0xf];
}

/* ---- all paths: the simple things */

static void each_path_reads_and_writes(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		path = &paths[i];
		begin_on(path, &plain, DEPTH);
		put_file(0, 'o', FILE_BYTES);
		memset(data[0], 'w', MAX_IO);
		memset(data[1], '-', MAX_IO);
		ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 8, 16);
		ask(UBLK_IO_OP_READ, SECTORS, SECTORS);
		ask(UBLK_IO_OP_FLUSH, 0, 0);
		ask(UBLK_IO_OP_DISCARD, 3 * SECTORS, 8);
		run();
		CHECK_EQ(requests[0].result, 8192);
		CHECK_EQ(requests[1].result, MAX_IO);
		CHECK_EQ(requests[2].result, 0);
		CHECK_EQ(requests[3].result, 0);
		CHECK(all_are(data[1], 'o', MAX_IO));
		CHECK(file_is(0, 'o', 4096) && file_is(4096, 'w', 8192) &&
		      file_is(12288, 'o', 4096));
		CHECK(file_is(3 * MAX_IO, 0, 4096));
		CHECK_EQ(fake.n_ops, 4);
		CHECK_EQ(fake.n_copies, path->copy == DATA_COPY_USER ? 2 : 0);
		CHECK_EQ(queue->counters.fallbacks, 0);
		CHECK_EQ(n_fell_back, 0);
	}
}

static void without_data_nothing_is_moved(void)
{
	for (unsigned int i = 0; i < N_NONE_PATHS; i++) {
		begin_on(&none_paths[i], &no_data, DEPTH);
		memset(data[0], 'r', MAX_IO);
		ask(UBLK_IO_OP_READ, 0, SECTORS);
		ask(UBLK_IO_OP_WRITE, 0, 1);
		ask(UBLK_IO_OP_FLUSH, 0, 0);
		ask(UBLK_IO_OP_DISCARD, 0, 8);
		run();
		CHECK_EQ(requests[0].result, MAX_IO);
		CHECK_EQ(requests[1].result, 512);
		CHECK_EQ(requests[2].result, 0);
		CHECK_EQ(requests[3].result, -EOPNOTSUPP);
		CHECK(all_are(data[0], 'r', MAX_IO));
		CHECK_EQ(fake.n_ops + fake.n_copies, 0);
		CHECK(!queue->buffer.base);
	}
}

/* A target that said it needs no data cannot have any. */
static void data_of_a_target_without(void)
{
	static const struct ub_target t = {
		.name = "liar", .submit = plain_submit, .data = UB_DATA_NONE};

	begin_on(&none_paths[0], &t, 2);
	ask(UBLK_IO_OP_READ, 0, 8);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(requests[1].result, -EIO);
	CHECK_EQ(fake.n_ops, 0);
}

static void each_path_ends_and_quits(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_on(&paths[i], &plain, DEPTH);
		run();
		begin_on(&paths[i], &plain, DEPTH);
		STEPS(step_quit);
		CHECK_EQ(run_queue(), 0);
		CHECK_EQ(ublk->n_parked, queue->config.n_tags);
	}
}

static bool step_still_busy(void)
{
	CHECK(!requests[0].done);
	return step_release_one();
}

/* But where the operation is linked to its commit, which are the kernel's then. */
static void each_path_quits_when_nothing_is_busy(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		if (paths[i].copy == DATA_COPY_ZERO_AUTO && paths[i].batch)
			continue;
		begin_on(&paths[i], &plain, DEPTH);
		fake.on_op = hold;
		STEPS(step_send_0, step_quit, step_still_busy);
		ask(UBLK_IO_OP_WRITE, 0, 8);
		CHECK_EQ(run_queue(), 0);
		CHECK_EQ(requests[0].result, 4096);
		CHECK(!*steps);
		CHECK_EQ(fake.dropped, 0);
	}
}

static void each_path_goes_on_after_short_transfers(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		path = &paths[i];
		begin_on(path, &plain, DEPTH);
		put_file(0, 's', MAX_IO);
		SCRIPT(MOST | 512, MOST | 1, -EAGAIN, MOST | 1000, -EINTR, DO);
		ask(UBLK_IO_OP_READ, 8, 64);
		run();
		CHECK_EQ(requests[0].result, 32768);
		CHECK(all_are(data[0], 's', 32768));
		CHECK_EQ(fake.n_ops, 6);
		/* What fell short broke the link: no byte went to the request before the last. */
		CHECK_EQ(fake.n_copies, path->copy == DATA_COPY_USER);

		begin_on(path, &plain, DEPTH);
		memset(data[0], 't', MAX_IO);
		SCRIPT(MOST | 512, -EAGAIN, MOST | 1, DO);
		ask(UBLK_IO_OP_WRITE, 8, 64);
		run();
		CHECK_EQ(requests[0].result, 32768);
		CHECK(file_is(4096, 't', 32768));
		CHECK_EQ(fake.n_ops, 4);
		/* Its bytes are with us: they are not asked for again. */
		CHECK_EQ(fake.n_copies, path->copy == DATA_COPY_USER);
	}
}

static enum fake_verdict always_again(struct fake_op *op)
{
	op->res = -EAGAIN;
	return FAKE_ANSWER;
}

static void each_path_has_errors(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_on(&paths[i], &plain, DEPTH);
		SCRIPT(-ENOSPC, MOST | 512, -EROFS, 0);
		ask(UBLK_IO_OP_WRITE, 0, 8);
		ask(UBLK_IO_OP_READ, 0, 8);
		ask(UBLK_IO_OP_READ, 0, 8);
		run();
		/* One after the other if there is one tag at a time. */
		CHECK(requests[0].result < 0 && requests[1].result < 0 && requests[2].result < 0);
		CHECK_EQ(queue->counters.errors, 3);

		begin_on(&paths[i], &plain, DEPTH);
		fake.on_op = always_again;
		ask(UBLK_IO_OP_WRITE, 0, 8);
		run();
		CHECK_EQ(requests[0].result, -EIO);
		CHECK_EQ(fake.n_ops, 129);
	}
}

static bool refuses_fetch(const struct bed_path *p)
{
	begin_on(p, &plain, DEPTH);
	ublk->refuse_fetch = -EBUSY;
	return run_queue() == -EBUSY && armed == -EBUSY && n_armed == 1;
}

static void each_path_may_be_refused(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++)
		CHECK(refuses_fetch(&paths[i]));
}

static const char *failing_call;

static int fail_call(const char *call)
{
	return strcmp(call, failing_call) == 0 ? -ENOMEM : 0;
}

static void registrations_fail(void)
{
	static const struct {
		const char *call;
		enum data_copy copy;
		bool batch;
	} fails[] = {
		{"register-buffers", DATA_COPY_ZERO, false},
		{"register-buffers", DATA_COPY_ZERO_AUTO, false},
		{"register-buffers", DATA_COPY_ZERO_AUTO, true},
		{"register-buf-ring", DATA_COPY_ZERO_AUTO, true},
		{"register-buf-ring", DATA_COPY_DRIVER, true},
	};

	for (unsigned int i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
		begin(fails[i].copy, fails[i].batch, DEPTH);
		failing_call = fails[i].call;
		fake.fail = fail_call;
		CHECK_EQ(run_queue(), -ENOMEM);
		CHECK_EQ(armed, -ENOMEM);
		CHECK_EQ(n_armed, 1);
	}
}

/* Linux 6.15: waiting is not told by liburing, but by us. */
static void waiting_that_is_no_iowait(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_on(&paths[i], &plain, DEPTH);
		fake.features = 1U << 17;
		put_file(0, 'n', MAX_IO);
		for (int j = 0; j < 20; j++)
			ask(j % 2 ? UBLK_IO_OP_READ : UBLK_IO_OP_WRITE, 0, 8);
		run();
		for (int j = 0; j < 20; j++)
			CHECK_EQ(requests[j].result, 4096);
		CHECK(fake.n_enters > 0);
	}
}

/* ---- user copy */

static void user_copy_says_where(void)
{
	begin_on(&paths[8], &plain, 4);
	memset(data[0], 'u', MAX_IO);
	ask(UBLK_IO_OP_WRITE, 0, SECTORS);
	run();
	CHECK_EQ(requests[0].result, MAX_IO);
	CHECK(file_is(0, 'u', MAX_IO));
	CHECK_EQ(fake.n_copies, 1);
	CHECK_EQ(fake.last.opcode, IORING_OP_WRITE);
}

static void user_copy_that_fails(void)
{
	begin(DATA_COPY_USER, false, 2);
	put_file(0, 'o', MAX_IO);
	memset(data[0], 'w', MAX_IO);
	COPY_SCRIPT(-EFAULT);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EFAULT);
	CHECK_EQ(fake.n_ops, 0); /* cancelled without a word */
	CHECK(file_is(0, 'o', 4096));

	begin(DATA_COPY_USER, false, 2);
	COPY_SCRIPT(MOST | 512);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake.n_ops, 0);

	begin(DATA_COPY_USER, false, 2);
	COPY_SCRIPT(MOST | 512, -EFAULT);
	ask(UBLK_IO_OP_READ, 0, 8);
	ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(requests[1].result, -EFAULT);
	CHECK_EQ(fake.n_ops, 2);
}

static void user_copy_after_an_error_copies_nothing(void)
{
	begin(DATA_COPY_USER, false, 2);
	memset(data[0], 'k', MAX_IO);
	SCRIPT(-EROFS);
	ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EROFS);
	CHECK_EQ(fake.n_copies, 0);
	CHECK(all_are(data[0], 'k', 4096));
}

/* ---- zero copy */

static int register_error;
static unsigned int n_registers_fail, n_register_calls;

static int fail_register(bool automatic)
{
	return n_register_calls++ < n_registers_fail ? register_error : 0;
}

static void zero_copy_registers_each_request(void)
{
	begin(DATA_COPY_ZERO, false, 2);
	for (int i = 0; i < 6; i++)
		ask(i % 2 ? UBLK_IO_OP_READ : UBLK_IO_OP_WRITE, 0, 8);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	run();
	CHECK_EQ(n_commands(UBLK_U_IO_REGISTER_IO_BUF), 6);
	CHECK_EQ(n_commands(UBLK_U_IO_UNREGISTER_IO_BUF), 6);
	CHECK_EQ(fake.n_opcode[IORING_OP_READ_FIXED], 3);
	CHECK_EQ(fake.n_opcode[IORING_OP_WRITE_FIXED], 3);
	CHECK_EQ(fake.n_copies, 0);
}

static void automatic_registration_needs_no_command(void)
{
	for (int batch = 0; batch < 2; batch++) {
		begin(DATA_COPY_ZERO_AUTO, batch, 2);
		for (int i = 0; i < 6; i++)
			ask(i % 2 ? UBLK_IO_OP_READ : UBLK_IO_OP_WRITE, 0, 8);
		run();
		CHECK_EQ(fake.n_registered, 6);
		CHECK_EQ(n_commands(UBLK_U_IO_REGISTER_IO_BUF), 0);
		CHECK_EQ(n_commands(UBLK_U_IO_UNREGISTER_IO_BUF), 0);
		CHECK_EQ(fake.n_opcode[IORING_OP_READ_FIXED], 3);
	}
}

static void failed_registration_falls_back(void)
{
	static const int errors[] = {-ENOMEM, -EBUSY, -EINVAL};

	for (unsigned int i = 0; i < N_PATHS; i++) {
		path = &paths[i];
		if (path->copy != DATA_COPY_ZERO && path->copy != DATA_COPY_ZERO_AUTO)
			continue;
		begin_on(path, &plain, DEPTH);
		put_file(0, 'f', FILE_BYTES);
		memset(data[0], 'g', MAX_IO);
		fake.on_register = fail_register;
		register_error = errors[i % 3];
		n_registers_fail = 3;
		n_register_calls = 0;
		ask(UBLK_IO_OP_WRITE, 0, SECTORS);
		ask(UBLK_IO_OP_READ, SECTORS, SECTORS);
		for (int j = 0; j < 4; j++)
			ask(UBLK_IO_OP_READ, SECTORS, SECTORS);
		run();
		CHECK(file_is(0, 'g', MAX_IO));
		for (int j = 1; j < 6; j++)
			CHECK(requests[j].result == MAX_IO && all_are(data[j], 'f', MAX_IO));
		CHECK_EQ(queue->counters.fallbacks, 3);
		CHECK_EQ(n_fell_back, 1);
		CHECK_EQ(fake.n_copies, 3);
		CHECK_EQ(fake.n_registered, 3);
	}
}

/* ---- NEED_GET_DATA */

static bool step_is_asked_again(void)
{
	CHECK_EQ(n_commands(UBLK_U_IO_NEED_GET_DATA), 2);
	fake_end(ublk);
	return true;
}

static bool step_send_1_there(void)
{
	CHECK(requests[0].done);
	fake_send(ublk, 0, 0, &requests[1]);
	return true;
}

static void writes_are_asked_for(void)
{
	begin(DATA_COPY_GET_DATA, false, 1);
	memset(data[1], '2', MAX_IO);
	STEPS(step_send_0, step_send_1_there, step_is_asked_again);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK(file_is(0, '2', 4096));

	begin(DATA_COPY_GET_DATA, false, 1);
	ask(UBLK_IO_OP_READ, 0, 8);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	run();
	CHECK_EQ(n_commands(UBLK_U_IO_NEED_GET_DATA), 0);
}

/* ---- aborts */

static bool step_abort(void)
{
	CHECK_EQ(fake_n_held(), 1);
	CHECK(!requests[0].done);
	queue_abort(queue);
	return true;
}

/* Where the driver has copied, the client has its answer; where the pages are under way, not. */
static bool step_answered_at_once(void)
{
	bool zero = path->copy == DATA_COPY_ZERO || path->copy == DATA_COPY_ZERO_AUTO;

	CHECK_EQ(fake_n_held(), 1);
	CHECK_EQ(requests[0].done, !zero);
	/* What comes now fails without an operation. */
	fake_send(ublk, 0, queue->config.first_tag + 2, &requests[1]);
	return true;
}

static bool step_release_and_end(void)
{
	CHECK(requests[1].done);
	CHECK_EQ(requests[1].result, -EIO);
	fake_finish(fake_held(0), FAKE_DO);
	return true;
}

static bool step_end_and_release(void)
{
	bool again = requests[0].done;

	CHECK(requests[1].done);
	if (again)
		fake_end(ublk);
	fake_finish(fake_held(0), FAKE_DO);
	return true;
}

static void end_if_not_ended(void)
{
	if (!ublk->ended)
		fake_end(ublk);
}

static bool step_end_at_last(void)
{
	CHECK(requests[0].done);
	end_if_not_ended();
	return true;
}

static void abort_held(uint32_t op, bool end_first)
{
	begin_on(path, &plain, DEPTH);
	fake.on_op = hold;
	if (end_first)
		STEPS(step_send_0, step_abort, step_answered_at_once, step_end_and_release,
		      step_end_at_last);
	else
		STEPS(step_send_0, step_abort, step_answered_at_once, step_release_and_end,
		      step_end_at_last);
	ask(op, 0, 8);
	ask(op, 64, 8);
	run();
	CHECK(requests[0].result == -EIO || queue->slots[0].linked);
	CHECK_EQ(fake.n_ops, 1);
	CHECK_EQ(queue->n_in_flight, 0);
}

static void each_path_aborts(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		path = &paths[i];
		abort_held(UBLK_IO_OP_READ, false);
		abort_held(UBLK_IO_OP_READ, true);
		abort_held(UBLK_IO_OP_WRITE, false);
		abort_held(UBLK_IO_OP_WRITE, true);
	}
}

static bool step_release_with_error(void)
{
	struct fake_op *op = fake_held(0);

	op->res = -EROFS;
	fake_finish(op, FAKE_ANSWER);
	return true;
}

static bool step_release_short(void)
{
	struct fake_op *op = fake_held(0);

	op->most = 512;
	fake_finish(op, FAKE_DO);
	return true;
}

/* The rest of it is not asked for any more, and nothing is copied to a request that is over. */
static void aborted_operation_does_not_go_on(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		path = &paths[i];
		begin_on(path, &plain, DEPTH);
		fake.on_op = hold;
		STEPS(step_send_0, step_abort, step_release_short, step_end_at_last);
		ask(UBLK_IO_OP_READ, 0, 8);
		run();
		CHECK_EQ(requests[0].result, -EIO);
		CHECK_EQ(fake.n_ops, 1);

		begin_on(path, &plain, DEPTH);
		fake.on_op = hold;
		STEPS(step_send_0, step_abort, step_release_with_error, step_end_at_last);
		ask(UBLK_IO_OP_WRITE, 0, 8);
		run();
		CHECK(requests[0].result == -EIO || requests[0].result == -EROFS);
	}
}

static bool step_send_and_abort(void)
{
	fake_send(ublk, 0, 0, &requests[0]);
	queue_abort(queue);
	return true;
}

/* The answer to the registration comes when the request is over. */
static void abort_while_registering(void)
{
	for (int fails = 0; fails < 2; fails++) {
		begin(DATA_COPY_ZERO, false, 2);
		n_registers_fail = (unsigned int) fails;
		n_register_calls = 0;
		register_error = -ENOMEM;
		fake.on_register = fail_register;
		STEPS(step_send_and_abort, step_end_at_last);
		ask(UBLK_IO_OP_WRITE, 0, 8);
		run();
		CHECK_EQ(requests[0].result, -EIO);
		CHECK_EQ(fake.n_ops, 0);
		CHECK_EQ(queue->counters.fallbacks, 0);
	}
}

static bool step_abort_announced(void)
{
	fake_send(ublk, 0, 0, &requests[0]);
	queue_abort(queue);
	return true;
}

static void abort_while_announced(void)
{
	begin(DATA_COPY_GET_DATA, false, 2);
	STEPS(step_abort_announced, step_end_at_last);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake.n_ops, 0);
}

/* ---- batch */

static unsigned int n_partial, partial_least;

static int half(unsigned int n)
{
	if (n < 2)
		return (int) n;
	n_partial++;
	return partial_least ? 1 : (int) (n / 2);
}

/* All at once, so that their results go in one command. */
static bool finish_all(void)
{
	unsigned int before = n_sent;
	struct fake_op *op;

	while (n_sent < n_requests && fake_send_any(ublk, 0, &requests[n_sent]))
		n_sent++;
	if (n_sent > before)
		return true;
	if (fake_n_held()) {
		while ((op = fake_held(0)))
			fake_finish(op, FAKE_DO);
		return true;
	}
	if (!all_done() || ublk->ended)
		return false;
	fake_end(ublk);
	return true;
}

/* Nothing else comes that would wake the queue up. */
static bool finish_all_or_time(void)
{
	if (finish_all())
		return true;
	fake_timeout();
	return queue->tick_armed;
}

static void part_of_a_commit_is_sent_again(void)
{
	for (int i = 0; i < 4; i++) {
		begin(i % 2 ? DATA_COPY_ZERO_AUTO : DATA_COPY_DRIVER, true, 8);
		put_file(0, 'p', MAX_IO);
		n_partial = 0;
		partial_least = i / 2;
		fake.on_op = hold;
		fake.on_commit = half;
		fake.idle = finish_all_or_time;
		for (int j = 0; j < 40; j++)
			ask(UBLK_IO_OP_READ, 0, 8);
		run();
		for (int j = 0; j < 40; j++)
			CHECK(requests[j].result == 4096 && all_are(data[j], 'p', 4096));
		CHECK(n_partial > 4);
	}
}

static int refuse_commit(unsigned int n)
{
	return -EIO;
}

static void refused_commit_is_the_end(void)
{
	/* One, which has no completion but this; some; one that was linked. */
	for (int i = 0; i < 3; i++) {
		begin(i == 2 ? DATA_COPY_ZERO_AUTO : DATA_COPY_DRIVER, true, 8);
		fake.on_commit = refuse_commit;
		fake.idle = finish_all_or_time;
		if (i == 1)
			fake.on_op = hold;
		for (int j = 0; j < (i == 1 ? 4 : 1); j++)
			ask(UBLK_IO_OP_READ, 0, 8);
		CHECK_EQ(run_queue(), -EIO);
		CHECK_EQ(armed, 0);
	}
}

/* Results of a whole turn are one command. */
static void many_results_are_one_command(void)
{
	begin(DATA_COPY_DRIVER, true, 32);
	fake.features = 1U << 17; /* NO_IOWAIT, of which the fake counts the calls */
	fake.on_op = hold;
	fake.idle = finish_all;
	for (int j = 0; j < 32; j++)
		ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(n_commands(UBLK_U_IO_COMMIT_IO_CMDS), 1);
	CHECK_EQ(n_commands(UBLK_U_IO_FETCH_IO_CMDS), 1);
	CHECK_EQ(fake.max_tags, 32);
	CHECK_EQ(fake.n_enters, 5);
}

enum { MANY = 4096 };

static struct fake_request many[MANY];
static unsigned int many_rounds;

static bool send_many(void)
{
	for (unsigned int i = 0; i < MANY; i++)
		if (many_rounds && !many[i].done)
			fake_broken("request %u is forgotten", i);
	if (many_rounds == 3) {
		if (ublk->ended)
			return false;
		fake_end(ublk);
		return true;
	}
	many_rounds++;
	for (unsigned int i = 0; i < MANY; i++) {
		many[i] = (struct fake_request){
			.op_flags = UBLK_IO_OP_WRITE, .n_sectors = 1, .data = data[0]};
		fake_send(ublk, 0, i, &many[i]);
	}
	return true;
}

/* More tags than a buffer holds, more buffers than there are. */
static void more_requests_than_buffers(void)
{
	begin_on(&none_paths[1], &no_data, MANY);
	fake.idle = send_many;
	many_rounds = 0;
	CHECK_EQ(run_queue(), 0);
	check_served(3 * MANY);
	CHECK_EQ(fake.max_tags, 128);
	CHECK(n_commands(UBLK_U_IO_FETCH_IO_CMDS) > 3);
	CHECK_EQ(ublk->aborts, MANY);
}

/* ---- batch: an operation and its commit at once */

static void one_at_a_time_is_linked(void)
{
	/* With one tag there is one at a time. */
	begin(DATA_COPY_ZERO_AUTO, true, 1);
	put_file(0, 'l', MAX_IO);
	for (int i = 0; i < 5; i++)
		ask(UBLK_IO_OP_READ, 0, 8);
	run();
	for (int i = 0; i < 5; i++)
		CHECK(requests[i].result == 4096 && all_are(data[i], 'l', 4096));
	CHECK(fake.last.flags & IOSQE_IO_LINK);
	CHECK(fake.last.flags & IOSQE_CQE_SKIP_SUCCESS);
	CHECK_EQ(n_commands(UBLK_U_IO_COMMIT_IO_CMDS), 5);
}

static void linked_operation_fails(void)
{
	begin(DATA_COPY_ZERO_AUTO, true, 1);
	put_file(0, 'l', MAX_IO);
	SCRIPT(-EROFS, DO, -EAGAIN, DO, MOST | 512, -EINTR, DO, MOST | 512, -ENOSPC, DO);
	for (int i = 0; i < 6; i++)
		ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EROFS);
	CHECK_EQ(requests[1].result, 4096);
	CHECK_EQ(requests[2].result, 4096);
	CHECK_EQ(requests[3].result, 4096);
	CHECK(all_are(data[3], 'l', 4096));
	CHECK_EQ(requests[4].result, -ENOSPC);
	CHECK_EQ(requests[5].result, 4096);
	CHECK_EQ(queue->counters.errors, 2);
	CHECK_EQ(fake.n_ops, 10);
}

/* Two operations: the commit cannot hang on one of them. */
static void twice_submit(struct ub_io *io)
{
	ub_write(io, &file, io->off);
	ub_write(io, &file, io->off + 8 * MAX_IO);
}

static void two_operations_are_not_linked(void)
{
	static const struct ub_target t = {
		.name = "twice", .submit = twice_submit, .max_ops = 2, .data = UB_DATA_FILES};

	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_on(&paths[i], &t, 3);
		put_file(0, '-', FILE_BYTES);
		memset(data[0], '2', MAX_IO);
		SCRIPT(HOLD, DO);
		ask(UBLK_IO_OP_WRITE, 0, 8);
		run();
		CHECK_EQ(requests[0].result, 4096);
		CHECK(file_is(0, '2', 4096) && file_is(8 * MAX_IO, '2', 4096));
		CHECK_EQ(fake.n_ops, 2);
	}
}

static bool step_linked_is_done(void)
{
	CHECK(requests[0].done);
	CHECK_EQ(queue->counters.done, 1);
	return step_quit();
}

/* A linked request is one that a client waits for. */
static void quit_after_a_linked_one(void)
{
	begin(DATA_COPY_ZERO_AUTO, true, 2);
	STEPS(step_send_0, step_linked_is_done);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	CHECK_EQ(run_queue(), 0);
	CHECK_EQ(requests[0].result, 4096);
	CHECK_EQ(fake.dropped, 0);
}

static bool step_four_after_news(void)
{
	for (unsigned int i = 0; i < 4; i++)
		fake_send(ublk, 0, i, &requests[i]);
	return step_quit();
}

/* The news takes one of the eight SQEs, each request two: of the last, one is in the next call. */
static void linked_only_where_both_have_room(void)
{
	begin(DATA_COPY_ZERO_AUTO, true, 4);
	put_file(0, 'r', MAX_IO);
	fake.polls_first = true;
	fake.tags_limit = 1;
	STEPS(step_four_after_news);
	for (int i = 0; i < 4; i++)
		ask(UBLK_IO_OP_READ, 0, 8);
	CHECK_EQ(run_queue(), 0);
	check_served(4);
	for (int i = 0; i < 4; i++)
		CHECK(requests[i].result == 4096 && all_are(data[i], 'r', 4096));
	CHECK(!(fake.last.flags & IOSQE_IO_LINK));
}

/* ---- shared memory */

static struct fake_request *ask_shared(uint32_t op, uint64_t addr, uint64_t sector, uint32_t n)
{
	struct fake_request *r = ask(op | UBLK_IO_F_SHMEM_ZC, sector, n);

	r->shared = addr;
	return r;
}

static void shared_memory_is_used_in_place(void)
{
	static uint8_t memory[2 * MAX_IO];

	pools[3].base = memory;
	pools[3].len = sizeof(memory);
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_on(&paths[i], &plain, DEPTH);
		put_file(0, 's', FILE_BYTES);
		memset(memory, 'm', sizeof(memory));
		ask_shared(UBLK_IO_OP_READ, UINT64_C(3) << 32 | 4096, SECTORS, 8);
		ask_shared(UBLK_IO_OP_WRITE, UINT64_C(3) << 32 | (2 * MAX_IO - 512), 0, 1);
		run();
		CHECK_EQ(requests[0].result, 4096);
		CHECK_EQ(requests[1].result, 512);
		CHECK(all_are(memory, 'm', 4096) && all_are(memory + 4096, 's', 4096));
		CHECK(file_is(0, 'm', 512) && file_is(512, 's', 4096));
		CHECK_EQ(fake.n_copies, 0);
		CHECK_EQ(fake.n_registered, 0);
		CHECK_EQ(n_fell_back, 0);
	}
}

static void shared_memory_out_of_bounds(void)
{
	static const struct {
		uint64_t addr;
		uint32_t n;
	} bad[] = {
		{UINT64_C(2) << 32, 1}, /* no such pool */
		{UINT64_C(8) << 32, 1},
		{UINT64_C(9) << 32, 1},
		{UINT64_C(0xffff) << 32, 1},
		{UINT64_C(3) << 32 | MAX_IO, 1},
		{UINT64_C(3) << 32 | (MAX_IO - 512), 2},
		{UINT64_C(3) << 32 | 0xffffffff, 1},
	};
	static uint8_t memory[MAX_IO];

	pools[3].base = memory;
	pools[3].len = sizeof(memory);
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_on(&paths[i], &plain, DEPTH);
		for (unsigned int j = 0; j < sizeof(bad) / sizeof(bad[0]); j++)
			ask_shared(UBLK_IO_OP_WRITE, bad[j].addr, 0, bad[j].n);
		run();
		for (unsigned int j = 0; j < n_requests; j++)
			CHECK_EQ(requests[j].result, -EIO);
		CHECK_EQ(fake.n_ops, 0);
	}
}

/* ---- buffers that grew */

static unsigned int resident(unsigned int index)
{
	size_t pages = queue->buffer.stride / 4096;
	unsigned char in[MAX_IO / 4096];
	unsigned int n = 0;

	CHECK_EQ(mincore(queue->buffer.base + index * queue->buffer.stride, queue->buffer.stride,
			 in),
		 0);
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1;
	return n;
}

static bool step_has_grown(void)
{
	CHECK(requests[0].done);
	CHECK(resident(0) > KEPT_PAGES);
	return true;
}

static bool step_time(void)
{
	fake_timeout();
	return true;
}

static bool step_has_shrunk(void)
{
	CHECK(resident(0) <= KEPT_PAGES);
	fake_end(ublk);
	return true;
}

/* A path whose large requests go through memory of ours. */
static bool begin_growing(unsigned int i)
{
	path = &paths[i];
	begin_on(path, &plain, DEPTH);
	if (path->copy == DATA_COPY_ZERO || path->copy == DATA_COPY_ZERO_AUTO) {
		fake.on_register = fail_register;
		register_error = -ENOMEM;
		n_register_calls = 0;
		n_registers_fail = UINT32_MAX;
	}
	return true;
}

/* The whole request, and nothing else before the time. */
static void memory_is_given_back(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		for (int write = 0; write < 2; write++) {
			begin_growing(i);
			put_file(0, 'g', MAX_IO);
			memset(data[0], 'g', MAX_IO);
			/* One time for the burst to end, one for the memory to go. */
			STEPS(step_send_0, step_has_grown, step_time, step_time, step_has_shrunk);
			ask(write ? UBLK_IO_OP_WRITE : UBLK_IO_OP_READ, 0, SECTORS);
			run();
			CHECK(file_is(0, 'g', MAX_IO));
			CHECK(all_are(data[0], 'g', MAX_IO));
		}
	}
}

static void small_requests_need_no_timer(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_growing(i);
		ask(UBLK_IO_OP_READ, 0, 32);
		ask(UBLK_IO_OP_WRITE, 0, 32);
		run();
		CHECK(!queue->tick_armed || path->batch);
	}
}

static bool step_busy_and_time(void)
{
	fake_timeout();
	return true;
}

static bool step_release_all(void)
{
	struct fake_op *op;

	while ((op = fake_held(0)))
		fake_finish(op, FAKE_DO);
	return true;
}

static bool step_send_all(void)
{
	for (unsigned int i = 0; i < n_requests; i++)
		fake_send_any(ublk, 0, &requests[i]);
	return true;
}

static bool step_no_tick_to_come(void)
{
	CHECK(all_done() && !queue->tick_armed);
	fake_end(ublk);
	return true;
}

/* Who gathers results has a tick to come, but not for ever. */
static void idle_queue_sleeps(void)
{
	begin(DATA_COPY_DRIVER, true, 8);
	fake.on_op = hold;
	for (int j = 0; j < 8; j++)
		ask(UBLK_IO_OP_READ, 0, 8);
	STEPS(step_send_all, step_release_all, step_time, step_no_tick_to_come);
	run();
}

/* What was read into it is not yet the client's, what was written not yet the file's. */
static void memory_of_the_busy_stays(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		for (int write = 0; write < 2; write++) {
			begin_growing(i);
			put_file(0, write ? '-' : 'b', MAX_IO);
			memset(data[0], write ? 'b' : '-', MAX_IO);
			fake.on_op = hold;
			STEPS(step_send_0, step_busy_and_time, step_busy_and_time,
			      step_busy_and_time, step_release_all, step_end_at_last);
			ask(write ? UBLK_IO_OP_WRITE : UBLK_IO_OP_READ, 0, SECTORS);
			run();
			CHECK_EQ(requests[0].result, MAX_IO);
			CHECK(file_is(0, 'b', MAX_IO));
			CHECK(all_are(data[0], 'b', MAX_IO));
		}
	}
}

static bool step_released_in_time(void)
{
	step_release_all();
	fake_timeout();
	return true;
}

/* The time is over in the turn in which the read is: its result is only prepared then, and the
 * driver has copied nothing yet. */
static void memory_of_what_is_being_committed_stays(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_growing(i);
		put_file(0, 'c', MAX_IO);
		fake.on_op = hold;
		STEPS(step_send_0, step_released_in_time, step_end_at_last);
		ask(UBLK_IO_OP_READ, 0, SECTORS);
		run();
		CHECK_EQ(requests[0].result, MAX_IO);
		if (!all_are(data[0], 'c', MAX_IO))
			TEST_FAIL("%s: bytes are lost", path->name);
	}
}

static bool step_send_1_in_time(void)
{
	CHECK(requests[0].done);
	fake_send(ublk, 0, queue->config.first_tag, &requests[1]);
	fake_timeout();
	return true;
}

/* A write that arrives in the same turn. */
static void memory_of_what_arrives_stays(void)
{
	for (unsigned int i = 0; i < N_PATHS; i++) {
		begin_growing(i);
		put_file(0, '-', MAX_IO);
		memset(data[0], '1', MAX_IO);
		memset(data[1], '2', MAX_IO);
		STEPS(step_send_0, step_send_1_in_time, step_end_at_last);
		ask(UBLK_IO_OP_WRITE, 0, SECTORS);
		ask(UBLK_IO_OP_WRITE, 0, SECTORS);
		run();
		if (!file_is(0, '2', MAX_IO))
			TEST_FAIL("%s: bytes are lost", path->name);
	}
}

static bool step_send_large_again(void)
{
	requests[0].done = false;
	requests[0].commits = 0;
	fake_send(ublk, 0, queue->config.first_tag, &requests[0]);
	n_requests = 1;
	return true;
}

static bool step_send_small(void)
{
	CHECK(requests[0].done);
	fake_send(ublk, 0, queue->config.first_tag + 2, &requests[1]);
	return true;
}

static bool step_still_grown(void)
{
	CHECK(resident(0) > KEPT_PAGES);
	fake_end(ublk);
	return true;
}

/* Large ones keep coming: it is not the time of the last timer but one that counts. */
static void memory_stays_while_the_burst_goes_on(void)
{
	begin(DATA_COPY_DRIVER, false, DEPTH);
	STEPS(step_send_0, step_send_large_again, step_time, step_send_small, step_still_grown);
	ask(UBLK_IO_OP_WRITE, 0, SECTORS);
	ask(UBLK_IO_OP_READ, 0, 8);
	CHECK_EQ(run_queue(), 0);
}

static int no_defer(const char *call)
{
	return strcmp(call, "init") == 0 && fake.params.flags & RING_DEFERS ? -EINVAL : 0;
}

/* The driver copies when it likes: a buffer that is with it is never known to be empty. */
static void memory_stays_where_the_driver_copies_any_time(void)
{
	begin(DATA_COPY_DRIVER, false, DEPTH);
	fake.fail = no_defer;
	STEPS(step_send_0, step_has_grown, step_time, step_time, step_still_grown);
	ask(UBLK_IO_OP_WRITE, 0, SECTORS);
	run();
}

/* ---- two threads for one queue */

struct serving_thread {
	struct queue *queue;
	pthread_t thread;
	int res;
};

static void *serve(void *arg)
{
	struct serving_thread *t = arg;

	t->res = queue_run(t->queue);
	return NULL;
}

static bool all_parked(void *arg)
{
	return ublk->n_parked == ublk->depth;
}

static void on_armed_elsewhere(void *arg, int res)
{
}

static void two_threads_serve_one_queue(void)
{
	static const enum data_copy copies[] = {DATA_COPY_DRIVER, DATA_COPY_USER, DATA_COPY_ZERO,
						DATA_COPY_ZERO_AUTO};
	struct serving_thread threads[2] = {0};

	for (unsigned int i = 0; i < 4; i++) {
		struct bed_path p = {.name = "thread", .copy = copies[i], .tag_step = 2};
		struct queue_config c;

		begin_on(&p, &plain, 7);
		fake.idle = NULL;
		c = queue->config;
		c.armed = on_armed_elsewhere;
		c.files = &file.fd;
		queue = queue_free(queue);
		for (unsigned int j = 0; j < 2; j++) {
			c.first_tag = j;
			CHECK_EQ(queue_new(&c, &threads[j].queue), 0);
			CHECK_EQ(threads[j].queue->config.n_tags, j ? 3 : 4);
			CHECK_EQ(pthread_create(&threads[j].thread, NULL, serve, &threads[j]), 0);
		}
		CHECK(fake_wait_for(all_parked, NULL));
		for (unsigned int j = 0; j < 40; j++) {
			memset(data[j], (int) j, MAX_IO);
			fake_send(ublk, 0, j % 7, ask(UBLK_IO_OP_WRITE, j % 7 * SECTORS, SECTORS));
			CHECK(j < 6 || fake_wait(&requests[j - 6]));
		}
		for (unsigned int j = 0; j < 40; j++) {
			CHECK(fake_wait(&requests[j]));
			CHECK_EQ(requests[j].result, MAX_IO);
		}
		for (unsigned int j = 33; j < 40; j++)
			CHECK(file_is(j % 7 * MAX_IO, (int) j, MAX_IO));
		fake_end(ublk);
		for (unsigned int j = 0; j < 2; j++) {
			(void) pthread_join(threads[j].thread, NULL);
			CHECK_EQ(threads[j].res, 0);
			CHECK(threads[j].queue->counters.done >= 17);
			queue_free(threads[j].queue);
		}
		(void) close(c.char_fd);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(each_path_reads_and_writes),
		CASE(without_data_nothing_is_moved),
		CASE(data_of_a_target_without),
		CASE(each_path_ends_and_quits),
		CASE(each_path_quits_when_nothing_is_busy),
		CASE(each_path_goes_on_after_short_transfers),
		CASE(each_path_has_errors),
		CASE(each_path_may_be_refused),
		CASE(registrations_fail),
		CASE(waiting_that_is_no_iowait),
		CASE(user_copy_says_where),
		CASE(user_copy_that_fails),
		CASE(user_copy_after_an_error_copies_nothing),
		CASE(zero_copy_registers_each_request),
		CASE(automatic_registration_needs_no_command),
		CASE(failed_registration_falls_back),
		CASE(writes_are_asked_for),
		CASE(each_path_aborts),
		CASE(aborted_operation_does_not_go_on),
		CASE(abort_while_registering),
		CASE(abort_while_announced),
		CASE(part_of_a_commit_is_sent_again),
		CASE(refused_commit_is_the_end),
		CASE(many_results_are_one_command),
		CASE(more_requests_than_buffers),
		CASE(one_at_a_time_is_linked),
		CASE(linked_operation_fails),
		CASE(two_operations_are_not_linked),
		CASE(quit_after_a_linked_one),
		CASE(linked_only_where_both_have_room),
		CASE(shared_memory_is_used_in_place),
		CASE(shared_memory_out_of_bounds),
		CASE(memory_is_given_back),
		CASE(small_requests_need_no_timer),
		CASE(idle_queue_sleeps),
		CASE(memory_of_the_busy_stays),
		CASE(memory_of_what_is_being_committed_stays),
		CASE(memory_of_what_arrives_stays),
		CASE(memory_stays_while_the_burst_goes_on),
		CASE(memory_stays_where_the_driver_copies_any_time),
		CASE(two_threads_serve_one_queue),
	};
	int r = test_run(cases, sizeof(cases) / sizeof(cases[0]));

	end();
	if (file.fd >= 0)
		(void) close(file.fd);
	return r;
}
