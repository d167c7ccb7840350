/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main - arguments, signals, service manager; builds the layers, runs the loop, takes them down.
 * No policy of its own. Exit status: 0, 1 failed, 2 wrong usage, 3 stopped, but not all devices,
 * 78 broken configuration.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "bus/bus.h"
#include "bus/bus-systemd.h"
#include "version.h"
#include "device/abandon.h"
#include "device/config.h"
#include "device/deaths.h"
#include "device/explain.h"
#include "device/flight-book.h"
#include "device/manager.h"
#include "device/state.h"
#include "target/options.h"
#include "target/registry.h"
#include "ublk/ctrl.h"
#include "ublk/guard.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

#define CONTROL_NODE "/dev/ublk-control"
/* Beside what the devices take, for a slow machine. */
#define SHUTDOWN_SLACK_USEC (10 * UINT64_C(1000000))
/* How long the one that has died may take to be gone. */
#define ABANDON_LOCK_USEC (30 * UINT64_C(1000000))

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

enum { EXIT_USAGE = 2, EXIT_LEFT = 3, EXIT_CONFIG = 78 };

struct arguments {
	const char *config_root, *runtime_dir;
	const char *introspect, *help_target, *explain, *show_requests;
	bool abandon, check, guard, help, version;
	char *const *files;
	size_t n_files;
};

struct app {
	struct config_paths paths;
	struct daemon_config config;
	sd_event *event;
	struct ctrl *ctrl;
	struct manager *manager;
	struct bus *bus;
	struct flight_book *book;
	int lock, state_dir;
	bool terminating; /* told to stop or to leave */
	uint64_t told; /* what the service manager knows, as on_post() sums it up */
};

/* ---- arguments */

static int usage(FILE *f)
{
	(void) fprintf(
		f,
		"ublkd [OPTION...]\n"
		"Serve block devices from user space through the kernel's ublk driver.\n\n"
		"      --check FILE...      check configuration files and exit\n"
		"      --explain NAME       show what becomes of a device's settings on this\n"
		"                           kernel, and how its data would move, and exit\n"
		"      --help-target NAME   explain the settings of a target and exit;\n"
		"                           'list' names the targets\n"
		"      --show-requests FILE print the last requests of a daemon that died, from\n"
		"                           /run/ublkd/flight/crash, and exit\n"
		"      --abandon            end the devices that no ublkd serves any more, so "
		"that\n"
		"                           their users get errors instead of waiting, and exit\n"
		"      --bus-introspect PATH\n"
		"                           print a D-Bus object's interfaces as XML and exit\n"
		"      --config-root DIR    look for etc/ublkd, run/ublkd ... below DIR\n"
		"      --runtime-dir DIR    instead of /run/ublkd\n"
		"  -h, --help               this text\n"
		"      --version            version\n");
	return f == stdout ? EXIT_SUCCESS : EXIT_USAGE;
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	enum {
		ABANDON = 256,
		CHECK,
		EXPLAIN,
		TARGET,
		REQUESTS,
		INTROSPECT,
		ROOT,
		RUNTIME,
		VERSION,
		GUARD
	};
	static const struct option options[] = {
		{"abandon", no_argument, NULL, ABANDON},
		{"check", no_argument, NULL, CHECK},
		{"explain", required_argument, NULL, EXPLAIN},
		{"help-target", required_argument, NULL, TARGET},
		{"show-requests", required_argument, NULL, REQUESTS},
		{"bus-introspect", required_argument, NULL, INTROSPECT},
		{"config-root", required_argument, NULL, ROOT},
		{"runtime-dir", required_argument, NULL, RUNTIME},
		{"guard", no_argument, NULL, GUARD},
		{"version", no_argument, NULL, VERSION},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	*a = (struct arguments){.config_root = "", .runtime_dir = "/run/ublkd"};
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case ABANDON:
			a->abandon = true;
			break;
		case CHECK:
			a->check = true;
			break;
		case EXPLAIN:
			a->explain = optarg;
			break;
		case TARGET:
			a->help_target = optarg;
			break;
		case REQUESTS:
			a->show_requests = optarg;
			break;
		case INTROSPECT:
			a->introspect = optarg;
			break;
		case ROOT:
			a->config_root = optarg;
			break;
		case RUNTIME:
			a->runtime_dir = optarg;
			break;
		case GUARD:
			a->guard = true;
			break;
		case VERSION:
			a->version = true;
			break;
		case 'h':
			a->help = true;
			break;
		default:
			return -EINVAL;
		}
	}
	a->files = argv + optind;
	a->n_files = (size_t) (argc - optind);
	if (!a->check && *a->files) {
		(void) fprintf(stderr, "ublkd: unexpected argument '%s': see ublkd --help\n",
			       *a->files);
		return -EINVAL;
	}
	if (a->check && !*a->files) {
		(void) fprintf(stderr, "ublkd: --check needs the names of files\n");
		return -EINVAL;
	}
	return 0;
}

/* ---- commands that end at once */

static void print_problems(const struct problems *p)
{
	for (size_t i = 0; i < p->n; i++) {
		_cleanup_free_ char *text = problems_format(&p->v[i]);

		(void) fprintf(stderr, "%s%s\n", text ? text : "out of memory",
			       p->v[i].fatal ? "" : " (warning)");
	}
}

/* Return: 0 or -errno; what is wrong is printed. A good device's configuration goes to @ret. */
static int check_file(const char *file, struct device_config **ret)
{
	struct problems p = {0};
	int r = config_check_file(file, ret, &p);

	print_problems(&p);
	if (r == -ENOMEM)
		(void) fprintf(stderr, "%s: out of memory\n", file);
	problems_release(&p);
	return r;
}

static int check_files(char *const *files, size_t n)
{
	_cleanup_free_ struct device_config **devices = calloc(n, sizeof(struct device_config *));
	struct problems p = {0};
	size_t n_devices = 0;
	bool bad = !devices;

	for (size_t i = 0; devices && i < n; i++) {
		bad |= check_file(files[i], &devices[n_devices]) < 0;
		n_devices += devices[n_devices] != NULL;
	}
	bad |= config_check_devices(devices, n_devices, &p) < 0;
	print_problems(&p);
	problems_release(&p);
	for (size_t i = 0; i < n_devices; i++)
		(void) device_config_free(devices[i]);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int list_targets(void)
{
	const struct ub_target *t;

	for (unsigned int i = 0; (t = registry_at(i)); i++)
		(void) printf("%-8s %s\n", t->name, t->description);
	return EXIT_SUCCESS;
}

static int help_target(const char *name)
{
	const struct ub_target *t = registry_find(name);

	if (strcmp(name, "list") == 0)
		return list_targets();
	if (!t) {
		(void) fprintf(
			stderr,
			"ublkd: there is no target '%s': ublkd --help-target list names them\n",
			name);
		return EXIT_FAILURE;
	}
	(void) printf("Target=%s: %s\n\n[%s]\n", t->name, t->description, t->section);
	options_help(t->options, stdout);
	return EXIT_SUCCESS;
}

/* Who may not ask the driver is told what can be said without it. */
static int explain_on_this_kernel(const struct config_paths *paths, const char *name,
				  struct problems *p)
{
	struct ctrl *ctrl = NULL;
	uint64_t features = ~UINT64_C(0);
	struct failure f = {0};
	int r = ctrl_new(CONTROL_NODE, "/proc/self/exe", &ctrl);

	if (r < 0)
		return r;
	r = explain_ask_features(ctrl, &features, &f);
	(void) ctrl_free(ctrl);
	return explain_device(paths, name, features, r < 0 ? f.text : NULL, stdout, p);
}

static int explain(const char *root, const char *name)
{
	struct config_paths paths = {0};
	struct problems p = {0};
	int r = config_paths_init(&paths, root);

	if (r == 0)
		r = explain_on_this_kernel(&paths, name, &p);
	print_problems(&p);
	if (r == -ENOENT)
		(void) fprintf(
			stderr,
			"ublkd: there is no device '%s': ublkd.device(5) says where its file "
			"would be\n",
			name);
	else if (r == -ENOMEM)
		(void) fprintf(stderr, "ublkd: out of memory\n");
	problems_release(&p);
	config_paths_release(&paths);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int introspect(const char *path)
{
	int r = bus_introspect(path);

	if (r < 0)
		(void) fprintf(stderr, "ublkd: no D-Bus object '%s': %s\n", path, strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int show_requests(const char *path)
{
	int r = flight_book_show(path, stdout);

	if (r < 0)
		(void) fprintf(stderr, "ublkd: no requests can be read from '%s': %s\n", path,
			       r == -EINVAL ? "it is not of this ublkd's making" : strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- the service manager */

static void notify_status(struct app *a, const char *state)
{
	struct manager_status s;

	manager_get_status(a->manager, &s);
	(void) sd_notifyf(
		0, "%s\nSTATUS=%" PRIu32 " running, %" PRIu32 " failed, %" PRIu32 " defined%s%s",
		state, s.n_running, s.n_failed, s.n_devices, s.kernel_problem ? "; " : "",
		s.kernel_problem ? s.kernel_problem : "");
}

static void on_ready(void *arg)
{
	notify_status(arg, "READY=1");
}

static void on_down(void *arg)
{
	struct app *a = arg;

	(void) sd_event_exit(a->event, EXIT_SUCCESS);
}

/* Return: true the first time */
static bool begin_to_end(struct app *a)
{
	char stopping[80];

	if (a->terminating)
		return false;
	a->terminating = true;
	/* TimeoutStopSec= of the unit is short: it is for what stays behind when we have gone. */
	(void) snprintf(stopping, sizeof(stopping), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64,
			manager_shutdown_usec(a->manager) + SHUTDOWN_SLACK_USEC);
	notify_status(a, stopping);
	return true;
}

static void on_told_how(void *arg, bool whole_system)
{
	struct app *a = arg;

	manager_shutdown(a->manager, whole_system, on_down, a);
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct app *a = arg;

	if (begin_to_end(a))
		systemd_ask_stopping(a->event, on_told_how, a);
	return 0;
}

static _Noreturn void on_left(void *arg)
{
	struct app *a = arg;

	flight_book_leave(a->book);
	_exit(EXIT_SUCCESS);
}

/* Restart: the kernel keeps the devices, the next ublkd goes on with them. */
static int on_leave(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct app *a = arg;

	if (!begin_to_end(a))
		return 0;
	log_info("leaving the devices to the ublkd after this one");
	manager_leave(a->manager, on_left, a);
	return 0;
}

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct reload_result result = {0};
	struct manager_status st;
	struct failure f = {0};
	struct app *a = arg;
	uint64_t now;
	bool tell;

	manager_get_status(a->manager, &st);
	if (st.state == MANAGER_STOPPING)
		return 0;
	/* While starting, READY=1 is not ours to say. */
	tell = st.state == MANAGER_RUNNING;
	now = clock_usec(CLOCK_MONOTONIC);
	if (tell)
		(void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now);
	if (manager_reload(a->manager, &result, &f) < 0)
		log_full(LOG_ERR, f.error, NULL, NULL, 0, "nothing was reloaded: %s", f.text);
	reload_result_release(&result);
	if (tell)
		notify_status(a, "READY=1");
	return 0;
}

/* After each turn of the loop: what `systemctl status` shows is how things are. */
static int on_post(sd_event_source *s, void *arg)
{
	struct app *a = arg;
	struct manager_status st;
	uint64_t sum;

	manager_get_status(a->manager, &st);
	sum = (uint64_t) st.n_devices << 40 ^ (uint64_t) st.n_running << 20 ^ st.n_failed;
	if (st.state != MANAGER_RUNNING || sum == a->told)
		return 0;
	a->told = sum;
	notify_status(a, "");
	return 0;
}

static int handle_signals(struct app *a)
{
	int r;

	r = sd_event_add_signal(a->event, NULL, SIGTERM, on_terminate, a);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGINT, on_terminate, a);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGHUP, on_hangup, a);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGUSR2, on_leave, a);
	return r;
}

static void ignore_signals(void)
{
	(void) signal(SIGPIPE, SIG_IGN);
	(void) signal(SIGXFSZ, SIG_IGN); /* a write behind RLIMIT_FSIZE is EFBIG, not our death */
	(void) signal(SIGCHLD, SIG_IGN); /* the guard; nobody waits for its status */
}

static sigset_t ending_signals(void)
{
	sigset_t set;

	(void) sigemptyset(&set);
	(void) sigaddset(&set, SIGTERM);
	(void) sigaddset(&set, SIGINT);
	(void) sigaddset(&set, SIGUSR2);
	return set;
}

static void block_signals(void)
{
	sigset_t set = ending_signals();

	/* Before any thread: they inherit it, and only the main loop takes signals. */
	(void) sigaddset(&set, SIGHUP);
	(void) sigprocmask(SIG_BLOCK, &set, NULL);
}

/* ---- the daemon */

/* Until a signal that ends us. What was killed is not gone, and keeps all of its files open, while
 * a flush waits for a backing that hangs. */
static int wait_for_lock(struct app *a, const char *path, uint64_t wait_usec)
{
	static const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
	uint64_t begin = clock_usec(CLOCK_MONOTONIC);
	bool told = wait_usec == 0;
	sigset_t set = ending_signals();

	while (flock(a->lock, LOCK_EX | LOCK_NB) < 0) {
		if (clock_usec(CLOCK_MONOTONIC) - begin >= wait_usec) {
			log_error("another ublkd is running ('%s' is locked): stop that one first",
				  path);
			return -EBUSY;
		}
		if (!told)
			log_warning(
				"another ublkd has '%s' locked: waiting for its end, which, if it "
				"was killed, a backing that does not answer may delay",
				path);
		if (!told)
			(void) sd_notify(0, "STATUS=waiting for another ublkd to end");
		told = true;
		if (sigtimedwait(&set, NULL, &pause) > 0) {
			a->terminating = true;
			return -EINTR;
		}
	}
	return 0;
}

static int lock_runtime_dir(struct app *a, const char *dir, uint64_t wait_usec)
{
	_cleanup_free_ char *path = NULL;

	assert(dir);
	if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
		log_full(LOG_ERR, errno, NULL, NULL, 0,
			 "cannot make the runtime directory '%s': %s", dir, strerror(errno));
		return -errno;
	}
	if (asprintf(&path, "%s/lock", dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	/* Not for writing: one that is there will do in a directory that has become read-only. */
	a->lock = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (a->lock < 0) {
		log_full(LOG_ERR, errno, NULL, NULL, 0, "cannot open '%s': %s", path,
			 strerror(errno));
		return -errno;
	}
	return wait_for_lock(a, path, wait_usec);
}

static int open_state(struct app *a, const char *dir)
{
	a->state_dir = state_open(dir);
	if (a->state_dir == -EPERM) {
		log_error("'%s/state' can be written by others: remove it", dir);
		return -EPERM;
	}
	if (a->state_dir < 0) {
		log_full(LOG_WARNING, -a->state_dir, NULL, NULL, 0,
			 "no '%s/state' (%s): should ublkd die, its devices end", dir,
			 strerror(-a->state_dir));
		a->state_dir = -1;
	}
	return 0;
}

static void open_book(struct app *a, const char *dir)
{
	int r = flight_book_open(dir, &a->book);

	if (r < 0)
		log_full(LOG_WARNING, -r, NULL, NULL, 0,
			 "no '%s/flight' (%s): should ublkd die, nobody can tell what it was at",
			 dir, r == -EPERM ? "others can write to it" : strerror(-r));
	else
		deaths_catch(flight_book_death(a->book));
}

static int load_config(struct app *a, const char *root)
{
	struct problems p = {0};
	int r = config_paths_init(&a->paths, root);

	if (r < 0)
		return r;
	r = config_load_daemon(&a->paths, &a->config, &p);
	problems_log(&p);
	problems_release(&p);
	return r;
}

static int build(struct app *a)
{
	int r = sd_event_default(&a->event);

	if (r < 0)
		return r;
	r = handle_signals(a);
	if (r < 0)
		return r;
	(void) sd_event_set_watchdog(a->event, true);
	r = ctrl_new(CONTROL_NODE, "/proc/self/exe", &a->ctrl);
	if (r < 0)
		return r;
	r = manager_new(a->event, a->ctrl, &a->paths, &a->config, &a->manager);
	if (r < 0)
		return r;
	manager_set_state_dir(a->manager, a->state_dir);
	manager_set_book(a->manager, a->book);
	r = sd_event_add_post(a->event, NULL, on_post, a);
	if (r < 0)
		return r;
	r = bus_new(a->event, a->manager, &a->bus);
	if (r < 0)
		log_full(LOG_WARNING, -r, NULL, NULL, 0, "serving without D-Bus: %s", strerror(-r));
	return 0;
}

static void tear_down(struct app *a)
{
	(void) bus_free(a->bus);
	(void) manager_free(a->manager);
	(void) ctrl_free(a->ctrl);
	(void) sd_event_unref(a->event);
	config_paths_release(&a->paths);
	deaths_catch(NULL);
	(void) flight_book_close(a->book);
	if (a->state_dir >= 0)
		(void) close(a->state_dir);
	if (a->lock >= 0)
		(void) close(a->lock);
}

/* Memory that we ask for must not be found by writing to the disks we serve, and what is in use
 * must not be swapped to them. Every thread, every worker of a ring and the guard inherit the
 * first. */
static void set_io_flusher(bool yes)
{
	if (prctl(PR_SET_IO_FLUSHER, yes ? 1 : 0, 0, 0, 0) < 0 && yes)
		log_full(LOG_WARNING, errno, NULL, NULL, 0,
			 "cannot be an I/O flusher (%s): give it CAP_SYS_RESOURCE, or set "
			 "IOFlusher=no",
			 strerror(errno));
}

static void settle_memory(const struct daemon_config *config)
{
	if (config->io_flusher)
		set_io_flusher(true);
	/* Buffers stay untouched till used. */
	if (config->lock_memory && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_full(LOG_WARNING, errno, NULL, NULL, 0,
			 "cannot lock memory (%s): raise LimitMEMLOCK=, or set LockMemory=no",
			 strerror(errno));
}

static int run(const struct arguments *arguments)
{
	struct app a = {.lock = -1, .state_dir = -1};
	int status = EXIT_FAILURE;
	int r;

	log_init();
	ignore_signals();
	block_signals();
	r = load_config(&a, arguments->config_root);
	if (r < 0) {
		config_paths_release(&a.paths);
		return EXIT_CONFIG;
	}
	log_set_level(a.config.log_level);
	/* systemd runs one at a time: another one has been killed, and will be gone. */
	r = lock_runtime_dir(&a, arguments->runtime_dir, getenv("NOTIFY_SOCKET") ? UINT64_MAX : 0);
	if (r >= 0) {
		settle_memory(&a.config);
		r = open_state(&a, arguments->runtime_dir);
	}
	if (r >= 0) {
		open_book(&a, arguments->runtime_dir);
		r = build(&a);
	}
	if (r < 0)
		goto out;
	r = manager_start(a.manager, on_ready, &a);
	if (r >= 0)
		r = sd_event_loop(a.event);
	status = r < 0 ? EXIT_FAILURE : r;
out:
	if (a.terminating && r == -EINTR)
		status = EXIT_SUCCESS;
	else if (r < 0 && r != -EBUSY)
		log_full(LOG_ERR, -r, NULL, NULL, 0, "cannot go on: %s", strerror(-r));
	/* Devices that did not stop keep threads at work: the kernel takes all of it down. */
	if (a.manager && manager_is_busy(a.manager))
		_exit(status ? status : EXIT_LEFT);
	if (a.manager && manager_keeps_devices(a.manager)) {
		flight_book_leave(a.book);
		_exit(status);
	}
	tear_down(&a);
	return status;
}

/* Who cannot know what is wanted takes nothing away. */
static const char *why_wait(struct app *a, const char *root)
{
	if (load_config(a, root) < 0)
		return "its configuration is broken";
	log_set_level(a->config.log_level);
	return a->config.abandon == ABANDON_WAIT ? "Abandon=wait" : abandon_why_wait();
}

static int abandon(const struct arguments *arguments)
{
	struct app a = {.lock = -1, .state_dir = -1};
	struct failure f = {0};
	const char *why;
	int r;

	log_init();
	ignore_signals();
	why = why_wait(&a, arguments->config_root);
	settle_memory(&a.config);
	/* As the unit's OnFailure= it follows an ublkd that died; the next one waits by itself. */
	r = lock_runtime_dir(&a, arguments->runtime_dir,
			     !why && getenv("MONITOR_SERVICE_RESULT") ? ABANDON_LOCK_USEC : 0);
	if (r >= 0)
		r = open_state(&a, arguments->runtime_dir);
	if (r >= 0)
		r = ctrl_new(CONTROL_NODE, "/proc/self/exe", &a.ctrl);
	if (r >= 0)
		r = ctrl_open(a.ctrl, &f);
	if (failure_is_set(&f))
		log_full(LOG_ERR, f.error, NULL, NULL, 0, "%s", f.text);
	if (r >= 0)
		r = abandon_devices(a.ctrl, a.state_dir, why);
	tear_down(&a);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct arguments a;

	if (parse_arguments(argc, argv, &a) < 0)
		return EXIT_USAGE;
	if (a.guard)
		return guard_main(GUARD_SOCK_FD, GUARD_CONTROL_FD);
	if (a.abandon)
		return abandon(&a);
	if (a.help)
		return usage(stdout);
	if (a.version)
		return puts("ublkd " UBLKD_VERSION) < 0;
	if (a.help_target)
		return help_target(a.help_target);
	if (a.introspect)
		return introspect(a.introspect);
	if (a.show_requests)
		return show_requests(a.show_requests);
	if (a.explain)
		return explain(a.config_root, a.explain);
	if (a.check)
		return check_files(a.files, a.n_files);
	return run(&a);
}
