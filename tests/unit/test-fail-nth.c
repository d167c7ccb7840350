/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a daemon - load the configuration, start, I/O, reload, stop, delete - with the N-th
 * call that can fail failing, for every N until none is left: once that call alone, once that and
 * all after it. Nothing may crash, hang or stay: no memory (the sanitizer looks), no descriptor, no
 * thread, no device in the kernel, no request unanswered, no failure without a sentence.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "device-bed.h"
#include "device/device-internal.h"
#include "device/manager-internal.h"
#include "fail-calls.h"
#include "test.h"

/* ---- the life */

static const char *wrong;
static char wrong_text[600];

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition) && !wrong) {                                                      \
			(void) snprintf(wrong_text, sizeof(wrong_text), "line %d: %s", __LINE__,   \
					#condition);                                               \
			wrong = wrong_text;                                                        \
		}                                                                                  \
	} while (0)

static bool is_idle(void *arg)
{
	struct device *d = manager_find(bed.manager, arg);

	return !d || !d->run;
}

static void explained(const struct failure *f)
{
	MUST(f->kind != FAILURE_NONE && f->kind < FAILURE_KIND_MAX);
	MUST(*f->text);
	if (wrong == wrong_text)
		(void) snprintf(wrong_text, sizeof(wrong_text), "%s: '%s' (%d)",
				failure_name(f->kind), f->text, f->error);
}

static bool start(struct device *d)
{
	struct failure f = {0};
	struct waiter w;

	waiter_new(&w);
	if (device_start(d, 0, &w.wait, &f) < 0) {
		explained(&f);
		MUST(!w.done);
		return false;
	}
	MUST(!w.done);
	MUST(bed_wait(&w));
	if (!w.ok)
		explained(&w.failure);
	MUST(w.ok == (d->state == DEVICE_RUNNING));
	return w.ok;
}

static void stop(struct device *d)
{
	struct device_stop_options o = {0};
	char name[64];
	struct waiter w;

	(void) snprintf(name, sizeof(name), "%s", device_get_name(d));
	waiter_new(&w);
	MUST(device_stop(d, &o, &w.wait, NULL) == 0);
	MUST(!w.done);
	MUST(bed_wait(&w));
	if (!w.ok)
		explained(&w.failure);
	MUST(bed_until(is_idle, name));
}

static void serve(struct device *d)
{
	static _Alignas(4096) uint8_t data[8192];
	static const uint32_t ops[] = {UBLK_IO_OP_WRITE, UBLK_IO_OP_READ, UBLK_IO_OP_FLUSH,
				       UBLK_IO_OP_DISCARD};

	for (unsigned int i = 0; i < 4; i++) {
		struct fake_request r = {.op_flags = ops[i],
					 .n_sectors = ops[i] == UBLK_IO_OP_FLUSH ? 0 : 16,
					 .data = data};

		fake_inside++;
		MUST(fake_send_any(bed_kernel(d)->ublk, i % 2, &r));
		MUST(fake_wait(&r));
		fake_inside--;
		MUST(r.commits == 1 && r.deliveries == 1);
		MUST(r.result == (i < 2 ? 8192 : 0));
	}
}

/* All of it or nothing. */
static void update(struct device *d)
{
	const struct device_setting v[] = {{"Seed", "2"}, {"ErrorNth", "9"}};
	const struct device_config *before = device_get_settings(d);
	struct failure f = {0};
	int r = device_update(d, v, 2, &f);

	if (r < 0)
		explained(&f);
	MUST((r < 0) == (device_get_settings(d) == before));
}

static void on_ready(void *arg)
{
	bed.n_ready++;
}

static bool is_ready(void *arg)
{
	return bed.n_ready > 0;
}

static void write_files(void)
{
	char text[600];

	bed_put("/backing", "");
	(void) snprintf(text, sizeof(text), "%s/backing", bed_root);
	if (truncate(text, 1 << 20) < 0)
		fake_broken("no backing");
	(void) snprintf(
		text, sizeof(text),
		"[Device]\nTarget=loop\nDescription=a file\n[Queue]\nCount=2\nCPUAffinity=0\n"
		"[Loop]\nFile=%s/backing\n",
		bed_root);
	bed_put("/etc/ublkd/devices/file.conf", text);
	bed_put("/etc/ublkd/devices/file.conf.d/more.conf", "[Queue]\nDepth=8\n");
	bed_put("/etc/ublkd/devices/nothing.conf",
		"[Device]\nTarget=null\nSize=1M\nAutostart=no\n");
	bed_put("/run/ublkd/devices/bad.conf", "[Device]\nTarget=null\nColour=red\n");
}

static void live(void)
{
	struct problems p = {0};
	struct reload_result result = {0};
	struct failure f = {0};
	struct daemon_config dc;
	struct device *d;

	if (config_load_daemon(&bed.paths, &dc, &p) == -EINVAL)
		MUST(p.n_fatal > 0);
	problems_release(&p);

	MUST(manager_start(bed.manager, on_ready, NULL) == 0);
	MUST(bed_until(is_ready, NULL));
	d = manager_find(bed.manager, "file");
	if (d) {
		if (d->state != DEVICE_RUNNING) {
			if (d->state == DEVICE_FAILED)
				explained(&d->last_error);
			(void) start(d);
		}
		if (d->state == DEVICE_RUNNING)
			serve(d);
	}
	bed_put("/etc/ublkd/devices/file.conf.d/more.conf", "[Queue]\nDepth=16\n");
	bed_put("/etc/ublkd/devices/late.conf", "[Device]\nTarget=null\nSize=1M\n");
	bed_remove("/etc/ublkd/devices/nothing.conf");
	if (manager_reload(bed.manager, &result, &f) < 0 && failure_is_set(&f))
		explained(&f);
	reload_result_release(&result);
	bed_turn_ms(1);
	MUST(bed_until(is_idle, (void *) (uintptr_t) "late"));
	d = bed_add("bus", "Target", "fault", "Size", "1M", "VolatileCache", "yes", "Queues", "2",
		    NULL);
	if (d && start(d)) {
		update(d);
		serve(d);
		stop(d);
	}
	if (d && d->state != DEVICE_RUNNING)
		(void) manager_delete(bed.manager, d, NULL);
	d = manager_find(bed.manager, "file");
	if (d && d->state == DEVICE_RUNNING)
		stop(d);
}

/* What the driver of the round has besides. */
static uint64_t more_features;

static void start_counting(void)
{
	driver.features |= more_features;
	fail_calls_count(true);
}

/* Return: the call failed (there are more to come) */
static bool round_of(unsigned int n, bool all_after)
{
	const char *left;
	int r;

	wrong = NULL;
	fail_calls_arm(n, all_after);
	r = bed_begin();
	if (r >= 0) {
		fake_lock();
		fake.fail = fail_ring_call;
		fake_unlock();
		write_files();
		live();
	}
	MUST(r >= 0 || fail_calls_hit());
	fail_calls_count(false);
	left = r >= 0 ? bed_end() : bed_left();
	if (left && !wrong)
		wrong = left;
	if (wrong)
		TEST_FAIL("call %u (%s)%s: %s", n, fail_calls_name(),
			  all_after ? " and all after it" : "", wrong);
	return fail_calls_hit();
}

static void each_call_fails_once(void)
{
	unsigned int n = 0;

	while (round_of(++n, false))
		;
	(void) printf("# %u calls\n", n - 1);
	CHECK(n > 100);
}

/* The same where requests come in batches, data stays where it is, and devices outlive their
 * server, for which they have state files. */
static void each_call_fails_once_on_new_kernels(void)
{
	more_features = UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG |
			UBLK_F_BATCH_IO;
	each_call_fails_once();
}

static void everything_fails_from_a_call_on(void)
{
	/* Every third will do where time counts; set UBLKD_TEST_LONG for all. */
	unsigned int step = getenv("UBLKD_TEST_LONG") ? 1 : 3, n = 1;

	while (round_of(n, true))
		n += step;
	CHECK(n > 100);
}

static void nothing_fails(void)
{
	CHECK(!round_of(0, false));
	(void) printf("# %u calls\n", fail_calls_counted());
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(nothing_fails),
		CASE(each_call_fails_once),
		CASE(each_call_fails_once_on_new_kernels),
		CASE(everything_fails_from_a_call_on),
	};

	bed_before_build = start_counting;
	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
