/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices whose server went - a queue of it, or all of it, as by kill -9 - and that the kernel
 * kept: recovered, held, adopted by the next daemon, stopped. With real queue threads, on a fake
 * driver.
 */
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
#include "util/clock.h"

#define END() CHECK_STR(bed_end(), NULL)

/* With what the driver can do known. */
#define BEGIN()                                                                                    \
	do {                                                                                       \
		CHECK_EQ(bed_begin(), 0);                                                          \
		start_daemon();                                                                    \
	} while (0)

/* kill -9, and another daemon. */
#define NEXT_DAEMON()                                                                              \
	do {                                                                                       \
		bed_kill();                                                                        \
		CHECK_EQ(bed_next(), 0);                                                           \
		start_daemon();                                                                    \
	} while (0)

static void on_ready(void *arg)
{
	bed.n_ready++;
}

static bool is_ready(void *arg)
{
	return bed.n_ready > 0;
}

static void start_daemon(void)
{
	bed.n_ready = 0;
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
}

/* ---- requests */

static _Alignas(4096) uint8_t data[65536];

static struct fake_request ask(uint32_t op, uint64_t sector, uint32_t n)
{
	return (struct fake_request){
		.op_flags = op, .sector = sector, .n_sectors = n, .data = data};
}

static int io(const struct device *d, unsigned int q, uint32_t op, uint64_t sector, uint32_t n)
{
	struct fake_request r = ask(op, sector, n);

	if (!fake_send_any(bed_kernel(d)->ublk, q, &r) || !fake_wait(&r))
		fake_broken("a request is not answered");
	CHECK_EQ(r.commits, 1);
	return r.result;
}

static bool request_is_done(void *arg)
{
	const struct fake_request *r = arg;
	bool done;

	fake_lock();
	done = r->done;
	fake_unlock();
	return done;
}

/* ---- devices */

static const char *backing(const char *name)
{
	static char path[300];
	char in_root[100];

	(void) snprintf(in_root, sizeof(in_root), "/%s.img", name);
	(void) snprintf(path, sizeof(path), "%s%s", bed_root, in_root);
	bed_put(in_root, "");
	CHECK_EQ(truncate(path, 1 << 20), 0);
	return path;
}

static struct device *loop_device(const char *name)
{
	return bed_add(name, "Target", "loop", "File", backing(name), "Queues", "2", NULL);
}

static bool has_state_file(const char *name)
{
	return faccessat(bed.state_dir, name, R_OK, 0) == 0;
}

static struct failure start_of(struct device *d)
{
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	return w.failure;
}

static bool start_ok(struct device *d)
{
	struct failure f = start_of(d);

	if (failure_is_set(&f))
		(void) printf("# %s\n", f.text);
	return !failure_is_set(&f);
}

static struct failure stop_with(struct device *d, bool force)
{
	struct device_stop_options o = {.force = force};
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	return w.failure; /* the device may be gone */
}

static bool stop_ok(struct device *d)
{
	return !failure_is_set((struct failure[]){stop_with(d, false)});
}

static void serves(struct device *d)
{
	CHECK(d);
	CHECK_EQ(d->state, DEVICE_RUNNING);
	memset(data, 'q', 4096);
	CHECK_EQ(io(d, 0, UBLK_IO_OP_WRITE, 0, 8), 4096);
	memset(data, 0, 4096);
	CHECK_EQ(io(d, d->kernel.n_threads - 1, UBLK_IO_OP_READ, 0, 8), 4096);
}

static bool is_recovered(void *arg)
{
	const struct device *d = arg;

	return !d->run && d->state == DEVICE_RUNNING;
}

static bool is_failed(void *arg)
{
	const struct device *d = arg;

	return !d->run && d->state == DEVICE_FAILED;
}

static bool is_held(void *arg)
{
	const struct device *d = arg;

	return !d->run && d->state == DEVICE_QUIESCED;
}

static bool is_recovering(void *arg)
{
	return ((const struct device *) arg)->recovering;
}

/* ---- a queue that fails */

static struct fake_request *victim;
static pid_t victim_thread;
static unsigned int victim_turns;

static int fail_submit(const char *call)
{
	if (strcmp(call, "submit") != 0 || !victim || !victim->deliveries ||
	    gettid() != victim_thread || victim_turns--)
		return 0;
	victim = NULL;
	return -ENXIO;
}

/* With @r told to it, and not answered. With the answer linked to the operation, so is that;
 * otherwise it is done. */
static void fail_queue(struct device *d, struct fake_request *r)
{
	*r = ask(UBLK_IO_OP_WRITE, 0, 8);
	memset(data, 'r', 4096);
	fake_lock();
	victim = r;
	victim_thread = atomic_load(&d->kernel.threads[0].tid);
	victim_turns = !d->kernel.path.batch;
	fake.fail = fail_submit;
	fake_unlock();
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, r));
}

static bool has_failed_queue(void *arg)
{
	return ((const struct device *) arg)->queue_failed;
}

/* Its recovery fails as well: nobody serves it. */
static void hold(struct device *d, struct fake_request *r)
{
	driver.fault = (struct fake_fault){
		.op = UBLK_U_CMD_START_USER_RECOVERY, .res = -EINVAL, .times = 1};
	fail_queue(d, r);
	CHECK(bed_until(is_held, d));
	CHECK_EQ(driver_state(d->kernel.dev_id), bed_kernel(d)->kept);
	CHECK(has_state_file(device_get_name(d)));
}

static bool file_has(const char *name, char c)
{
	char path[300], got;
	int fd;

	(void) snprintf(path, sizeof(path), "%s/%s.img", bed_root, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &got, 1, 100) != 1)
		got = 0;
	if (fd >= 0)
		(void) close(fd);
	return got == c;
}

static void queue_failure(uint64_t more_features)
{
	struct fake_request r;
	struct device *d;
	uint64_t cookie;

	CHECK_EQ(bed_begin(), 0);
	driver.features |= more_features;
	start_daemon();
	d = loop_device("l");
	CHECK(start_ok(d));
	CHECK(has_state_file("l"));
	cookie = d->kernel.cookie;
	CHECK_EQ(bed_kernel(d)->info.flags & (UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE),
		 UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE);
	fail_queue(d, &r);
	CHECK(bed_until(request_is_done, &r));
	CHECK_EQ(r.result, 4096);
	CHECK_EQ(r.deliveries, 2);
	CHECK_EQ(r.commits, 1);
	CHECK(file_has("l", 'r'));
	CHECK(bed_until(is_recovered, d));
	CHECK_EQ(d->kernel.cookie, cookie);
	CHECK_EQ(driver.n_added, 1);
	CHECK_EQ(driver_count(UBLK_U_CMD_START_DEV), 1);
	CHECK_EQ(driver_state(0), UBLK_S_DEV_LIVE);
	serves(d);
	CHECK(stop_ok(d));
	CHECK(!has_state_file("l"));
	END();
}

static void queue_failure_is_recovered(void)
{
	queue_failure(0);
	queue_failure(UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG |
		      UBLK_F_BATCH_IO);
}

static enum fake_verdict hold_op(struct fake_op *op)
{
	return FAKE_HOLD;
}

static bool one_is_held(void *arg)
{
	return fake_n_held() > 0;
}

static bool queue_has_failed(void *arg)
{
	return *(const bool *) arg;
}

static bool commit_was_refused;

static int refuse_commit(unsigned int n)
{
	if (commit_was_refused)
		return (int) n;
	commit_was_refused = true;
	return -EINVAL;
}

/* While a failed queue still waits for an operation, what comes to it is left to the next one. */
static void what_comes_to_a_failed_queue_waits(void)
{
	struct fake_request a = ask(UBLK_IO_OP_WRITE, 0, 8), b = ask(UBLK_IO_OP_FLUSH, 0, 0);
	struct fake_request c = ask(UBLK_IO_OP_FLUSH, 0, 0);
	struct fake_ublk *u;
	struct device *d;

	CHECK_EQ(bed_begin(), 0);
	driver.features |= UBLK_F_USER_COPY | UBLK_F_BATCH_IO;
	start_daemon();
	d = bed_add("l", "Target", "loop", "File", backing("l"), NULL);
	CHECK(start_ok(d));
	u = bed_kernel(d)->ublk;
	driver.on_backing = hold_op;
	CHECK(fake_send_any(u, 0, &a));
	CHECK(fake_wait_for(one_is_held, NULL));
	driver.on_backing = NULL;
	commit_was_refused = false;
	fake.on_commit = refuse_commit;
	CHECK(fake_send_any(u, 0, &b));
	CHECK(fake_wait_for(queue_has_failed, &commit_was_refused));
	CHECK(fake_send_any(u, 0, &c));
	bed_turn_ms(10);
	CHECK(!c.done);
	fake_finish(fake_held(0), FAKE_DO);
	CHECK(bed_until(request_is_done, &a));
	CHECK(bed_until(request_is_done, &b));
	CHECK(bed_until(request_is_done, &c));
	CHECK_EQ(a.result, 4096);
	CHECK_EQ(b.result, 0);
	CHECK_EQ(c.result, 0);
	CHECK(bed_until(is_recovered, d));
	serves(d);
	END();
}

/* One that came to a failed queue is given up with the queue, here when another one fails. */
static void what_came_to_a_failed_queue_is_aborted(void)
{
	struct fake_request a = ask(UBLK_IO_OP_WRITE, 0, 8), b = ask(UBLK_IO_OP_FLUSH, 0, 0);
	struct fake_request c = ask(UBLK_IO_OP_FLUSH, 0, 0), e = ask(UBLK_IO_OP_FLUSH, 0, 0);
	struct fake_ublk *u;
	struct device *d;

	CHECK_EQ(bed_begin(), 0);
	driver.features |= UBLK_F_USER_COPY | UBLK_F_BATCH_IO;
	start_daemon();
	d = bed_add("l", "Target", "loop", "File", backing("l"), "Queues", "2", "Recovery", "no",
		    NULL);
	CHECK(start_ok(d));
	u = bed_kernel(d)->ublk;
	driver.on_backing = hold_op;
	CHECK(fake_send_any(u, 1, &a));
	CHECK(fake_wait_for(one_is_held, NULL));
	driver.on_backing = NULL;
	commit_was_refused = false;
	fake.on_commit = refuse_commit;
	CHECK(fake_send_any(u, 1, &b));
	CHECK(fake_wait_for(queue_has_failed, &commit_was_refused));
	CHECK(fake_send_any(u, 1, &c));
	bed_turn_ms(10);
	commit_was_refused = false;
	CHECK(fake_send_any(u, 0, &e));
	bed_turn_ms(10);
	fake_finish(fake_held(0), FAKE_DO);
	CHECK(bed_until(request_is_done, &c));
	CHECK(c.result < 0);
	CHECK(bed_until(is_failed, d));
	END();
}

static bool is_writing_back(void *arg)
{
	return strcmp(((const struct device *) arg)->sub_state, "sync") == 0 && fake_n_held() > 1;
}

/* A stop that might yet be refused ends where the device begins to be recovered: those who use it
 * get no error, although what is written back waits for the next queues. */
static void queue_fails_under_a_stop(void)
{
	struct fake_request a = ask(UBLK_IO_OP_WRITE, 0, 8), b = ask(UBLK_IO_OP_FLUSH, 0, 0);
	struct device_stop_options o = {.force = false};
	struct fake_ublk *u;
	struct device *d;
	struct waiter w;

	CHECK_EQ(bed_begin(), 0);
	driver.features |= UBLK_F_USER_COPY | UBLK_F_BATCH_IO;
	start_daemon();
	d = bed_add("l", "Target", "loop", "File", backing("l"), "Queues", "2", NULL);
	CHECK(start_ok(d));
	u = bed_kernel(d)->ublk;
	driver.on_backing = hold_op;
	CHECK(fake_send_any(u, 1, &a));
	CHECK(fake_wait_for(one_is_held, NULL));
	driver.on_backing = NULL;
	driver.fsync_waits = true;
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_until(is_writing_back, d));
	commit_was_refused = false;
	fake.on_commit = refuse_commit;
	CHECK(fake_send_any(u, 0, &b));
	CHECK(bed_until(has_failed_queue, d));
	bed_turn_ms(10);
	CHECK(!a.done);
	driver.fsync_waits = false;
	fake_lock();
	for (unsigned int i = 0; i < fake_n_held(); i++)
		if (fake_held(i)->sqe.opcode != IORING_OP_FSYNC)
			fake_finish(fake_held(i), FAKE_DO);
	fake_unlock();
	CHECK(bed_wait(&w));
	CHECK(!w.ok);
	CHECK_CONTAINS(w.failure.text, "a queue failed");
	CHECK(bed_until(is_recovered, d));
	CHECK(bed_until(request_is_done, &a));
	CHECK(bed_until(request_is_done, &b));
	CHECK_EQ(a.result, 4096);
	CHECK_EQ(b.result, 0);
	CHECK_EQ(driver.n_added, 1);
	serves(d);
	CHECK(stop_ok(d));
	END();
}

/* The old server's last write is not over; those who use the disk notice nothing. */
static void waits_for_the_old_server(void)
{
	struct fake_request r, later = ask(UBLK_IO_OP_READ, 8, 8);
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	driver.fault = (struct fake_fault){
		.op = UBLK_U_CMD_START_USER_RECOVERY, .res = -EBUSY, .times = 7};
	fail_queue(d, &r);
	CHECK(bed_until(is_recovering, d));
	while (driver_count(UBLK_U_CMD_START_USER_RECOVERY) < 2)
		bed_turn_ms(1);
	CHECK(fake_send_any(bed_kernel(d)->ublk, 1, &later));
	CHECK(bed_until(is_recovered, d));
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 8);
	CHECK(fake_wait(&r) && fake_wait(&later));
	CHECK_EQ(r.result, 4096);
	CHECK_EQ(later.result, 4096);
	CHECK_EQ(later.deliveries, 1);
	END();
}

/* Recovery=requeue: what the dead server had fails, what comes meanwhile waits. */
static void requeue_fails_what_the_server_had(void)
{
	struct fake_request r, later = ask(UBLK_IO_OP_READ, 8, 8);
	struct device *d;

	BEGIN();
	d = bed_add("l", "Target", "loop", "File", backing("l"), "Recovery", "requeue", NULL);
	CHECK(start_ok(d));
	hold(d, &r);
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK(r.done);
	CHECK_EQ(r.result, -EIO);
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &later));
	CHECK(!later.done);
	CHECK(start_ok(d));
	CHECK(fake_wait(&later));
	CHECK_EQ(later.result, 4096);
	serves(d);
	END();
}

static void fail_io_fails_all(void)
{
	struct fake_request r, later = ask(UBLK_IO_OP_READ, 8, 8);
	struct device *d;

	BEGIN();
	d = bed_add("l", "Target", "loop", "File", backing("l"), "Recovery", "fail-io", NULL);
	CHECK(start_ok(d));
	hold(d, &r);
	CHECK_EQ(driver_state(0), UBLK_S_DEV_FAIL_IO);
	CHECK_EQ(r.result, -EIO);
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &later));
	CHECK(later.done);
	CHECK_EQ(later.result, -EIO);
	CHECK(start_ok(d));
	serves(d);
	END();
}

/* Which bits a device asks for. */
static void modes(void)
{
	static const struct {
		const char *key, *value;
		uint64_t flags;
	} known[] = {
		{"Recovery", "no", 0},
		{"SharedMemory", "yes", 0},
		{"Recovery", "auto", UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE},
		{"Recovery", "requeue", UBLK_F_USER_RECOVERY},
	};

	for (unsigned int i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct device *d;

		CHECK_EQ(bed_begin(), 0);
		driver.features |= UBLK_F_SHMEM_ZC;
		start_daemon();
		d = bed_add("l", "Target", "loop", "File", backing("l"), known[i].key,
			    known[i].value, NULL);
		CHECK(start_ok(d));
		CHECK_EQ(bed_kernel(d)->info.flags &
				 (UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
				  UBLK_F_USER_RECOVERY_FAIL_IO),
			 known[i].flags);
		CHECK_EQ(has_state_file("l"), known[i].flags != 0);
		CHECK(stop_ok(d));
		END();
	}
}

static void older_drivers_cannot(void)
{
	struct failure f;
	struct device *d;

	CHECK_EQ(bed_begin(), 0);
	driver.features &= ~UBLK_F_USER_RECOVERY_FAIL_IO;
	start_daemon();
	d = bed_add("l", "Target", "loop", "File", backing("l"), "Recovery", "fail-io", NULL);
	f = start_of(d);
	CHECK_EQ(f.kind, FAILURE_KERNEL_UNSUPPORTED);
	CHECK_CONTAINS(f.text, "Linux 6.13: set Recovery=auto");
	CHECK(!has_state_file("l"));
	END();
}

static bool has_failed(void *arg)
{
	const struct device *d = arg;

	return !d->run && d->state == DEVICE_FAILED;
}

/* Nobody could find it again. */
static void without_a_state_folder_it_ends(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	manager_set_state_dir(bed.manager, -1);
	d = loop_device("l");
	CHECK(start_ok(d));
	CHECK_EQ(bed_kernel(d)->info.flags & UBLK_F_USER_RECOVERY, 0);
	fail_queue(d, &r);
	CHECK(bed_until(has_failed, d));
	CHECK_CONTAINS(d->last_error.text, "a queue failed");
	CHECK(r.done);
	CHECK(driver_is_empty());
	END();
}

/* ---- held */

static void too_often(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	for (int i = 0; i < 3; i++) {
		fail_queue(d, &r);
		CHECK(bed_until(request_is_done, &r));
		CHECK(bed_until(is_recovered, d));
	}
	fail_queue(d, &r);
	CHECK(bed_until(is_held, d));
	CHECK_CONTAINS(d->last_error.text, "a queue failed");
	bed_turn_ms(30);
	CHECK(is_held(d));
	CHECK(!r.done);
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK(start_ok(d));
	CHECK(fake_wait(&r));
	CHECK_EQ(r.result, 4096);
	CHECK_EQ(r.deliveries, 2);
	serves(d);
	END();
}

static void held(void)
{
	struct device_stop_options safe = {0};
	struct device_status s;
	struct fake_request r;
	struct failure f = {0};
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	CHECK_CONTAINS(d->last_error.text, "START_USER_RECOVERY");
	device_get_status(d, &s);
	CHECK_EQ(s.state, DEVICE_QUIESCED);
	CHECK_STR(device_state_name(s.state), "quiesced");
	CHECK_STR(s.block_device, "/dev/ublkb0");
	CHECK_EQ(s.size, 1 << 20);
	CHECK_EQ(manager_delete(bed.manager, d, &f), -EBUSY);
	CHECK_EQ(f.kind, FAILURE_DEVICE_RUNNING);
	f.kind = FAILURE_NONE;
	CHECK_EQ(device_stop(d, &safe, NULL, &f), -EBUSY);
	CHECK_EQ(f.kind, FAILURE_DEVICE_BUSY);
	CHECK_CONTAINS(f.text, "start it, which recovers it, or stop it with mode 'force'");
	CHECK(is_held(d));
	CHECK(start_ok(d));
	CHECK(fake_wait(&r));
	CHECK_EQ(r.result, 4096);
	serves(d);
	CHECK(stop_ok(d));
	END();
}

/* What failed before is not what the stop is told. */
static void held_for_failing_is_stopped_by_force(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	d->n_recoveries = 9;
	d->recovered_usec = clock_usec(CLOCK_MONOTONIC);
	fail_queue(d, &r);
	CHECK(bed_until(is_held, d));
	CHECK_EQ(stop_with(d, true).kind, FAILURE_NONE);
	CHECK_EQ(d->state, DEVICE_DEFINED);
	CHECK_EQ(r.result, -EIO);
	CHECK(driver_is_empty());
	END();
}

static void stop_that_is_not_answered(void)
{
	struct fake_request r;
	struct failure f;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_DEV_INFO2, .res = -ENOMEM};
	f = stop_with(d, true);
	CHECK_CONTAINS(f.text, "GET_DEV_INFO");
	CHECK(is_held(d));
	CHECK(has_state_file("l"));
	driver.fault.op = 0;
	CHECK_EQ(stop_with(d, true).kind, FAILURE_NONE);
	CHECK(driver_is_empty());
	END();
}

static void held_is_stopped_by_force(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	CHECK(!r.done);
	CHECK_EQ(stop_with(d, true).kind, FAILURE_NONE);
	CHECK_EQ(d->state, DEVICE_DEFINED);
	CHECK(r.done);
	CHECK_EQ(r.result, -EIO);
	CHECK(driver_is_empty());
	CHECK(!has_state_file("l"));
	CHECK(start_ok(d));
	CHECK_EQ(driver.n_added, 2);
	serves(d);
	END();
}

/* ---- the daemon ends meanwhile */

static bool is_down(void *arg)
{
	return bed.n_down > 0;
}

static void on_down(void *arg)
{
	bed.n_down++;
}

static void shutdown_of_a_held_one(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	bed.manager->config.stop_timeout_usec = 100000;
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	manager_shutdown(bed.manager, true, on_down, NULL);
	CHECK(bed_until(is_down, NULL));
	CHECK(r.done);
	CHECK(driver_is_empty());
	CHECK(!has_state_file("l"));
	END();
}

static const uint32_t steps[] = {
	UBLK_U_CMD_START_USER_RECOVERY, UBLK_U_CMD_GET_DEV_INFO,      UBLK_U_CMD_GET_PARAMS,
	UBLK_U_CMD_GET_QUEUE_AFFINITY,	UBLK_U_CMD_END_USER_RECOVERY,
};
static const char *const step_names[] = {"START_USER_RECOVERY", "GET_DEV_INFO", "GET_PARAMS", NULL,
					 "END_USER_RECOVERY"};
enum { N_STEPS = 5 };

/* GET_DEV_INFO2 is tried first. */
static uint32_t step_of(unsigned int i)
{
	return steps[i] == UBLK_U_CMD_GET_DEV_INFO ? UBLK_U_CMD_GET_DEV_INFO2 : steps[i];
}

static void shutdown_while_recovering(void)
{
	for (unsigned int i = 0; i < N_STEPS; i++) {
		struct fake_request r;
		unsigned int before;
		struct device *d;

		BEGIN();
		bed.manager->config.stop_timeout_usec = 100000;
		d = loop_device("l");
		CHECK(start_ok(d));
		before = driver_count(step_of(i));
		driver.fault = (struct fake_fault){.op = step_of(i), .late = true, .times = 1};
		fail_queue(d, &r);
		while (driver_count(step_of(i)) == before)
			bed_turn_ms(1);
		manager_shutdown(bed.manager, true, on_down, NULL);
		bed_turn_ms(5);
		CHECK_EQ(bed.n_down, 0);
		driver_release();
		CHECK(bed_until(is_down, NULL));
		CHECK(r.done);
		CHECK(driver_is_empty());
		CHECK(!has_state_file("l"));
		END();
	}
}

/* The old server never ends. */
static void shutdown_while_waiting(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	bed.manager->config.stop_timeout_usec = 100000;
	d = loop_device("l");
	CHECK(start_ok(d));
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_START_USER_RECOVERY, .res = -EBUSY};
	fail_queue(d, &r);
	CHECK(bed_until(is_recovering, d));
	bed_turn_ms(10);
	manager_shutdown(bed.manager, true, on_down, NULL);
	CHECK(bed_until(is_down, NULL));
	CHECK(driver_is_empty());
	END();
}

/* ---- a step fails */

static void each_step_refused(void)
{
	for (unsigned int i = 0; i < N_STEPS; i++) {
		struct fake_request r;
		struct device *d;

		BEGIN();
		d = loop_device("l");
		CHECK(start_ok(d));
		driver.fault = (struct fake_fault){.op = step_of(i), .res = -ENOMEM};
		fail_queue(d, &r);
		if (!step_names[i]) {
			CHECK(bed_until(request_is_done, &r)); /* where to run is advice */
			CHECK(bed_until(is_recovered, d));
		} else {
			CHECK(bed_until(is_held, d));
			CHECK_CONTAINS(d->last_error.text, step_names[i]);
			CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
			CHECK(!r.done);
			driver.fault.op = 0;
			CHECK(start_ok(d));
		}
		CHECK(fake_wait(&r));
		CHECK_EQ(r.result, 4096);
		CHECK_EQ(r.commits, 1);
		CHECK_EQ(r.deliveries, 2);
		serves(d);
		END();
	}
}

static void queues_cannot_be_set_up(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	driver.char_error = EMFILE;
	CHECK_CONTAINS(((struct failure[]){start_of(d)})->text, "cannot open /dev/ublkc0");
	driver.char_error = 0;
	CHECK(is_held(d));
	bed_kernel(d)->ublk->refuse_fetch = -EBUSY;
	bed_kernel(d)->ublk->refuse_queue = 1;
	CHECK_CONTAINS(((struct failure[]){start_of(d)})->text, "the queues cannot be set up");
	bed_kernel(d)->ublk->refuse_fetch = 0;
	CHECK(is_held(d));
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK(start_ok(d));
	CHECK(fake_wait(&r));
	CHECK_EQ(r.commits, 1);
	serves(d);
	END();
}

/* Once more, as the last command is under way: held, and not lost. */
static void queue_fails_during_the_recovery(void)
{
	struct fake_request r, s;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	driver.fault =
		(struct fake_fault){.op = UBLK_U_CMD_END_USER_RECOVERY, .late = true, .times = 1};
	fail_queue(d, &r);
	CHECK(bed_until(request_is_done, &r)); /* in force already, only the answer is late */
	CHECK(d->recovering);
	fail_queue(d, &s);
	CHECK(bed_until(has_failed_queue, d));
	driver_release();
	CHECK(bed_until(is_held, d));
	CHECK_CONTAINS(d->last_error.text, "a queue failed");
	CHECK(!s.done);
	CHECK(start_ok(d));
	CHECK(bed_until(request_is_done, &s));
	CHECK_EQ(s.result, 4096);
	serves(d);
	END();
}

/* ---- it is not what it was */

static void backing_is_another(void)
{
	struct fake_request r;
	struct failure f;
	struct device *d;
	char now[300], before[310];

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	(void) snprintf(now, sizeof(now), "%s/l.img", bed_root);
	(void) snprintf(before, sizeof(before), "%s.old", now);
	CHECK_EQ(rename(now, before), 0);
	f = start_of(d);
	CHECK_EQ(f.kind, FAILURE_BACKING_UNAVAILABLE);
	CHECK(is_held(d));
	(void) backing("l");
	f = start_of(d);
	CHECK_EQ(f.kind, FAILURE_BACKING_UNAVAILABLE);
	CHECK_CONTAINS(f.text, "the backing is another file than the one that device 'l' had");
	CHECK_CONTAINS(f.text, "put that one back");
	CHECK(is_held(d));
	CHECK(!r.done);
	CHECK(file_has("l", 0));
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 1);
	CHECK_EQ(rename(before, now), 0);
	CHECK(start_ok(d));
	CHECK(fake_wait(&r));
	CHECK_EQ(r.result, 4096);
	END();
}

static void backing_is_smaller(void)
{
	struct fake_request r;
	struct failure f;
	struct device *d;
	char path[300];

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	(void) snprintf(path, sizeof(path), "%s/l.img", bed_root);
	CHECK_EQ(truncate(path, 1 << 19), 0);
	f = start_of(d);
	CHECK_EQ(f.kind, FAILURE_BACKING_UNAVAILABLE);
	CHECK_CONTAINS(f.text, "524288 bytes now, and device 'l' 1048576");
	CHECK(is_held(d));
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK_EQ(truncate(path, 1 << 21), 0);
	CHECK(start_ok(d));
	CHECK(fake_wait(&r));
	/* The kernel's size is in force. */
	CHECK_EQ(d->kernel.params.basic.dev_sectors, 2048);
	END();
}

/* Deleted by hand while nobody served it, and the number given to another server's device. */
static void device_is_replaced(void)
{
	struct fake_request r;
	struct failure f;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	driver_foreign_stop(0);
	driver_foreign_del(0);
	driver_foreign_add(0, 0x1234, UBLK_F_USER_RECOVERY, UBLK_S_DEV_QUIESCED);
	f = start_of(d);
	CHECK_EQ(f.kind, FAILURE_NOT_RECOVERABLE);
	CHECK_CONTAINS(f.text, "is not the one it was");
	/* Its own is gone, the other is not ours to touch. */
	CHECK_EQ(d->state, DEVICE_FAILED);
	CHECK(!has_state_file("l"));
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 1);
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK(start_ok(d));
	CHECK_EQ(d->kernel.dev_id, 1);
	serves(d);
	CHECK(stop_ok(d));
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	driver_foreign_del(0);
	END();
}

static void replaced_and_stopped_by_force(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	driver_foreign_stop(0);
	driver_foreign_del(0);
	driver_foreign_add(0, 0x1234, UBLK_F_USER_RECOVERY, UBLK_S_DEV_QUIESCED);
	CHECK_EQ(stop_with(d, true).kind, FAILURE_NONE);
	CHECK_EQ(d->state, DEVICE_DEFINED);
	CHECK(!has_state_file("l"));
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	driver_foreign_del(0);
	END();
}

static void device_is_gone(void)
{
	struct fake_request r;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	driver_foreign_stop(0);
	driver_foreign_del(0);
	CHECK(failure_is_set((struct failure[]){start_of(d)}));
	CHECK_EQ(d->state, DEVICE_FAILED);
	CHECK(!has_state_file("l"));
	CHECK(start_ok(d));
	serves(d);
	END();
}

/* The kernel would say EBUSY for ever. */
static void device_was_stopped(void)
{
	struct fake_request r;
	struct failure f;
	struct device *d;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	hold(d, &r);
	driver_foreign_stop(0);
	f = start_of(d);
	CHECK(failure_is_set(&f));
	CHECK_CONTAINS(f.text, "stopped by somebody else");
	CHECK_EQ(d->state, DEVICE_FAILED);
	CHECK(driver_is_empty());
	CHECK(!has_state_file("l"));
	CHECK(start_ok(d));
	END();
}

/* ---- the next daemon */

static struct device *find(const char *name)
{
	return manager_find(bed.manager, name);
}

static void adopted(void)
{
	struct fake_request r = ask(UBLK_IO_OP_WRITE, 0, 8);
	struct fake_request later = ask(UBLK_IO_OP_READ, 8, 8);
	struct device *d;
	uint64_t cookie;

	BEGIN();
	d = loop_device("l");
	CHECK(start_ok(d));
	cookie = d->kernel.cookie;
	/* One is at the backing when the daemon dies, one comes when there is none. */
	memset(data, 'k', 4096);
	driver.on_backing = hold_op;
	CHECK(fake_send_any(bed_kernel(d)->ublk, 1, &r));
	CHECK(fake_wait_for(one_is_held, NULL));
	driver.on_backing = NULL;
	bed_kill();
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK(has_state_file("l"));
	CHECK(!r.done);
	CHECK(fake_send_any(driver.devs[0].ublk, 0, &later));
	CHECK_EQ(bed_next(), 0);
	start_daemon();
	d = find("l");
	CHECK(d);
	CHECK_EQ(d->state, DEVICE_RUNNING);
	CHECK_EQ(d->kernel.cookie, cookie);
	CHECK_EQ(driver.n_added, 1);
	CHECK(fake_wait(&r) && fake_wait(&later));
	CHECK_EQ(r.deliveries, 2);
	CHECK_EQ(r.commits, 1);
	CHECK_EQ(r.result, 4096);
	CHECK_EQ(later.deliveries, 1);
	CHECK_EQ(later.result, 4096);
	serves(d);
	CHECK(stop_ok(d));
	CHECK(!has_state_file("l"));
	END();
}

static void adopted_again_and_again(void)
{
	CHECK_EQ(bed_begin(), 0);
	driver.features |= UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG |
			   UBLK_F_BATCH_IO;
	start_daemon();
	CHECK(start_ok(loop_device("l")));
	for (int i = 0; i < 5; i++) {
		NEXT_DAEMON();
		serves(find("l"));
	}
	CHECK_EQ(driver.n_added, 1);
	CHECK(stop_ok(find("l")));
	END();
}

/* One with a file, one without, one that ends with its server; and then a fourth, which must not be
 * taken for one of these by the daemon after that. */
static void several_at_once(void)
{
	uint64_t cookies[4];
	char text[400];

	CHECK_EQ(bed_begin(), 0);
	(void) snprintf(text, sizeof(text), "[Device]\nTarget=loop\n[Loop]\nFile=%s\n",
			backing("a"));
	bed_put("/etc/ublkd/devices/a.conf", text);
	start_daemon();
	CHECK(start_ok(loop_device("b")));
	CHECK(start_ok(bed_add("c", "Target", "null", "Size", "1M", "Recovery", "no", NULL)));
	cookies[0] = find("a")->kernel.cookie;
	cookies[1] = find("b")->kernel.cookie;
	NEXT_DAEMON();
	serves(find("a"));
	serves(find("b"));
	CHECK(!find("c"));
	CHECK_EQ(driver.n_added, 3);
	CHECK_EQ(driver_count(UBLK_U_CMD_DEL_DEV), 1);
	CHECK_EQ(find("a")->kernel.cookie, cookies[0]);
	CHECK_EQ(find("b")->kernel.cookie, cookies[1]);
	CHECK(start_ok(loop_device("d")));
	cookies[2] = find("d")->kernel.cookie;
	CHECK(start_ok(loop_device("e")));
	cookies[3] = find("e")->kernel.cookie;
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < i; j++)
			CHECK(cookies[i] != cookies[j]);
	NEXT_DAEMON();
	for (const char *name = "abde"; *name; name++) {
		const char one[] = {*name, '\0'};

		serves(find(one));
	}
	CHECK_EQ(driver.n_added, 5);
	END();
}

/* What is in force is what the state file says, whatever the file says now. */
static void settings_have_changed(void)
{
	struct device_status s;
	struct device *d;

	CHECK_EQ(bed_begin(), 0);
	bed_put("/etc/ublkd/devices/n.conf", "[Device]\nTarget=null\nSize=1M\n");
	start_daemon();
	bed_put("/etc/ublkd/devices/n.conf", "[Device]\nTarget=null\nSize=2M\n");
	NEXT_DAEMON();
	d = find("n");
	serves(d);
	device_get_status(d, &s);
	CHECK_EQ(s.size, 1 << 20);
	CHECK(s.needs_restart);
	CHECK(stop_ok(d));
	CHECK(start_ok(d));
	device_get_status(d, &s);
	CHECK_EQ(s.size, 2 << 20);
	END();
}

/* Its file was removed meanwhile: it is served until it is stopped. */
static void file_is_gone(void)
{
	CHECK_EQ(bed_begin(), 0);
	bed_put("/etc/ublkd/devices/n.conf", "[Device]\nTarget=null\nSize=1M\n");
	start_daemon();
	bed_remove("/etc/ublkd/devices/n.conf");
	NEXT_DAEMON();
	serves(find("n"));
	CHECK(stop_ok(find("n")));
	CHECK(!find("n"));
	END();
}

static void no_state_file(void)
{
	BEGIN();
	CHECK(start_ok(loop_device("l")));
	CHECK_EQ(unlinkat(bed.state_dir, "l", 0), 0);
	NEXT_DAEMON();
	CHECK(!find("l"));
	/* Not touched: it may have been written by an ublkd with another folder. */
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK_EQ(driver_count(UBLK_U_CMD_DEL_DEV), 0);
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 0);
	driver_foreign_del(0);
	END();
}

static void state_file_of_no_device(void)
{
	BEGIN();
	CHECK(start_ok(loop_device("l")));
	bed_kill();
	driver_foreign_stop(0);
	driver_foreign_del(0);
	CHECK_EQ(bed_next(), 0);
	start_daemon();
	CHECK(!find("l"));
	CHECK(!has_state_file("l"));
	END();
}

static void foreign_ones_are_not_touched(void)
{
	uint64_t flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;

	BEGIN();
	/* No ublkd's; a living one's; one's that is dead, with a folder of its own. */
	driver_foreign_add(0, 0x1234, flags, UBLK_S_DEV_QUIESCED);
	driver_foreign_add(1, cookie_make(getppid(), 7), flags, UBLK_S_DEV_QUIESCED);
	driver_foreign_add(2, cookie_make(4194303, 7), flags, UBLK_S_DEV_QUIESCED);
	CHECK(start_ok(loop_device("l")));
	NEXT_DAEMON();
	serves(find("l"));
	CHECK_EQ(bed.manager->n_devices, 1);
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 1);
	CHECK_EQ(driver_count(UBLK_U_CMD_STOP_DEV), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(driver_state(i), UBLK_S_DEV_QUIESCED);
		driver_foreign_del(i);
	}
	END();
}

/* The daemon starts all the same, and its state file stays: a later start recovers it. */
static void adoption_fails(void)
{
	struct device *d;
	char now[300], before[310];

	BEGIN();
	CHECK(start_ok(loop_device("l")));
	(void) snprintf(now, sizeof(now), "%s/l.img", bed_root);
	(void) snprintf(before, sizeof(before), "%s.old", now);
	CHECK_EQ(rename(now, before), 0);
	NEXT_DAEMON();
	d = find("l");
	CHECK(d);
	CHECK(is_held(d));
	CHECK(has_state_file("l"));
	CHECK_EQ(driver_state(0), UBLK_S_DEV_QUIESCED);
	CHECK_EQ(rename(before, now), 0);
	CHECK(start_ok(d));
	serves(d);
	END();
}

/* Somebody else's lock, as that of a server whose last write is not over. */
static int lock_backing(const char *name)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[300];
	int fd;

	(void) snprintf(path, sizeof(path), "%s/%s.img", bed_root, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(fcntl(fd, F_OFD_SETLK, &fl), 0);
	return fd;
}

static void locked_backing_is_waited_for(void)
{
	struct device *d;
	int fd;

	BEGIN();
	CHECK(start_ok(loop_device("l")));
	bed_kill();
	fd = lock_backing("l");
	bed.config.start_timeout_usec = 50000;
	CHECK_EQ(bed_next(), 0);
	start_daemon();
	/* It is up without it, and goes on waiting. */
	d = find("l");
	CHECK_STR(d->sub_state, "open");
	CHECK_EQ(d->state, DEVICE_STARTING);
	bed_turn_ms(50);
	CHECK_STR(d->sub_state, "open");
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 0);
	(void) close(fd);
	CHECK(bed_until(is_recovered, d));
	serves(d);
	END();
}

static void shutdown_while_waiting_for_a_lock(void)
{
	int fd;

	BEGIN();
	CHECK(start_ok(loop_device("l")));
	bed_kill();
	fd = lock_backing("l");
	bed.config.start_timeout_usec = 50000;
	bed.config.stop_timeout_usec = 100000;
	CHECK_EQ(bed_next(), 0);
	start_daemon();
	CHECK_STR(find("l")->sub_state, "open");
	manager_shutdown(bed.manager, true, on_down, NULL);
	CHECK(bed_until(is_down, NULL));
	CHECK(driver_is_empty());
	(void) close(fd);
	END();
}

/* The kernel does not tell what it has: that is no reason to forget it. */
static void device_does_not_tell(void)
{
	BEGIN();
	CHECK(start_ok(loop_device("l")));
	bed_kill();
	CHECK_EQ(bed_next(), 0);
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_DEV_INFO2, .res = -ENOMEM};
	start_daemon();
	CHECK(!find("l"));
	CHECK(has_state_file("l"));
	driver.fault.op = 0;
	NEXT_DAEMON();
	serves(find("l"));
	/* Asked again a little later it does. */
	bed_kill();
	CHECK_EQ(bed_next(), 0);
	driver.fault =
		(struct fake_fault){.op = UBLK_U_CMD_GET_DEV_INFO2, .res = -ENOMEM, .times = 2};
	start_daemon();
	CHECK(find("l"));
	CHECK(bed_until(is_recovered, find("l")));
	serves(find("l"));
	END();
}

/* As when the folder of devices cannot be read. */
static void kernel_cannot_be_looked_at(void)
{
	BEGIN();
	CHECK(start_ok(loop_device("l")));
	bed_kill();
	CHECK_EQ(bed_next(), 0);
	driver.class_error = EMFILE;
	start_daemon();
	CHECK(has_state_file("l"));
	driver.class_error = 0;
	NEXT_DAEMON();
	serves(find("l"));
	bed_kill();
	driver_foreign_stop(0);
	driver_foreign_del(0);
	/* The driver is not there at all. */
	driver.class_error = ENOENT;
	CHECK_EQ(bed_next(), 0);
	start_daemon();
	CHECK(!has_state_file("l"));
	END();
}

/* Nothing is started beside what the kernel may still have, until that is known. */
static void not_started_before_the_look_is_over(void)
{
	struct failure f = {0};
	struct device *d;
	struct waiter w;

	CHECK_EQ(bed_begin(), 0);
	bed_put("/etc/ublkd/devices/n.conf", "[Device]\nTarget=null\nSize=1M\nAutostart=no\n");
	start_daemon();
	CHECK(start_ok(find("n")));
	bed_kill();
	driver_foreign_stop(0);
	driver_foreign_del(0);
	CHECK_EQ(bed_next(), 0);
	bed.n_ready = 0;
	/* One that takes its time to die keeps the look going. */
	driver_foreign_add(0, cookie_make(4194303, 7), 0, UBLK_S_DEV_LIVE);
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	while (!driver_count(UBLK_U_CMD_GET_FEATURES) || !bed.manager->features)
		bed_turn_ms(1);
	d = find("n");
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), -EEXIST);
	CHECK_EQ(f.kind, FAILURE_NOT_RECOVERABLE);
	driver_foreign_stop(0);
	CHECK(bed_until(is_ready, NULL));
	CHECK(!has_state_file("n"));
	CHECK(start_ok(d));
	CHECK(d->kernel.saved);
	NEXT_DAEMON();
	serves(find("n"));
	END();
}

/* A client is quicker than the look at the kernel. */
static void started_before_it_was_found(void)
{
	struct device *d;
	struct waiter w;

	CHECK_EQ(bed_begin(), 0);
	bed_put("/etc/ublkd/devices/n.conf", "[Device]\nTarget=null\nSize=1M\nAutostart=no\n");
	start_daemon();
	CHECK(start_ok(find("n")));
	bed_kill();
	CHECK_EQ(bed_next(), 0);
	bed.n_ready = 0;
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_FEATURES, .late = true, .times = 1};
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	d = find("n");
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, NULL), -EEXIST);
	driver_release();
	CHECK(bed_until(is_ready, NULL));
	serves(d);
	CHECK_EQ(d->kernel.dev_id, 0);
	CHECK(stop_ok(d));
	CHECK(driver_is_empty());
	END();
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(queue_failure_is_recovered),
		CASE(what_comes_to_a_failed_queue_waits),
		CASE(what_came_to_a_failed_queue_is_aborted),
		CASE(queue_fails_under_a_stop),
		CASE(waits_for_the_old_server),
		CASE(requeue_fails_what_the_server_had),
		CASE(fail_io_fails_all),
		CASE(modes),
		CASE(older_drivers_cannot),
		CASE(without_a_state_folder_it_ends),
		CASE(too_often),
		CASE(held),
		CASE(held_is_stopped_by_force),
		CASE(held_for_failing_is_stopped_by_force),
		CASE(stop_that_is_not_answered),
		CASE(shutdown_of_a_held_one),
		CASE(shutdown_while_recovering),
		CASE(shutdown_while_waiting),
		CASE(each_step_refused),
		CASE(queues_cannot_be_set_up),
		CASE(queue_fails_during_the_recovery),
		CASE(backing_is_another),
		CASE(backing_is_smaller),
		CASE(device_is_replaced),
		CASE(replaced_and_stopped_by_force),
		CASE(device_is_gone),
		CASE(device_was_stopped),
		CASE(adopted),
		CASE(adopted_again_and_again),
		CASE(several_at_once),
		CASE(settings_have_changed),
		CASE(file_is_gone),
		CASE(no_state_file),
		CASE(state_file_of_no_device),
		CASE(foreign_ones_are_not_touched),
		CASE(adoption_fails),
		CASE(locked_backing_is_waited_for),
		CASE(shutdown_while_waiting_for_a_lock),
		CASE(device_does_not_tell),
		CASE(kernel_cannot_be_looked_at),
		CASE(not_started_before_the_look_is_over),
		CASE(started_before_it_was_found),
	};

	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
