/* SPDX-License-Identifier: GPL-2.0-or-later */
/* targets/fault, device-update: a fault device as a whole, on a fake driver; settings change while
 * it runs. The laws of chance are in test-fault-laws.c. Timeouts are over when the test says so. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "device-bed.h"
#include "device/device-internal.h"
#include "test.h"
#include "util/cleanup.h"

#define END() CHECK_STR(bed_end(), NULL)
#define SIZE (UINT64_C(1) << 20)

static uint8_t data[65536];

/* ---- the death of the server is only noted */

int __wrap_raise(int sig);

static unsigned int n_deaths;
static char file_path[300];
static int file_at_death[3]; /* first byte of sectors 0, 1, and 8 */

static int file_byte(uint64_t sector)
{
	int fd = open(file_path, O_RDONLY | O_CLOEXEC);
	uint8_t c = 0;

	if (fd < 0 || pread(fd, &c, 1, (off_t) (sector * 512)) != 1)
		fake_broken("no byte of '%s'", file_path);
	(void) close(fd);
	return c;
}

int __wrap_raise(int sig)
{
	if (sig != SIGKILL)
		fake_broken("signal %d", sig);
	for (unsigned int i = 0; *file_path && !n_deaths && i < 3; i++)
		file_at_death[i] = file_byte(i == 2 ? 8 : i);
	n_deaths++;
	return 0;
}

/* ---- devices */

static bool start_ok(struct device *d)
{
	struct failure f = {0};
	struct waiter w;

	CHECK(d != NULL);
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	if (!w.ok)
		(void) printf("# %s\n", w.failure.text);
	return w.ok;
}

/* ... which is gone then. */
static const char *why_not(struct device *d)
{
	static struct failure failure;
	struct failure f = {0};
	struct waiter w;

	CHECK(d != NULL);
	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	CHECK(!w.ok);
	failure = w.failure;
	CHECK_EQ(manager_delete(bed.manager, d, NULL), 0);
	return failure.text;
}

static bool stop_ok(struct device *d)
{
	struct device_stop_options o = {0};
	struct waiter w;

	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK(bed_wait(&w));
	return w.ok;
}

static struct device *begin_memory(void)
{
	struct device *d;

	CHECK_EQ(bed_begin(), 0);
	*file_path = '\0';
	d = bed_add("f", "Target", "fault", "Size", "1M", "VolatileCache", "yes", NULL);
	CHECK(start_ok(d));
	return d;
}

static struct device *begin_file(void)
{
	struct device *d;

	CHECK_EQ(bed_begin(), 0);
	(void) snprintf(file_path, sizeof(file_path), "%s/backing", bed_root);
	bed_put("/backing", "");
	CHECK_EQ(truncate(file_path, (off_t) SIZE), 0);
	d = bed_add("f", "Target", "fault", "File", file_path, NULL);
	CHECK(start_ok(d));
	return d;
}

/* Return: "", or what was said against it */
static const char *set(struct device *d, const char *key, const char *value)
{
	static struct failure f;

	f = (struct failure){0};
	(void) device_update(d, &(struct device_setting){key, value}, 1, &f);
	return f.text;
}

#define SET(d, key, value) CHECK_STR(set(d, key, value), "")

static int find_setting(void *arg, const char *section, const struct ub_opt *opt, const char *value)
{
	const char **search = arg;

	if (strcmp(opt->key, search[0]) == 0)
		search[1] = strcpy(calloc(1, strlen(value) + 1), value);
	return 0;
}

static void check_setting(const struct device *d, const char *key, const char *value)
{
	const char *search[2] = {key, NULL};
	_cleanup_free_ char *found = NULL;

	(void) device_config_foreach(device_get_settings(d), find_setting, search);
	found = (char *) search[1];
	CHECK_STR(found, value);
}

/* ---- requests */

static struct fake_request request;

static void begin_io(const struct device *d, uint32_t op, uint64_t sector, uint32_t n)
{
	request = (struct fake_request){
		.op_flags = op, .sector = sector, .n_sectors = n, .data = data};
	if (!fake_send_any(bed_kernel(d)->ublk, 0, &request))
		fake_broken("no free tag");
}

static bool done_or_waiting(void *arg)
{
	return request.done || fake_timer_runs();
}

static bool waiting(void *arg)
{
	return fake_timer_runs();
}

/* Return: its result, after all its waits */
static int finish(void)
{
	bool done;

	for (;;) {
		CHECK(fake_wait_for(done_or_waiting, NULL));
		fake_lock();
		done = request.done;
		fake_unlock();
		if (done)
			return request.result;
		fake_timeout();
	}
}

static int io(const struct device *d, uint32_t op, uint64_t sector, uint32_t n)
{
	begin_io(d, op, sector, n);
	return finish();
}

static int put(const struct device *d, uint64_t sector, int c, uint32_t n)
{
	memset(data, c, sizeof(data));
	return io(d, UBLK_IO_OP_WRITE, sector, n);
}

/* The byte there; negative: it cannot be read */
static int get(const struct device *d, uint64_t sector)
{
	int r;

	memset(data, 0xee, 512);
	r = io(d, UBLK_IO_OP_READ, sector, 1);
	return r == 512 ? data[0] : r;
}

#define FLUSH(d) io(d, UBLK_IO_OP_FLUSH, 0, 0)

/* ---- serving */

static void data_are_kept(struct device *d)
{
	CHECK_EQ(put(d, 8, 'a', 8), 4096);
	CHECK_EQ(get(d, 15), 'a');
	CHECK_EQ(get(d, 16), 0);
	CHECK_EQ(FLUSH(d), 0);
	CHECK_EQ(io(d, UBLK_IO_OP_DISCARD, 8, 4), 0);
	CHECK_EQ(get(d, 12), 'a');
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE_ZEROES, 12, 1), 0);
	CHECK_EQ(get(d, 12), 0);
	CHECK_EQ(get(d, 13), 'a');
	CHECK_EQ(put(d, 0, 'f', 128), 65536);
	CHECK_EQ(get(d, 127), 'f');
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 1), 512);
}

static void memory_serves(void)
{
	struct device *d = begin_memory();

	data_are_kept(d);
	CHECK(stop_ok(d));
	/* The next life begins empty. */
	CHECK(start_ok(d));
	CHECK_EQ(get(d, 13), 0);
	END();
}

static enum fake_verdict short_once(struct fake_op *op)
{
	driver.on_backing = NULL;
	op->most = 1024;
	return FAKE_DO;
}

static void file_serves(void)
{
	struct device *d = begin_file();

	data_are_kept(d);
	CHECK_EQ(file_byte(13), 'f');
	/* Short transfers go on. */
	driver.on_backing = short_once;
	CHECK_EQ(put(d, 16, 's', 8), 4096);
	CHECK_EQ(file_byte(23), 's');
	/* Behind the end of a file that got shorter there is nothing. */
	CHECK_EQ(truncate(file_path, 512), 0);
	CHECK_EQ(get(d, 100), -EIO);
	END();
}

static void what_cannot_be_is_refused(void)
{
	struct device *d;

	CHECK_EQ(bed_begin(), 0);
	d = bed_add("a", "Target", "fault", NULL);
	CHECK_CONTAINS(why_not(d), "Size= must be set");
	d = bed_add("b", "Target", "fault", "File", "/dev/null", NULL);
	CHECK_CONTAINS(why_not(d), "'/dev/null' is no regular file");
	bed_put("/small", "few");
	(void) snprintf(file_path, sizeof(file_path), "%s/small", bed_root);
	d = bed_add("c", "Target", "fault", "File", file_path, NULL);
	CHECK_CONTAINS(why_not(d), "has 3 bytes, less than the device");
	CHECK_EQ(truncate(file_path, 4096), 0);
	d = bed_add("d", "Target", "fault", "File", file_path, "VolatileCache", "yes", NULL);
	CHECK_CONTAINS(why_not(d), "VolatileCache=yes is for memory");
	d = bed_add("e", "Target", "fault", "Size", "1M", "LatencyLaw", "uniform", "LatencySpread",
		    "1s", NULL);
	CHECK_CONTAINS(why_not(d), "LatencySpread= must not be greater than Latency=");
	/* What is gone with the server is not recovered; a file is. */
	CHECK(!bed_add("f", "Target", "fault", "Size", "1M", "Recovery", "reissue", NULL));
	d = bed_add("g", "Target", "fault", "Size", "1M", NULL);
	CHECK_EQ(device_config_recovery(device_get_config(d)), RECOVERY_NO);
	d = bed_add("h", "Target", "fault", "File", "/x", NULL);
	CHECK_EQ(device_config_recovery(device_get_config(d)), RECOVERY_REISSUE);
	END();
}

/* ---- changes */

static void settings_change_while_it_runs(void)
{
	struct device *d = begin_memory();

	CHECK_EQ(put(d, 0, 'a', 1), 512);
	SET(d, "ErrorEvery", "1");
	check_setting(d, "ErrorEvery", "1");
	check_setting(d, "Seed", "1");
	CHECK_EQ(put(d, 0, 'b', 1), -EIO);
	SET(d, "Error", "ENOSPC");
	CHECK_EQ(put(d, 0, 'b', 1), -ENOSPC);
	SET(d, "ErrorEvery", "");
	check_setting(d, "ErrorEvery", "0");
	check_setting(d, "Error", "ENOSPC");
	CHECK_EQ(get(d, 0), 'a');
	/* The definition knows nothing of it. */
	SET(d, "ErrorEvery", "1");
	CHECK(stop_ok(d));
	check_setting(d, "ErrorEvery", "0");
	CHECK(start_ok(d));
	CHECK_EQ(get(d, 0), 0);
	END();
}

static void changes_are_refused(void)
{
	struct device_setting two[] = {{"Stuck", "yes"}, {"Latency", "long"}};
	struct device *d = begin_memory(), *n;
	struct failure f = {0};

	CHECK_STR(set(d, "Size", "2M"),
		  "Size=2M: cannot change while the device runs: stop it before");
	CHECK_CONTAINS(set(d, "VolatileCache", "no"), "cannot change while the device runs");
	CHECK_STR(set(d, "Latenzy", "1s"), "Latenzy=1s: unknown setting, did you mean 'Latency'?");
	CHECK_CONTAINS(set(d, "BadPerMillion", "1000001"), "must be 0 .. 1000000");
	/* All or nothing. */
	CHECK_EQ(device_update(d, two, 2, &f), -EINVAL);
	CHECK_EQ(f.kind, FAILURE_INVALID_CONFIGURATION);
	CHECK_CONTAINS(f.text, "Latency=long: must be a time");
	check_setting(d, "Stuck", "no");
	CHECK_EQ(get(d, 0), 0);
	/* What the target says no to. */
	SET(d, "LatencySpread", "1s");
	CHECK_CONTAINS(set(d, "LatencyLaw", "uniform"), "must not be greater than Latency=");
	check_setting(d, "LatencyLaw", "fixed");
	/* Who does not run, and who has nothing to change. */
	CHECK(stop_ok(d));
	CHECK_STR(set(d, "Stuck", "yes"), "device 'f' is defined");
	n = bed_add("n", "Target", "null", NULL);
	CHECK(start_ok(n));
	CHECK_CONTAINS(set(n, "Size", "1M"), "target 'null' has no setting that can change");
	END();
}

/* ---- faults */

static void errors_by_number_and_range(void)
{
	struct device_setting range[] = {
		{"ErrorAt", "8K"}, {"ErrorLength", "4K"}, {"ErrorOf", "write"}};
	struct device *d = begin_memory();
	int failed = 0;

	SET(d, "ErrorNth", "3");
	for (int i = 1; i <= 6; i++)
		CHECK_EQ(put(d, 0, 'a', 1), i == 3 ? -EIO : 512);
	/* Counted anew. */
	SET(d, "ErrorNth", "1");
	CHECK_EQ(FLUSH(d), -EIO);
	CHECK_EQ(FLUSH(d), 0);
	SET(d, "ErrorNth", "0");
	SET(d, "ErrorEvery", "4");
	for (int i = 1; i <= 12; i++)
		CHECK_EQ(get(d, 0), i % 4 ? 'a' : -EIO);
	SET(d, "ErrorEvery", "0");
	CHECK_EQ(device_update(d, range, 3, NULL), 0);
	CHECK_EQ(put(d, 15, 'b', 1), 512);
	CHECK_EQ(put(d, 15, 'b', 2), -EIO);
	CHECK_EQ(put(d, 23, 'b', 1), -EIO);
	CHECK_EQ(put(d, 24, 'b', 1), 512);
	CHECK_EQ(put(d, 0, 'b', 128), -EIO);
	CHECK_EQ(get(d, 16), 0);
	/* In the range, by chance. */
	SET(d, "ErrorsPerMillion", "500000");
	for (int i = 0; i < 64; i++) {
		failed += put(d, 16, 'c', 1) < 0;
		CHECK_EQ(put(d, 0, 'c', 1), 512);
	}
	CHECK(failed > 12 && failed < 52);
	END();
}

static uint64_t pattern(struct device *d)
{
	uint64_t bits = 0;

	for (int i = 0; i < 64; i++)
		bits = bits << 1 | (put(d, 0, 'c', 1) < 0);
	return bits;
}

static void a_seed_says_it_all(void)
{
	struct device_setting s[] = {{"Seed", "5"}, {"ErrorsPerMillion", "300000"}};
	struct device *d = begin_memory();
	uint64_t first;

	CHECK_EQ(device_update(d, s, 2, NULL), 0);
	first = pattern(d);
	CHECK(first != pattern(d));
	CHECK_EQ(device_update(d, s, 2, NULL), 0);
	CHECK(first == pattern(d));
	s[0].value = "6";
	CHECK_EQ(device_update(d, s, 2, NULL), 0);
	CHECK(first != pattern(d));
	END();
}

static void bad_blocks_heal_when_written(void)
{
	struct device_setting range[] = {{"BadAt", "4K"}, {"BadLength", "8K"}};
	struct device *d = begin_memory();

	CHECK_EQ(put(d, 8, 'a', 16), 8192);
	CHECK_EQ(device_update(d, range, 2, NULL), 0);
	CHECK_EQ(get(d, 7), 0);
	CHECK_EQ(get(d, 8), -ENODATA);
	CHECK_EQ(get(d, 23), -ENODATA);
	CHECK_EQ(get(d, 24), 0);
	CHECK_EQ(put(d, 8, 'b', 8), 4096);
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE_ZEROES, 16, 4), 0);
	CHECK_EQ(get(d, 8), 'b');
	CHECK_EQ(get(d, 19), 0);
	CHECK_EQ(get(d, 20), -ENODATA);
	/* Another setting makes none of them bad again; the same range, newly set, neither. */
	SET(d, "Seed", "1");
	CHECK_EQ(get(d, 8), 'b');
	SET(d, "BadLength", "4K");
	CHECK_EQ(get(d, 8), -ENODATA);
	CHECK_EQ(get(d, 20), 'a');
	END();
}

static uint64_t waited(struct device *d, uint32_t op, uint32_t n)
{
	uint64_t before = fake.timers_usec;

	CHECK(io(d, op, 0, n) >= 0);
	return fake.timers_usec - before;
}

static void latency_is_waited_for(void)
{
	struct device_setting even[] = {{"Latency", "50ms"},
					{"LatencyLaw", "uniform"},
					{"LatencySpread", "50ms"},
					{"LatencyOf", "flush"}};
	struct device *d = begin_memory();
	uint64_t sum = 0;

	CHECK_EQ(waited(d, UBLK_IO_OP_READ, 1), 0);
	SET(d, "Latency", "250ms");
	CHECK_EQ(waited(d, UBLK_IO_OP_READ, 1), 250000);
	CHECK_EQ(waited(d, UBLK_IO_OP_FLUSH, 0), 250000);
	/* In steps, or a queue could not end before it is over. */
	sum = fake.timers_usec;
	begin_io(d, UBLK_IO_OP_READ, 0, 1);
	CHECK(fake_wait_for(waiting, NULL));
	CHECK_EQ(fake.timers_usec - sum, 100000);
	CHECK_EQ(finish(), 512);
	sum = 0;
	SET(d, "LatencyOf", "write");
	CHECK_EQ(waited(d, UBLK_IO_OP_READ, 1), 0);
	CHECK_EQ(waited(d, UBLK_IO_OP_WRITE, 1), 250000);
	CHECK_EQ(device_update(d, even, 4, NULL), 0);
	for (int i = 0; i < 200; i++)
		sum += waited(d, UBLK_IO_OP_FLUSH, 0);
	/* Mean 50 ms; 200 of them have a mean with a deviation of 2 ms. */
	CHECK(sum > 200 * 40000 && sum < 200 * 60000);
	END();
}

static void bandwidth_is_waited_for(void)
{
	struct device *d = begin_memory();
	uint64_t usec;

	/* The line is idle, then it is not; the clock goes on between the requests. */
	SET(d, "Bandwidth", "4K");
	CHECK_EQ(waited(d, UBLK_IO_OP_WRITE, 8), 1000000);
	usec = waited(d, UBLK_IO_OP_READ, 4);
	CHECK(usec >= 500000 && usec <= 1500000);
	CHECK_EQ(waited(d, UBLK_IO_OP_FLUSH, 0), 0);
	SET(d, "Bandwidth", "");
	CHECK_EQ(waited(d, UBLK_IO_OP_WRITE, 8), 0);
	END();
}

static void stuck_requests_are_released(void)
{
	struct device *d = begin_memory();

	SET(d, "Stuck", "yes");
	SET(d, "StuckOf", "write");
	CHECK_EQ(get(d, 0), 0);
	memset(data, 'a', sizeof(data));
	begin_io(d, UBLK_IO_OP_WRITE, 0, 1);
	for (int i = 0; i < 20; i++) {
		CHECK(fake_wait_for(waiting, NULL));
		CHECK(!request.done);
		fake_timeout();
	}
	SET(d, "Stuck", "no");
	CHECK_EQ(finish(), 512);
	CHECK_EQ(get(d, 0), 'a');
	END();
}

/* A forced stop does not wait for what is stuck. */
static void stuck_requests_do_not_hold_a_forced_stop(void)
{
	struct device_stop_options o = {.force = true};
	struct device *d = begin_memory();
	struct waiter w;

	SET(d, "Stuck", "yes");
	begin_io(d, UBLK_IO_OP_READ, 0, 1);
	CHECK(fake_wait_for(waiting, NULL));
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	for (int i = 0; i < 400 && !w.done; i++) {
		bed_turn_ms(5);
		fake_timeout();
	}
	CHECK(w.done && w.ok);
	CHECK_EQ(request.result, -EIO);
	END();
}

static void power_cuts_lose_what_is_not_flushed(void)
{
	struct device *d = begin_memory();

	CHECK_EQ(put(d, 0, 'a', 4), 2048);
	CHECK_EQ(FLUSH(d), 0);
	CHECK_EQ(put(d, 1, 'b', 1), 512);
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 2, 1), 512);
	SET(d, "PowerCut", "all");
	CHECK_EQ(get(d, 0), -EIO);
	CHECK_EQ(put(d, 0, 'c', 1), -EIO);
	CHECK_EQ(FLUSH(d), -EIO);
	/* What else is set does not bring it back. */
	SET(d, "Latency", "0");
	CHECK_EQ(get(d, 0), -EIO);
	SET(d, "PowerCut", "no");
	CHECK_EQ(get(d, 0), 'a');
	CHECK_EQ(get(d, 1), 'a');
	CHECK_EQ(get(d, 2), 'b');
	END();
}

/* What was on its way when the power went is not done when it is back. */
static void power_cuts_end_what_is_under_way(void)
{
	struct device *d = begin_memory();

	SET(d, "Latency", "300ms");
	memset(data, 'a', sizeof(data));
	begin_io(d, UBLK_IO_OP_WRITE, 0, 1);
	CHECK(fake_wait_for(waiting, NULL));
	SET(d, "PowerCut", "torn");
	SET(d, "PowerCut", "no");
	CHECK_EQ(finish(), -EIO);
	SET(d, "Latency", "0");
	CHECK_EQ(get(d, 0), 0);
	/* And what came while there was none. */
	SET(d, "Latency", "300ms");
	SET(d, "PowerCut", "torn");
	begin_io(d, UBLK_IO_OP_READ, 0, 1);
	CHECK(fake_wait_for(waiting, NULL));
	SET(d, "PowerCut", "no");
	CHECK_EQ(finish(), -EIO);
	END();
}

static void dies_where_it_is_told(void)
{
	static const struct {
		const char *where;
		int first, second, third; /* sectors 0, 1 and 8 of the file then */
	} cases[] = {
		{"submit", 'a', 'a', 'a'},	 {"before-write", 'a', 'a', 'a'},
		{"in-write", 'b', 'b', 'a'},	 {"after-write", 'b', 'b', 'b'},
		{"before-flush", 'b', 'b', 'b'}, {"after-flush", 'b', 'b', 'b'},
	};
	struct device *d = begin_file();

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		SET(d, "Die", "no");
		CHECK_EQ(put(d, 0, 'a', 16), 8192);
		SET(d, "Die", cases[i].where);
		n_deaths = 0;
		(void) put(d, 0, 'b', 16);
		(void) FLUSH(d);
		CHECK(n_deaths > 0);
		CHECK_EQ(file_at_death[0], cases[i].first);
		CHECK_EQ(file_at_death[1], cases[i].second);
		CHECK_EQ(file_at_death[2], cases[i].third);
	}
	n_deaths = 0;
	SET(d, "Die", "before-write");
	SET(d, "DieAfter", "3");
	for (unsigned int i = 1; i <= 5; i++) {
		(void) get(d, 0);
		(void) put(d, 0, 'c', 1);
		CHECK_EQ(n_deaths > 0, i >= 3);
	}
	END();
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(memory_serves),
		CASE(file_serves),
		CASE(what_cannot_be_is_refused),
		CASE(settings_change_while_it_runs),
		CASE(changes_are_refused),
		CASE(errors_by_number_and_range),
		CASE(a_seed_says_it_all),
		CASE(bad_blocks_heal_when_written),
		CASE(latency_is_waited_for),
		CASE(bandwidth_is_waited_for),
		CASE(stuck_requests_are_released),
		CASE(stuck_requests_do_not_hold_a_forced_stop),
		CASE(power_cuts_lose_what_is_not_flushed),
		CASE(power_cuts_end_what_is_under_way),
		CASE(dies_where_it_is_told),
	};
	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
