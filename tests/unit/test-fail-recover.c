/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A recovery - of a device whose queue failed, of one that the daemon before left - with the N-th
 * call that can fail failing, for every N until none is left: once that call alone, once that and
 * all after it. When it is over the device runs, or is held and runs after another start, or is not
 * known and runs under the next daemon; its requests are answered once and without an error;
 * nothing stays.
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

static _Alignas(4096) uint8_t data[4096];
static struct fake_request first, later;

static struct fake_request ask(uint32_t op, uint64_t sector)
{
	return (struct fake_request){
		.op_flags = op, .sector = sector, .n_sectors = 8, .data = data};
}

static bool is_done(void *arg)
{
	const struct fake_request *r = arg;
	bool done;

	fake_lock();
	done = r->done;
	fake_unlock();
	return done;
}

static bool is_idle(void *arg)
{
	const struct device *d = arg;

	return !d->run;
}

/* Recovered, with its request answered, or not. */
static bool is_over(void *arg)
{
	const struct device *d = arg;

	return !d->run && (d->state != DEVICE_RUNNING || is_done(&first));
}

static bool is_ready(void *arg)
{
	return bed.n_ready > 0;
}

static void on_ready(void *arg)
{
	bed.n_ready++;
}

static void start_daemon(void)
{
	struct device *d = NULL;

	bed.n_ready = 0;
	MUST(manager_start(bed.manager, on_ready, NULL) == 0);
	MUST(bed_until(is_ready, NULL));
	/* It may be ready without those that it has no memory to wait for. */
	while ((d = manager_next(bed.manager, d)))
		MUST(bed_until(is_idle, d));
}

static bool start(struct device *d)
{
	struct failure f = {0};
	struct waiter w;

	if (device_start(d, 0, &waiter_new(&w)->wait, &f) < 0)
		return false;
	MUST(bed_wait(&w));
	return w.ok;
}

static struct device *find(void)
{
	return manager_find(bed.manager, "file");
}

/* ---- what happens */

static pid_t victim_thread;
static unsigned int victim_turns;

static int fail_ring(const char *call)
{
	if (strcmp(call, "submit") == 0 && first.deliveries && gettid() == victim_thread &&
	    victim_turns-- == 0)
		return -ENXIO;
	return fail_ring_call(call);
}

static void queue_fails(void)
{
	struct device *d = find();

	fake_lock();
	victim_thread = atomic_load(&d->kernel.threads[0].tid);
	victim_turns = !d->kernel.path.batch;
	fake_unlock();
	fail_calls_count(true);
	MUST(fake_send_any(bed_kernel(d)->ublk, 0, &first));
	MUST(bed_until(is_over, d));
	fail_calls_count(false);
	MUST(fake_send_any(bed_kernel(d)->ublk, 1, &later));
}

static void daemon_is_killed(void)
{
	int r;

	MUST(fake_send_any(bed_kernel(find())->ublk, 1, &later));
	bed_kill();
	MUST(fake_send_any(driver.devs[0].ublk, 0, &first));
	fail_calls_count(true);
	r = bed_next();
	if (r == 0)
		start_daemon();
	fail_calls_count(false);
	MUST(r == 0 || fail_calls_hit());
	if (r == 0 && find())
		return;
	/* Not known: then to the one after it. */
	if (r == 0)
		bed_kill();
	MUST(driver_state(0) == UBLK_S_DEV_QUIESCED);
	MUST(bed_next() == 0);
	start_daemon();
}

/* ---- and is to come of it */

static void answered(struct fake_request *r)
{
	MUST(bed_until(is_done, r));
	MUST(r->result == 4096);
	MUST(r->commits == 1);
}

static void goes_on(void)
{
	struct device *d = find();
	struct fake_request again = ask(UBLK_IO_OP_READ, 8);

	if (wrong)
		return;
	MUST(d);
	if (wrong)
		return;
	MUST(d->state == DEVICE_RUNNING || d->state == DEVICE_QUIESCED);
	if (d->state != DEVICE_RUNNING) {
		MUST(failure_is_set(&d->last_error) && *d->last_error.text);
		MUST(start(d));
	}
	if (d->state == DEVICE_RUNNING) {
		answered(&first);
		answered(&later);
		MUST(fake_send_any(bed_kernel(d)->ublk, 1, &again));
		answered(&again);
	}
	MUST(driver.n_added == 1);
}

static uint64_t more_features;

static bool begin(void)
{
	char path[300];
	struct device *d;

	if (bed_begin() < 0)
		return false;
	driver.features |= more_features;
	bed_put("/backing", "");
	(void) snprintf(path, sizeof(path), "%s/backing", bed_root);
	MUST(truncate(path, 1 << 20) == 0);
	start_daemon();
	d = bed_add("file", "Target", "loop", "File", path, "Queues", "2", NULL);
	MUST(d && start(d));
	first = ask(UBLK_IO_OP_WRITE, 0);
	later = ask(UBLK_IO_OP_READ, 0);
	fake_lock();
	fake.fail = fail_ring;
	victim_thread = 0;
	fake_unlock();
	return !wrong;
}

/* Return: a call failed (there are more to come) */
static bool round_of(void (*happens)(void), unsigned int n, bool all_after)
{
	const char *left;

	wrong = NULL;
	fail_calls_arm(n, all_after);
	if (!begin())
		TEST_FAIL("%s", wrong ? wrong : "no bed");
	happens();
	goes_on();
	left = bed_end();
	MUST(faccessat(bed.state_dir, "file", R_OK, 0) < 0);
	if (left && !wrong)
		wrong = left;
	if (wrong)
		TEST_FAIL("call %u (%s)%s: %s", n, fail_calls_name(),
			  all_after ? " and all after it" : "", wrong);
	return fail_calls_hit();
}

static void each_call(void (*happens)(void), bool all_after)
{
	/* Every third will do where time counts; set UBLKD_TEST_LONG for all. */
	unsigned int step = all_after && !getenv("UBLKD_TEST_LONG") ? 3 : 1, n = 1;

	while (round_of(happens, n, all_after))
		n += step;
	(void) printf("# %u calls\n", n - 1);
	CHECK(n > 20);
}

static void new_kernel(void)
{
	more_features = UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG |
			UBLK_F_BATCH_IO;
}

static void nothing_fails(void)
{
	CHECK(!round_of(queue_fails, 0, false));
	CHECK(!round_of(daemon_is_killed, 0, false));
	new_kernel();
	CHECK(!round_of(queue_fails, 0, false));
	CHECK(!round_of(daemon_is_killed, 0, false));
}

static void queue_fails_and_a_call(void)
{
	each_call(queue_fails, false);
}

static void queue_fails_and_a_call_on_new_kernels(void)
{
	new_kernel();
	each_call(queue_fails, false);
}

static void queue_fails_and_everything(void)
{
	each_call(queue_fails, true);
}

static void next_daemon_and_a_call(void)
{
	each_call(daemon_is_killed, false);
}

static void next_daemon_and_a_call_on_new_kernels(void)
{
	new_kernel();
	each_call(daemon_is_killed, false);
}

static void next_daemon_and_everything(void)
{
	each_call(daemon_is_killed, true);
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(nothing_fails),
		CASE(queue_fails_and_a_call),
		CASE(queue_fails_and_a_call_on_new_kernels),
		CASE(queue_fails_and_everything),
		CASE(next_daemon_and_a_call),
		CASE(next_daemon_and_a_call_on_new_kernels),
		CASE(next_daemon_and_everything),
	};

	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
