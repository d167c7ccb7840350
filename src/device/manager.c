/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/manager.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "device/manager-internal.h"
#include "ublk/features.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/parse.h"

const char *manager_state_name(enum manager_state s)
{
	static const char *const names[] = {
		[MANAGER_STARTING] = "starting",
		[MANAGER_RUNNING] = "running",
		[MANAGER_RELOADING] = "reloading",
		[MANAGER_STOPPING] = "stopping",
	};

	return names[s];
}

/* ---- what the devices ask of it */

struct ctrl *manager_ctrl(const struct manager *m)
{
	return m->ctrl;
}

struct mailbox *manager_mailbox(struct manager *m)
{
	return &m->mailbox;
}

sd_event *manager_event(const struct manager *m)
{
	return m->event;
}

uint64_t manager_features(const struct manager *m)
{
	return m->features;
}

int manager_state_dir(const struct manager *m)
{
	return m->state_dir;
}

struct flight_book *manager_book(const struct manager *m)
{
	return m->book;
}

static bool cookie_is_taken(struct manager *m, uint64_t cookie)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (d->kernel.cookie == cookie)
			return true;
	for (size_t i = 0; i < m->n_saved; i++)
		if (m->saved[i] && m->saved[i]->cookie == cookie)
			return true;
	return false;
}

/* In a container every ublkd may have the process id of the one whose devices it goes on with. */
uint64_t manager_next_cookie(struct manager *m)
{
	uint64_t cookie;

	do {
		cookie = cookie_make(getpid(), ++m->n_cookies);
	} while (cookie_is_taken(m, cookie));
	return cookie;
}

void manager_forgive(struct manager *m, const struct device *d)
{
	if (m->state != MANAGER_STARTING)
		flight_book_forgive(m->book, device_get_name(d));
}

uint64_t manager_next_start(struct manager *m)
{
	return ++m->n_starts;
}

const struct daemon_config *manager_get_config(const struct manager *m)
{
	return &m->config;
}

void manager_changed(struct manager *m)
{
	if (m->listener)
		m->listener->manager_changed(m->listener_arg);
}

void manager_device_changed(struct manager *m, struct device *d)
{
	if (!m->listener)
		return;
	m->listener->device_changed(m->listener_arg, d);
	m->listener->manager_changed(m->listener_arg);
}

/* ---- the kernel side */

static int on_ctrl(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct manager *m = arg;

	ctrl_dispatch(m->ctrl);
	return 0;
}

static int on_mailbox(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct manager *m = arg;

	mailbox_deliver(&m->mailbox);
	return 0;
}

void manager_look_for_left_overs(struct manager *m)
{
	if (m->state != MANAGER_STOPPING)
		sweep_start(m, NULL);
}

static void on_guard_death(void *arg)
{
	struct manager *m = arg;

	log_warning("the control guard process died and was started again");
	/* A device may have been added by a command whose answer died with it. */
	if (m->features && m->state != MANAGER_STOPPING)
		sweep_start(m, NULL);
}

static void manager_start_devices(struct manager *m);
static void manager_no_kernel(struct manager *m);

int manager_fail_no_ring(const struct manager *m, struct failure *f)
{
	int r = ctrl_ring_error(m->ctrl);

	return failure_set(f, FAILURE_KERNEL_UNSUPPORTED, r,
			   "no io_uring for control commands (%s): set the sysctl "
			   "kernel.io_uring_disabled to 0",
			   strerror(-r));
}

static void on_features(struct ctrl_cmd *cmd, int res)
{
	struct manager *m = container_of(cmd, struct manager, features_cmd);

	if (ctrl_ring_error(m->ctrl) < 0) {
		(void) manager_fail_no_ring(m, &m->kernel_problem);
	} else if (res < 0) {
		(void) failure_set(
			&m->kernel_problem, FAILURE_KERNEL_UNSUPPORTED, res,
			"the driver does not tell its features (%s): ublkd needs Linux 6.5 "
			"or later",
			strerror(-res));
	} else if (!features_usable(cmd->features)) {
		(void) failure_set(&m->kernel_problem, FAILURE_KERNEL_UNSUPPORTED, EOPNOTSUPP,
				   "the driver is too old: ublkd needs Linux 6.5 or later");
	} else {
		m->features = cmd->features;
		manager_changed(m);
		return sweep_start(m, m->state == MANAGER_STARTING ? manager_start_devices : NULL);
	}
	if (m->state == MANAGER_STARTING)
		manager_no_kernel(m);
	else
		manager_changed(m);
}

static void manager_ask_features(struct manager *m)
{
	m->features_cmd.done = on_features;
	ctrl_get_features(m->ctrl, &m->features_cmd, DEVICE_CTRL_TIMEOUT_USEC);
}

int manager_can_start(struct manager *m, struct failure *f)
{
	if (m->state == MANAGER_STOPPING)
		return failure_set(f, FAILURE_SHUTTING_DOWN, ESHUTDOWN, "ublkd is shutting down");
	if (ctrl_open(m->ctrl, f) < 0)
		return -f->error;
	/* The driver may have appeared since, io_uring may be allowed now: ask again, the start
	 * itself will tell if nothing has changed. Only too old a driver stays one. */
	if (failure_is_set(&m->kernel_problem) && m->kernel_problem.error != EOPNOTSUPP) {
		m->kernel_problem = (struct failure){0};
		if (!list_linked(&m->features_cmd.link))
			manager_ask_features(m);
	}
	if (failure_is_set(&m->kernel_problem))
		return failure_set(f, m->kernel_problem.kind, m->kernel_problem.error, "%s",
				   m->kernel_problem.text);
	return 0;
}

/* ---- life */

DEFINE_CLEANUP(struct manager *, manager_free);

int manager_new(sd_event *event, struct ctrl *ctrl, const struct config_paths *paths,
		const struct daemon_config *config, struct manager **ret)
{
	_cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->event = sd_event_ref(event);
	m->ctrl = ctrl;
	m->paths = paths;
	m->config = *config;
	list_init(&m->devices);
	m->mailbox.fd = m->state_dir = -1;
	r = mailbox_init(&m->mailbox);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &m->mailbox_source, m->mailbox.fd, EPOLLIN, on_mailbox, m);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &m->ctrl_source, ctrl_get_fd(ctrl), EPOLLIN, on_ctrl, m);
	if (r < 0)
		return r;
	ctrl_on_guard_death(ctrl, on_guard_death, m);
	*ret = TAKE_PTR(m);
	return 0;
}

struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	while (!list_empty(&m->devices))
		(void) device_free(container_of(m->devices.next, struct device, link));
	sweep_cancel(m);
	state_free(m->saved, m->n_saved);
	sd_event_source_disable_unref(m->shutdown_timer);
	sd_event_source_disable_unref(m->ctrl_source);
	sd_event_source_disable_unref(m->mailbox_source);
	if (m->mailbox.fd >= 0)
		mailbox_done(&m->mailbox);
	sd_event_unref(m->event);
	free(m);
	return NULL;
}

void manager_set_listener(struct manager *m, const struct manager_listener *l, void *arg)
{
	m->listener = l;
	m->listener_arg = arg;
}

void manager_set_state_dir(struct manager *m, int dir)
{
	m->state_dir = dir;
}

void manager_set_book(struct manager *m, struct flight_book *b)
{
	m->book = b;
}

/* ---- devices */

struct device *manager_next(struct manager *m, const struct device *prev)
{
	const struct list *next = prev ? prev->link.next : m->devices.next;

	return next == &m->devices ? NULL : container_of(next, struct device, link);
}

struct device *manager_find(struct manager *m, const char *name)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (strcmp(device_get_name(d), name) == 0)
			return d;
	return NULL;
}

struct device *manager_find_node(struct manager *m, const char *node)
{
	struct device *d = NULL;
	struct device_status s;

	if (strncmp(node, "/dev/", 5) == 0)
		node += 5;
	while ((d = manager_next(m, d))) {
		device_get_status(d, &s);
		if (*s.block_device && strcmp(s.block_device + 5, node) == 0)
			return d;
	}
	return NULL;
}

static void manager_insert(struct manager *m, struct device *d)
{
	struct device *o = NULL;

	while ((o = manager_next(m, o)))
		if (strcmp(device_get_name(o), device_get_name(d)) > 0)
			break;
	/* In front of the first larger one, or at the end. */
	list_append(o ? &o->link : &m->devices, &d->link);
	m->n_devices++;
}

int manager_check_id(struct manager *m, const struct device_config *config,
		     const struct device *self, struct failure *f)
{
	int id = device_config_id(config);
	struct device *d = NULL;

	while (id >= 0 && (d = manager_next(m, d)))
		if (d != self && device_config_id(d->config) == id)
			return failure_set(
				f, FAILURE_DEVICE_EXISTS, EEXIST,
				"id %d is the Id= of device '%s' already: choose another, "
				"or auto",
				id, device_get_name(d));
	return 0;
}

/* Of a name that no other has. Return: NULL if there is no memory */
static struct device *add_device(struct manager *m, struct device_config *config)
{
	struct device *d;

	if (device_new(m, config, &d) < 0)
		return NULL;
	manager_insert(m, d);
	if (m->listener)
		m->listener->device_new(m->listener_arg, d);
	manager_changed(m);
	return d;
}

int manager_add(struct manager *m, struct device_config *config, struct device **ret,
		struct failure *f)
{
	int r;

	if (m->state == MANAGER_STOPPING)
		return failure_set(f, FAILURE_SHUTTING_DOWN, ESHUTDOWN, "ublkd is shutting down");
	if (manager_find(m, config->name))
		return failure_set(f, FAILURE_DEVICE_EXISTS, EEXIST,
				   "there is a device '%s' already", config->name);
	if (m->n_devices >= m->config.max_devices)
		return failure_set(f, FAILURE_LIMITS_EXCEEDED, ENOSPC,
				   "there are %u devices already: raise MaxDevices= in ublkd.conf",
				   m->n_devices);
	r = manager_check_id(m, config, NULL, f);
	if (r < 0)
		return r;
	*ret = add_device(m, config);
	return *ret ? 0 : failure_set(f, FAILURE_NO_MEMORY, ENOMEM, "out of memory");
}

static void manager_forget(struct manager *m, struct device *d)
{
	char name[DEVICE_NAME_MAX + 1];

	(void) snprintf(name, sizeof(name), "%s", device_get_name(d));
	m->n_devices--;
	manager_autostart_cancel(m, d);
	(void) device_free(d);
	if (m->listener)
		m->listener->device_removed(m->listener_arg, name);
	manager_changed(m);
}

int manager_delete(struct manager *m, struct device *d, struct failure *f)
{
	/* What is being undone anyway is forgotten when that is over. */
	if (d->run && (d->cancelled || d->state == DEVICE_STOPPING || d->state == DEVICE_STUCK)) {
		d->doomed = true;
		return 0;
	}
	if (d->run)
		return failure_set(f, FAILURE_OPERATION_IN_PROGRESS, EBUSY,
				   "device '%s' is %s: wait for it to end", device_get_name(d),
				   device_state_name(d->state));
	if (d->state == DEVICE_RUNNING || d->state == DEVICE_QUIESCED)
		return failure_set(f, FAILURE_DEVICE_RUNNING, EBUSY,
				   "device '%s' is running: stop it first", device_get_name(d));
	manager_forget(m, d);
	return 0;
}

void manager_device_idle(struct manager *m, struct device *d)
{
	if (d->state == DEVICE_RUNNING || d->state == DEVICE_QUIESCED)
		d->doomed = false; /* its stop was refused: it stays, also after the next one */
	else if (d->doomed || d->orphaned)
		manager_forget(m, d);
	if (m->state == MANAGER_STOPPING)
		shutdown_progress(m);
}

/* ---- start-up */

struct autostart_wait {
	struct device_wait wait;
	struct manager *manager;
};

/* A device that killed so many daemons, each soon after the one before, is not served any more. */
enum { DEATHS_MAX = 3 };

/* So many at a time: the time a start is given is its own, not a queue's. */
enum { AUTOSTARTS_MAX = 32 };

static void autostart_more(struct manager *m);

static void manager_started_one(struct manager *m)
{
	if (--m->n_starting || !m->ready)
		return;
	if (m->state == MANAGER_STARTING)
		m->state = MANAGER_RUNNING;
	manager_changed(m);
	m->ready(m->ready_arg);
	m->ready = NULL;
}

static void on_autostarted(struct device_wait *w, const struct failure *f)
{
	struct autostart_wait *a = container_of(w, struct autostart_wait, wait);
	struct manager *m = a->manager;

	free(a); /* the failure was logged with the device's name */
	m->n_autostarts--;
	manager_started_one(m);
	autostart_more(m);
}

static int autostart_one(struct manager *m, struct device *d, struct failure *f)
{
	struct autostart_wait *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return failure_set(f, FAILURE_NO_MEMORY, ENOMEM, "out of memory");
	a->wait.done = on_autostarted;
	a->manager = m;
	r = device_start(d, 0, &a->wait, f);
	if (r < 0)
		free(a);
	else
		m->n_autostarts++;
	return r;
}

/* ---- devices that the kernel kept */

/* What is in force is what its state file says; what its own file says now counts from the next
 * start on. */
static struct device *adopted_device(struct manager *m, struct saved_device *s, struct failure *f)
{
	struct device *d = manager_find(m, s->config->name);

	if (!d) {
		/* It is there: what limits new devices does not count. */
		d = add_device(m, s->config);
		if (!d) {
			(void) failure_set(f, FAILURE_NO_MEMORY, ENOMEM, "out of memory");
			return NULL;
		}
		d->orphaned = s->config->fragment_path;
		s->config = NULL;
	} else if (device_is_up(d)) {
		(void) failure_set(f, FAILURE_DEVICE_EXISTS, EEXIST,
				   "device '%s' was started anew before it was found",
				   device_get_name(d));
		return NULL;
	} else if (!device_config_equal(d->config, s->config)) {
		d->changed = d->config;
		d->config = TAKE_PTR(s->config);
	}
	return d;
}

/* It brought the daemon down again and again. */
static bool is_culprit(struct manager *m, const struct device *d, struct failure *f)
{
	unsigned int n = flight_book_deaths(m->book, device_get_name(d));

	if (n < DEATHS_MAX)
		return false;
	(void) failure_set(f, FAILURE_NOT_RECOVERABLE, ECANCELED,
			   "device '%s' has brought ublkd down %u times in a row, the last time by "
			   "signal %u: it is not served any more; see to the cause, then start it",
			   device_get_name(d), n, flight_book_crash(m->book)->signal);
	return true;
}

static int adopt(struct manager *m, struct saved_device *s, int id, struct device_wait *w,
		 struct failure *f)
{
	struct device *d = adopted_device(m, s, f);
	struct data_path_wish wish;
	int r;

	if (!d)
		return -f->error;
	d->kernel = (struct device_kernel){
		.dev_id = id,
		.char_fd = -1,
		.cookie = s->cookie,
		.saved = true,
		.threads_per_queue = s->threads_per_queue,
	};
	memcpy(d->backing, s->backing, sizeof(d->backing));
	if (s->sync_error)
		device_lost_writes(d, s->sync_error);
	config_wish(NULL, d->config, m->features, &wish);
	wish.copy = (enum data_copy) s->copy;
	wish.batch = (enum data_batch) s->batch;
	wish.threads_per_queue = s->threads_per_queue;
	d->start_order = manager_next_start(m);
	device_enter(d, DEVICE_QUIESCED);
	r = recovery_flags(d, &d->kernel.recovery_flags, f);
	if (r == 0)
		r = data_path_choose(&wish, &d->kernel.path, f);
	if (is_culprit(m, d, f))
		return device_hold(d, w, f);
	return r < 0 ? r : device_recover(d, w, f);
}

void manager_adopt(struct manager *m, struct saved_device *s, int id)
{
	struct autostart_wait *a = calloc(1, sizeof(*a));
	struct failure f = {0};

	if (a) {
		a->wait.done = on_autostarted;
		a->manager = m;
	}
	log_full(LOG_NOTICE, 0, s->config->name, NULL, 0,
		 "its server is gone, with %u requests unanswered; the kernel kept it as ublk "
		 "device %d: recovering it",
		 flight_book_in_flight(m->book, s->config->name), id);
	if (a) {
		m->n_starting++;
		m->n_autostarts++;
	}
	if (adopt(m, s, id, a ? &a->wait : NULL, &f) == 0)
		return;
	log_full(LOG_ERR, f.error, s->config ? s->config->name : NULL, NULL, 0,
		 "ublk device %d is not recovered: %s", id, f.text);
	if (!a)
		return;
	free(a);
	m->n_autostarts--;
	manager_started_one(m);
}

static struct device *next_due(struct manager *m)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (d->autostart_due)
			return d;
	return NULL;
}

static void autostart_more(struct manager *m)
{
	struct device *d;

	while (m->n_autostarts < AUTOSTARTS_MAX && (d = next_due(m))) {
		struct failure f = {0};

		d->autostart_due = false;
		/* A client, or a reload, may have been quicker. */
		if (device_is_up(d)) {
			manager_started_one(m);
		} else if (is_culprit(m, d, &f) || autostart_one(m, d, &f) < 0) {
			d->last_error = f;
			log_full(LOG_ERR, f.error, device_get_name(d), NULL, 0, "not started: %s",
				 f.text);
			device_enter(d, DEVICE_FAILED);
			manager_started_one(m);
		}
	}
}

void manager_autostart(struct manager *m, struct device *d)
{
	if (d->autostart_due)
		return;
	d->autostart_due = true;
	m->n_starting++;
	autostart_more(m);
}

void manager_autostart_cancel(struct manager *m, struct device *d)
{
	if (!d->autostart_due)
		return;
	d->autostart_due = false;
	manager_started_one(m);
}

static void manager_start_devices(struct manager *m)
{
	struct device *d = NULL;

	while ((d = manager_next(m, d)))
		if (d->config->autostart == AUTOSTART_YES && d->state == DEVICE_DEFINED && !d->run)
			manager_autostart(m, d);
	manager_started_one(m);
}

static void manager_no_kernel(struct manager *m)
{
	log_full(LOG_ERR, m->kernel_problem.error, NULL, NULL, 0, "no device can be started: %s",
		 m->kernel_problem.text);
	manager_start_devices(m);
}

static void manager_load_device(struct manager *m, const char *name)
{
	struct device_config *config = NULL;
	struct problems p = {0};
	struct failure f = {0};
	struct device *d;
	int r;

	r = config_load_device(m->paths, name, &config, &p);
	problems_log(&p);
	problems_release(&p);
	if (r == -ENOMEM)
		log_full(LOG_ERR, ENOMEM, name, NULL, 0, "not defined: out of memory");
	if (r < 0)
		return;
	r = manager_add(m, config, &d, &f);
	if (r < 0) {
		log_full(LOG_ERR, f.error, name, config->fragment_path, 0, "not defined: %s",
			 f.text);
		(void) device_config_free(config);
	}
}

static void manager_load_devices(struct manager *m)
{
	struct problems p = {0};
	char **names = NULL;
	int r;

	r = config_device_names(m->paths, &names, &p);
	problems_log(&p);
	problems_release(&p);
	if (r < 0)
		log_full(LOG_ERR, -r, NULL, NULL, 0, "cannot list the device files: %s",
			 strerror(-r));
	for (char **n = names; n && *n; n++)
		manager_load_device(m, *n);
	(void) strv_free(names);
}

static void log_crash(const struct manager *m)
{
	const struct death *d = m->book ? flight_book_crash(m->book) : NULL;
	char what[160] = "";
	struct flight_entry e;

	if (!d || !d->signal)
		return;
	if (d->has_request && flight_look(&d->request, &e))
		(void) snprintf(what, sizeof(what),
				", whose last request there was a %s of %" PRIu64
				" bytes at %" PRIu64 " (tag %u)",
				flight_op_name(e.op_flags), e.len, e.off, e.tag);
	log_full(LOG_ERR, 0, *d->device ? d->device : NULL, NULL, 0,
		 "the ublkd before this one was killed by signal %u (%s)%s%s; the last requests of "
		 "all "
		 "devices: ublkd --show-requests %s/crash",
		 d->signal, strsignal((int) d->signal),
		 *d->device ? " at work for this device" : "", what, flight_book_dir(m->book));
}

int manager_start(struct manager *m, void (*ready)(void *arg), void *arg)
{
	log_crash(m);
	m->ready = ready;
	m->ready_arg = arg;
	m->n_starting++; /* until manager_start_devices() has them all under way */
	m->n_saved = state_load(m->state_dir, &m->saved);
	manager_load_devices(m);
	if (ctrl_open(m->ctrl, &m->kernel_problem) < 0) {
		manager_no_kernel(m);
		return 0;
	}
	manager_ask_features(m);
	return 0;
}

/* ---- what can be seen */

void manager_get_status(const struct manager *m, struct manager_status *ret)
{
	const struct device *d, *tmp;

	*ret = (struct manager_status){
		.state = m->state,
		.n_devices = m->n_devices,
		.kernel_problem = failure_is_set(&m->kernel_problem) ? m->kernel_problem.text
								     : NULL,
		.kernel_features = m->features,
		.last_reload_usec = m->last_reload_usec,
		.last_reload_failed = m->last_reload_failed,
	};
	list_for_each (d, tmp, &m->devices, link) {
		ret->n_running += d->state == DEVICE_RUNNING;
		ret->n_failed += d->state == DEVICE_FAILED || d->state == DEVICE_QUIESCED ||
				 d->state == DEVICE_STUCK;
	}
}
