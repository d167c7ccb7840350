/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-rules - what a single key cannot tell: settings that need each other, that do not fit each
 * other, or that rule each other out. What depends on the backing or on the kernel is not known
 * here; limits.c and the ublk layer say no to that when the device starts.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "device/config.h"
#include "target/options.h"
#include "ublk/data-path.h"
#include "util/cleanup.h"
#include "util/parse.h"

#define RULE_MAX 512

/* What is checked, and where the problems go. */
struct check {
	const struct device_config *c;
	const struct settings *written; /* NULL: by D-Bus */
	struct problems *problems;
	bool no_memory;
};

static const char *section_of(const struct device_config *c, const struct ub_opt *opt)
{
	return opt->section ? opt->section : c->target->section;
}

/* Where an option got its value: the last one wins. */
static const struct setting *find_written(const struct check *k, const struct ub_opt *opt)
{
	const char *section = section_of(k->c, opt);

	for (size_t i = k->written ? k->written->n : 0; i-- > 0;) {
		const struct setting *s = &k->written->v[i];

		if (s->key && strcmp(s->key, opt->key) == 0 && strcmp(s->section, section) == 0)
			return s;
	}
	return NULL;
}

/* An unset option was written all the same: its value was bad, and is reported. */
static bool was_bad(const struct check *k, const struct ub_opt *opt)
{
	const struct setting *s = find_written(k, opt);

	return s && *s->value;
}

static void complain_of_row(struct check *k, const struct ub_opt *opt, const char *rule)
{
	const struct setting *s = find_written(k, opt);
	_cleanup_free_ char *value = NULL;
	struct setting unwritten = {0};

	if (!s) {
		value = options_format(opt,
				       opt->section ? (const void *) k->c : k->c->target_state);
		if (!value) {
			k->no_memory = true;
			return;
		}
		unwritten.file = k->written ? k->c->fragment_path : NULL;
		unwritten.section = k->written ? (char *) section_of(k->c, opt) : NULL;
		unwritten.key = (char *) (k->written || !opt->bus_key ? opt->key : opt->bus_key);
		unwritten.value = value;
		s = &unwritten;
	}
	problems_add_setting(k->problems, s, true, "%s", rule);
}

static void complain(struct check *k, const char *section, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void complain(struct check *k, const char *section, const char *key, const char *fmt, ...)
{
	const struct ub_opt *opt = options_find(device_options, section, key);
	char rule[RULE_MAX];
	va_list ap;

	assert(opt);
	va_start(ap, fmt);
	(void) vsnprintf(rule, sizeof(rule), fmt, ap);
	va_end(ap);
	complain_of_row(k, opt, rule);
}

/* ---- the rules */

static void check_required(struct check *k, const struct ub_opt *opts, const void *base)
{
	for (const struct ub_opt *o = opts; o && o->key; o++)
		if (o->required && !options_is_set(o, base) && !was_bad(k, o))
			complain_of_row(k, o, "must be set");
}

/* @value, if it is set, is a multiple of the logical block size. */
static void check_blocks(struct check *k, const char *key, uint64_t value)
{
	uint64_t block = k->c->logical_block_size ? k->c->logical_block_size : 512;
	char buf[FORMAT_SIZE_MAX];

	if (value % block)
		complain(k, "Device", key, "must be a multiple of the logical block size, %s",
			 format_size(buf, block));
}

/* @value, if it is set, is not less than @other. */
static void check_order(struct check *k, const char *key, uint64_t value, uint64_t other,
			const char *what)
{
	char buf[FORMAT_SIZE_MAX];

	if (value && value < other)
		complain(k, "Device", key, "must not be less than %s, %s", what,
			 format_size(buf, other));
}

static void check_sizes(struct check *k)
{
	const struct device_config *c = k->c;

	check_blocks(k, "Size", c->size);
	check_order(k, "PhysicalBlockSize", c->physical_block_size, c->logical_block_size,
		    "the logical block size");
	/* The kernel would raise the one and forget the other, without a word. */
	check_order(k, "MinimumIOSize", c->io_min, c->physical_block_size,
		    "the physical block size");
	check_order(k, "OptimalIOSize", c->io_opt, c->physical_block_size,
		    "the physical block size");
	check_blocks(k, "DiscardGranularity", c->discard_granularity);
	check_blocks(k, "DiscardAlignment", c->discard_alignment);
	check_blocks(k, "DiscardMax", c->max_discard);
	check_blocks(k, "WriteZeroesMax", c->max_write_zeroes);
	check_order(k, "DiscardMax", c->max_discard, c->discard_granularity, "DiscardGranularity=");
	if (c->discard_granularity && c->discard_alignment >= c->discard_granularity)
		complain(k, "Device", "DiscardAlignment", "must be less than DiscardGranularity=");
}

static void check_exclusions(struct check *k)
{
	const struct device_config *c = k->c;

	if (c->fua == CHOICE_YES && c->write_cache == CHOICE_NO)
		complain(k, "Device", "FUA", "needs a write cache, and WriteCache=no");
	if (device_config_shares_memory(c) && c->recovery != RECOVERY_AUTO &&
	    c->recovery != RECOVERY_NO)
		complain(k, "Device", "Recovery",
			 "must be no or auto with SharedMemory=: the memory of clients is lost "
			 "with the server it was given to");
	if (c->virt_boundary && c->max_segment_size)
		complain(k, "Queue", "MaxSegmentSize",
			 "cannot be limited where there is a VirtBoundary=");
}

/* What no kernel could do; features of this one are looked at when the device starts. */
static void check_data_path(struct check *k)
{
	struct data_path_wish w;
	struct data_path unused;
	struct failure f = {0};
	const char *rule;

	config_wish(NULL, k->c, ~UINT64_C(0), &w);
	w.kernel = 0;
	if (data_path_choose(&w, &unused, &f) == 0)
		return;
	/* It begins with the setting, as complaints do. */
	rule = strstr(f.text, ": ");
	complain(k, "Queue", strncmp(f.text, "Batch=", 6) == 0 ? "Batch" : "Copy", "%s",
		 rule ? rule + 2 : f.text);
}

/* A disk that comes back empty is worse than one that is gone. */
static void check_recovery(struct check *k)
{
	const struct device_config *c = k->c;

	if (c->recovery != RECOVERY_AUTO && c->recovery != RECOVERY_NO &&
	    device_config_is_forgotten(c))
		complain(k, "Device", "Recovery",
			 "must be auto or no: with these settings of target '%s' nothing outlives "
			 "ublkd",
			 c->target->name);
}

static unsigned int checksum_bytes(int checksum)
{
	/* With its tags, as the kernel lays it out. */
	return checksum == UB_CHECKSUM_NONE ? 0 : checksum == UB_CHECKSUM_CRC64 ? 16 : 8;
}

static void check_integrity(struct check *k)
{
	const struct device_config *c = k->c;
	uint64_t block = c->logical_block_size ? c->logical_block_size : 512;

	if (!c->metadata_size) {
		const struct ub_opt *opt =
			options_find(device_options, "Integrity", "MetadataSize");

		if (was_bad(k, opt))
			return;
		if (c->checksum != UB_CHECKSUM_NONE || c->tag_size || c->pi_offset ||
		    c->reference_tag || c->protection_interval)
			complain_of_row(k, opt,
					"must be set with any other setting of [Integrity]");
		return;
	}
	if (!c->target->integrity)
		complain(k, "Integrity", "MetadataSize", "target '%s' serves no metadata",
			 c->target->name);
	if (c->pi_offset + checksum_bytes(c->checksum) > c->metadata_size)
		complain(k, "Integrity", "MetadataSize",
			 "must not be less than PIOffset= and the %u bytes of the checksum",
			 checksum_bytes(c->checksum));
	if (c->tag_size > c->metadata_size)
		complain(k, "Integrity", "TagSize", "must not be greater than MetadataSize=");
	if (c->reference_tag && c->checksum == UB_CHECKSUM_NONE)
		complain(k, "Integrity", "ReferenceTag", "needs a Checksum=");
	if (c->protection_interval > block)
		complain(k, "Integrity", "ProtectionInterval",
			 "must not be greater than the logical block size");
}

int device_config_check_written(const struct device_config *c, const struct settings *written,
				struct problems *p)
{
	struct check k = {.c = c, .written = written, .problems = p};
	size_t n_fatal = p->n_fatal;

	check_required(&k, device_options, c);
	check_sizes(&k);
	check_exclusions(&k);
	if (c->target) {
		check_data_path(&k);
		check_integrity(&k);
		check_recovery(&k);
		check_required(&k, c->target->options, c->target_state);
	}
	return k.no_memory ? -ENOMEM : problems_since(p, n_fatal);
}

int device_config_check(const struct device_config *c, struct problems *p)
{
	return device_config_check_written(c, NULL, p);
}
