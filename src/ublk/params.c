/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/params.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
	SECTOR_SHIFT = 9,
	BLOCK_SIZE_MIN = 512,
	BLOCK_SIZE_MAX = 4096,
	HINT_MAX = 256 << 20, /* physical block, io_min, io_opt */
};

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static uint8_t shift_of(uint32_t n)
{
	return n ? (uint8_t) __builtin_ctz(n) : 0;
}

static uint32_t sectors(uint64_t bytes, uint64_t granularity)
{
	uint64_t most = (uint64_t) UINT32_MAX << SECTOR_SHIFT;

	if (bytes > most)
		bytes = most;
	return (uint32_t) ((bytes - bytes % granularity) >> SECTOR_SHIFT);
}

void params_defaults(struct ub_limits *l)
{
	if (!l->logical_block_size)
		l->logical_block_size = BLOCK_SIZE_MIN;
	if (l->physical_block_size < l->logical_block_size)
		l->physical_block_size = l->logical_block_size;
	if (l->rotational < 0)
		l->rotational = 0;
	if (l->discard_granularity < l->logical_block_size)
		l->discard_granularity = l->logical_block_size;
}

static int params_check(const struct ub_limits *l, uint32_t max_io_bytes, struct failure *f)
{
	const enum failure_kind kind = FAILURE_INVALID_CONFIGURATION;

	if (!is_power_of_two(l->logical_block_size) || l->logical_block_size < BLOCK_SIZE_MIN ||
	    l->logical_block_size > BLOCK_SIZE_MAX)
		return failure_set(f, kind, EINVAL,
				   "the logical block size %" PRIu32
				   " is not 512, 1K, 2K or 4K: set LogicalBlockSize=",
				   l->logical_block_size);
	if (!is_power_of_two(l->physical_block_size) || l->physical_block_size > HINT_MAX ||
	    l->physical_block_size < l->logical_block_size)
		return failure_set(f, kind, EINVAL,
				   "the physical block size %" PRIu32
				   " is not a power of two from the logical one (%" PRIu32
				   ") to 256M: set PhysicalBlockSize=",
				   l->physical_block_size, l->logical_block_size);
	if (!l->size)
		return failure_set(f, kind, EINVAL, "the device would be empty: set Size=");
	if (l->size % l->logical_block_size)
		return failure_set(f, kind, EINVAL,
				   "the size %" PRIu64
				   " is not a multiple of the logical block size %" PRIu32
				   ": set Size= to a multiple of it",
				   l->size, l->logical_block_size);
	if (max_io_bytes < BLOCK_SIZE_MAX || max_io_bytes % BLOCK_SIZE_MAX ||
	    max_io_bytes > UBLK_ABI_MAX_IO_BYTES)
		return failure_set(f, kind, EINVAL,
				   "the largest request %" PRIu32
				   " is not a multiple of 4K up to 32M: set MaxIOSize=",
				   max_io_bytes);
	/* These come from a target, not from the administrator. */
	if ((l->io_min && (!is_power_of_two(l->io_min) || l->io_min > HINT_MAX)) ||
	    (l->io_opt && (!is_power_of_two(l->io_opt) || l->io_opt > HINT_MAX)) ||
	    (l->dma_alignment &&
	     (!is_power_of_two(l->dma_alignment) || l->dma_alignment > BLOCK_SIZE_MAX)) ||
	    (l->fua && !l->volatile_cache))
		return failure_set(f, kind, EINVAL,
				   "the target asks for limits no device can have");
	return 0;
}

int params_from_limits(const struct ub_limits *l, uint32_t max_io_bytes, struct ublk_params *ret,
		       struct failure *f)
{
	struct ublk_params p = {.len = sizeof(p), .types = UBLK_PARAM_TYPE_BASIC};
	int r = params_check(l, max_io_bytes, f);

	if (r < 0)
		return r;

	p.basic = (struct ublk_param_basic){
		.attrs = (l->read_only ? UBLK_ATTR_READ_ONLY : 0) |
			 (l->rotational > 0 ? UBLK_ATTR_ROTATIONAL : 0) |
			 (l->volatile_cache ? UBLK_ATTR_VOLATILE_CACHE : 0) |
			 (l->fua ? UBLK_ATTR_FUA : 0),
		.logical_bs_shift = shift_of(l->logical_block_size),
		.physical_bs_shift = shift_of(l->physical_block_size),
		.io_min_shift = shift_of(l->io_min ? l->io_min : l->physical_block_size),
		.io_opt_shift = shift_of(l->io_opt),
		.max_sectors = max_io_bytes >> SECTOR_SHIFT,
		.dev_sectors = l->size >> SECTOR_SHIFT,
	};
	if (!l->read_only && (l->max_discard_bytes || l->max_write_zeroes_bytes)) {
		p.types |= UBLK_PARAM_TYPE_DISCARD;
		p.discard = (struct ublk_param_discard){
			.discard_granularity = l->discard_granularity,
			.max_discard_sectors =
				sectors(l->max_discard_bytes, l->discard_granularity),
			.max_write_zeroes_sectors =
				sectors(l->max_write_zeroes_bytes, l->logical_block_size),
			.max_discard_segments = l->max_discard_bytes ? 1 : 0,
		};
	}
	if (l->dma_alignment) {
		p.types |= UBLK_PARAM_TYPE_DMA_ALIGN;
		p.dma.alignment = l->dma_alignment - 1;
	}
	*ret = p;
	return 0;
}

bool params_same(const struct ublk_params *set, const struct ublk_params *got)
{
	/* An old kernel masks the types it does not know and cuts the struct: what counts is there.
	 */
	uint32_t known = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD;

	return (got->types & known) == (set->types & known) &&
	       memcmp(&set->basic, &got->basic, sizeof(set->basic)) == 0 &&
	       (!(set->types & UBLK_PARAM_TYPE_DISCARD) ||
		memcmp(&set->discard, &got->discard, sizeof(set->discard)) == 0);
}
