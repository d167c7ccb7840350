/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/device-config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/config-files.h"
#include "target/options.h"
#include "target/registry.h"
#include "util/cleanup.h"
#include "util/parse.h"

#define RULE_MAX 256

static const char *const autostart_names[] = {
	[AUTOSTART_NO] = "no",
	[AUTOSTART_YES] = "yes",
	NULL,
};
static const char *const rotational_names[] = {
	[ROTATIONAL_AUTO] = "auto",
	[ROTATIONAL_NO] = "no",
	[ROTATIONAL_YES] = "yes",
	NULL,
};

#define ROW(TYPE, s, f, k, ...)                                                                    \
	UB_OPT_##TYPE(struct device_config, f, k, .section = (s), __VA_ARGS__)

const struct ub_opt device_options[] = {
	ROW(STRING, "Device", description, "Description", .help = "a line for people"),
	ROW(STRING, "Device", target_name, "Target", .required = true,
	    .help = "what the device does, as \"loop\""),
	ROW(ENUM, "Device", autostart, "Autostart", .values = autostart_names, .dflt = "yes",
	    .help = "start when the daemon starts"),
	ROW(BOOL, "Device", read_only, "ReadOnly", .dflt = "no", .help = "refuse writes"),
	ROW(STRING, "Device", id, "Id", .dflt = "auto",
	    .help = "auto, or N for /dev/ublkbN, 0 .. 1048575"),
	ROW(BYTES, "Device", size, "Size", .help = "bytes; unset: as the backing"),
	ROW(BYTES, "Device", logical_block_size, "LogicalBlockSize", .min = 512, .max = 4096,
	    .help = "512, 1K, 2K or 4K; unset: as the backing"),
	ROW(BYTES, "Device", physical_block_size, "PhysicalBlockSize", .min = 512,
	    .max = 256ULL << 20, .help = "a power of two; unset: as the backing"),
	ROW(ENUM, "Device", rotational, "Rotational", .values = rotational_names, .dflt = "auto",
	    .help = "a spinning disk; auto: as the backing"),
	ROW(UINT, "Queue", queues, "Count", .min = 1, .max = 4096, .bus_key = "Queues",
	    .help = "hardware queues, one thread each; unset: DefaultQueues="),
	ROW(UINT, "Queue", depth, "Depth", .min = 1, .max = 4096, .bus_key = "QueueDepth",
	    .help = "requests in flight per queue; unset: DefaultQueueDepth="),
	ROW(BYTES, "Queue", max_io_size, "MaxIOSize", .min = 4096, .max = 32ULL << 20,
	    .dflt = "512K", .help = "largest request, a multiple of 4K"),
	ROW(STRING, "Queue", cpu_affinity, "CPUAffinity",
	    .help = "CPUs of the queue threads, as \"0-3,8\"; unset: as the kernel says"),
	{0},
};

/* ---- life */

static void free_state(const struct ub_target *target, void *state)
{
	if (state)
		options_release(target->options, state);
	free(state);
}

struct device_config *device_config_free(struct device_config *c)
{
	if (!c)
		return NULL;
	options_release(device_options, c);
	free_state(c->target, c->target_state);
	free(c->name);
	free(c->fragment_path);
	(void) strv_free(c->dropin_paths);
	free(c);
	return NULL;
}

DEFINE_CLEANUP(struct device_config *, device_config_free);

struct device_config *device_config_new(const char *name)
{
	_cleanup_(device_config_freep) struct device_config *c = calloc(1, sizeof(*c));

	if (!c || options_init(device_options, c) < 0)
		return NULL;
	c->name = strdup(name);
	if (!c->name)
		return NULL;
	return TAKE_PTR(c);
}

/* ---- one key */

static bool is_power_of_two(uint64_t v)
{
	return v && (v & (v - 1)) == 0;
}

static bool is_id(const char *s)
{
	uint64_t id;

	return strcmp(s, "auto") == 0 || (parse_uint(s, &id) == 0 && id <= DEVICE_ID_MAX);
}

static bool is_cpu_list(const char *s)
{
	uint64_t mask[DEVICE_CPUS_MAX / 64];

	return parse_cpus(s, DEVICE_CPUS_MAX, mask) == 0;
}

/* The rule that @value breaks and that a row cannot express, or NULL. What is not even a size is
 * the row's affair. */
static const char *broken_rule(const struct ub_opt *opt, const char *value)
{
	uint64_t v = 0;

	switch (opt->offset) {
	case offsetof(struct device_config, id):
		return is_id(value) ? NULL : "must be auto or 0 .. 1048575";
	case offsetof(struct device_config, cpu_affinity):
		return is_cpu_list(value) ? NULL : "must be a list of CPUs such as 0-3,8";
	case offsetof(struct device_config, logical_block_size):
		if (parse_size(value, &v) == 0 && !is_power_of_two(v))
			return "must be 512, 1K, 2K or 4K";
		return NULL;
	case offsetof(struct device_config, physical_block_size):
		if (parse_size(value, &v) == 0 && !is_power_of_two(v))
			return "must be a power of two";
		return NULL;
	case offsetof(struct device_config, max_io_size):
		if (parse_size(value, &v) == 0 && v % 4096)
			return "must be a multiple of 4K";
		return NULL;
	default:
		return NULL;
	}
}

static void unknown_target(const char *name, char *why, size_t size)
{
	const struct ub_target *t, *nearest = NULL;
	unsigned int best = UINT_MAX;
	size_t used;

	for (unsigned int i = 0; (t = registry_at(i)); i++) {
		unsigned int d = text_distance(name, t->name);

		if (d < best) {
			best = d;
			nearest = t;
		}
	}
	if (nearest) {
		(void) snprintf(why, size, "unknown target, did you mean '%s'?", nearest->name);
		return;
	}
	used = (size_t) snprintf(why, size, "unknown target, there are");
	for (unsigned int i = 0; (t = registry_at(i)) && used < size; i++)
		used += (size_t) snprintf(why + used, size - used, "%s %s", i ? "," : "", t->name);
}

static int parse_target(struct device_config *c, const struct ub_opt *opt, const char *value,
			char *why, size_t why_size)
{
	const struct ub_target *target = NULL;
	void *state = NULL;
	int r = 0;

	if (*value) {
		target = registry_find(value);
		if (!target) {
			unknown_target(value, why, why_size);
			return -EINVAL;
		}
		state = calloc(1, target->state_size ? target->state_size : 1);
		if (!state)
			return -ENOMEM;
		r = options_init(target->options, state);
	}
	if (r == 0)
		r = options_parse(opt, c, value, why, why_size);
	if (r < 0) {
		free_state(target, state);
		return r;
	}
	free_state(c->target, c->target_state);
	c->target = target;
	c->target_state = state;
	return 0;
}

static bool is_target_row(const struct ub_opt *opt)
{
	return !opt->section;
}

int device_config_parse(struct device_config *c, const struct ub_opt *opt, const char *value,
			char *why, size_t why_size)
{
	const char *rule;

	assert(!is_target_row(opt) || c->target_state);
	if (is_target_row(opt))
		return options_parse(opt, c->target_state, value, why, why_size);
	if (opt->offset == offsetof(struct device_config, target_name))
		return parse_target(c, opt, value, why, why_size);
	rule = *value ? broken_rule(opt, value) : NULL;
	if (rule) {
		(void) snprintf(why, why_size, "%s", rule);
		return -EINVAL;
	}
	return options_parse(opt, c, value, why, why_size);
}

/* ---- one key by its D-Bus name */

static const char *bus_key(const struct ub_opt *opt)
{
	return opt->bus_key ? opt->bus_key : opt->key;
}

static const struct ub_opt *find_by_bus_key(const struct ub_opt *opts, const char *key)
{
	for (const struct ub_opt *o = opts; o && o->key; o++)
		if (strcmp(bus_key(o), key) == 0)
			return o;
	return NULL;
}

static const char *nearest_bus_key(const struct ub_opt *opts, const char *key, unsigned int *best)
{
	const char *nearest = NULL;

	for (const struct ub_opt *o = opts; o && o->key; o++) {
		unsigned int d = text_distance(key, bus_key(o));

		if (d < *best) {
			*best = d;
			nearest = bus_key(o);
		}
	}
	return nearest;
}

static void unknown_key(const struct device_config *c, const struct setting *s, struct problems *p)
{
	unsigned int best = UINT_MAX;
	const char *key = nearest_bus_key(device_options, s->key, &best);
	const char *nearer = c->target ? nearest_bus_key(c->target->options, s->key, &best) : NULL;

	if (nearer)
		key = nearer;
	if (key)
		problems_add_setting(p, s, true, "unknown setting, did you mean '%s'?", key);
	else if (!c->target)
		problems_add_setting(p, s, true, "unknown setting while Target is not set");
	else
		problems_add_setting(p, s, true, "unknown setting");
}

int device_config_set(struct device_config *c, const char *key, const char *value,
		      struct problems *p)
{
	const struct setting s = {.key = (char *) key, .value = (char *) value};
	const struct ub_opt *opt = find_by_bus_key(device_options, key);
	size_t n_fatal = p->n_fatal;
	char why[RULE_MAX];
	int r;

	if (!opt && c->target)
		opt = find_by_bus_key(c->target->options, key);
	if (!opt) {
		unknown_key(c, &s, p);
		return problems_since(p, n_fatal);
	}
	r = device_config_parse(c, opt, value, why, sizeof(why));
	if (r != -EINVAL)
		return r;
	problems_add_setting(p, &s, true, "%s", why);
	return problems_since(p, n_fatal);
}

/* ---- rules between keys */

static const char *section_of(const struct device_config *c, const struct ub_opt *opt)
{
	return opt->section ? opt->section : c->target->section;
}

/* Where an option got its value: the last one wins. */
static const struct setting *find_written(const struct settings *written, const char *section,
					  const char *key)
{
	for (size_t i = written->n; i-- > 0;) {
		const struct setting *s = &written->v[i];

		if (s->key && strcmp(s->key, key) == 0 && strcmp(s->section, section) == 0)
			return s;
	}
	return NULL;
}

/* Return: 0, or -ENOMEM */
static int complain(const struct device_config *c, const struct ub_opt *opt,
		    const struct settings *written, struct problems *p, const char *rule)
{
	const char *section = section_of(c, opt);
	const struct setting *s = written ? find_written(written, section, opt->key) : NULL;
	_cleanup_free_ char *value = NULL;
	struct setting unwritten = {0};

	if (!s) {
		value = options_format(opt, opt->section ? (const void *) c : c->target_state);
		if (!value)
			return -ENOMEM;
		unwritten.file = written ? c->fragment_path : NULL;
		unwritten.section = written ? (char *) section : NULL;
		unwritten.key = (char *) (written ? opt->key : bus_key(opt));
		unwritten.value = value;
		s = &unwritten;
	}
	problems_add_setting(p, s, true, "%s", rule);
	return 0;
}

static int check_required(const struct device_config *c, const struct ub_opt *opts,
			  const void *base, const struct settings *written, struct problems *p)
{
	for (const struct ub_opt *o = opts; o && o->key; o++) {
		const struct setting *s;

		if (!o->required || options_is_set(o, base))
			continue;
		/* A value that was written and is not there was bad, and is reported. */
		s = written ? find_written(written, section_of(c, o), o->key) : NULL;
		if ((!s || !*s->value) && complain(c, o, written, p, "must be set") < 0)
			return -ENOMEM;
	}
	return 0;
}

static int check_sizes(const struct device_config *c, const struct settings *written,
		       struct problems *p)
{
	uint64_t block = c->logical_block_size ? c->logical_block_size : 512;
	const struct ub_opt *size = options_find(device_options, "Device", "Size");
	const struct ub_opt *pbs = options_find(device_options, "Device", "PhysicalBlockSize");
	char buf[FORMAT_SIZE_MAX], rule[RULE_MAX];
	int r = 0;

	if (c->size % block) {
		(void) snprintf(rule, sizeof(rule),
				"must be a multiple of the logical block size, %s",
				format_size(buf, block));
		r = complain(c, size, written, p, rule);
	}
	if (r == 0 && c->physical_block_size && c->physical_block_size < c->logical_block_size) {
		(void) snprintf(rule, sizeof(rule),
				"must not be less than the logical block size, %s",
				format_size(buf, c->logical_block_size));
		r = complain(c, pbs, written, p, rule);
	}
	return r;
}

int device_config_check_written(const struct device_config *c, const struct settings *written,
				struct problems *p)
{
	size_t n_fatal = p->n_fatal;
	int r;

	r = check_required(c, device_options, c, written, p);
	if (r == 0)
		r = check_sizes(c, written, p);
	if (r == 0 && c->target)
		r = check_required(c, c->target->options, c->target_state, written, p);
	return r < 0 ? r : problems_since(p, n_fatal);
}

int device_config_check(const struct device_config *c, struct problems *p)
{
	return device_config_check_written(c, NULL, p);
}

/* ---- looking at it */

int device_config_id(const struct device_config *c)
{
	uint64_t id = 0;

	if (parse_uint(c->id, &id) < 0)
		return -1;
	assert(id <= DEVICE_ID_MAX);
	return (int) id;
}

bool device_config_equal(const struct device_config *a, const struct device_config *b)
{
	if (a->target != b->target || !options_equal(device_options, a, b))
		return false;
	return !a->target || options_equal(a->target->options, a->target_state, b->target_state);
}

typedef int (*setting_fn)(void *arg, const char *section, const struct ub_opt *opt,
			  const char *value);

static int foreach_row(const struct ub_opt *opts, const char *section, const void *base,
		       setting_fn fn, void *arg)
{
	for (const struct ub_opt *o = opts; o && o->key; o++) {
		_cleanup_free_ char *value = options_format(o, base);
		int r;

		if (!value)
			return -ENOMEM;
		r = fn(arg, section ? section : o->section, o, value);
		if (r != 0)
			return r;
	}
	return 0;
}

int device_config_foreach(const struct device_config *c, setting_fn fn, void *arg)
{
	int r = foreach_row(device_options, NULL, c, fn, arg);

	if (r != 0 || !c->target)
		return r;
	return foreach_row(c->target->options, c->target->section, c->target_state, fn, arg);
}
