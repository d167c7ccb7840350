/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/config.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "target/options.h"
#include "target/registry.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/parse.h"

#define RULE_MAX 256
#define MAIN_FILE "ublkd.conf"
#define SUFFIX ".conf"

DEFINE_CLEANUP(struct device_config *, device_config_free);
DEFINE_CLEANUP(char **, strv_free);

#define ROW(TYPE, f, k, ...)                                                                       \
	UB_OPT_##TYPE(struct daemon_config, f, k, .section = "Manager", __VA_ARGS__)

#define A_YEAR (UINT64_C(365) * 24 * 3600 * 1000000)

static const char *const abandon_names[] = {[ABANDON_FAIL] = "fail", [ABANDON_WAIT] = "wait", NULL};

const struct ub_opt daemon_options[] = {
	ROW(ENUM, log_level, "LogLevel", .values = log_level_names, .dflt = "info",
	    .help = "least important messages that are written"),
	ROW(UINT, default_queues, "DefaultQueues", .min = 1, .max = 4096, .dflt = "1",
	    .help = "queues of a device that sets no Count="),
	ROW(UINT, default_queue_depth, "DefaultQueueDepth", .min = 1, .max = 4096, .dflt = "128",
	    .help = "depth of a device that sets no Depth="),
	ROW(ENUM, default_copy, "DefaultCopy", .values = data_copy_names, .dflt = "auto",
	    .help = "how data move in a device that sets no Copy="),
	ROW(ENUM, default_batch, "DefaultBatch", .values = data_batch_names, .dflt = "auto",
	    .help = "batch I/O of a device that sets no Batch="),
	ROW(UINT, max_devices, "MaxDevices", .min = 1, .max = 65536, .dflt = "64",
	    .help = "devices at a time"),
	ROW(USEC, start_timeout_usec, "StartTimeoutSec", .dflt = "30s", .min = 1, .max = A_YEAR,
	    .help = "a start that takes longer has failed"),
	ROW(USEC, stop_timeout_usec, "StopTimeoutSec", .dflt = "60s", .min = 1, .max = A_YEAR,
	    .help = "a stop that takes longer has failed"),
	ROW(BOOL, lock_memory, "LockMemory", .dflt = "yes", .help = "never swap out the daemon"),
	ROW(BOOL, io_flusher, "IOFlusher", .dflt = "yes",
	    .help = "memory for I/O never waits for I/O"),
	ROW(ENUM, abandon, "Abandon", .values = abandon_names, .dflt = "fail",
	    .help = "I/O of devices whose ublkd does not come back"),
	{0},
};

/* One load: what was written goes to the daemon's settings or to a device's. */
struct load {
	struct settings written;
	struct problems *problems;
	struct daemon_config *daemon; /* this one ... */
	struct device_config *device; /* ... or this one; the caller's */
};

static void load_done(struct load *l)
{
	settings_release(&l->written);
}

/* ---- sections */

static const struct ub_target *target_of_section(const char *section)
{
	const struct ub_target *t;

	for (unsigned int i = 0; (t = registry_at(i)); i++)
		if (t->section && strcmp(t->section, section) == 0)
			return t;
	return NULL;
}

static bool has_section(const struct ub_opt *opts, const char *section)
{
	for (const struct ub_opt *o = opts; o->key; o++)
		if (strcmp(o->section, section) == 0)
			return true;
	return false;
}

static void nearer(const char *typed, const char *known, const char **nearest, unsigned int *best)
{
	unsigned int d = text_distance(typed, known);

	if (d < *best) {
		*best = d;
		*nearest = known;
	}
}

static void unknown_section(const struct load *l, const struct setting *s)
{
	const struct ub_opt *opts = l->device ? device_options : daemon_options;
	const char *nearest = NULL;
	unsigned int best = UINT_MAX;

	for (const struct ub_opt *o = opts; o->key; o++)
		nearer(s->section, o->section, &nearest, &best);
	if (l->device && l->device->target)
		nearer(s->section, l->device->target->section, &nearest, &best);
	if (nearest)
		problems_add_setting(l->problems, s, l->device != NULL,
				     "unknown section, did you mean [%s]?", nearest);
	else
		problems_add_setting(l->problems, s, l->device != NULL, "unknown section");
}

static bool is_target_section(const struct load *l, const char *section)
{
	const struct ub_target *t = l->device ? l->device->target : NULL;

	return t && t->section && strcmp(t->section, section) == 0;
}

/* Whether the keys of a section are to be looked at; if not, why not is reported here, once. */
static bool check_section(const struct load *l, const struct setting *s)
{
	const struct ub_target *other;

	if (has_section(l->device ? device_options : daemon_options, s->section) ||
	    is_target_section(l, s->section))
		return true;
	other = l->device ? target_of_section(s->section) : NULL;
	if (!other)
		unknown_section(l, s);
	else if (l->device->target)
		problems_add_setting(l->problems, s, true,
				     "is for target '%s', and this device has Target=%s",
				     other->name, l->device->target->name);
	/* Without a target no section is right or wrong; that it is missing is reported. */
	return false;
}

/* ---- keys */

static const struct ub_opt *find_row(const struct load *l, const char *section, const char *key)
{
	if (!l->device)
		return options_find(daemon_options, section, key);
	if (is_target_section(l, section))
		return options_find(l->device->target->options, NULL, key);
	return options_find(device_options, section, key);
}

static const char *suggest(const struct load *l, const char *section, const char *key)
{
	if (!l->device)
		return options_suggest(daemon_options, section, key);
	if (is_target_section(l, section))
		return options_suggest(l->device->target->options, NULL, key);
	return options_suggest(device_options, section, key);
}

/* The section a key would be right in, or NULL. */
static const char *home_of_key(const struct device_config *c, const char *key)
{
	const struct ub_opt *opt = options_find(device_options, NULL, key);

	if (opt)
		return opt->section;
	if (c->target && options_find(c->target->options, NULL, key))
		return c->target->section;
	return NULL;
}

static void unknown_key(const struct load *l, const struct setting *s)
{
	const char *home = l->device ? home_of_key(l->device, s->key) : NULL;
	const char *key = suggest(l, s->section, s->key);
	bool fatal = l->device != NULL;

	if (home)
		problems_add_setting(l->problems, s, fatal, "unknown key, it belongs in [%s]",
				     home);
	else if (key)
		problems_add_setting(l->problems, s, fatal, "unknown key, did you mean '%s'?", key);
	else
		problems_add_setting(l->problems, s, fatal, "unknown key");
}

/* The first assignment of the same key in the same file. */
static const struct setting *first_written(const struct load *l, const struct setting *s)
{
	const struct setting *f = l->written.v;

	while (f != s && (f->file != s->file || !f->key || strcmp(f->key, s->key) != 0 ||
			  strcmp(f->section, s->section) != 0))
		f++;
	return f;
}

static int apply_setting(const struct load *l, const struct setting *s)
{
	const struct ub_opt *opt = find_row(l, s->section, s->key);
	const struct setting *first;
	char why[RULE_MAX];
	int r;

	if (!opt) {
		unknown_key(l, s);
		return 0;
	}
	first = first_written(l, s);
	if (first != s) {
		problems_add_setting(l->problems, s, true, "is set in line %u already",
				     first->line);
		return 0;
	}
	if (l->device)
		r = device_config_parse(l->device, opt, s->value, why, sizeof(why));
	else
		r = options_parse(opt, l->daemon, s->value, why, sizeof(why));
	if (r == -EINVAL)
		problems_add_setting(l->problems, s, true, "%s", why);
	return r == -ENOMEM ? r : 0;
}

static bool is_target_setting(const struct load *l, const struct setting *s)
{
	return l->device && s->key && strcmp(s->section, "Device") == 0 &&
	       strcmp(s->key, "Target") == 0;
}

/* Target= first, wherever it stands: it says which section and which keys are good. Behind a
 * thousand problems nobody reads on, and neither do we. */
static int apply(const struct load *l)
{
	const struct settings *all = &l->written;
	bool section_is_good = false;
	int r = 0;

	for (size_t i = 0; i < all->n && r == 0; i++)
		if (is_target_setting(l, &all->v[i]))
			r = apply_setting(l, &all->v[i]);

	for (size_t i = 0; i < all->n && r == 0; i++) {
		const struct setting *s = &all->v[i];

		if (l->problems->n >= PROBLEMS_MAX)
			break;
		if (!s->key)
			section_is_good = check_section(l, s);
		else if (section_is_good && !is_target_setting(l, s))
			r = apply_setting(l, s);
	}
	return r;
}

/* ---- files */

static int read_files(struct load *l, char *const *paths)
{
	int r = 0;

	for (; paths && *paths && r == 0; paths++)
		r = ini_read_file(*paths, &l->written, l->problems);
	return r;
}

/* A folder that cannot be read is a problem already. */
static int list_dropins(const struct config_paths *paths, const char *folder, char ***ret,
			struct problems *p)
{
	int r = config_files_list(paths, folder, ret, p);

	return r == -ENOMEM ? r : 0;
}

int config_load_daemon(const struct config_paths *paths, struct daemon_config *ret,
		       struct problems *p)
{
	_cleanup_(load_done) struct load l = {.problems = p, .daemon = ret};
	_cleanup_(strv_freep) char **dropins = NULL;
	_cleanup_free_ char *path = NULL;
	size_t n_fatal = p->n_fatal;
	int r;

	*ret = (struct daemon_config){0};
	r = options_init(daemon_options, ret);
	if (r < 0)
		return r;
	r = config_files_find(paths, MAIN_FILE, &path);
	if (r == 0)
		r = ini_read_file(path, &l.written, p);
	if (r < 0 && r != -ENOENT)
		return r;
	r = list_dropins(paths, MAIN_FILE ".d", &dropins, p);
	if (r == 0)
		r = read_files(&l, dropins);
	if (r == 0)
		r = apply(&l);
	return r < 0 ? r : problems_since(p, n_fatal);
}

int config_device_names(const struct config_paths *paths, char ***ret, struct problems *p)
{
	_cleanup_(strv_freep) char **files = NULL, **names = calloc(1, sizeof(*names));
	int r;

	if (!names)
		return -ENOMEM;
	r = config_files_list(paths, "devices", &files, p);
	if (r < 0)
		return r;
	for (char **f = files; *f; f++) {
		const char *file = path_name(*f);
		_cleanup_free_ char *name = strndup(file, strlen(file) - strlen(SUFFIX));

		if (name && !device_name_is_valid(name)) {
			problems_add(p, *f, 0, false, "is passed over: " DEVICE_NAME_RULE);
			continue;
		}
		r = strv_append(&names, TAKE_PTR(name));
		if (r < 0)
			return r;
	}
	strv_sort(names);
	*ret = TAKE_PTR(names);
	return 0;
}

static int append_list(char ***to, char **from)
{
	int r = 0;

	for (; *from && r == 0; from++)
		r = strv_append(to, strdup(*from));
	return r;
}

/* Drop-ins of all devices, then those of this one; a device called "device" has only the former. */
static int device_dropins(const struct config_paths *paths, const char *name, char ***ret,
			  struct problems *p)
{
	_cleanup_(strv_freep) char **all = NULL, **own = NULL;
	_cleanup_free_ char *folder = NULL;
	int r;

	r = list_dropins(paths, "devices/device" SUFFIX ".d", &all, p);
	if (r < 0)
		return r;
	if (strcmp(name, "device") != 0) {
		if (asprintf(&folder, "devices/%s" SUFFIX ".d", name) < 0) {
			folder = NULL;
			return -ENOMEM;
		}
		r = list_dropins(paths, folder, &own, p);
		if (r == 0 && own)
			r = append_list(&all, own);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(all);
	return 0;
}

/* Takes @path and @dropins, also on failure. */
static int load_device(const char *name, char *path, char **dropins, struct device_config **ret,
		       struct problems *p)
{
	_cleanup_(device_config_freep) struct device_config *c = device_config_new(name);
	_cleanup_(load_done) struct load l = {.problems = p, .device = c};
	_cleanup_(strv_freep) char **owned_dropins = dropins;
	_cleanup_free_ char *owned_path = path;
	size_t n_fatal = p->n_fatal;
	int r;

	if (!c)
		return -ENOMEM;
	c->fragment_path = TAKE_PTR(owned_path);
	c->dropin_paths = TAKE_PTR(owned_dropins);
	r = ini_read_file(c->fragment_path, &l.written, p);
	if (r == 0)
		r = read_files(&l, c->dropin_paths);
	if (r == 0)
		r = apply(&l);
	if (r == 0)
		r = device_config_check_written(c, &l.written, p);
	if (r == 0)
		r = problems_since(p, n_fatal);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int config_load_device(const struct config_paths *paths, const char *name,
		       struct device_config **ret, struct problems *p)
{
	_cleanup_(device_config_freep) struct device_config *c = NULL;
	_cleanup_(strv_freep) char **dropins = NULL;
	_cleanup_free_ char *file = NULL, *path = NULL;
	size_t n_fatal = p->n_fatal;
	int r;

	if (!device_name_is_valid(name)) {
		problems_add(p, NULL, 0, true, "'%s': " DEVICE_NAME_RULE, name);
		return problems_since(p, n_fatal);
	}
	if (asprintf(&file, "devices/%s" SUFFIX, name) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	r = config_files_find(paths, file, &path);
	if (r < 0)
		return r;
	r = device_dropins(paths, name, &dropins, p);
	if (r == 0)
		r = load_device(name, TAKE_PTR(path), TAKE_PTR(dropins), &c, p);
	if (r == 0)
		r = problems_since(p, n_fatal); /* those of the folders, too */
	if (r == 0)
		*ret = TAKE_PTR(c);
	return r;
}

/* ---- checks for `ublkd --check` */

static int check_daemon_file(const char *path, struct problems *p)
{
	struct daemon_config daemon = {0};
	_cleanup_(load_done) struct load l = {.problems = p, .daemon = &daemon};
	size_t n_fatal = p->n_fatal;
	int r;

	r = ini_read_file(path, &l.written, p);
	if (r == 0)
		r = apply(&l);
	return r < 0 ? r : problems_since(p, n_fatal);
}

static int check_device_file(const char *path, struct device_config **ret, struct problems *p)
{
	_cleanup_(device_config_freep) struct device_config *c = NULL;
	const char *file = path_name(path);
	size_t len = strlen(file), n_fatal = p->n_fatal;
	_cleanup_free_ char *name = NULL, *copy = NULL;
	int r;

	if (len > strlen(SUFFIX) && strcmp(file + len - strlen(SUFFIX), SUFFIX) == 0)
		len -= strlen(SUFFIX);
	else
		problems_add(p, path, 0, true, "the name of the file must end in " SUFFIX);
	name = strndup(file, len);
	copy = strdup(path);
	if (!name || !copy)
		return -ENOMEM;
	if (!device_name_is_valid(name))
		problems_add(p, path, 0, true, DEVICE_NAME_RULE);
	r = load_device(name, TAKE_PTR(copy), NULL, &c, p);
	if (r >= 0)
		r = problems_since(p, n_fatal);
	if (r >= 0 && ret)
		*ret = TAKE_PTR(c);
	return r;
}

int config_check_file(const char *path, struct device_config **ret, struct problems *p)
{
	if (strcmp(path_name(path), MAIN_FILE) == 0)
		return check_daemon_file(path, p);
	return check_device_file(path, ret, p);
}

int config_check_devices(struct device_config *const *v, size_t n, struct problems *p)
{
	size_t n_fatal = p->n_fatal;

	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < i; j++) {
			if (device_config_id(v[i]) < 0 ||
			    device_config_id(v[i]) != device_config_id(v[j]))
				continue;
			problems_add(p, v[i]->fragment_path, 0, true,
				     "[Device] Id=%s: device '%s' has this id already", v[i]->id,
				     v[j]->name);
			break;
		}
	}
	return problems_since(p, n_fatal);
}

/* ---- the data path */

static unsigned int running_kernel(void)
{
	struct utsname u;

	return uname(&u) < 0 ? 0 : data_path_kernel(u.release);
}

void config_wish(const struct daemon_config *daemon, const struct device_config *device,
		 uint64_t features, struct data_path_wish *ret)
{
	*ret = (struct data_path_wish){
		.features = features,
		.kernel = running_kernel(),
		.needs = device->target->data,
		.copy = (enum data_copy) device->copy,
		.batch = (enum data_batch) device->batch,
		.threads_per_queue = device->threads_per_queue,
		.queue_depth = device->depth,
		.integrity = device->metadata_size > 0,
		.handover = device_config_recovery(device) == RECOVERY_REQUEUE,
		.shared_memory = device_config_shares_memory(device),
	};
	if (daemon && !ret->queue_depth)
		ret->queue_depth = daemon->default_queue_depth;
	if (daemon && ret->copy == DATA_COPY_AUTO) {
		ret->copy = (enum data_copy) daemon->default_copy;
		ret->copy_is_default = true;
	}
	if (daemon && ret->batch == DATA_BATCH_AUTO) {
		ret->batch = (enum data_batch) daemon->default_batch;
		ret->batch_is_default = true;
	}
}
