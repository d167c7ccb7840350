/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ublk/queue, target/io: the data path on a fake ring, on one thread. */
#include "queue-bed.h"

static void begin(void)
{
	begin_with(&plain, DEPTH);
}

/* ---- plain requests */

static void reads_and_writes(void)
{
	begin();
	put_file(0, 'o', FILE_BYTES);
	memset(data[0], 'w', MAX_IO);
	ask(UBLK_IO_OP_WRITE, 8, 16);
	ask(UBLK_IO_OP_READ, SECTORS, 8);
	run();
	CHECK_EQ(requests[0].result, 8192);
	CHECK_EQ(requests[1].result, 4096);
	CHECK_EQ(data[1][4095], 'o');
	CHECK(file_is(0, 'o', 4096));
	CHECK(file_is(4096, 'w', 8192));
	CHECK(file_is(12288, 'o', 4096));
	CHECK_EQ(fake.n_ops, 2);
	CHECK_EQ(queue->counters.ops[UB_READ], 1);
	CHECK_EQ(queue->counters.ops[UB_WRITE], 1);
	CHECK_EQ(queue->counters.read_bytes, 4096);
	CHECK_EQ(queue->counters.write_bytes, 8192);
	CHECK_EQ(queue->counters.errors, 0);
	CHECK_EQ(fake.files_registered, 2);
}

static void largest_request(void)
{
	begin();
	ask(UBLK_IO_OP_READ, 0, SECTORS);
	run();
	CHECK_EQ(requests[0].result, MAX_IO);
}

static void flush_is_fdatasync(void)
{
	begin();
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK_EQ(fake.n_opcode[IORING_OP_FSYNC], 1);
	CHECK_EQ(fake.last.fsync_flags, IORING_FSYNC_DATASYNC);
	CHECK_EQ(fake.last.fd, 1);
	CHECK(fake.last.flags & IOSQE_FIXED_FILE);
}

static void fua_is_dsync(void)
{
	begin();
	ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 1);
	run();
	CHECK_EQ(fake.last.rw_flags, 2 /* RWF_DSYNC */);
	begin();
	ask(UBLK_IO_OP_WRITE, 0, 1);
	run();
	CHECK_EQ(fake.last.rw_flags, 0);
}

static void fua_of_the_rest_of_a_short_write(void)
{
	begin();
	SCRIPT(MOST | 512);
	ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 2);
	run();
	CHECK_EQ(fake.n_ops, 2);
	CHECK_EQ(fake.last.rw_flags, 2);
	CHECK_EQ(fake.last.off, 512);
}

static void discard_punches(void)
{
	begin();
	put_file(0, 'x', 65536);
	ask(UBLK_IO_OP_DISCARD, 8, 8);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK(file_is(4096, 0, 4096));
	CHECK(file_is(8192, 'x', 4096));
	CHECK_EQ(fake.last.len, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

/* tmpfs has no ZERO_RANGE: the second mode does it. */
static void write_zeroes_falls_back(void)
{
	begin();
	put_file(0, 'x', 65536);
	ask(UBLK_IO_OP_WRITE_ZEROES, 0, 8);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK_EQ(fake.n_ops, 2);
	CHECK(file_is(0, 0, 4096));
	CHECK(file_is(4096, 'x', 4096));
}

static void fallback_is_tried_once(void)
{
	begin();
	SCRIPT(-EOPNOTSUPP, -EOPNOTSUPP, DO);
	ask(UBLK_IO_OP_WRITE_ZEROES, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EOPNOTSUPP);
	CHECK_EQ(fake.n_ops, 2);
}

static void write_zeroes_without_fallback(void)
{
	begin();
	ask(UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EOPNOTSUPP);
	CHECK_EQ(fake.n_ops, 1);
}

static void unknown_operation(void)
{
	begin();
	ask(UBLK_IO_OP_ZONE_APPEND, 0, 8);
	ask(UBLK_IO_OP_WRITE_SAME, 0, 8);
	ask(0xff, 0, 8);
	run();
	for (int i = 0; i < 3; i++)
		CHECK_EQ(requests[i].result, -EOPNOTSUPP);
	CHECK_EQ(fake.n_ops, 0);
	/* The kernel does them by other means: that is no error. */
	CHECK_EQ(queue->counters.errors, 0);
}

static void too_large_a_request(void)
{
	begin();
	ask(UBLK_IO_OP_READ, 0, SECTORS + 1);
	ask(UBLK_IO_OP_WRITE, 0, UINT32_MAX);
	run();
	CHECK_EQ(requests[0].result, -EINVAL);
	CHECK_EQ(requests[1].result, -EINVAL);
	CHECK_EQ(fake.n_ops, 0);
}

static void large_discard(void)
{
	begin();
	SCRIPT(0);
	ask(UBLK_IO_OP_DISCARD, 0, UINT32_MAX);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK_EQ(fake.last.addr, (uint64_t) UINT32_MAX << 9);
}

/* ---- what files do */

static void short_transfers_go_on(void)
{
	begin();
	put_file(0, 's', 65536);
	SCRIPT(MOST | 512, MOST | 1, MOST | 1000, DO);
	ask(UBLK_IO_OP_READ, 8, 64);
	run();
	CHECK_EQ(requests[0].result, 32768);
	CHECK_EQ(fake.n_ops, 4);
	CHECK_EQ(fake.last.off, 4096 + 1513);
	CHECK_EQ(fake.last.len, 32768 - 1513);
	CHECK_EQ(fake.last.addr, requests[0].buffer + 1513);
	CHECK_EQ(data[0][0], 's');
	CHECK_EQ(data[0][32767], 's');
}

static void nothing_transferred_is_an_error(void)
{
	begin();
	ask(UBLK_IO_OP_READ, FILE_BYTES / 512, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake.n_ops, 1);

	begin();
	SCRIPT(MOST | 512, 0);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake.n_ops, 2);
}

static void end_of_the_file_in_the_middle(void)
{
	begin();
	ask(UBLK_IO_OP_READ, FILE_BYTES / 512 - 4, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake.n_ops, 2);
}

static void too_many_bytes(void)
{
	begin();
	SCRIPT(4097);
	ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake.n_ops, 1);
}

static void again_is_tried_again(void)
{
	begin();
	SCRIPT(-EAGAIN, -EINTR, -EAGAIN, DO);
	ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(requests[0].result, 4096);
	CHECK_EQ(fake.n_ops, 4);

	begin();
	SCRIPT(-EAGAIN, DO);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK_EQ(fake.n_ops, 2);
}

static enum fake_verdict always_again(struct fake_op *op)
{
	op->res = -EAGAIN;
	return FAKE_ANSWER;
}

static void again_is_bounded(void)
{
	begin();
	fake.on_op = always_again;
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake.n_ops, 129);
}

static void errors_the_kernel_would_misread(void)
{
	static const int from_to[][2] = {
		{-EDQUOT, -ENOSPC}, {-EFBIG, -ENOSPC},	      {-ENOSPC, -ENOSPC},
		{-EBUSY, -EIO},	    {-ENOMEM, -EIO},	      {-EIO, -EIO},
		{-EROFS, -EROFS},   {-ETIMEDOUT, -ETIMEDOUT}, {-ENODEV, -ENODEV},
	};

	for (unsigned int i = 0; i < sizeof(from_to) / sizeof(from_to[0]); i++) {
		begin();
		script[0] = from_to[i][0];
		n_script = 1;
		script_at = 0;
		fake.on_op = on_script;
		ask(UBLK_IO_OP_WRITE, 0, 8);
		run();
		CHECK_EQ(requests[0].result, from_to[i][1]);
	}
}

static void error_after_a_part(void)
{
	begin();
	SCRIPT(MOST | 1024, -ENOSPC);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -ENOSPC);
}

/* ---- other targets */

static void blkdiscard_submit(struct ub_io *io)
{
	ub_blkdiscard(io, &file, io->off);
}

static const struct ub_target blkdiscard = {.name = "b", .submit = blkdiscard_submit};

static void blkdiscard_is_a_command(void)
{
	begin_with(&blkdiscard, 1);
	SCRIPT(0);
	ask(UBLK_IO_OP_DISCARD, 16, 8);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK_EQ(fake.last.opcode, IORING_OP_URING_CMD);
	CHECK_EQ(fake.last.cmd_op, 0x1200);
	CHECK_EQ(fake.last.addr, 8192);
	CHECK_EQ(fake.last.addr3, 4096);
}

static void blkdiscard_falls_back(void)
{
	begin_with(&blkdiscard, 1);
	put_file(0, 'x', 65536);
	SCRIPT(-EOPNOTSUPP);
	ask(UBLK_IO_OP_DISCARD, 8, 8);
	run();
	CHECK_EQ(requests[0].result, 0);
	CHECK_EQ(fake.last.opcode, IORING_OP_FALLOCATE);
	CHECK(file_is(4096, 0, 4096));

	begin_with(&blkdiscard, 1);
	SCRIPT(-EOPNOTSUPP, -EOPNOTSUPP);
	ask(UBLK_IO_OP_DISCARD, 8, 8);
	run();
	CHECK_EQ(requests[0].result, -EOPNOTSUPP);
	CHECK_EQ(fake.n_ops, 2);
}

static void idle_submit(struct ub_io *io)
{
}

static void target_that_does_nothing(void)
{
	static const struct ub_target t = {.name = "idle", .submit = idle_submit};

	begin_with(&t, 2);
	ask(UBLK_IO_OP_READ, 0, 8);
	ask(UBLK_IO_OP_FLUSH, 0, 0);
	ask(UBLK_IO_OP_DISCARD, 0, 8);
	run();
	for (int i = 0; i < 3; i++)
		CHECK_EQ(requests[i].result, -EIO);
}

static void done_submit(struct ub_io *io)
{
	ub_io_done(io, io->op == UB_READ ? 0 : -ENOSPC);
}

static void target_without_operations(void)
{
	static const struct ub_target t = {.name = "done", .submit = done_submit};

	begin_with(&t, 2);
	ask(UBLK_IO_OP_READ, 0, 8);
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(requests[0].result, 4096);
	CHECK_EQ(requests[1].result, -ENOSPC);
}

/* Splits into four raw operations; a write is followed by a sync when all its parts are done. */
struct split {
	unsigned int left;
	unsigned int synced;
};

static unsigned int n_refused;

static int split_part_done(struct ub_io *io, int res)
{
	struct split *s = ub_io_priv(io);

	if (res >= 0 && (uint64_t) res != io->len / 4)
		res = -EIO;
	if (--s->left == 0 && io->op == UB_WRITE) {
		CHECK_EQ(s->synced, 0);
		s->synced++;
		ub_fdatasync(io, &file);
	}
	return res < 0 ? res : 0;
}

static void split_submit(struct ub_io *io)
{
	struct split *s = ub_io_priv(io);
	uint64_t part = io->len / 4;
	uint64_t buffer = (uintptr_t) ub_io_buf(io);

	CHECK_EQ(s->left, 0);
	CHECK_EQ(s->synced, 0);
	CHECK(!ub_io_state(io));
	s->left = 4;
	for (unsigned int i = 0; i < 4; i++) {
		struct io_uring_sqe *sqe = ub_sqe(io, split_part_done);

		CHECK(sqe != NULL);
		sqe->opcode = io->op == UB_READ ? IORING_OP_READ : IORING_OP_WRITE;
		sqe->flags = IOSQE_FIXED_FILE;
		sqe->fd = (int) ub_file_slot(&file);
		sqe->addr = buffer + i * part;
		sqe->len = (uint32_t) part;
		sqe->off = io->off + i * part;
	}
	if (io->flags & UB_FUA) {
		n_refused += !ub_sqe(io, split_part_done);
		ub_fdatasync(io, &file);
	}
}

static const struct ub_target split = {.name = "split",
				       .submit = split_submit,
				       .io_size = sizeof(struct split),
				       .max_ops = 4};

static void four_operations(void)
{
	begin_with(&split, DEPTH);
	put_file(0, 'q', 65536);
	memset(data[1], 'p', MAX_IO);
	for (int i = 0; i < 10; i++) {
		ask(UBLK_IO_OP_READ, 0, 64);
		ask(UBLK_IO_OP_WRITE, 1024, 64);
	}
	run();
	for (unsigned int i = 0; i < n_requests; i++)
		CHECK_EQ(requests[i].result, 32768);
	CHECK_EQ(fake.n_ops, 10 * 4 + 10 * 5);
	CHECK_EQ(data[0][32767], 'q');
}

static void first_error_wins(void)
{
	begin_with(&split, 1);
	SCRIPT(DO, -ENOSPC, -EIO, DO, -EROFS);
	ask(UBLK_IO_OP_WRITE, 0, 64);
	run();
	CHECK_EQ(requests[0].result, -ENOSPC);
	CHECK_EQ(fake.n_ops, 5);
}

static void more_than_max_ops(void)
{
	begin_with(&split, 1);
	n_refused = 0;
	ask(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 64);
	ask(UBLK_IO_OP_WRITE, 0, 64);
	run();
	CHECK_EQ(n_refused, 1);
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(requests[1].result, 32768);
}

/* ---- abort, quit, failures */

static bool step_abort(void)
{
	CHECK_EQ(fake_n_held(), 1);
	CHECK(!requests[0].done);
	queue_abort(queue);
	return true;
}

/* The request failed at once, and what comes next goes to memory nobody uses. */
static bool step_is_aborted(void)
{
	CHECK_EQ(fake_n_held(), 1);
	CHECK(requests[0].done);
	CHECK_EQ(requests[0].result, -EIO);
	CHECK_EQ(fake_tag_of(ublk, 0, 0)->addr, buffer_addr(&queue->buffer, DEPTH));
	CHECK_EQ(fake_tag_of(ublk, 0, 1)->addr, buffer_addr(&queue->buffer, 1));
	fake_send(ublk, 0, 0, &requests[1]);
	fake_send(ublk, 0, 1, &requests[2]);
	return true;
}

static bool step_new_ones_fail(void)
{
	CHECK(requests[1].done && requests[2].done);
	CHECK_EQ(requests[1].result, -EIO);
	CHECK_EQ(requests[2].result, -EIO);
	CHECK_EQ(fake_n_held(), 1);
	CHECK_EQ(fake_tag_of(ublk, 0, 0)->addr, buffer_addr(&queue->buffer, DEPTH));
	return true;
}

static bool step_send_3(void)
{
	fake_send(ublk, 0, 0, &requests[3]);
	return true;
}

static bool step_own_buffer_again(void)
{
	CHECK(requests[3].done);
	CHECK_EQ(requests[3].result, -EIO);
	CHECK_EQ(fake_tag_of(ublk, 0, 0)->addr, buffer_addr(&queue->buffer, 0));
	fake_end(ublk);
	return true;
}

static void abort_with_an_operation_held(void)
{
	static bool (*const todo[])(void) = {
		step_send_0,	  step_abort,  step_is_aborted,	      step_new_ones_fail,
		step_release_one, step_send_3, step_own_buffer_again, NULL,
	};

	begin();
	fake.on_op = hold;
	fake.idle = next_step;
	steps = todo;
	for (int i = 0; i < 4; i++)
		ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(fake.n_ops, 1);
	CHECK_EQ(fake.dropped, 0);
}

/* The device has ended, the operation has not: its memory must stay. */
static void thread_waits_for_the_last_operation(void)
{
	static bool (*const todo[])(void) = {
		step_send_0, step_abort, step_end_device, step_release_one, NULL,
	};

	begin();
	fake.on_op = hold;
	fake.idle = next_step;
	steps = todo;
	ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(requests[0].result, -EIO);
	CHECK(!*steps);
	CHECK_EQ(queue->n_in_flight, 0);
}

static bool step_release_short(void)
{
	struct fake_op *op = fake_held(0);

	op->most = 512;
	fake_finish(op, FAKE_DO);
	return true;
}

/* What is left of a short transfer is not asked for any more. */
static void aborted_operation_does_not_go_on(void)
{
	static bool (*const todo[])(void) = {
		step_send_0, step_abort, step_release_short, step_end_device, NULL,
	};

	begin();
	fake.on_op = hold;
	fake.idle = next_step;
	steps = todo;
	ask(UBLK_IO_OP_WRITE, 0, 8);
	run();
	CHECK_EQ(fake.n_ops, 1);
}

static void quit_when_idle(void)
{
	static bool (*const todo[])(void) = {step_quit, NULL};

	begin();
	fake.idle = next_step;
	steps = todo;
	CHECK_EQ(run_queue(), 0);
	CHECK_EQ(ublk->n_parked, DEPTH);
}

static bool step_still_busy(void)
{
	CHECK(!requests[0].done);
	return step_release_one();
}

static void quit_waits_for_what_is_busy(void)
{
	static bool (*const todo[])(void) = {step_send_0, step_quit, step_still_busy, NULL};

	begin();
	fake.on_op = hold;
	fake.idle = next_step;
	steps = todo;
	ask(UBLK_IO_OP_WRITE, 0, 8);
	CHECK_EQ(run_queue(), 0);
	CHECK_EQ(requests[0].result, 4096);
	CHECK(!*steps);
}

static void end_without_a_request(void)
{
	begin();
	run();
}

static void refused_fetch(void)
{
	begin();
	ublk->refuse_fetch = -EBUSY;
	CHECK_EQ(run_queue(), -EBUSY);
	CHECK_EQ(armed, -EBUSY);
	CHECK_EQ(n_armed, 1);
}

static const char *failing_call;
static int failing_error;
static unsigned int failing_after;

static int fail_call(const char *call)
{
	if (strcmp(call, failing_call) != 0 || failing_after-- > 0)
		return 0;
	failing_after = 0;
	return failing_error;
}

static void setup_fails(const char *call, int error)
{
	begin();
	fake.fail = fail_call;
	failing_call = call;
	failing_error = error;
	failing_after = 0;
	CHECK_EQ(run_queue(), error);
	CHECK_EQ(armed, error);
	CHECK_EQ(n_armed, 1);
}

static void ring_cannot_be_set_up(void)
{
	setup_fails("init", -EPERM);
	setup_fails("init", -ENOMEM);
	setup_fails("init", -EINVAL);
	setup_fails("register-files", -EMFILE);
	setup_fails("submit", -ENXIO);
}

static int fail_flags(const char *call)
{
	if (strcmp(call, "init") == 0 &&
	    fake.params.flags & (failing_error == 0 ? 0xf000U : 0xf100U))
		return -EINVAL;
	return strcmp(call, "ring-fd") == 0 ? -EINVAL : 0;
}

static void older_kernels_have_fewer_flags(void)
{
	static const unsigned int flags[] = {1U << 8, 0};

	for (int i = 0; i < 2; i++) {
		begin();
		fake.fail = fail_flags;
		failing_error = i;
		ask(UBLK_IO_OP_READ, 0, 8);
		run();
		CHECK_EQ(fake.params.flags & ~(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP), flags[i]);
	}
}

/* The ring dies in mid-service: its requests end with the char device. */
static void ring_that_fails(void)
{
	begin();
	fake.fail = fail_call;
	failing_call = "submit";
	failing_error = -ENXIO;
	failing_after = 3;
	ask(UBLK_IO_OP_READ, 0, 8);
	CHECK_EQ(run_queue(), -ENXIO);
	CHECK_EQ(armed, 0);
}

static void submit_errors_that_pass(void)
{
	static const int errors[] = {-EINTR, -EBUSY, -EAGAIN};

	for (int i = 0; i < 3; i++) {
		begin();
		fake.fail = fail_call;
		failing_call = "submit";
		failing_error = errors[i];
		failing_after = 2;
		ask(UBLK_IO_OP_READ, 0, 8);
		/* The same for ever would spin: let it through after that. */
		fake.idle = run_all;
		failing_after = 2;
		fake.fail = NULL;
		run();
	}
}

static bool step_starve(void)
{
	queue->ring.uring.sq.ring_entries = 0;
	fake_send(ublk, 0, 0, &requests[0]);
	return true;
}

/* No SQE to be had: the answer cannot be given, so the queue as a whole has failed. */
static void no_sqe(void)
{
	static bool (*const todo[])(void) = {step_starve, NULL};

	begin();
	fake.idle = next_step;
	steps = todo;
	ask(UBLK_IO_OP_READ, 0, 8);
	CHECK_EQ(run_queue(), -EAGAIN);
}

static void descriptors_that_cannot_be_mapped(void)
{
	struct queue_config c = {.depth = 1,
				 .tag_step = 1,
				 .path = {.copy = DATA_COPY_DRIVER, .fallback = DATA_COPY_DRIVER},
				 .max_io_bytes = MAX_IO,
				 .char_fd = -1,
				 .target = &plain,
				 .armed = on_armed};
	struct queue *q = NULL;

	CHECK_EQ(queue_new(&c, &q), -EBADF);
	CHECK(!q);
	CHECK(!queue_free(NULL));
}

/* The caller's array of files may go when queue_new() has returned. */
static void files_are_copied(void)
{
	int *files = malloc(sizeof(*files));
	struct queue_config c = {.depth = 1,
				 .tag_step = 1,
				 .path = {.copy = DATA_COPY_DRIVER, .fallback = DATA_COPY_DRIVER},
				 .max_io_bytes = MAX_IO,
				 .files = files,
				 .n_files = 1,
				 .target = &plain,
				 .armed = on_armed};

	begin();
	queue_free(queue);
	*files = file.fd;
	c.char_fd = fake_ublk_open(ublk);
	CHECK_EQ(queue_new(&c, &queue), 0);
	*files = -1;
	free(files);
	ublk->depth = 1;
	ask(UBLK_IO_OP_READ, 0, 8);
	run();
	CHECK_EQ(requests[0].result, 4096);
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(reads_and_writes),
		CASE(largest_request),
		CASE(flush_is_fdatasync),
		CASE(fua_is_dsync),
		CASE(fua_of_the_rest_of_a_short_write),
		CASE(discard_punches),
		CASE(write_zeroes_falls_back),
		CASE(fallback_is_tried_once),
		CASE(write_zeroes_without_fallback),
		CASE(unknown_operation),
		CASE(too_large_a_request),
		CASE(large_discard),
		CASE(short_transfers_go_on),
		CASE(nothing_transferred_is_an_error),
		CASE(end_of_the_file_in_the_middle),
		CASE(too_many_bytes),
		CASE(again_is_tried_again),
		CASE(again_is_bounded),
		CASE(errors_the_kernel_would_misread),
		CASE(error_after_a_part),
		CASE(blkdiscard_is_a_command),
		CASE(blkdiscard_falls_back),
		CASE(target_that_does_nothing),
		CASE(target_without_operations),
		CASE(four_operations),
		CASE(first_error_wins),
		CASE(more_than_max_ops),
		CASE(abort_with_an_operation_held),
		CASE(thread_waits_for_the_last_operation),
		CASE(aborted_operation_does_not_go_on),
		CASE(quit_when_idle),
		CASE(quit_waits_for_what_is_busy),
		CASE(end_without_a_request),
		CASE(refused_fetch),
		CASE(ring_cannot_be_set_up),
		CASE(older_kernels_have_fewer_flags),
		CASE(ring_that_fails),
		CASE(submit_errors_that_pass),
		CASE(no_sqe),
		CASE(descriptors_that_cannot_be_mapped),
		CASE(files_are_copied),
	};
	int r = test_run(cases, sizeof(cases) / sizeof(cases[0]));

	end();
	if (file.fd >= 0)
		(void) close(file.fd);
	return r;
}
