/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device-bed.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "device/device-internal.h"
#include "device/flight-book.h"
#include "device/manager-internal.h"
#include "target/options.h"
#include "test.h"
#include "util/log.h"

struct bed bed;
void (*bed_before_build)(void);
char bed_root[] = "/tmp/ublkd-device-XXXXXX";

/* ---- time */

int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **s, clockid_t clock,
				      uint64_t usec, uint64_t accuracy,
				      sd_event_time_handler_t callback, void *arg);
int __real_sd_event_add_time_relative(sd_event *e, sd_event_source **s, clockid_t clock,
				      uint64_t usec, uint64_t accuracy,
				      sd_event_time_handler_t callback, void *arg);
int __wrap_sd_event_source_set_time_relative(sd_event_source *s, uint64_t usec);
int __real_sd_event_source_set_time_relative(sd_event_source *s, uint64_t usec);

int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **s, clockid_t clock,
				      uint64_t usec, uint64_t accuracy,
				      sd_event_time_handler_t callback, void *arg)
{
	if (bed_may_fail && bed_may_fail("sd_event_add_time_relative"))
		return -ENOMEM;
	return __real_sd_event_add_time_relative(e, s, clock, usec / 20, accuracy, callback, arg);
}

int __wrap_sd_event_source_set_time_relative(sd_event_source *s, uint64_t usec)
{
	return __real_sd_event_source_set_time_relative(s, usec / 20);
}

static uint64_t limit(uint64_t timeout_usec)
{
	return bed.fast_commands && timeout_usec == DEVICE_CTRL_TIMEOUT_USEC ? 200000
									     : timeout_usec;
}

#define CTRL_LIMIT(name, params, ...)                                                              \
	void __wrap_ctrl_##name params;                                                            \
	void __real_ctrl_##name params;                                                            \
	void __wrap_ctrl_##name params                                                             \
	{                                                                                          \
		__real_ctrl_##name(__VA_ARGS__, limit(t));                                         \
	}                                                                                          \
	struct swallow_semicolon

CTRL_LIMIT(get_features, (struct ctrl * c, struct ctrl_cmd *cmd, uint64_t t), c, cmd);
CTRL_LIMIT(add_dev, (struct ctrl * c, struct ctrl_cmd *cmd, uint64_t t), c, cmd);
CTRL_LIMIT(set_params, (struct ctrl * c, struct ctrl_cmd *cmd, int id, uint64_t t), c, cmd, id);
CTRL_LIMIT(get_params, (struct ctrl * c, struct ctrl_cmd *cmd, int id, uint64_t t), c, cmd, id);
CTRL_LIMIT(get_dev_info, (struct ctrl * c, struct ctrl_cmd *cmd, int id, uint64_t t), c, cmd, id);
CTRL_LIMIT(get_queue_affinity,
	   (struct ctrl * c, struct ctrl_cmd *cmd, int id, unsigned int q, uint64_t t), c, cmd, id,
	   q);
CTRL_LIMIT(del_dev, (struct ctrl * c, struct ctrl_cmd *cmd, int id, uint64_t t), c, cmd, id);

/* ---- what is left */

static unsigned int count_entries(const char *path)
{
	unsigned int n = 0;
	struct dirent *e;
	DIR *d;

	fake_inside++;
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		(void) closedir(d);
	fake_inside--;
	return n;
}

unsigned int bed_count_fds(void)
{
	return count_entries("/proc/self/fd");
}

unsigned int bed_count_threads(void)
{
	return count_entries("/proc/self/task");
}

/* ---- files */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return ftw->level ? remove(path) : 0;
}

static const char *in_root(const char *path)
{
	static char full[400];

	(void) snprintf(full, sizeof(full), "%s%s", bed_root, path);
	return full;
}

void bed_put(const char *path, const char *text)
{
	char full[400];
	FILE *f;

	fake_inside++;
	(void) snprintf(full, sizeof(full), "%s%s", bed_root, path);
	for (char *s = full + strlen(bed_root) + 1; (s = strchr(s, '/')); s++) {
		*s = '\0';
		(void) mkdir(full, 0755);
		*s = '/';
	}
	f = fopen(full, "we");
	if (!f || fputs(text, f) < 0)
		fake_broken("cannot write '%s'", full);
	(void) fclose(f);
	fake_inside--;
}

void bed_remove(const char *path)
{
	(void) unlink(in_root(path));
}

/* A reload brings the level back: it is in the file. */
static void quiet(void)
{
	bool loud = getenv("UBLKD_TEST_LOG");

	log_set_level(loud ? LOG_DEBUG : LOG_EMERG);
	bed_put("/etc/ublkd/ublkd.conf.d/test.conf",
		loud ? "[Manager]\nLogLevel=debug\n" : "[Manager]\nLogLevel=emerg\n");
}

/* ---- the loop */

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

bool bed_until(bool (*what)(void *arg), void *arg)
{
	uint64_t end = now_ms() + 18000;

	while (!what(arg)) {
		if (now_ms() >= end)
			return false;
		(void) sd_event_run(bed.event, 10000);
	}
	return true;
}

static bool is_done(void *arg)
{
	return ((struct waiter *) arg)->done;
}

bool bed_wait(struct waiter *w)
{
	return bed_until(is_done, w);
}

void bed_turn_ms(unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end)
		(void) sd_event_run(bed.event, 5000);
}

static void on_waiter(struct device_wait *wait, const struct failure *f)
{
	struct waiter *w = container_of(wait, struct waiter, wait);

	if (w->done)
		fake_broken("a waiting caller is told twice");
	w->done = true;
	w->ok = !f;
	if (f)
		w->failure = *f;
}

struct waiter *waiter_new(struct waiter *w)
{
	*w = (struct waiter){.wait.done = on_waiter};
	return w;
}

/* ---- life */

void bed_init(void)
{
	if (!mkdtemp(bed_root))
		fake_broken("no temporary folder: %m");
}

void bed_exit(void)
{
	(void) nftw(bed_root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	(void) rmdir(bed_root);
}

static void bed_release(void)
{
	bed.manager = manager_free(bed.manager);
	bed.ctrl = ctrl_free(bed.ctrl);
	bed.book = flight_book_close(bed.book);
	bed.event = sd_event_unref(bed.event);
	config_paths_release(&bed.paths);
	driver_guard_join();
}

static void *nothing(void *arg)
{
	return NULL;
}

/* A sanitizer's own thread comes with the first one of ours. */
static void warm_up(void)
{
	pthread_t t;

	fake_inside++;
	if (pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL))
		fake_broken("no thread");
	fake_inside--;
	/* Joined, but perhaps not yet gone from /proc. */
	bed.n_threads = bed_count_threads();
	for (int i = 0; i < 5 && bed.n_threads > 1; i++) {
		unsigned int n = bed_count_threads();

		bed.n_threads = n < bed.n_threads ? n : bed.n_threads;
		(void) usleep(200);
	}
}

int bed_next(void)
{
	int pair[2], r;

	fake_inside++;
	r = sd_event_new(&bed.event);
	if (r < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		fake_broken("no bed");
	fake_inside--;
	if (bed_before_build)
		bed_before_build();
	r = config_paths_init(&bed.paths, bed_root);
	if (r >= 0)
		r = ctrl_new_connected(pair[0], &bed.ctrl);
	if (r < 0)
		(void) close(pair[0]);
	driver_guard_start(pair[1]);
	bed.n_guards++;
	if (r >= 0)
		r = manager_new(bed.event, bed.ctrl, &bed.paths, &bed.config, &bed.manager);
	if (r < 0)
		bed_release();
	else
		manager_set_state_dir(bed.manager, bed.state_dir);
	return r;
}

int bed_begin(void)
{
	if (bed.n_guards)
		(void) close(bed.state_dir);
	bed = (struct bed){0};
	(void) nftw(bed_root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	quiet();
	driver_reset();
	warm_up();
	bed.state_dir = state_open(bed_root);
	if (bed.state_dir < 0)
		fake_broken("no state folder");
	bed.n_fds = bed_count_fds();
	bed.config = (struct daemon_config){.log_level = LOG_EMERG,
					    .default_queues = 1,
					    .default_queue_depth = 4,
					    .max_devices = 4,
					    .start_timeout_usec = 15000000,
					    .stop_timeout_usec = 5000000};
	return bed_next();
}

/* ---- kill -9 */

static void drop_queues(struct device_kernel *k)
{
	for (unsigned int i = 0; i < k->n_threads; i++) {
		queue_thread_join(&k->threads[i]);
		/* Nothing uses the memory: its operations went with the ring. */
		k->threads[i].queue->n_in_flight = 0;
		queue_thread_done(&k->threads[i]);
	}
	if (k->threads)
		for (unsigned int i = 0; i < k->info.nr_hw_queues * k->threads_per_queue; i++)
			free(k->threads[i].cpus);
	free(k->threads);
	if (k->char_fd >= 0)
		(void) close(k->char_fd);
}

static void drop_device(struct device *d)
{
	const struct ub_target *t = d->config->target;

	drop_queues(&d->kernel);
	d->kernel = (struct device_kernel){.dev_id = -1, .char_fd = -1};
	if (d->target_state && t->close && d->target_opened)
		t->close(&d->dev, d->target_state);
	if (d->target_state) {
		dev_release(&d->dev);
		options_release(t->options, d->target_state);
		free(d->target_state);
		d->target_state = NULL;
	}
	while (!list_empty(&d->waits))
		list_remove(d->waits.next);
}

void bed_kill(void)
{
	struct device *d = NULL;

	fake_kill(true);
	while ((d = manager_next(bed.manager, d)))
		drop_device(d);
	bed_release();
	fake_kill(false);
}

static void on_down(void *arg)
{
	bed.n_down++;
}

static bool is_down(void *arg)
{
	return bed.n_down > 0;
}

const char *bed_left(void)
{
	static char wrong[200];

	for (int i = 0; i < 1000 && bed_count_threads() > bed.n_threads; i++)
		(void) usleep(1000);
	wrong[0] = '\0';
	if (!driver_is_empty())
		(void) snprintf(wrong, sizeof(wrong), "the kernel still has a device");
	else if (bed_count_fds() != bed.n_fds + bed.n_guards)
		(void) snprintf(wrong, sizeof(wrong), "%u descriptors, %u before", bed_count_fds(),
				bed.n_fds + bed.n_guards);
	else if (bed_count_threads() > bed.n_threads)
		(void) snprintf(wrong, sizeof(wrong), "%u threads, %u before", bed_count_threads(),
				bed.n_threads);
	return *wrong ? wrong : NULL;
}

const char *bed_end(void)
{
	struct device *d = NULL;

	if (bed.manager) {
		struct manager_status st;

		manager_get_status(bed.manager, &st);
		if (st.state != MANAGER_STOPPING) {
			bed.n_down = 0;
			manager_shutdown(bed.manager, true, on_down, NULL);
		}
		if (!bed_until(is_down, NULL) || manager_is_busy(bed.manager)) {
			while ((d = manager_next(bed.manager, d)) && !d->run)
				;
			fake_broken("the daemon cannot leave: %s is %s at '%s'",
				    d ? device_get_name(d) : "nobody",
				    d ? device_state_name(d->state) : "", d ? d->sub_state : "");
		}
	}
	driver_release();
	bed_turn_ms(1);
	while (fake_held(0) && bed.event)
		bed_turn_ms(1);
	bed_release();
	return bed_left();
}

/* ---- devices */

struct device *bed_add(const char *name, ...)
{
	struct device_config *c = device_config_new(name);
	struct problems p = {0};
	struct failure f = {0};
	struct device *d = NULL;
	const char *key;
	va_list ap;
	int r = c ? 0 : -ENOMEM;

	va_start(ap, name);
	while (r == 0 && (key = va_arg(ap, const char *)))
		r = device_config_set(c, key, va_arg(ap, const char *), &p);
	va_end(ap);
	if (r == 0)
		r = device_config_check(c, &p);
	if (r == 0)
		r = manager_add(bed.manager, c, &d, &f);
	if (r < 0)
		(void) device_config_free(c);
	problems_release(&p);
	return r < 0 ? NULL : d;
}

struct fake_dev *bed_kernel(const struct device *d)
{
	return d->kernel.dev_id < 0 ? NULL : &driver.devs[d->kernel.dev_id];
}

/* ---- the cases */

static bool case_passes(const struct test_case *c, bool (*passes)(void (*run)(void)))
{
	int status;
	pid_t pid;

	(void) fflush(stdout);
	pid = fork();
	if (pid == 0) {
		bool ok;

		bed_init();
		ok = passes(c->run);
		bed_exit();
		(void) fflush(stdout);
		/* Threads that a failed case left are of no interest; leaks of a good one are. */
		if (!ok)
			_exit(1);
		exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int bed_run_cases(const struct test_case *cases, unsigned int n, bool (*passes)(void (*run)(void)))
{
	const char *only = getenv("UBLKD_TEST_CASE");
	unsigned int n_failed = 0;

	(void) printf("1..%u\n", n);
	for (unsigned int i = 0; i < n; i++) {
		bool ok = (only && strcmp(only, cases[i].name) != 0) ||
			  case_passes(&cases[i], passes);

		(void) printf("%sok %u %s\n", ok ? "" : "not ", i + 1, cases[i].name);
		(void) fflush(stdout);
		n_failed += !ok;
	}
	return n_failed ? 1 : 0;
}
