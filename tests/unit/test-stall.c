/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-flight: requests that stall are told of, once. manager: a device that brings the daemon
 * down again and again is not served.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "device-bed.h"
#include "device/device-internal.h"
#include "device/flight-file.h"
#include "device/manager-internal.h"
#include "test.h"
#include "ublk/features.h"
#include "util/clock.h"

#define BEGIN() CHECK_EQ(bed_begin(), 0)
#define END() CHECK_STR(bed_end(), NULL)

/* ---- the journal */

static char lines[20000];

void __wrap_log_full(int level, int error, const char *device, const char *config_file,
		     unsigned int line, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

void __wrap_log_full(int level, int error, const char *device, const char *config_file,
		     unsigned int line, const char *fmt, ...)
{
	size_t used = strlen(lines);
	va_list ap;

	if (level > LOG_NOTICE || sizeof(lines) - used < 1000)
		return;
	used += (size_t) snprintf(lines + used, 100, "%s: ", device ? device : "-");
	va_start(ap, fmt);
	used += (size_t) vsnprintf(lines + used, 800, fmt, ap);
	va_end(ap);
	(void) snprintf(lines + used, 2, "\n");
}

static unsigned int count_lines(const char *with)
{
	unsigned int n = 0;

	for (const char *p = lines; (p = strstr(p, with)); p++)
		n++;
	return n;
}

static bool is_logged(void *arg)
{
	return strstr(lines, *(const char **) arg);
}

static bool comes(const char *text)
{
	return bed_until(is_logged, &text);
}

/* ---- devices and requests */

static uint8_t data[65536];
static struct fake_request requests[40];

static void on_ready(void *arg)
{
	bed.n_ready++;
}

static bool is_ready(void *arg)
{
	return bed.n_ready > 0;
}

static void come_up(void)
{
	lines[0] = '\0';
	CHECK_EQ(flight_book_open(bed_root, &bed.book), 0);
	manager_set_book(bed.manager, bed.book);
	CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);
	CHECK(bed_until(is_ready, NULL));
}

static const char *in_flight_dir(const char *name)
{
	static char path[200];

	(void) snprintf(path, sizeof(path), "%s/flight/%s", bed_root, name);
	return path;
}

static struct device *served(const char *stall)
{
	struct device *d;
	struct failure f = {0};
	struct waiter w;
	char path[200];

	(void) snprintf(path, sizeof(path), "%s/backing", bed_root);
	bed_put("/backing", "");
	CHECK_EQ(truncate(path, 1 << 20), 0);
	d = bed_add("disk", "Target", "loop", "File", path, "StallSec", stall, "QueueDepth", "16",
		    NULL);
	CHECK(d);
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	return d;
}

static void ask(const struct device *d, unsigned int i, uint32_t op)
{
	requests[i] = (struct fake_request){
		.op_flags = op, .sector = 8ULL * i, .n_sectors = 8, .data = data};
	CHECK(fake_send_any(bed_kernel(d)->ublk, 0, &requests[i]));
}

static enum fake_verdict hold(struct fake_op *op)
{
	return FAKE_HOLD;
}

static void let_go(void)
{
	struct fake_op *op;

	fake_lock();
	driver.on_backing = NULL;
	while ((op = fake_held(0)) && op->sqe.flags & IOSQE_FIXED_FILE)
		fake_finish(op, FAKE_DO);
	fake_unlock();
}

static bool is_unwatched(void *arg)
{
	return !((struct device *) arg)->stall_timer;
}

static bool is_watched(void *arg)
{
	return ((struct device *) arg)->stall_timer;
}

static char *requests_of(const struct device *d)
{
	static char text[20000];
	char *all = NULL;
	size_t size;
	FILE *f = open_memstream(&all, &size);

	CHECK(f);
	device_print_requests(d, f);
	(void) fclose(f);
	(void) snprintf(text, sizeof(text), "%s", all);
	free(all);
	return text;
}

/* ---- the watch */

static void stall_is_told_once(void)
{
	struct device *d;
	char text[400] = "";
	int fd;

	BEGIN();
	come_up();
	d = served("100ms");
	driver.on_backing = hold;
	ask(d, 1, UBLK_IO_OP_WRITE);
	CHECK(comes("disk: queue 0, tag"));
	CHECK_CONTAINS(lines, ": a write of 4096 bytes at 4096 is not answered since 0.1 s\n");
	CHECK_CONTAINS(lines, "/flight/disk.stall'\n");
	CHECK_EQ(device_count_stalled(d), 1);
	ask(d, 2, UBLK_IO_OP_READ);
	CHECK(comes(": a read of 4096 bytes at 8192 is"));
	bed_turn_ms(300);
	CHECK_EQ(count_lines("is not answered since"), 2);
	CHECK_EQ(count_lines("does not move"), 0);
	CHECK_CONTAINS(requests_of(d), "\"op\":\"read\",\"offset\":8192");
	let_go();
	CHECK(fake_wait(&requests[1]) && fake_wait(&requests[2]));
	CHECK_EQ(device_count_stalled(d), 0);
	fd = open(in_flight_dir("disk.stall"), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	(void) close(fd);
	CHECK_CONTAINS(text, "\"op\":\"write\",\"offset\":4096,\"bytes\":4096,\"fua\":false,");
	CHECK_CONTAINS(text, "\"state\":\"in-flight\"");
	END();
}

static void many_stalls_are_counted(void)
{
	struct device *d;

	BEGIN();
	come_up();
	d = served("100ms");
	driver.on_backing = hold;
	for (unsigned int i = 0; i < 12; i++)
		ask(d, i, UBLK_IO_OP_READ);
	CHECK(comes("disk.stall"));
	CHECK(count_lines("is not answered since") <= 12);
	CHECK_EQ(device_count_stalled(d), 12);
	let_go();
	END();
}

/* The thread is in the system call that was to start the operation. */
static _Atomic bool blocked;

static enum fake_verdict block(struct fake_op *op)
{
	while (atomic_load(&blocked))
		(void) usleep(1000);
	return FAKE_DO;
}

static void thread_that_does_not_move(void)
{
	struct device *d;

	BEGIN();
	come_up();
	d = served("100ms");
	atomic_store(&blocked, true);
	driver.on_backing = block;
	ask(d, 1, UBLK_IO_OP_WRITE);
	CHECK(comes("disk: queue 0 does not move since 0 s: its thread "));
	bed_turn_ms(100);
	CHECK_EQ(count_lines("does not move"), 1);
	CHECK_EQ(count_lines("is not answered since"), 1);
	atomic_store(&blocked, false);
	CHECK(fake_wait(&requests[1]));
	END();
}

static void watch_ends_when_idle(void)
{
	struct device *d;

	BEGIN();
	come_up();
	d = served("100ms");
	CHECK(!is_watched(d));
	for (unsigned int i = 0; i < 2; i++) {
		ask(d, i, UBLK_IO_OP_READ);
		CHECK(bed_until(is_watched, d));
		CHECK(fake_wait(&requests[i]));
		CHECK(bed_until(is_unwatched, d));
	}
	CHECK_EQ(count_lines("is not answered"), 0);
	END();
}

static void watch_that_is_off(void)
{
	struct device *d;

	BEGIN();
	come_up();
	d = served("0");
	driver.on_backing = hold;
	ask(d, 1, UBLK_IO_OP_WRITE);
	bed_turn_ms(200);
	CHECK(!is_watched(d));
	CHECK_EQ(device_count_stalled(d), 0);
	CHECK_STR(lines, "");
	let_go();
	CHECK(fake_wait(&requests[1]));
	END();
}

static bool has_ring(void *arg)
{
	const struct device *d = arg;

	return d->kernel.threads[0].ring;
}

static void queue_that_works_gets_a_ring(void)
{
	struct device *d;
	char *text;

	BEGIN();
	come_up();
	d = served("0");
	for (unsigned int i = 0; i < 40; i++) {
		ask(d, i, UBLK_IO_OP_READ);
		CHECK(fake_wait(&requests[i]));
	}
	CHECK(bed_until(has_ring, d));
	ask(d, 3, UBLK_IO_OP_FLUSH);
	CHECK(fake_wait(&requests[3]));
	ask(d, 3, UBLK_IO_OP_WRITE);
	CHECK(fake_wait(&requests[3]));
	text = requests_of(d);
	CHECK_CONTAINS(text, "\"op\":\"write\",\"offset\":12288,");
	CHECK_CONTAINS(text, "\"op\":\"flush\",\"offset\":0,\"bytes\":");
	END();
}

/* ---- who brings the daemon down */

/* What daemons before this one left: @n of them died at work for @device, the last just now. */
static void died(const char *device, unsigned int n)
{
	struct flight_file_header h = {.magic = FLIGHT_FILE_MAGIC, .version = FLIGHT_FILE_VERSION};
	int fd;

	h.death.signal = SIGSEGV;
	h.death.usec = clock_usec(CLOCK_MONOTONIC);
	(void) snprintf(h.death.device, sizeof(h.death.device), "%s", device);
	(void) snprintf(h.deaths[0].device, sizeof(h.deaths[0].device), "%s", device);
	h.deaths[0].count = n - 1;
	h.deaths[0].usec = h.death.usec;
	bed_put("/flight/requests", "");
	fd = open(in_flight_dir("requests"), O_WRONLY | O_CLOEXEC);
	CHECK_EQ(fchmod(fd, 0600), 0);
	CHECK_EQ(ftruncate(fd, FLIGHT_FILE_BYTES), 0);
	CHECK_EQ(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	(void) close(fd);
}

/* A device of theirs that the kernel kept. */
static void kept(const char *name, unsigned int id, const char *recovery, uint64_t flags)
{
	struct saved_device s = {.config = device_config_new(name),
				 .cookie = cookie_make(4194303, id + 1),
				 .copy = DATA_COPY_NONE,
				 .batch = DATA_BATCH_NO,
				 .threads_per_queue = 1};
	struct problems p = {0};

	CHECK_EQ(device_config_set(s.config, "Target", "null", &p), 0);
	CHECK_EQ(device_config_set(s.config, "Size", "1M", &p), 0);
	CHECK_EQ(device_config_set(s.config, "Recovery", recovery, &p), 0);
	if (!bed.state_dir)
		bed.state_dir = state_open(bed_root);
	CHECK_EQ(state_save(bed.state_dir, &s), 0);
	(void) device_config_free(s.config);
	driver_foreign_add((int) id, cookie_make(4194303, id + 1),
			   UBLK_F_USER_RECOVERY | UBLK_F_USER_COPY | flags,
			   flags & UBLK_F_USER_RECOVERY_FAIL_IO ? UBLK_S_DEV_FAIL_IO
								: UBLK_S_DEV_QUIESCED);
	manager_set_state_dir(bed.manager, bed.state_dir);
}

static bool is_idle(void *arg)
{
	return !((struct device *) arg)->run;
}

static struct device *found(const char *name)
{
	struct device *d = manager_find(bed.manager, name);

	CHECK(d);
	CHECK(bed_until(is_idle, d));
	return d;
}

static void culprit_is_held(void)
{
	struct failure f = {0};
	struct device *d;
	struct waiter w;

	BEGIN();
	driver.features |= UBLK_F_USER_COPY | UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
	kept("bad", 0, "reissue", UBLK_F_USER_RECOVERY_REISSUE);
	kept("good", 1, "reissue", UBLK_F_USER_RECOVERY_REISSUE);
	died("bad", 3);
	come_up();
	d = found("bad");
	CHECK_EQ(d->state, DEVICE_FAILED);
	CHECK_EQ(d->last_error.kind, FAILURE_NOT_RECOVERABLE);
	CHECK_CONTAINS(d->last_error.text, "'bad' has brought ublkd down 3 times in a row");
	CHECK_EQ(count_lines("has brought ublkd down"), 1);
	CHECK_CONTAINS(lines, "killed by signal 11 (Segmentation fault) at work for this device");
	CHECK(!driver.devs[0].exists);
	CHECK_EQ(found("good")->state, DEVICE_RUNNING);
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 1);
	/* By hand it starts, and begins with a clean record. */
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	CHECK_EQ(flight_book_deaths(bed.book, "bad"), 0);
	CHECK_EQ(device_stop(found("good"), &(struct device_stop_options){.force = true},
			     &waiter_new(&w)->wait, &f),
		 0);
	CHECK(bed_wait(&w));
	END();
}

static void two_deaths_are_forgiven(void)
{
	struct failure f = {0};
	struct waiter w;

	BEGIN();
	driver.features |= UBLK_F_USER_COPY | UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
	kept("bad", 0, "reissue", UBLK_F_USER_RECOVERY_REISSUE);
	died("bad", 2);
	come_up();
	CHECK_EQ(found("bad")->state, DEVICE_RUNNING);
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 1);
	CHECK_EQ(device_stop(found("bad"), &(struct device_stop_options){.force = true},
			     &waiter_new(&w)->wait, &f),
		 0);
	CHECK(bed_wait(&w));
	END();
}

/* The kernel fails its I/O: it may stay, to be tried again. */
static void culprit_that_fails_anyway(void)
{
	struct failure f = {0};
	struct waiter w;

	BEGIN();
	driver.features |= UBLK_F_USER_COPY | UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO;
	kept("bad", 0, "fail-io", UBLK_F_USER_RECOVERY_FAIL_IO);
	died("bad", 3);
	come_up();
	CHECK_EQ(found("bad")->state, DEVICE_QUIESCED);
	CHECK_EQ(driver_count(UBLK_U_CMD_START_USER_RECOVERY), 0);
	CHECK_CONTAINS(found("bad")->last_error.text, "3 times in a row");
	CHECK(driver.devs[0].exists);
	CHECK_EQ(device_stop(found("bad"), &(struct device_stop_options){.force = true},
			     &waiter_new(&w)->wait, &f),
		 0);
	CHECK(bed_wait(&w));
	END();
}

static void culprit_is_not_started(void)
{
	BEGIN();
	bed_put("/etc/ublkd/devices/bad.conf", "[Device]\nTarget=null\nSize=1M\n");
	bed_put("/etc/ublkd/devices/good.conf", "[Device]\nTarget=null\nSize=1M\n");
	died("bad", 3);
	come_up();
	CHECK_EQ(found("good")->state, DEVICE_RUNNING);
	CHECK_EQ(found("bad")->state, DEVICE_FAILED);
	CHECK_CONTAINS(found("bad")->last_error.text, "3 times in a row");
	END();
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(stall_is_told_once),	 CASE(many_stalls_are_counted),
		CASE(thread_that_does_not_move), CASE(watch_ends_when_idle),
		CASE(watch_that_is_off),	 CASE(queue_that_works_gets_a_ring),
		CASE(culprit_is_held),		 CASE(two_deaths_are_forgiven),
		CASE(culprit_that_fails_anyway), CASE(culprit_is_not_started),
	};

	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
