/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/limits.h"

#include <errno.h>

void limits_before_open(struct ub_limits *l, const struct device_config *c)
{
	*l = (struct ub_limits){
		.size = c->size,
		.logical_block_size = (uint32_t) c->logical_block_size,
		.physical_block_size = (uint32_t) c->physical_block_size,
		.io_min = (uint32_t) c->io_min,
		.io_opt = (uint32_t) c->io_opt,
		.chunk_size = c->chunk_size,
		.discard_granularity = (uint32_t) c->discard_granularity,
		.discard_alignment = (uint32_t) c->discard_alignment,
		.max_discard_bytes = c->max_discard,
		.max_write_zeroes_bytes = c->max_write_zeroes,
		.max_io_bytes = (uint32_t) c->max_io_size,
		.dma_alignment = (uint32_t) c->dma_alignment,
		.max_segments = c->max_segments,
		.max_segment_size = (uint32_t) c->max_segment_size,
		.segment_boundary = c->segment_boundary,
		.virt_boundary = c->virt_boundary,
		.read_only = c->read_only,
		.rotational = c->rotational == CHOICE_AUTO ? -1 : c->rotational == CHOICE_YES,
	};
	if (c->metadata_size)
		l->integrity = (struct ub_integrity){
			.metadata_size = c->metadata_size,
			.interval = (uint32_t) c->protection_interval,
			.pi_offset = c->pi_offset,
			.tag_size = c->tag_size,
			.checksum = (enum ub_checksum) c->checksum,
			.reference_tag = c->reference_tag,
		};
}

static int cannot(struct failure *f, const char *key, const char *what)
{
	return failure_set(f, FAILURE_INVALID_CONFIGURATION, EINVAL, "%s=yes: %s: set %s=auto", key,
			   what, key);
}

/* Without a cache that loses anything there is nothing to force through it. */
static int settle_cache(struct ub_limits *l, const struct device_config *c, struct failure *f)
{
	if (c->write_cache != CHOICE_AUTO)
		l->volatile_cache = c->write_cache == CHOICE_YES;
	if (c->fua == CHOICE_YES && !l->fua)
		return cannot(f, "FUA", "the target cannot make single writes durable");
	if (c->fua == CHOICE_YES && !l->volatile_cache)
		return cannot(f, "FUA", "the device has no write cache");
	l->fua = l->fua && l->volatile_cache && c->fua != CHOICE_NO;
	return 0;
}

static int settle_discard(struct ub_limits *l, const struct device_config *c, struct failure *f)
{
	if (c->discard == CHOICE_YES && !l->max_discard_bytes)
		return cannot(f, "Discard", "the backing cannot discard");
	if (c->discard == CHOICE_NO)
		l->max_discard_bytes = 0;
	if (c->write_zeroes == CHOICE_YES && !l->max_write_zeroes_bytes)
		return cannot(f, "WriteZeroes", "the backing cannot zero without being written to");
	if (c->write_zeroes == CHOICE_NO)
		l->max_write_zeroes_bytes = 0;
	return 0;
}

int limits_after_open(struct ub_limits *l, const struct device_config *c, struct failure *f)
{
	int r = settle_cache(l, c, f);

	if (!l->max_io_bytes)
		l->max_io_bytes = LIMITS_MAX_IO_DEFAULT;
	return r < 0 ? r : settle_discard(l, c, f);
}

bool limits_fix_shape(const struct device_config *c)
{
	return c->dma_alignment || c->max_segments || c->max_segment_size || c->segment_boundary;
}
