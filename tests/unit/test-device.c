/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device, manager: whole lives, with real queue threads, on a fake driver. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device-bed.h"
#include "device/device-internal.h"
#include "device/manager-internal.h"
#include "test.h"
#include "ublk/features.h"

#define BEGIN() CHECK_EQ(bed_begin(), 0)
#define END() CHECK_STR(bed_end(), NULL)

/* ... with what the driver can do known. */
#define BEGIN_UP()                                                                                 \
	do {                                                                                       \
		BEGIN();                                                                           \
		CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);                           \
		CHECK(bed_until(is_ready, NULL));                                                  \
	} while (0)

static void on_ready(void *arg)
{
	bed.n_ready++;
}

static bool is_ready(void *arg)
{
	return bed.n_ready > 0;
}

static struct device_status status_of(const struct device *d)
{
	struct device_status s;

	device_get_status(d, &s);
	return s;
}

/* ---- requests */

static uint8_t data[65536];
static struct fake_request request;

static struct fake_request ask(uint32_t op, uint64_t sector, uint32_t n)
{
	return (struct fake_request){
		.op_flags = op, .sector = sector, .n_sectors = n, .data = data};
}

static int io(const struct device *d, unsigned int q, uint32_t op, uint64_t sector, uint32_t n)
{
	struct fake_request r = ask(op, sector, n);

	if (!fake_send_any(bed_kernel(d)->ublk, q, &r))
		fake_broken("no free tag");
	if (!fake_wait(&r))
		fake_broken("a request is not answered");
	CHECK_EQ(r.commits, 1);
	return r.result;
}

static enum fake_verdict hold(struct fake_op *op)
{
	return FAKE_HOLD;
}

static bool one_is_held(void *arg)
{
	return fake_n_held() > 0;
}

/* A request whose backing does not answer. */
static void io_that_hangs(const struct device *d)
{
	driver.on_backing = hold;
	request = ask(UBLK_IO_OP_WRITE, 0, 8);
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &request));
	CHECK(fake_wait_for(one_is_held, NULL));
}

static void release_held(void)
{
	struct fake_op *op;

	driver.on_backing = NULL;
	fake_lock();
	while ((op = fake_held(0)) && op->sqe.flags & IOSQE_FIXED_FILE)
		fake_finish(op, FAKE_DO);
	fake_unlock();
}

/* ---- starting and stopping */

static const char *backing(void)
{
	static char path[300];

	(void) snprintf(path, sizeof(path), "%s/backing", bed_root);
	bed_put("/backing", "");
	CHECK_EQ(truncate(path, 1 << 20), 0);
	return path;
}

static bool start_ok(struct device *d)
{
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(!w.done);
	CHECK(bed_wait(&w));
	if (!w.ok)
		(void) printf("# %s\n", w.failure.text);
	return w.ok;
}

static struct failure start_fails(struct device *d)
{
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(!w.done);
	CHECK(bed_wait(&w));
	CHECK(!w.ok);
	return w.failure;
}

static bool is_idle(void *arg)
{
	return !((struct device *) arg)->run;
}

static struct failure stop_with(struct device *d, bool force)
{
	struct device_stop_options o = {.force = force};
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, &f), 0);
	CHECK(!w.done);
	CHECK(bed_wait(&w));
	return w.failure; /* the device may be gone */
}

static bool stop_ok(struct device *d)
{
	return !failure_is_set((struct failure[]){stop_with(d, false)});
}

static struct device *null_device(void)
{
	return bed_add("n", "Target", "null", "Size", "1M", NULL);
}

static struct device *loop_device(const char *queues)
{
	return bed_add("l", "Target", "loop", "File", backing(), "Queues", queues, NULL);
}

static void null_lives(void)
{
	struct device_status s;
	struct device *d;

	BEGIN_UP();
	d = null_device();
	s = status_of(d);
	CHECK_EQ(s.state, DEVICE_DEFINED);
	CHECK_EQ(s.dev_id, -1);
	CHECK(start_ok(d));
	s = status_of(d);
	CHECK_EQ(s.state, DEVICE_RUNNING);
	CHECK_STR(s.block_device, "/dev/ublkb0");
	CHECK_EQ(s.size, 1 << 20);
	CHECK_EQ(s.queues, 1);
	CHECK_EQ(s.queue_depth, 4);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_READ, 0, 8), 4096);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_FLUSH, 0, 0), 0);
	CHECK(cookie_is_ours(driver.devs[0].info.ublksrv_flags));
	CHECK(stop_ok(d));
	CHECK_EQ(status_of(d).state, DEVICE_DEFINED);
	CHECK_EQ(status_of(d).dev_id, -1);
	CHECK(driver_is_empty());
	CHECK_EQ(driver_count(UBLK_U_CMD_TRY_STOP_DEV), 1);
	END();
}

static void loop_serves_its_file(void)
{
	struct device_counters c;
	pid_t threads[4];
	struct device *d;
	uint8_t now[4096];
	int fd;

	BEGIN();
	d = loop_device("2");
	CHECK(start_ok(d));
	memset(data, 'z', sizeof(data));
	CHECK_EQ(io(d, 1, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 16, 8), 4096);
	fd = open(backing(), O_RDONLY | O_CLOEXEC);
	/* backing() made it anew under the device's feet: the device has the old one. */
	(void) close(fd);
	memset(data, 0, sizeof(data));
	CHECK_EQ(io(d, 0, UBLK_IO_OP_READ, 16, 8), 4096);
	memset(now, 'z', sizeof(now));
	CHECK_EQ(io(d, 0, UBLK_IO_OP_FLUSH, 0, 0), 0);
	CHECK_EQ(device_get_threads(d, threads, 4), 2);
	CHECK(threads[0] != threads[1] && threads[0] > 0);
	device_get_counters(d, &c);
	CHECK_EQ(c.read_ops, 1);
	CHECK_EQ(c.write_bytes, 4096);
	CHECK_EQ(device_in_flight(d), 0);
	CHECK(stop_ok(d));
	END();
}

static void again_and_again(void)
{
	struct device *d;

	BEGIN();
	d = loop_device("2");
	for (int i = 0; i < 20; i++) {
		CHECK(start_ok(d));
		CHECK_EQ(io(d, 1, UBLK_IO_OP_READ, 0, 8), 4096);
		CHECK(stop_ok(d));
	}
	END();
}

static void refusals(void)
{
	struct device_stop_options o = {0};
	struct failure f = {0};
	struct waiter w;
	struct device *d;

	BEGIN();
	d = null_device();
	CHECK_EQ(device_stop(d, &o, NULL, &f), -EALREADY);
	CHECK_EQ(f.kind, FAILURE_DEVICE_NOT_RUNNING);
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), 0);
	f.kind = FAILURE_NONE;
	CHECK_EQ(device_start(d, 0, NULL, &f), -EBUSY);
	CHECK_EQ(f.kind, FAILURE_OPERATION_IN_PROGRESS);
	f.kind = FAILURE_NONE;
	CHECK_EQ(manager_delete(bed.manager, d, &f), -EBUSY);
	CHECK(bed_wait(&w));
	f.kind = FAILURE_NONE;
	CHECK_EQ(device_start(d, 0, NULL, &f), -EALREADY);
	CHECK_EQ(f.kind, FAILURE_DEVICE_RUNNING);
	f.kind = FAILURE_NONE;
	CHECK_EQ(manager_delete(bed.manager, d, &f), -EBUSY);
	CHECK_EQ(f.kind, FAILURE_DEVICE_RUNNING);
	CHECK(!null_device());
	CHECK(manager_find_node(bed.manager, "ublkb0") == d);
	CHECK(stop_ok(d));
	CHECK_EQ(manager_delete(bed.manager, d, &f), 0);
	CHECK(!manager_find(bed.manager, "n"));
	END();
}

static void still_serves(struct device *d)
{
	CHECK_EQ(d->state, DEVICE_RUNNING);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_READ, 0, 8), 4096);
}

static void busy_stop_is_refused(void)
{
	struct device *d;
	struct failure f;

	BEGIN_UP();
	d = null_device();
	CHECK(start_ok(d));
	/* Open, but not claimed. */
	driver.devs[0].openers = 1;
	f = stop_with(d, false);
	CHECK_EQ(f.kind, FAILURE_DEVICE_BUSY);
	CHECK_CONTAINS(f.text, "is in use");
	CHECK_EQ(driver_count(UBLK_U_CMD_TRY_STOP_DEV), DEVICE_BUSY_TRIES + 1);
	still_serves(d);
	/* Claimed. */
	driver.devs[0].openers = 0;
	driver.devs[0].claimed = true;
	f = stop_with(d, false);
	CHECK_EQ(f.kind, FAILURE_DEVICE_BUSY);
	still_serves(d);
	/* Not any more. */
	driver.devs[0].claimed = false;
	CHECK(stop_ok(d));
	CHECK_EQ(d->last_error.kind, FAILURE_NONE);
	END();
}

/* A wish to delete that came during a refused stop ends with it. */
static void deletion_ends_with_a_refused_stop(void)
{
	struct device_stop_options o = {0};
	struct waiter w;
	struct device *d;

	BEGIN_UP();
	d = null_device();
	CHECK(start_ok(d));
	driver.devs[0].claimed = true;
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK_EQ(manager_delete(bed.manager, d, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK_EQ(w.failure.kind, FAILURE_DEVICE_BUSY);
	driver.devs[0].claimed = false;
	CHECK(stop_ok(d));
	CHECK(manager_find(bed.manager, "n") == d);
	END();
}

static void write_back_fails(void)
{
	struct device *d;
	struct failure f;

	BEGIN();
	d = null_device();
	CHECK(start_ok(d));
	driver.fault = (struct fake_fault){.op = GUARD_OP_SYNC, .res = -EIO, .times = 1};
	f = stop_with(d, false);
	CHECK_EQ(f.kind, FAILURE_KERNEL_FAILED);
	CHECK_CONTAINS(f.text, "mode 'force'");
	still_serves(d);
	driver.fault = (struct fake_fault){.op = GUARD_OP_SYNC, .res = -EIO, .times = 1};
	f = stop_with(d, true);
	CHECK_EQ(f.kind, FAILURE_NONE);
	END();
}

static void older_drivers_have_no_try_stop(void)
{
	struct device *d;

	BEGIN();
	driver.features = UBLK_F_CMD_IOCTL_ENCODE;
	CHECK_EQ(manager_start(bed.manager, NULL, NULL), 0);
	bed_turn_ms(20);
	d = null_device();
	CHECK(start_ok(d));
	CHECK(stop_ok(d));
	CHECK_EQ(driver_count(UBLK_U_CMD_TRY_STOP_DEV), 0);
	CHECK_EQ(driver_count(UBLK_U_CMD_STOP_DEV), 1);
	END();
}

/* ---- force */

static bool request_is_done(void *arg)
{
	bool done;

	fake_lock();
	done = request.done;
	fake_unlock();
	return done;
}

static void force_with_io_that_hangs(void)
{
	struct device_stop_options o = {.force = true};
	struct device *d;
	struct waiter w;

	BEGIN();
	d = loop_device("1");
	CHECK(start_ok(d));
	io_that_hangs(d);
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_until(request_is_done, NULL));
	CHECK_EQ(request.result, -EIO);
	/* Its memory is still in use: the device cannot go yet. */
	bed_turn_ms(50);
	CHECK(!w.done);
	CHECK_EQ(d->state, DEVICE_STOPPING);
	CHECK_STR(d->sub_state, "queues");
	release_held();
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	CHECK_EQ(d->state, DEVICE_DEFINED);
	END();
}

static void force_waits_while_there_is_progress(void)
{
	struct device_stop_options o = {.force = true};
	struct device *d;
	struct waiter w;

	BEGIN();
	d = loop_device("1");
	CHECK(start_ok(d));
	driver.fsync_waits = true;
	io_that_hangs(d);
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	bed_turn_ms(60);
	release_held();
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	CHECK_EQ(request.result, 4096);
	END();
}

static void safe_stop_becomes_forced(void)
{
	struct device_stop_options safe = {.timeout_usec = 30000}, force = {.force = true};
	struct waiter w, v;
	struct device *d;

	BEGIN_UP();
	d = loop_device("1");
	CHECK(start_ok(d));
	driver.fsync_waits = true;
	io_that_hangs(d);
	CHECK_EQ(device_stop(d, &safe, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK_EQ(w.failure.kind, FAILURE_TIMEOUT);
	CHECK_EQ(d->state, DEVICE_STOPPING);
	CHECK_EQ(device_stop(d, &safe, NULL, NULL), -EBUSY);
	CHECK_EQ(device_stop(d, &force, &waiter_new(&v)->wait, NULL), 0);
	CHECK(bed_until(request_is_done, NULL));
	CHECK_EQ(request.result, -EIO);
	release_held();
	CHECK(bed_wait(&v));
	CHECK(v.ok);
	END();
}

/* ---- the kernel refuses */

static const uint32_t commands[] = {
	UBLK_U_CMD_ADD_DEV,   UBLK_U_CMD_SET_PARAMS, UBLK_U_CMD_GET_QUEUE_AFFINITY,
	UBLK_U_CMD_START_DEV, UBLK_U_CMD_GET_PARAMS,
};
static const char *const command_names[] = {"ADD_DEV", "SET_PARAMS", NULL, "START_DEV",
					    "GET_PARAMS"};

static void each_command_refused(void)
{
	for (unsigned int i = 0; i < 5; i++) {
		struct device *d;
		struct failure f;

		BEGIN();
		d = loop_device("2");
		driver.fault = (struct fake_fault){.op = commands[i], .res = -EINVAL};
		if (!command_names[i]) {
			CHECK(start_ok(d)); /* where to run is advice */
		} else {
			f = start_fails(d);
			CHECK_EQ(f.kind, FAILURE_KERNEL_FAILED);
			CHECK_CONTAINS(f.text, command_names[i]);
			CHECK_EQ(d->state, DEVICE_FAILED);
			CHECK_STR(d->last_error.text, f.text);
			CHECK(driver_is_empty());
			driver.fault.op = 0;
			CHECK(start_ok(d));
		}
		CHECK_EQ(d->last_error.kind, FAILURE_NONE);
		CHECK(stop_ok(d));
		END();
	}
}

static void each_command_unanswered(void)
{
	for (unsigned int i = 0; i < 5; i++) {
		struct device *d;
		struct failure f;

		BEGIN();
		bed.fast_commands = true;
		bed.manager->config.start_timeout_usec = 300000;
		d = loop_device("2");
		driver.fault = (struct fake_fault){.op = commands[i], .silent = true};
		if (!command_names[i]) {
			bed.manager->config.start_timeout_usec = 5000000;
			CHECK(start_ok(d));
		} else {
			f = start_fails(d);
			CHECK_EQ(f.kind, FAILURE_TIMEOUT);
			CHECK(bed_until(is_idle, d));
			CHECK_EQ(d->state, DEVICE_FAILED);
			CHECK(driver_is_empty());
			driver.fault.op = 0;
			bed.manager->config.start_timeout_usec = 5000000;
			CHECK(start_ok(d));
		}
		END();
	}
}

static void kernel_answers(int error, enum failure_kind kind, const char *text)
{
	struct device *d;
	struct failure f;

	BEGIN();
	d = null_device();
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_ADD_DEV, .res = error};
	f = start_fails(d);
	CHECK_EQ(f.kind, kind);
	CHECK_CONTAINS(f.text, text);
	END();
}

static void answers_to_add(void)
{
	kernel_answers(-EEXIST, FAILURE_DEVICE_EXISTS, "is taken");
	kernel_answers(-EACCES, FAILURE_LIMITS_EXCEEDED, "ublks_max");
	kernel_answers(-EPERM, FAILURE_KERNEL_FAILED, "CAP_SYS_ADMIN");
	kernel_answers(-ENOMEM, FAILURE_KERNEL_FAILED, "Cannot allocate memory");
}

static bool kernel_is_empty(void *arg)
{
	return driver_is_empty();
}

static bool kernel_is_not_empty(void *arg)
{
	return !driver_is_empty();
}

/* The device nobody waited for is deleted again. */
static void add_that_succeeds_too_late(void)
{
	struct device *d;
	struct failure f;

	BEGIN();
	bed.fast_commands = true;
	d = null_device();
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_ADD_DEV, .late = true, .times = 1};
	/* A cancel does not help a command that is being executed. */
	f = start_fails(d);
	CHECK_EQ(f.kind, FAILURE_TIMEOUT);
	CHECK_CONTAINS(f.text, "ADD_DEV");
	driver_release();
	CHECK(bed_until(kernel_is_empty, NULL));
	CHECK(start_ok(d));
	END();
}

static void more_queues_than_granted(void)
{
	struct device *d;
	struct failure f;

	BEGIN();
	d = bed_add("q", "Target", "null", "Queues", "9", NULL);
	f = start_fails(d);
	CHECK_EQ(f.kind, FAILURE_INVALID_CONFIGURATION);
	CHECK_CONTAINS(f.text, "at most 4");
	CHECK(driver_is_empty());
	END();
}

static bool no_device_is_left(void *arg)
{
	return driver_is_empty();
}

static void stop_and_delete_refused(void)
{
	struct device *d;

	BEGIN_UP();
	d = loop_device("2");
	CHECK(start_ok(d));
	driver.fault =
		(struct fake_fault){.op = UBLK_U_CMD_TRY_STOP_DEV, .res = -EINVAL, .times = 1};
	/* A safe stop that the kernel does not want is not made a forced one. */
	CHECK(!stop_ok(d));
	CHECK_EQ(d->state, DEVICE_RUNNING);
	CHECK_CONTAINS(d->last_error.text, "the kernel refused");
	CHECK(stop_ok(d));
	CHECK(driver_is_empty());
	CHECK(start_ok(d));
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_DEL_DEV, .res = -EINTR, .times = 1};
	CHECK(stop_ok(d));
	CHECK_EQ(d->state, DEVICE_DEFINED);
	/* The kernel has it still: it is deleted once more. */
	CHECK(bed_until(no_device_is_left, NULL));
	CHECK(start_ok(d));
	CHECK_EQ(d->kernel.dev_id, 0);
	CHECK(stop_ok(d));
	END();
}

static void char_device_of_others(void)
{
	struct device *d;
	struct failure f;

	BEGIN();
	d = null_device();
	driver.char_busy = 30; /* udev looks at it */
	CHECK(start_ok(d));
	CHECK(stop_ok(d));
	driver.char_error = ENOENT;
	f = start_fails(d);
	CHECK_CONTAINS(f.text, "cannot open /dev/ublkc0: No such file");
	driver.char_error = EACCES;
	f = start_fails(d);
	CHECK_CONTAINS(f.text, "Permission denied");
	CHECK(driver_is_empty());
	END();
}

static void backing_is_missing(void)
{
	struct device *d;
	struct failure f;

	BEGIN();
	d = bed_add("m", "Target", "loop", "File", "/nonexistent", NULL);
	f = start_fails(d);
	CHECK_EQ(f.kind, FAILURE_BACKING_UNAVAILABLE);
	CHECK_EQ(driver_count(UBLK_U_CMD_ADD_DEV), 0);
	END();
}

static void two_devices_on_one_file(void)
{
	struct device *d, *e;
	struct failure f;

	BEGIN();
	d = loop_device("1");
	e = bed_add("other", "Target", "loop", "File", status_of(d).backing, NULL);
	CHECK(start_ok(d));
	f = start_fails(e);
	CHECK_EQ(f.kind, FAILURE_BACKING_IN_USE);
	CHECK_CONTAINS(f.text, "by device 'l'");
	CHECK(stop_ok(d));
	CHECK(start_ok(e));
	END();
}

/* ---- queues that fail */

static int queue_error;
static unsigned int queue_failures;
static const char *queue_call;

static int fail_queue(const char *call)
{
	if (fake_is_guard || strcmp(call, queue_call) != 0 || !queue_failures)
		return 0;
	queue_failures--;
	return queue_error;
}

static void fail_queues(const char *call, int error, unsigned int times)
{
	fake_lock();
	queue_call = call;
	queue_error = error;
	queue_failures = times;
	fake.fail = fail_queue;
	fake_unlock();
}

static void queues_cannot_be_set_up(void)
{
	static const char *const calls[] = {"init", "register-files", "submit"};

	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int times = 1; times <= 3; times++) {
			struct device *d;
			struct failure f;

			BEGIN();
			/* The guard makes its ring first. */
			CHECK_EQ(manager_start(bed.manager, NULL, NULL), 0);
			bed_turn_ms(5);
			d = loop_device("3");
			fail_queues(calls[i], -ENOMEM, times);
			f = start_fails(d);
			CHECK_EQ(f.kind, FAILURE_KERNEL_FAILED);
			CHECK_CONTAINS(f.text, "the queues cannot be set up");
			CHECK(driver_is_empty());
			CHECK_EQ(driver_count(UBLK_U_CMD_START_DEV), 0);
			CHECK(start_ok(d));
			END();
		}
}

static void io_uring_is_disabled(void)
{
	struct device *d;
	struct failure f;

	BEGIN();
	d = null_device();
	fail_queues("init", -EPERM, 9);
	f = start_fails(d);
	CHECK_EQ(f.kind, FAILURE_KERNEL_UNSUPPORTED);
	CHECK_CONTAINS(f.text, "kernel.io_uring_disabled");
	fail_queues("init", 0, 0);
	END();
}

static void fetch_is_refused(void)
{
	struct device *d;
	struct failure f;

	BEGIN();
	d = loop_device("2");
	/* Not before there is a device. */
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_SET_PARAMS, .late = true, .times = 1};
	CHECK_EQ(device_start(d, 0, NULL, NULL), 0);
	CHECK(bed_until(kernel_is_not_empty, NULL));
	driver.devs[0].ublk->refuse_fetch = -EBUSY;
	driver.devs[0].ublk->refuse_queue = 1;
	bed_turn_ms(20);
	driver_release();
	CHECK(bed_until(is_idle, d));
	f = d->last_error;
	CHECK_CONTAINS(f.text, "the queues cannot be set up: Device or resource busy");
	CHECK(driver_is_empty());
	END();
}

static bool has_failed(void *arg)
{
	return ((struct device *) arg)->state == DEVICE_FAILED;
}

static void queue_dies(const char *n_queues)
{
	struct fake_request r = ask(UBLK_IO_OP_READ, 0, 8);
	struct device *d;

	BEGIN();
	d = bed_add("n", "Target", "null", "Size", "1M", "Queues", n_queues, NULL);
	CHECK(start_ok(d));
	fail_queues("submit", -ENXIO, 1);
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &r));
	CHECK(bed_until(has_failed, d));
	CHECK(bed_until(is_idle, d));
	CHECK(r.done);
	CHECK_EQ(d->last_error.kind, FAILURE_KERNEL_FAILED);
	CHECK_CONTAINS(d->last_error.text, "a queue failed: No such device or address");
	CHECK(driver_is_empty());
	CHECK(start_ok(d));
	END();
}

static void queue_dies_while_running(void)
{
	queue_dies("1");
	queue_dies("3");
}

static void stopped_by_somebody_else(void)
{
	static const char *const n_queues[] = {"1", "4"};

	for (unsigned int i = 0; i < 2; i++) {
		struct device *d;

		BEGIN();
		d = loop_device(n_queues[i]);
		CHECK(start_ok(d));
		driver_foreign_stop(0);
		CHECK(bed_until(has_failed, d));
		CHECK_EQ(d->last_error.kind, FAILURE_CANCELLED);
		CHECK_CONTAINS(d->last_error.text, "was stopped by somebody else");
		CHECK(bed_until(is_idle, d));
		CHECK(driver_is_empty());
		END();
	}
}

static bool is_over(void *arg)
{
	const struct device *d = arg;

	return !d->run && d->state != DEVICE_RUNNING;
}

/* What is written back may fail because the disk is gone: there is nothing left to go on with. */
static void stopped_by_somebody_else_during_a_stop(void)
{
	static const int answers[] = {-EIO, -EBUSY};

	for (unsigned int i = 0; i < 2; i++) {
		struct device_stop_options o = {0};
		struct device *d;
		struct waiter w;

		BEGIN();
		d = loop_device("2");
		CHECK(start_ok(d));
		driver.fault = (struct fake_fault){.op = GUARD_OP_SYNC, .res = answers[i]};
		driver_foreign_stop(0);
		CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
		CHECK(bed_wait(&w));
		/* Refused for a moment, if the news of the queues came later. */
		CHECK(bed_until(is_over, d));
		CHECK(driver_is_empty());
		END();
	}
}

static void queue_dies_during_a_stop(void)
{
	struct device_stop_options o = {0};
	struct fake_request r = ask(UBLK_IO_OP_READ, 0, 8);
	struct device *d;
	struct waiter w;

	BEGIN();
	d = bed_add("n", "Target", "null", "Size", "1M", "Queues", "2", NULL);
	CHECK(start_ok(d));
	driver.devs[0].claimed = true; /* SYNC is tried again and again, then refused */
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	fail_queues("submit", -ENXIO, 1);
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &r));
	CHECK(bed_wait(&w));
	CHECK(bed_until(is_idle, d));
	CHECK(d->state != DEVICE_RUNNING);
	CHECK(driver_is_empty());
	END();
}

static bool a_queue_has_failed(void *arg)
{
	return ((struct device *) arg)->queue_failed;
}

static void queue_dies_during_a_start(void)
{
	struct fake_request r = ask(UBLK_IO_OP_READ, 0, 8);
	struct device *d;

	BEGIN();
	d = bed_add("n", "Target", "null", "Size", "1M", "Queues", "2", NULL);
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_START_DEV, .late = true, .times = 1};
	CHECK_EQ(device_start(d, 0, NULL, NULL), 0);
	while (!driver_count(UBLK_U_CMD_START_DEV))
		bed_turn_ms(1);
	fail_queues("submit", -ENXIO, 1);
	CHECK(fake_send_any(driver.devs[0].ublk, 0, &r));
	CHECK(bed_until(a_queue_has_failed, d));
	driver_release();
	CHECK(bed_until(is_idle, d));
	CHECK_EQ(d->state, DEVICE_FAILED);
	CHECK_CONTAINS(d->last_error.text, "a queue failed");
	CHECK(driver_is_empty());
	END();
}

/* ---- time */

static void start_that_takes_too_long(void)
{
	struct device *d;
	struct waiter w;

	BEGIN();
	bed.manager->config.start_timeout_usec = 800000;
	d = loop_device("1");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_START_DEV, .silent = true};
	CHECK_EQ(device_start(d, 500000, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK_EQ(w.failure.kind, FAILURE_TIMEOUT);
	CHECK_CONTAINS(w.failure.text, "still starting (at step 'start-dev')");
	CHECK(bed_until(is_idle, d));
	CHECK_EQ(d->state, DEVICE_FAILED);
	CHECK_EQ(d->last_error.kind, FAILURE_TIMEOUT);
	CHECK(driver_is_empty());
	END();
}

/* Its time is up at every step before the last. */
static void start_cancelled_at_each_step(void)
{
	for (unsigned int i = 0; i < 5; i++) {
		struct device *d;
		struct waiter w;

		BEGIN();
		d = loop_device("1");
		driver.fault = (struct fake_fault){.op = commands[i], .late = true, .times = 1};
		CHECK_EQ(device_start(d, 100000, &waiter_new(&w)->wait, NULL), 0);
		CHECK(bed_wait(&w));
		CHECK_EQ(w.failure.kind, FAILURE_TIMEOUT);
		CHECK_EQ(d->state, DEVICE_STARTING);
		driver_release();
		CHECK(bed_until(is_idle, d));
		CHECK_EQ(d->state, DEVICE_FAILED);
		CHECK(driver_is_empty());
		END();
	}
}

static bool is_gone(void *arg)
{
	return !manager_find(bed.manager, arg);
}

static void deleted_while_cancelled(void)
{
	struct failure f = {0};
	struct device *d;
	struct waiter w;

	BEGIN();
	d = loop_device("1");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_SET_PARAMS, .late = true, .times = 1};
	CHECK_EQ(device_start(d, 100000, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK_EQ(manager_delete(bed.manager, d, &f), 0);
	CHECK(manager_find(bed.manager, "l") == d);
	driver_release();
	CHECK(bed_until(is_gone, (void *) (uintptr_t) "l"));
	CHECK(driver_is_empty());
	END();
}

static void deleted_while_stopping(void)
{
	struct device_stop_options o = {0};
	struct failure f = {0};
	struct device *d;
	struct waiter w;

	BEGIN();
	d = loop_device("1");
	CHECK(start_ok(d));
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK_EQ(manager_delete(bed.manager, d, &f), 0);
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	CHECK(is_gone((void *) (uintptr_t) "l"));
	END();
}

/* A stop that is refused leaves the device as it was, whoever wanted it deleted. */
static void deleted_while_a_stop_is_refused(void)
{
	struct device_stop_options o = {0};
	struct device *d;
	struct waiter w;

	BEGIN();
	d = loop_device("1");
	CHECK(start_ok(d));
	driver.devs[0].claimed = true;
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK_EQ(manager_delete(bed.manager, d, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK_EQ(w.failure.kind, FAILURE_DEVICE_BUSY);
	still_serves(d);
	driver.devs[0].claimed = false;
	END();
}

/* ---- the manager */

static void write_device(const char *name, const char *more)
{
	char path[200], text[600];

	(void) snprintf(path, sizeof(path), "/etc/ublkd/devices/%s.conf", name);
	(void) snprintf(text, sizeof(text), "[Device]\nTarget=null\nSize=1M\n%s", more);
	bed_put(path, text);
}

static struct manager_status manager_now(void)
{
	struct manager_status s;

	manager_get_status(bed.manager, &s);
	return s;
}

static void starts_what_is_configured(void)
{
	BEGIN();
	write_device("a", "");
	write_device("b", "Autostart=no\n");
	write_device("c", "");
	bed_put("/etc/ublkd/devices/d.conf", "[Device]\nTarget=nonsense\n");
	bed_put("/etc/ublkd/devices/e.conf", "[Device]\nTarget=loop\n[Loop]\nFile=/nonexistent\n");
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK_EQ(manager_now().state, MANAGER_STARTING);
	CHECK(bed_until(is_ready, NULL));
	CHECK_EQ(bed.n_ready, 1);
	CHECK_EQ(manager_now().state, MANAGER_RUNNING);
	CHECK_EQ(manager_now().n_devices, 4);
	CHECK_EQ(manager_now().n_running, 2);
	CHECK_EQ(manager_now().n_failed, 1);
	CHECK_EQ(manager_now().kernel_features, driver.features);
	CHECK_EQ(manager_find(bed.manager, "b")->state, DEVICE_DEFINED);
	END();
}

static void kernel_is_too_old(void)
{
	struct failure f = {0};

	BEGIN();
	write_device("a", "");
	driver.features = UBLK_F_SUPPORT_ZERO_COPY;
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
	CHECK_CONTAINS(manager_now().kernel_problem, "too old");
	CHECK_EQ(manager_find(bed.manager, "a")->state, DEVICE_FAILED);
	CHECK(device_start(manager_find(bed.manager, "a"), 0, NULL, &f) < 0);
	CHECK_EQ(f.kind, FAILURE_KERNEL_UNSUPPORTED);
	END();
}

static void kernel_does_not_tell(void)
{
	BEGIN();
	write_device("a", "");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_FEATURES, .res = -ENODEV};
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
	CHECK_EQ(manager_now().state, MANAGER_RUNNING);
	CHECK_CONTAINS(manager_now().kernel_problem, "does not tell its features");
	END();
}

/* A client that is quicker than the start-up. */
static void started_before_the_features_are_known(void)
{
	struct device *d;
	struct waiter w;

	BEGIN();
	write_device("a", "");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_FEATURES, .late = true, .times = 1};
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	d = manager_find(bed.manager, "a");
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK_EQ(d->state, DEVICE_RUNNING);
	driver_release();
	CHECK(bed_until(is_ready, NULL));
	CHECK_EQ(d->state, DEVICE_RUNNING);
	CHECK(stop_ok(d));
	END();
}

static bool features_are_asked(void *arg)
{
	return driver_count(UBLK_U_CMD_GET_FEATURES) > 0;
}

/* The start-up is over when it is over, whoever reloads meanwhile. */
static void reloaded_before_the_features_are_known(void)
{
	struct reload_result r = {0};

	BEGIN();
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_FEATURES, .late = true, .times = 1};
	write_device("early", "");
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(features_are_asked, NULL));
	write_device("a", "");
	bed_put("/etc/ublkd/devices/b.conf", "[Device]\nTarget=loop\n[Loop]\nFile=/nonexistent\n");
	CHECK_EQ(manager_reload(bed.manager, &r, NULL), 0);
	reload_result_release(&r);
	bed_turn_ms(20);
	CHECK_EQ(bed.n_ready, 0);
	driver_release();
	CHECK(bed_until(is_ready, NULL));
	bed_turn_ms(20);
	CHECK_EQ(bed.n_ready, 1);
	CHECK_EQ(manager_find(bed.manager, "early")->state, DEVICE_RUNNING);
	CHECK_EQ(manager_now().state, MANAGER_RUNNING);
	CHECK_EQ(manager_find(bed.manager, "a")->state, DEVICE_RUNNING);
	END();
}

static void leftovers_are_swept(void)
{
	/* Of a process that is dead (pids end below), of a living one, of no ublkd. */
	uint64_t cookies[] = {cookie_make(4194303, 7), cookie_make(getppid(), 7), 0x1234};

	BEGIN();
	/* The second is alive. */
	for (int i = 0; i < 3; i++)
		driver_foreign_add(i, cookies[i], 0, i == 1 ? UBLK_S_DEV_LIVE : UBLK_S_DEV_DEAD);
	write_device("a", "");
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
	CHECK_EQ(manager_find(bed.manager, "a")->kernel.dev_id, 0);
	CHECK(driver.devs[1].exists && driver.devs[2].exists);
	CHECK_EQ(driver_count(UBLK_U_CMD_DEL_DEV), 1);
	driver_foreign_del(1);
	driver_foreign_del(2);
	END();
}

static bool is_down(void *arg)
{
	return bed.n_down > 0;
}

static void on_down(void *arg)
{
	bed.n_down++;
}

static void shutdown_stops_all(void)
{
	struct failure f = {0};
	struct device *d;

	BEGIN();
	write_device("a", "");
	write_device("b", "");
	write_device("c", "Autostart=no\n");
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
	manager_shutdown(bed.manager, true, on_down, NULL);
	CHECK_EQ(manager_now().state, MANAGER_STOPPING);
	d = manager_find(bed.manager, "c");
	CHECK_EQ(device_start(d, 0, NULL, &f), -ESHUTDOWN);
	CHECK(bed_until(is_down, NULL));
	CHECK_EQ(bed.n_down, 1);
	CHECK(driver_is_empty());
	END();
}

static bool is_idle_and_defined(void *arg)
{
	const struct device *d = arg;

	return !d->run && d->state == DEVICE_DEFINED;
}

/* In use until StopTimeoutSec is over, then taken down all the same. */
static void shutdown_forces_what_is_busy(void)
{
	struct device *d, *e;

	BEGIN();
	bed.manager->config.stop_timeout_usec = 200000;
	d = loop_device("1");
	e = null_device();
	CHECK(start_ok(d));
	CHECK(start_ok(e));
	driver.devs[0].claimed = true;
	manager_shutdown(bed.manager, true, on_down, NULL);
	CHECK(bed_until(is_idle_and_defined, e));
	CHECK_EQ(bed.n_down, 0);
	CHECK(bed_until(is_down, NULL));
	CHECK(driver_is_empty());
	END();
}

static void shutdown_cancels_a_start(void)
{
	for (unsigned int i = 0; i < 5; i++) {
		struct device *d;
		struct waiter w;

		BEGIN();
		d = loop_device("1");
		driver.fault = (struct fake_fault){.op = commands[i], .late = true, .times = 1};
		CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), 0);
		while (!driver_count(commands[i]))
			bed_turn_ms(1);
		manager_shutdown(bed.manager, true, on_down, NULL);
		bed_turn_ms(5);
		driver_release();
		CHECK(bed_until(is_down, NULL));
		CHECK(w.done);
		CHECK(!w.ok);
		CHECK_EQ(w.failure.kind, FAILURE_SHUTTING_DOWN);
		CHECK(driver_is_empty());
		END();
	}
}

static void many_devices_at_once(void)
{
	struct device *d = NULL;
	struct waiter w[4];
	char name[8];

	BEGIN();
	for (int i = 0; i < 4; i++) {
		(void) snprintf(name, sizeof(name), "d%d", i);
		d = bed_add(name, "Target", "null", "Size", "1M", "Queues", "2", NULL);
		CHECK_EQ(device_start(d, 0, &waiter_new(&w[i])->wait, NULL), 0);
	}
	CHECK(!bed_add("more", "Target", "null", "Size", "1M", NULL)); /* MaxDevices */
	for (int i = 0; i < 4; i++) {
		CHECK(bed_wait(&w[i]));
		CHECK(w[i].ok);
	}
	for (d = NULL; (d = manager_next(bed.manager, d));)
		CHECK_EQ(io(d, 1, UBLK_IO_OP_READ, 0, 8), 4096);
	END();
}

/* ---- reload */

static const char *change_of(const struct reload_result *r, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->v[i].device, name) == 0)
			return r->v[i].change;
	return NULL;
}

static void reload_tells_what_became_of_each(void)
{
	struct reload_result r = {0};
	struct failure f = {0};
	struct device *d;

	BEGIN();
	write_device("changed", "Autostart=no\n");
	write_device("gone", "Autostart=no\n");
	write_device("running", "");
	write_device("same", "Autostart=no\n");
	bed.manager->config.max_devices = 20;
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
	bed_put("/etc/ublkd/ublkd.conf", "[Manager]\nMaxDevices=9\nLogLevel=emerg\n");
	write_device("changed", "Autostart=no\nReadOnly=yes\n");
	write_device("running", "ReadOnly=yes\n");
	write_device("new", "");
	write_device("broken", "Colour=blue\n");
	bed_remove("/etc/ublkd/devices/gone.conf");
	CHECK_EQ(manager_reload(bed.manager, &r, &f), 0);
	CHECK_STR(change_of(&r, "changed"), "updated");
	CHECK_STR(change_of(&r, "gone"), "removed");
	CHECK_STR(change_of(&r, "running"), "pending-restart");
	CHECK_STR(change_of(&r, "same"), "unchanged");
	CHECK_STR(change_of(&r, "new"), "added");
	CHECK_STR(change_of(&r, "broken"), "invalid");
	CHECK_EQ(manager_now().last_reload_failed, 1);
	CHECK_EQ(manager_get_config(bed.manager)->max_devices, 9);
	reload_result_release(&r);

	d = manager_find(bed.manager, "running");
	still_serves(d);
	CHECK(status_of(d).needs_restart);
	CHECK(!status_of(d).read_only);
	CHECK(stop_ok(d));
	CHECK(start_ok(d));
	CHECK(status_of(d).read_only);
	CHECK(!status_of(d).needs_restart);

	bed_remove("/etc/ublkd/devices/running.conf");
	CHECK_EQ(manager_reload(bed.manager, &r, &f), 0);
	CHECK_STR(change_of(&r, "running"), "orphaned");
	reload_result_release(&r);
	still_serves(d);
	CHECK(stop_ok(d)); /* and forgotten */
	END();
}

static void orphan_that_comes_back(void)
{
	struct reload_result r = {0};
	struct device *d;

	BEGIN();
	write_device("a", "");
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
	bed_remove("/etc/ublkd/devices/a.conf");
	CHECK_EQ(manager_reload(bed.manager, &r, NULL), 0);
	reload_result_release(&r);
	write_device("a", "");
	CHECK_EQ(manager_reload(bed.manager, &r, NULL), 0);
	CHECK_STR(change_of(&r, "a"), "unchanged");
	reload_result_release(&r);
	d = manager_find(bed.manager, "a");
	CHECK(stop_ok(d));
	CHECK(manager_find(bed.manager, "a") == d);
	END();
}

static void reload_of_a_broken_main_file(void)
{
	struct reload_result r = {0};
	struct failure f = {0};

	BEGIN();
	bed_put("/etc/ublkd/ublkd.conf", "[Manager]\nMaxDevices=none\n");
	write_device("a", "");
	CHECK_EQ(manager_reload(bed.manager, &r, &f), -EINVAL);
	CHECK_CONTAINS(f.text, "MaxDevices=none");
	CHECK_EQ(r.n, 0);
	CHECK_EQ(manager_now().n_devices, 0);
	END();
}

static void reload_leaves_devices_of_the_bus_alone(void)
{
	struct reload_result r = {0};
	struct device *d;

	BEGIN();
	d = null_device();
	write_device("n", "");
	CHECK_EQ(manager_reload(bed.manager, &r, NULL), 0);
	CHECK_STR(change_of(&r, "n"), "invalid");
	CHECK_CONTAINS(r.v[0].detail, "over D-Bus");
	CHECK(manager_find(bed.manager, "n") == d);
	reload_result_release(&r);
	END();
}

/* ---- how data move, and limits that need the kernel or the backing */

static void data_path_is_told_while_running(void)
{
	struct device *d;

	BEGIN_UP();
	d = bed_add("a", "Target", "null", NULL);
	CHECK_STR(status_of(d).data_path, "");
	CHECK(start_ok(d));
	CHECK_STR(status_of(d).data_path, "driver");
	CHECK(stop_with(d, false).kind == FAILURE_NONE);
	CHECK_STR(status_of(d).data_path, "");
	END();
}

static void data_path_is_refused(void)
{
	struct device *d;
	struct failure f;

	BEGIN_UP();
	d = bed_add("a", "Target", "null", "Copy", "user", NULL);
	f = start_fails(d);
	CHECK_EQ(f.kind, FAILURE_KERNEL_UNSUPPORTED);
	CHECK_STR(f.text, "Copy=user: the driver has no USER_COPY, which came with Linux 6.5: "
			  "set Copy=auto");
	CHECK_EQ(driver_count(UBLK_U_CMD_ADD_DEV), 0);
	END();
}

static void limits_are_refused(void)
{
	struct failure f;

	BEGIN_UP();
	f = start_fails(bed_add("a", "Target", "loop", "File", backing(), "ReadOnly", "yes",
				"Discard", "yes", NULL));
	CHECK_EQ(f.kind, FAILURE_INVALID_CONFIGURATION);
	CHECK_STR(f.text, "Discard=yes: the backing cannot discard: set Discard=auto");
	CHECK_EQ(driver_count(UBLK_U_CMD_ADD_DEV), 0);
	END();
}

static void partition_scan_is_asked_off(void)
{
	struct device *a, *b;

	BEGIN();
	driver.features |= UBLK_F_NO_AUTO_PART_SCAN;
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
	a = bed_add("a", "Target", "null", "PartitionScan", "no", NULL);
	b = bed_add("b", "Target", "null", NULL);
	CHECK(start_ok(a));
	CHECK(start_ok(b));
	CHECK(bed_kernel(a)->info.flags & UBLK_F_NO_AUTO_PART_SCAN);
	CHECK(!(bed_kernel(b)->info.flags & UBLK_F_NO_AUTO_PART_SCAN));
	END();
	/* A driver that cannot is not asked, and serves all the same. */
	BEGIN_UP();
	a = bed_add("a", "Target", "null", "PartitionScan", "no", NULL);
	CHECK(start_ok(a));
	CHECK(!(bed_kernel(a)->info.flags & UBLK_F_NO_AUTO_PART_SCAN));
	END();
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(null_lives),
		CASE(loop_serves_its_file),
		CASE(again_and_again),
		CASE(refusals),
		CASE(busy_stop_is_refused),
		CASE(deletion_ends_with_a_refused_stop),
		CASE(write_back_fails),
		CASE(older_drivers_have_no_try_stop),
		CASE(force_with_io_that_hangs),
		CASE(force_waits_while_there_is_progress),
		CASE(safe_stop_becomes_forced),
		CASE(each_command_refused),
		CASE(each_command_unanswered),
		CASE(answers_to_add),
		CASE(add_that_succeeds_too_late),
		CASE(more_queues_than_granted),
		CASE(stop_and_delete_refused),
		CASE(char_device_of_others),
		CASE(backing_is_missing),
		CASE(two_devices_on_one_file),
		CASE(queues_cannot_be_set_up),
		CASE(io_uring_is_disabled),
		CASE(fetch_is_refused),
		CASE(queue_dies_while_running),
		CASE(stopped_by_somebody_else),
		CASE(stopped_by_somebody_else_during_a_stop),
		CASE(queue_dies_during_a_stop),
		CASE(queue_dies_during_a_start),
		CASE(start_that_takes_too_long),
		CASE(start_cancelled_at_each_step),
		CASE(deleted_while_cancelled),
		CASE(deleted_while_stopping),
		CASE(deleted_while_a_stop_is_refused),
		CASE(starts_what_is_configured),
		CASE(kernel_is_too_old),
		CASE(kernel_does_not_tell),
		CASE(started_before_the_features_are_known),
		CASE(reloaded_before_the_features_are_known),
		CASE(leftovers_are_swept),
		CASE(shutdown_stops_all),
		CASE(shutdown_forces_what_is_busy),
		CASE(shutdown_cancels_a_start),
		CASE(many_devices_at_once),
		CASE(reload_tells_what_became_of_each),
		CASE(orphan_that_comes_back),
		CASE(reload_of_a_broken_main_file),
		CASE(reload_leaves_devices_of_the_bus_alone),
		CASE(data_path_is_told_while_running),
		CASE(data_path_is_refused),
		CASE(limits_are_refused),
		CASE(partition_scan_is_asked_off),
	};
	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
