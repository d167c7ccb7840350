/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device-stop, device-watch, shutdown: the claim on a disk that is being stopped, and devices that
 * do not get on, on a fake driver. What else there is of stops is in test-device. */
#include <errno.h>

#include "device-bed.h"
#include "device/device-internal.h"
#include "device/manager-internal.h"
#include "test.h"

#define BEGIN() CHECK_EQ(bed_begin(), 0)
#define END() CHECK_STR(bed_end(), NULL)

static const struct device_stop_options safe = {0}, force = {.force = true};
static uint8_t data[4096];
static struct fake_request request;

static struct device *started(const char *name)
{
	struct device *d = bed_add(name, "Target", "null", NULL);
	struct waiter w;

	CHECK(d);
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	return d;
}

static struct failure stopped_with(struct device *d, const struct device_stop_options *o)
{
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_stop(d, o, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	return w.failure;
}

static void stop_ok(struct device *d)
{
	CHECK_STR(stopped_with(d, &safe).text, "");
	CHECK_EQ(d->state, DEVICE_DEFINED);
}

static bool is_stuck(void *arg)
{
	return ((struct device *) arg)->state == DEVICE_STUCK;
}

static bool is_running(void *arg)
{
	return ((struct device *) arg)->state == DEVICE_RUNNING;
}

static bool is_defined(void *arg)
{
	return ((struct device *) arg)->state == DEVICE_DEFINED;
}

/* A device with a STOP_DEV that the kernel does not answer. */
static struct device *stuck(const char *name, const struct device_stop_options *o)
{
	struct device_stop_options options = *o;
	struct device *d = started(name);

	options.timeout_usec = 150000;
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_STOP_DEV, .late = true, .times = 1};
	CHECK_EQ(device_stop(d, &options, NULL, NULL), 0);
	CHECK(bed_until(is_stuck, d));
	return d;
}

static void let_go(struct device *d)
{
	driver_release();
	CHECK(bed_until(is_defined, d));
	CHECK_EQ(d->last_error.kind, FAILURE_NONE);
}

/* ---- the claim, where the kernel has no TRY_STOP_DEV */

static void claimed_until_stopped(void)
{
	struct device *d;

	BEGIN();
	d = started("n");
	stop_ok(d);
	CHECK(driver.devs[0].held_at_stop);
	CHECK_EQ(driver.n_syncs, 1);
	/* What was written while the holders were looked for is written back, too. */
	CHECK_EQ(driver.n_flushes, 2);
	CHECK(driver_is_empty());
	END();
}

static void not_claimed_when_forced(void)
{
	struct device *d;

	BEGIN();
	d = started("n");
	CHECK_STR(stopped_with(d, &force).text, "");
	CHECK(!driver.devs[0].held_at_stop);
	CHECK_EQ(driver.n_flushes, 1);
	END();
}

static void claim_ends_with_a_refusal(void)
{
	struct device *d;

	BEGIN();
	d = started("n");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_STOP_DEV, .res = -EINVAL, .times = 1};
	CHECK_EQ(stopped_with(d, &safe).kind, FAILURE_KERNEL_FAILED);
	CHECK_EQ(d->state, DEVICE_RUNNING);
	CHECK(!d->held);
	stop_ok(d);
	CHECK_EQ(driver.n_syncs, 2); /* opened anew: it was closed in between */
	END();
}

static void claim_ends_with_a_busy_disk(void)
{
	struct device *d;

	BEGIN();
	d = started("n");
	driver.devs[0].claimed = true;
	CHECK_EQ(stopped_with(d, &safe).kind, FAILURE_DEVICE_BUSY);
	driver.devs[0].claimed = false;
	stop_ok(d);
	END();
}

/* ---- stuck */

static void stuck_and_let_go(void)
{
	struct failure f = {0}, g = {0};
	struct device *d, *e;

	BEGIN();
	d = stuck("n", &safe);
	CHECK_STR(device_state_name(d->state), "stuck");
	CHECK_EQ(d->last_error.kind, FAILURE_DEVICE_STUCK);
	CHECK_CONTAINS(d->last_error.text, "device 'n' is stuck: after ");
	CHECK_CONTAINS(d->last_error.text, "step 'stop-dev' still waits for ");
	CHECK_CONTAINS(d->last_error.text, "mode 'force'");
	CHECK_EQ(device_start(d, 0, NULL, &f), -EBUSY);
	CHECK_EQ(f.kind, FAILURE_DEVICE_STUCK);
	CHECK_EQ(device_stop(d, &safe, NULL, &g), -EBUSY);
	CHECK_EQ(g.kind, FAILURE_DEVICE_STUCK);
	/* Another one does not notice. */
	e = started("other");
	stop_ok(e);
	let_go(d);
	END();
}

static void callers_are_told(void)
{
	struct device_stop_options o = {.force = true, .timeout_usec = 100000};
	struct failure f;
	struct device *d;

	BEGIN();
	d = stuck("n", &safe);
	/* Force may join, again and again. */
	for (int i = 0; i < 2; i++) {
		f = stopped_with(d, &o);
		CHECK_EQ(f.kind, FAILURE_DEVICE_STUCK);
		CHECK(!strstr(f.text, "mode 'force'"));
		CHECK_EQ(d->state, DEVICE_STUCK);
	}
	let_go(d);
	END();
}

/* Late, but not without progress: no caller is told that it is stuck. */
static void slow_is_not_stuck(void)
{
	struct device_stop_options o = {.timeout_usec = 20000};
	struct failure f;
	struct device *d;

	BEGIN();
	d = started("n");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_STOP_DEV, .late = true, .times = 1};
	f = stopped_with(d, &o);
	CHECK_EQ(f.kind, FAILURE_TIMEOUT);
	CHECK_EQ(d->state, DEVICE_STOPPING);
	let_go(d);
	END();
}

/* Past its time, but its requests still come to an end. */
static void busy_is_not_stuck(void)
{
	struct device_stop_options o = {.timeout_usec = 300000};
	struct waiter w;
	struct device *d;

	BEGIN();
	d = started("n");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_STOP_DEV, .silent = true, .times = 1};
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	while (!w.done) {
		request = (struct fake_request){
			.op_flags = UBLK_IO_OP_READ, .n_sectors = 8, .data = data};
		CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &request));
		CHECK(fake_wait(&request));
		bed_turn_ms(5);
	}
	CHECK_EQ(w.failure.kind, FAILURE_TIMEOUT);
	CHECK_EQ(d->state, DEVICE_STOPPING);
	driver_release();
	CHECK(bed_until(is_running, d));
	stop_ok(d);
	END();
}

static void deleted_when_let_go(void)
{
	struct device *d;

	BEGIN();
	d = stuck("n", &force);
	CHECK_EQ(manager_delete(bed.manager, d, NULL), 0);
	driver_release();
	while (manager_find(bed.manager, "n"))
		bed_turn_ms(1);
	CHECK(driver_is_empty());
	END();
}

static enum fake_verdict hold(struct fake_op *op)
{
	return FAKE_HOLD;
}

static bool one_is_held(void *arg)
{
	return fake_n_held() > 0;
}

static bool is_at_queues(void *arg)
{
	return strcmp(((struct device *) arg)->sub_state, "queues") == 0;
}

static struct device *started_loop(void)
{
	struct waiter w;
	struct device *d;
	char path[300];

	(void) snprintf(path, sizeof(path), "%s/backing", bed_root);
	bed_put("/backing", "");
	CHECK_EQ(truncate(path, 1 << 20), 0);
	d = bed_add("l", "Target", "loop", "File", path, NULL);
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	return d;
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

/* Its request is failed, its memory stays with the backing: so the queue cannot go. */
static void backing_does_not_answer(void)
{
	struct device_stop_options o = {.force = true, .timeout_usec = 100000};
	struct device *d;
	struct failure f;

	BEGIN();
	d = started_loop();
	driver.on_backing = hold;
	request = (struct fake_request){.op_flags = UBLK_IO_OP_WRITE, .n_sectors = 8, .data = data};
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &request));
	CHECK(fake_wait_for(one_is_held, NULL));
	CHECK_EQ(device_stop(d, &o, NULL, NULL), 0);
	CHECK(bed_until(is_stuck, d));
	CHECK(bed_until(is_at_queues, d));
	f = stopped_with(d, &o);
	CHECK_EQ(f.kind, FAILURE_DEVICE_STUCK);
	CHECK_CONTAINS(f.text, "step 'queues' still waits for ");
	CHECK_CONTAINS(f.text, "/backing'");
	CHECK_EQ(request.result, -EIO);
	CHECK(d->watch.aborted);
	release_held();
	CHECK(bed_until(is_defined, d));
	END();
}

/* ---- the daemon's own stop */

static void on_down(void *arg)
{
	bed.n_down++;
}

static bool is_down(void *arg)
{
	return bed.n_down > 0;
}

/* StopTimeoutSec is five seconds here: it is not waited for. */
static void shutdown_does_not_wait(void)
{
	uint64_t begin;
	struct device *d;

	BEGIN();
	d = stuck("n", &safe);
	CHECK(started("other"));
	begin = d->state_change_usec;
	manager_shutdown(bed.manager, true, on_down, NULL);
	CHECK(bed_until(is_down, NULL));
	CHECK_EQ(d->state, DEVICE_STUCK);
	CHECK_EQ(d->state_change_usec, begin);
	CHECK(d->stop.force);
	CHECK(manager_is_busy(bed.manager));
	CHECK_EQ(manager_find(bed.manager, "other")->state, DEVICE_DEFINED);
	let_go(d);
	END();
}

static const struct test_case cases[] = {
	CASE(claimed_until_stopped),	 CASE(not_claimed_when_forced),
	CASE(claim_ends_with_a_refusal), CASE(claim_ends_with_a_busy_disk),
	CASE(stuck_and_let_go),		 CASE(callers_are_told),
	CASE(slow_is_not_stuck),	 CASE(busy_is_not_stuck),
	CASE(deleted_when_let_go),	 CASE(backing_does_not_answer),
	CASE(shutdown_does_not_wait),
};

int main(void)
{
	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
