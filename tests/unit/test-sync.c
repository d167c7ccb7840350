/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device-sync: what becomes of a device whose backing lost writes, on a fake driver. */
#include <errno.h>
#include <unistd.h>

#include "device-bed.h"
#include "device/device-internal.h"
#include "device/manager-internal.h"
#include "test.h"

static _Alignas(4096) uint8_t data[8192];
static int dir;

static void on_ready(void *arg)
{
	bed.n_ready++;
}

static bool is_ready(void *arg)
{
	return bed.n_ready > 0;
}

static void begin(void)
{
	CHECK_EQ(bed_begin(), 0);
	driver.features |= UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
	dir = state_open(bed_root);
	CHECK(dir >= 0);
	manager_set_state_dir(bed.manager, dir);
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
}

static void end(void)
{
	manager_set_state_dir(bed.manager, -1);
	(void) close(dir);
	CHECK_STR(bed_end(), NULL);
}

static struct device *running(unsigned int queues)
{
	char path[300], n[8];
	struct device *d;
	struct waiter w;

	(void) snprintf(path, sizeof(path), "%s/backing", bed_root);
	(void) snprintf(n, sizeof(n), "%u", queues);
	bed_put("/backing", "");
	CHECK_EQ(truncate(path, 1 << 20), 0);
	d = bed_add("d", "Target", "loop", "File", path, "Queues", n, NULL);
	CHECK(d);
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w) && w.ok);
	return d;
}

static int io(const struct device *d, unsigned int q, uint32_t op)
{
	struct fake_request r = {
		.op_flags = op, .n_sectors = op == UBLK_IO_OP_FLUSH ? 0 : 16, .data = data};

	CHECK(fake_send_any(bed_kernel(d)->ublk, q, &r));
	CHECK(fake_wait(&r));
	return r.result;
}

/* Of the device, or (@how: force) without asking who uses it. */
static bool stop(struct device *d, bool force, struct failure *f)
{
	struct device_stop_options o = {.force = force};
	struct waiter w;

	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	*f = w.failure;
	return w.ok;
}

static enum fake_verdict no_sync(struct fake_op *op)
{
	if (op->sqe.opcode != IORING_OP_FSYNC)
		return FAKE_DO;
	op->res = -EIO;
	return FAKE_ANSWER;
}

static bool has_last_error(void *arg)
{
	struct device_status s;

	device_get_status(arg, &s);
	return failure_is_set(s.last_error);
}

/* It has happened, and is known. */
static void lose(struct device *d)
{
	driver.on_backing = no_sync;
	CHECK_EQ(io(d, 0, UBLK_IO_OP_FLUSH), -EIO);
	driver.on_backing = NULL;
	CHECK(bed_until(has_last_error, d));
}

static const struct failure *last_error(const struct device *d)
{
	static struct device_status s;

	device_get_status(d, &s);
	return s.last_error;
}

static int saved_error(void)
{
	struct saved_device **v;
	size_t n = state_load(dir, &v);
	int error = n == 1 ? v[0]->sync_error : 1;

	state_free(v, n);
	return error;
}

static void all_queues_know_and_the_status_says(void)
{
	struct failure f;
	struct device *d;

	begin();
	d = running(2);
	CHECK_EQ(io(d, 1, UBLK_IO_OP_FLUSH), 0);
	CHECK(!failure_is_set(last_error(d)));
	CHECK_EQ(saved_error(), 0);
	lose(d);
	CHECK_EQ(last_error(d)->kind, FAILURE_WRITES_LOST);
	CHECK_CONTAINS(last_error(d)->text, "Input/output error");
	CHECK_EQ(io(d, 1, UBLK_IO_OP_FLUSH), -EIO);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA), -EIO);
	CHECK_EQ(io(d, 1, UBLK_IO_OP_WRITE), 8192);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_READ), 8192);
	CHECK_EQ(d->state, DEVICE_RUNNING);
	/* The next daemon is told. */
	CHECK_EQ(saved_error(), -EIO);
	CHECK(stop(d, true, &f));
	end();
}

static void a_stop_does_not_lie_about_it(void)
{
	struct failure f;
	struct device *d;

	begin();
	d = running(1);
	lose(d);
	/* Its flush is one of those that fail. */
	driver.fault = (struct fake_fault){.op = GUARD_OP_SYNC, .res = -EIO, .times = 1};
	CHECK(!stop(d, false, &f));
	CHECK_EQ(f.kind, FAILURE_WRITES_LOST);
	CHECK_CONTAINS(f.text, "force");
	CHECK_EQ(d->state, DEVICE_RUNNING);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_FLUSH), -EIO);
	CHECK(stop(d, true, &f));
	CHECK(!failure_is_set(last_error(d)));
	end();
}

static void a_new_start_begins_anew(void)
{
	struct failure f;
	struct device *d;
	struct waiter w;

	begin();
	d = running(1);
	lose(d);
	CHECK(stop(d, true, &f));
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w) && w.ok);
	CHECK(!failure_is_set(last_error(d)));
	CHECK_EQ(saved_error(), 0);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_FLUSH), 0);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA), 8192);
	CHECK(stop(d, false, &f));
	end();
}

/* Nothing would come of waiting for StopTimeoutSec. */
static void the_daemon_leaves_at_once(void)
{
	struct device *d;

	begin();
	bed.manager->config.stop_timeout_usec = 3600 * UINT64_C(1000000);
	d = running(1);
	lose(d);
	driver.fault = (struct fake_fault){.op = GUARD_OP_SYNC, .res = -EIO};
	end();
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(all_queues_know_and_the_status_says),
		CASE(a_stop_does_not_lie_about_it),
		CASE(a_new_start_begins_anew),
		CASE(the_daemon_leaves_at_once),
	};

	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
