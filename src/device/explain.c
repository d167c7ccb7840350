/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/explain.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/utsname.h>

#include "device/limits.h"
#include "ublk/ctrl.h"
#include "ublk/features.h"
#include "util/cleanup.h"
#include "util/parse.h"

#define FEATURES_TIMEOUT_USEC (5 * UINT64_C(1000000))

DEFINE_CLEANUP(struct device_config *, device_config_free);

/* ---- the driver */

struct asked {
	struct ctrl_cmd cmd;
	bool done;
	int res;
};

static void on_features(struct ctrl_cmd *cmd, int res)
{
	struct asked *a = container_of(cmd, struct asked, cmd);

	a->done = true;
	a->res = res;
}

int explain_ask_features(struct ctrl *ctrl, uint64_t *ret, struct failure *f)
{
	struct asked a = {.cmd.done = on_features};
	struct pollfd pfd = {.fd = ctrl_get_fd(ctrl), .events = POLLIN};
	int r = ctrl_open(ctrl, f);

	if (r < 0)
		return r;
	ctrl_get_features(ctrl, &a.cmd, FEATURES_TIMEOUT_USEC);
	while (!a.done) {
		if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
			return failure_set(f, FAILURE_KERNEL_FAILED, errno, "cannot wait: %s",
					   strerror(errno));
		ctrl_dispatch(ctrl);
	}
	if (a.res < 0)
		return failure_set(f, FAILURE_KERNEL_UNSUPPORTED, a.res,
				   "the driver does not tell its features: %s", strerror(-a.res));
	*ret = a.cmd.features;
	return 0;
}

/* ---- in words */

static void write_kernel(uint64_t features, const char *unknown, FILE *to)
{
	const char *name;
	struct utsname u;

	(void) fprintf(to, "Kernel\n  Linux %s\n", uname(&u) < 0 ? "?" : u.release);
	if (unknown) {
		(void) fprintf(to, "  %s.\n  What follows is for a driver that has everything.\n",
			       unknown);
		return;
	}
	(void) fprintf(to, "  driver features:");
	for (unsigned int bit = 0; (name = features_name(bit)); bit++)
		if (features & UINT64_C(1) << bit)
			(void) fprintf(to, " %s", name);
	(void) fprintf(to, "\n");
}

struct settings_writer {
	FILE *to;
	const struct daemon_config *daemon;
	const struct device_config *device;
	const char *section; /* of the last line */
};

/* What an unset setting comes to, without the backing; NULL: nothing. */
static const char *default_of(const struct settings_writer *w, const struct ub_opt *opt,
			      char buf[static FORMAT_SIZE_MAX])
{
	const struct daemon_config *d = w->daemon;
	const struct device_config *c = w->device;

	if (!opt->section)
		return NULL;
	switch (opt->offset) {
	case offsetof(struct device_config, queues):
		(void) snprintf(buf, FORMAT_SIZE_MAX, "%" PRIu32, d->default_queues);
		return c->queues ? NULL : buf;
	case offsetof(struct device_config, depth):
		(void) snprintf(buf, FORMAT_SIZE_MAX, "%" PRIu32, d->default_queue_depth);
		return c->depth ? NULL : buf;
	case offsetof(struct device_config, copy):
		return c->copy == DATA_COPY_AUTO ? data_copy_names[d->default_copy] : NULL;
	case offsetof(struct device_config, batch):
		return c->batch == DATA_BATCH_AUTO ? data_batch_names[d->default_batch] : NULL;
	default:
		return NULL;
	}
}

static int write_setting(void *arg, const char *section, const struct ub_opt *opt,
			 const char *value)
{
	struct settings_writer *w = arg;
	char buf[FORMAT_SIZE_MAX];
	const char *by_default = default_of(w, opt, buf);

	if (by_default)
		value = by_default;
	if (!*value)
		return 0; /* the backing's affair */
	if (opt->section && strcmp(section, "Integrity") == 0 && !w->device->metadata_size)
		return 0;
	if (!w->section || strcmp(w->section, section) != 0)
		(void) fprintf(w->to, "  [%s]\n", section);
	w->section = section;
	(void) fprintf(w->to, "  %s=%s%s\n", opt->key, value, by_default ? " (default)" : "");
	return 0;
}

static int write_all(const struct daemon_config *daemon, const struct device_config *c,
		     uint64_t features, const char *unknown, FILE *to)
{
	struct settings_writer w = {.to = to, .daemon = daemon, .device = c};
	char path_name[DATA_PATH_NAME_MAX];
	struct data_path_wish wish;
	struct data_path path;
	int r;

	(void) fprintf(to, "Device\n  %s, target '%s': %s\n\n", c->name, c->target->name,
		       c->target->description);
	write_kernel(features, unknown, to);

	(void) fprintf(to, "\nSettings; those that are not shown are as the backing has them\n");
	r = device_config_foreach(c, write_setting, &w);
	if (r < 0)
		return r;

	config_wish(daemon, c, features, &wish);
	(void) fprintf(to, "\nWays of the data, best first\n");
	data_path_explain(&wish, to);
	r = data_path_choose(&wish, &path, NULL);
	if (r == 0)
		(void) fprintf(to, "\nDataPath: %s\n", data_path_format(path_name, &path));
	return r;
}

int explain_device(const struct config_paths *paths, const char *name, uint64_t features,
		   const char *unknown, FILE *to, struct problems *p)
{
	_cleanup_(device_config_freep) struct device_config *c = NULL;
	struct daemon_config daemon;
	int r = config_load_daemon(paths, &daemon, p);

	if (r == 0)
		r = config_load_device(paths, name, &c, p);
	if (r < 0)
		return r;
	assert(c);
	return write_all(&daemon, c, features, unknown, to);
}
