/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reload - read all files again. First everything is read, then applied; a device that runs is
 * never touched: what its file says now counts from its next start on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/manager-internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

void reload_result_release(struct reload_result *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->v[i].device);
		free(r->v[i].detail);
	}
	free(r->v);
	*r = (struct reload_result){0};
}

/* Out of memory costs a line of the report, not the reload. */
static void report(struct reload_result *r, const char *device, const char *change,
		   const char *detail)
{
	struct reload_change *v = reallocarray(r->v, r->n + 1, sizeof(*v));
	_cleanup_free_ char *d = strdup(device);
	_cleanup_free_ char *t = strdup(detail);

	if (v)
		r->v = v;
	if (!v || !d || !t)
		return;
	r->v[r->n++] = (struct reload_change){TAKE_PTR(d), change, TAKE_PTR(t)};
	if (strcmp(change, "unchanged") != 0)
		log_full(LOG_INFO, 0, device, NULL, 0, "%s%s%s", change, *detail ? ": " : "",
			 detail);
}

/* The same settings, perhaps in other files. */
static void move_paths(struct device_config *to, struct device_config *from)
{
	char *path = to->fragment_path, **dropins = to->dropin_paths;

	to->fragment_path = from->fragment_path;
	to->dropin_paths = from->dropin_paths;
	from->fragment_path = path;
	from->dropin_paths = dropins;
}

static void apply_changed(struct device *d, struct device_config *config, struct reload_result *r)
{
	struct failure f = {0};

	d->orphaned = false;
	if (device_config_equal(d->config, config)) {
		move_paths(d->config, config);
		(void) device_config_free(config);
		d->changed = device_config_free(d->changed);
		report(r, device_get_name(d), "unchanged", "");
		return manager_device_changed(d->manager, d);
	}
	if (manager_check_id(d->manager, config, d, &f) < 0) {
		(void) device_config_free(config);
		d->manager->last_reload_failed++;
		return report(r, device_get_name(d), "invalid", f.text);
	}
	if (device_is_up(d)) {
		(void) device_config_free(d->changed);
		d->changed = config;
		report(r, device_get_name(d), "pending-restart",
		       "the new settings count from the next start on");
	} else {
		d->changed = device_config_free(d->changed);
		(void) device_config_free(d->config);
		d->config = config;
		report(r, device_get_name(d), "updated", "");
	}
	manager_device_changed(d->manager, d);
}

static void apply_new(struct manager *m, const char *name, struct device_config *config,
		      struct reload_result *r)
{
	struct failure f = {0};
	struct device *d;

	if (manager_add(m, config, &d, &f) < 0) {
		(void) device_config_free(config);
		m->last_reload_failed++;
		return report(r, name, "invalid", f.text);
	}
	report(r, name, "added", "");
	if (d->config->autostart == AUTOSTART_YES)
		manager_autostart(m, d);
}

static void reload_device(struct manager *m, const char *name, struct reload_result *r)
{
	struct device_config *config = NULL;
	struct device *d = manager_find(m, name);
	struct problems p = {0};
	int err;

	err = config_load_device(m->paths, name, &config, &p);
	problems_log(&p);
	if (err < 0) {
		_cleanup_free_ char *text = problems_join(&p);

		m->last_reload_failed++;
		/* Out of memory, or the file went away: no problem of a line. */
		report(r, name, "invalid", text && *text ? text : strerror(-err));
	} else if (d && !d->config->fragment_path) {
		(void) device_config_free(config);
		m->last_reload_failed++;
		report(r, name, "invalid",
		       "a device added over D-Bus has this name: delete it, then reload");
	} else if (d) {
		apply_changed(d, config, r);
	} else {
		apply_new(m, name, config, r);
	}
	problems_release(&p);
}

static bool is_named(char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

/* Devices whose file is gone. */
static void drop_orphans(struct manager *m, char *const *names, struct reload_result *r)
{
	struct device *d = manager_next(m, NULL);

	while (d) {
		struct device *next = manager_next(m, d);

		if (d->config->fragment_path && !is_named(names, device_get_name(d))) {
			if (device_is_up(d)) {
				d->orphaned = true;
				report(r, device_get_name(d), "orphaned",
				       "its file is gone; it serves until it is stopped");
			} else {
				report(r, device_get_name(d), "removed", "");
				(void) manager_delete(m, d, NULL);
			}
		}
		d = next;
	}
}

static int read_daemon(struct manager *m, struct daemon_config *ret, struct failure *f)
{
	struct problems p = {0};
	int r = config_load_daemon(m->paths, ret, &p);

	problems_log(&p);
	if (r < 0) {
		_cleanup_free_ char *text = problems_join(&p);

		if (r == -ENOMEM || !text)
			(void) failure_set(f, FAILURE_NO_MEMORY, ENOMEM, "out of memory");
		else
			(void) failure_set(f, FAILURE_INVALID_CONFIGURATION, r, "%s", text);
	}
	problems_release(&p);
	return r;
}

static int read_names(struct manager *m, char ***ret, struct failure *f)
{
	struct problems p = {0};
	int r = config_device_names(m->paths, ret, &p);

	problems_log(&p);
	problems_release(&p);
	if (r < 0)
		return failure_set(f, FAILURE_INVALID_CONFIGURATION, r,
				   "cannot list the device files: %s", strerror(-r));
	return 0;
}

int manager_reload(struct manager *m, struct reload_result *r, struct failure *f)
{
	enum manager_state before = m->state;
	struct daemon_config config;
	char **names = NULL;
	int err;

	if (m->state == MANAGER_STOPPING)
		return failure_set(f, FAILURE_SHUTTING_DOWN, ESHUTDOWN, "ublkd is shutting down");
	err = read_daemon(m, &config, f);
	if (err >= 0)
		err = read_names(m, &names, f);
	if (err < 0)
		return err;
	m->config = config;
	log_set_level(config.log_level);
	m->state = MANAGER_RELOADING;
	m->last_reload_failed = 0;
	for (char **n = names; n && *n; n++)
		reload_device(m, *n, r);
	drop_orphans(m, names, r);
	(void) strv_free(names);
	m->last_reload_usec = clock_usec(CLOCK_REALTIME);
	m->state = before;
	manager_changed(m);
	return 0;
}
