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
#include "ublk/data-path.h"
#include "util/cleanup.h"
#include "util/parse.h"

#define RULE_MAX 256
#define FOUR_GIGABYTES (4ULL << 30)
#define A_YEAR (UINT64_C(365) * 24 * 3600 * 1000000)

static const char *const autostart_names[] = {
	[AUTOSTART_NO] = "no",
	[AUTOSTART_YES] = "yes",
	NULL,
};
const char *const recovery_names[] = {
	[RECOVERY_AUTO] = "auto",	[RECOVERY_NO] = "no",
	[RECOVERY_REISSUE] = "reissue", [RECOVERY_REQUEUE] = "requeue",
	[RECOVERY_FAIL_IO] = "fail-io", NULL,
};
static const char *const cpu_policy_names[] = {
	[CPU_POLICY_BATCH] = "batch",
	[CPU_POLICY_OTHER] = "other",
	NULL,
};
static const char *const choice_names[] = {
	[CHOICE_AUTO] = "auto",
	[CHOICE_NO] = "no",
	[CHOICE_YES] = "yes",
	NULL,
};
static const char *const checksum_names[] = {
	[UB_CHECKSUM_NONE] = "none",
	[UB_CHECKSUM_IP] = "ip",
	[UB_CHECKSUM_CRC16] = "crc16-t10dif",
	[UB_CHECKSUM_CRC64] = "crc64-nvme",
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
	ROW(BYTES, "Device", io_min, "MinimumIOSize", .min = 512, .max = 256ULL << 20,
	    .help = "smallest request that is not slow; unset: as the backing"),
	ROW(BYTES, "Device", io_opt, "OptimalIOSize", .min = 512, .max = 256ULL << 20,
	    .help = "request of best speed; unset: as the backing"),
	ROW(BYTES, "Device", chunk_size, "ChunkSize", .min = 4096, .max = 1ULL << 40,
	    .help = "no request crosses a multiple of it; unset: as the backing"),
	ROW(ENUM, "Device", rotational, "Rotational", .values = choice_names, .dflt = "auto",
	    .help = "a spinning disk; auto: as the backing"),
	ROW(ENUM, "Device", write_cache, "WriteCache", .values = choice_names, .dflt = "auto",
	    .help = "writes are durable after a flush only; auto: as the backing"),
	ROW(ENUM, "Device", fua, "FUA", .values = choice_names, .dflt = "auto",
	    .help = "single writes can be made durable; auto: if the target can"),
	ROW(ENUM, "Device", discard, "Discard", .values = choice_names, .dflt = "auto",
	    .help = "offer discards; auto: if the backing can"),
	ROW(BYTES, "Device", discard_granularity, "DiscardGranularity", .min = 512,
	    .max = 1ULL << 31, .help = "smallest discard of use; unset: as the backing"),
	ROW(BYTES, "Device", discard_alignment, "DiscardAlignment", .min = 512, .max = 1ULL << 31,
	    .help = "where the first granule begins; unset: as the backing"),
	ROW(BYTES, "Device", max_discard, "DiscardMax", .min = 512, .max = FOUR_GIGABYTES - 4096,
	    .help = "largest discard; unset: as the backing"),
	ROW(ENUM, "Device", write_zeroes, "WriteZeroes", .values = choice_names, .dflt = "auto",
	    .help = "zero without moving zeroes; auto: if the backing can"),
	ROW(BYTES, "Device", max_write_zeroes, "WriteZeroesMax", .min = 512,
	    .max = FOUR_GIGABYTES - 4096, .help = "largest write of zeroes; unset: as the backing"),
	ROW(BOOL, "Device", partition_scan, "PartitionScan", .dflt = "yes",
	    .help = "look for partitions when the device starts"),
	ROW(ENUM, "Device", recovery, "Recovery", .values = recovery_names, .dflt = "auto",
	    .help = "what happens to I/O while ublkd is away: reissue, requeue, fail-io, no"),
	ROW(USEC, "Device", stall_usec, "StallSec", .dflt = "30s", .max = A_YEAR,
	    .help = "tell of requests that take longer; 0: of none"),
	ROW(UINT, "Queue", queues, "Count", .min = 1, .max = 4096, .bus_key = "Queues",
	    .help = "hardware queues, one thread each; unset: DefaultQueues="),
	ROW(UINT, "Queue", depth, "Depth", .min = 1, .max = 4096, .bus_key = "QueueDepth",
	    .help = "requests in flight per queue; unset: DefaultQueueDepth="),
	ROW(UINT, "Queue", threads_per_queue, "ThreadsPerQueue", .min = 1, .max = 64, .dflt = "1",
	    .help = "threads that share the requests of a queue"),
	ROW(BYTES, "Queue", max_io_size, "MaxIOSize", .min = 4096, .max = 32ULL << 20,
	    .help = "largest request, a multiple of 4K; unset: 512K (zero copy: 1M), or less"),
	ROW(UINT, "Queue", max_segments, "MaxSegments", .min = 1, .max = 65535,
	    .help = "pieces of memory in a request; unset: as the backing"),
	ROW(BYTES, "Queue", max_segment_size, "MaxSegmentSize", .min = 4096,
	    .max = FOUR_GIGABYTES - 4096, .help = "largest such piece; unset: as the backing"),
	ROW(BYTES, "Queue", segment_boundary, "SegmentBoundary", .min = 4096, .max = 1ULL << 50,
	    .help = "no piece crosses a multiple of it; unset: as the backing"),
	ROW(BYTES, "Queue", virt_boundary, "VirtBoundary", .min = 512, .max = 1ULL << 30,
	    .help = "pieces join at multiples of it only; unset: as the backing"),
	ROW(BYTES, "Queue", dma_alignment, "DMAAlignment", .min = 4, .max = 4096,
	    .help = "of the memory of requests; unset: as the backing"),
	ROW(STRING, "Queue", cpu_affinity, "CPUAffinity",
	    .help = "CPUs of the queue threads, as \"0-3,8\"; unset: as the kernel says"),
	ROW(ENUM, "Queue", cpu_policy, "CPUSchedulingPolicy", .values = cpu_policy_names,
	    .dflt = "batch", .help = "batch, other: whether a waking queue interrupts its CPU"),
	ROW(ENUM, "Queue", copy, "Copy", .values = data_copy_names, .dflt = "auto",
	    .help = "how data move; auto: DefaultCopy=, or the best there is"),
	ROW(ENUM, "Queue", batch, "Batch", .values = data_batch_names, .dflt = "auto",
	    .help = "commands for many requests at once; auto: DefaultBatch=, or if it pays"),
	ROW(STRING, "Queue", shared_memory, "SharedMemory", .dflt = "no",
	    .help = "no, yes, or a file on hugetlbfs or tmpfs: memory of clients, data uncopied"),
	ROW(UINT, "Integrity", metadata_size, "MetadataSize", .min = 1, .max = 255,
	    .bus_key = "IntegrityMetadataSize",
	    .help = "bytes beside each protection interval; unset: none"),
	ROW(BYTES, "Integrity", protection_interval, "ProtectionInterval", .min = 512, .max = 4096,
	    .bus_key = "IntegrityProtectionInterval",
	    .help = "data one piece of metadata is for; unset: a logical block"),
	ROW(UINT, "Integrity", pi_offset, "PIOffset", .max = 255, .dflt = "0",
	    .bus_key = "IntegrityPIOffset", .help = "where in the metadata the checksum is"),
	ROW(ENUM, "Integrity", checksum, "Checksum", .values = checksum_names, .dflt = "none",
	    .bus_key = "IntegrityChecksum", .help = "that the kernel makes and compares"),
	ROW(UINT, "Integrity", tag_size, "TagSize", .max = 255, .dflt = "0",
	    .bus_key = "IntegrityTagSize", .help = "bytes of application tag"),
	ROW(BOOL, "Integrity", reference_tag, "ReferenceTag", .dflt = "no",
	    .bus_key = "IntegrityReferenceTag", .help = "the checksum covers where a block is"),
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

static bool is_shared_memory(const char *s)
{
	return strcmp(s, "no") == 0 || strcmp(s, "yes") == 0 ||
	       (s[0] == '/' && strlen(s) < PATH_MAX);
}

/* Sizes that the driver takes as a shift or a mask. */
static bool is_shift_or_mask(const struct ub_opt *opt)
{
	static const size_t fields[] = {
		offsetof(struct device_config, physical_block_size),
		offsetof(struct device_config, io_min),
		offsetof(struct device_config, io_opt),
		offsetof(struct device_config, discard_granularity),
		offsetof(struct device_config, segment_boundary),
		offsetof(struct device_config, virt_boundary),
		offsetof(struct device_config, dma_alignment),
		offsetof(struct device_config, protection_interval),
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i] == opt->offset)
			return true;
	return false;
}

/* What the size @v must be a multiple of; 1: of nothing. */
static uint64_t unit_of(const struct ub_opt *opt)
{
	switch (opt->offset) {
	case offsetof(struct device_config, max_io_size):
	case offsetof(struct device_config, chunk_size):
	case offsetof(struct device_config, max_segment_size):
		return 4096;
	case offsetof(struct device_config, discard_alignment):
	case offsetof(struct device_config, max_discard):
	case offsetof(struct device_config, max_write_zeroes):
		return 512;
	default:
		return 1;
	}
}

static const char *broken_size_rule(const struct ub_opt *opt, uint64_t v)
{
	uint64_t unit = unit_of(opt);

	if (opt->offset == offsetof(struct device_config, logical_block_size))
		return is_power_of_two(v) ? NULL : "must be 512, 1K, 2K or 4K";
	if (is_shift_or_mask(opt) && !is_power_of_two(v))
		return "must be a power of two";
	if (v % unit)
		return unit == 512 ? "must be a multiple of 512" : "must be a multiple of 4K";
	return NULL;
}

/* The rule that @value breaks and that a row cannot express, or NULL. What is not even a size is
 * the row's affair. */
static const char *broken_rule(const struct ub_opt *opt, const char *value)
{
	uint64_t v;

	if (opt->offset == offsetof(struct device_config, id))
		return is_id(value) ? NULL : "must be auto or 0 .. 1048575";
	if (opt->offset == offsetof(struct device_config, cpu_affinity))
		return is_cpu_list(value) ? NULL : "must be a list of CPUs such as 0-3,8";
	if (opt->offset == offsetof(struct device_config, shared_memory))
		return is_shared_memory(value) ? NULL : "must be no, yes or an absolute path";
	if (opt->type != UB_TYPE_BYTES || parse_size(value, &v) < 0)
		return NULL;
	return broken_size_rule(opt, v);
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

int device_config_update(struct device_config *c, const char *key, const char *value,
			 struct problems *p)
{
	const struct setting s = {.key = (char *) key, .value = (char *) value};
	const struct ub_opt *opt = find_by_bus_key(c->target->options, key);
	size_t n_fatal = p->n_fatal;

	if (opt && opt->live)
		return device_config_set(c, key, value, p);
	if (opt || find_by_bus_key(device_options, key))
		problems_add_setting(p, &s, true,
				     "cannot change while the device runs: stop it before");
	else
		unknown_key(c, &s, p);
	return problems_since(p, n_fatal);
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

enum recovery device_config_recovery(const struct device_config *c)
{
	if (c->recovery != RECOVERY_AUTO)
		return (enum recovery) c->recovery;
	/* Memory that clients handed to a server is gone with it, and so is what some targets hold.
	 */
	if (device_config_shares_memory(c) || device_config_is_forgotten(c))
		return RECOVERY_NO;
	return c->target->repeatable ? RECOVERY_REISSUE : RECOVERY_REQUEUE;
}

bool device_config_is_forgotten(const struct device_config *c)
{
	return c->target->forgets && c->target->forgets(c->target_state);
}

bool device_config_shares_memory(const struct device_config *c)
{
	return c->shared_memory && strcmp(c->shared_memory, "no") != 0;
}

const char *device_config_memory_file(const struct device_config *c)
{
	return c->shared_memory && c->shared_memory[0] == '/' ? c->shared_memory : NULL;
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

static int copy_setting(void *arg, const char *section, const struct ub_opt *opt, const char *value)
{
	char why[RULE_MAX];
	int r = device_config_parse(arg, opt, value, why, sizeof(why));

	assert(r == 0 || r == -ENOMEM);
	return r;
}

struct device_config *device_config_copy(const struct device_config *c)
{
	_cleanup_(device_config_freep) struct device_config *copy = device_config_new(c->name);

	/* The row of the target comes before the target's rows. */
	if (!copy || device_config_foreach(c, copy_setting, copy) < 0)
		return NULL;
	return TAKE_PTR(copy);
}
