/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/params.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	SECTOR_SHIFT = 9,
	BLOCK_SIZE_MIN = 512,
	BLOCK_SIZE_MAX = 4096,
	HINT_MAX = 256 << 20, /* physical block, io_min, io_opt */
	SEGMENT_SIZE_MIN = 4096,
	SEGMENTS_MAX = 65535,
};

/* What the driver leaves where nobody says a word; asked for one of the three, it wants all. */
#define SEGMENT_SIZE_DEFAULT UINT32_MAX
#define SEGMENT_BOUNDARY_DEFAULT (UINT64_C(1) << 32)

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static uint8_t shift_of(uint32_t n)
{
	return n ? (uint8_t) __builtin_ctz(n) : 0;
}

/* Up to Linux 6.10 a larger zeroing loses the bits of its length that do not fit a request: what is
 * behind them would keep its content. */
static uint32_t sectors(uint64_t bytes, uint64_t granularity)
{
	if (bytes > UINT32_MAX)
		bytes = UINT32_MAX;
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
	if (l->integrity.metadata_size && !l->integrity.interval)
		l->integrity.interval = l->logical_block_size;
}

/* ---- what makes no sense */

static int refuse(struct failure *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct failure *f, const char *fmt, ...)
{
	char text[sizeof(f->text)];
	va_list ap;

	va_start(ap, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return failure_set(f, FAILURE_INVALID_CONFIGURATION, EINVAL, "%s", text);
}

static int check_blocks(const struct ub_limits *l, struct failure *f)
{
	if (!is_power_of_two(l->logical_block_size) || l->logical_block_size < BLOCK_SIZE_MIN ||
	    l->logical_block_size > BLOCK_SIZE_MAX)
		return refuse(f,
			      "the logical block size %" PRIu32
			      " is not 512, 1K, 2K or 4K: set LogicalBlockSize=",
			      l->logical_block_size);
	if (!is_power_of_two(l->physical_block_size) || l->physical_block_size > HINT_MAX ||
	    l->physical_block_size < l->logical_block_size)
		return refuse(f,
			      "the physical block size %" PRIu32
			      " is not a power of two from the logical one (%" PRIu32
			      ") to 256M: set PhysicalBlockSize=",
			      l->physical_block_size, l->logical_block_size);
	if (!l->size)
		return refuse(f, "the device would be empty: set Size=");
	if (l->size % l->logical_block_size)
		return refuse(f,
			      "the size %" PRIu64
			      " is not a multiple of the logical block size %" PRIu32
			      ": set Size= to a multiple of it",
			      l->size, l->logical_block_size);
	return 0;
}

/* The block layer would take another size without a word. */
static int check_hints(const struct ub_limits *l, struct failure *f)
{
	if (l->io_min && l->io_min < l->physical_block_size)
		return refuse(f,
			      "MinimumIOSize=%" PRIu32
			      " is less than the physical block size %" PRIu32
			      ": raise it, or set PhysicalBlockSize=",
			      l->io_min, l->physical_block_size);
	if (l->io_opt && l->io_opt < l->physical_block_size)
		return refuse(f,
			      "OptimalIOSize=%" PRIu32
			      " is less than the physical block size %" PRIu32
			      ": raise it, or set PhysicalBlockSize=",
			      l->io_opt, l->physical_block_size);
	return 0;
}

static int check_requests(const struct ub_limits *l, uint32_t max_io_bytes, struct failure *f)
{
	if (max_io_bytes < BLOCK_SIZE_MAX || max_io_bytes % BLOCK_SIZE_MAX ||
	    max_io_bytes > UBLK_ABI_MAX_IO_BYTES)
		return refuse(f,
			      "the largest request %" PRIu32
			      " is not a multiple of 4K up to 32M: set MaxIOSize=",
			      max_io_bytes);
	if (l->chunk_size % l->logical_block_size)
		return refuse(f,
			      "the chunk size %" PRIu64
			      " is not a multiple of the logical block size %" PRIu32
			      ": set ChunkSize=",
			      l->chunk_size, l->logical_block_size);
	if (l->virt_boundary && l->max_segment_size)
		return refuse(f, "there cannot be both a VirtBoundary= and a MaxSegmentSize=: "
				 "remove one");
	return 0;
}

static int check_discard(const struct ub_limits *l, struct failure *f)
{
	if (!l->max_discard_bytes)
		return 0;
	if (l->max_discard_bytes < l->discard_granularity)
		return refuse(f,
			      "the largest discard %" PRIu64
			      " is less than the granularity %" PRIu32
			      ": set DiscardMax= or DiscardGranularity=",
			      l->max_discard_bytes, l->discard_granularity);
	if (l->discard_granularity % l->logical_block_size)
		return refuse(f,
			      "the discard granularity %" PRIu32
			      " is not a multiple of the logical block size %" PRIu32
			      ": set DiscardGranularity=",
			      l->discard_granularity, l->logical_block_size);
	if (l->discard_alignment >= l->discard_granularity)
		return refuse(f,
			      "the discard alignment %" PRIu32
			      " is not less than the granularity %" PRIu32
			      ": set DiscardAlignment=",
			      l->discard_alignment, l->discard_granularity);
	return 0;
}

static bool is_hint(uint32_t n)
{
	return !n || (is_power_of_two(n) && n <= HINT_MAX);
}

/* What an administrator's setting cannot be comes from a target. */
static bool is_possible(const struct ub_limits *l)
{
	const struct ub_integrity *i = &l->integrity;

	return is_hint(l->io_min) && is_hint(l->io_opt) &&
	       (!l->dma_alignment ||
		(is_power_of_two(l->dma_alignment) && l->dma_alignment <= BLOCK_SIZE_MAX)) &&
	       l->max_segments <= SEGMENTS_MAX &&
	       (!l->max_segment_size || l->max_segment_size >= SEGMENT_SIZE_MIN) &&
	       (!l->segment_boundary || (is_power_of_two(l->segment_boundary) &&
					 l->segment_boundary >= SEGMENT_SIZE_MIN)) &&
	       (!l->virt_boundary || is_power_of_two(l->virt_boundary)) &&
	       l->chunk_size >> SECTOR_SHIFT <= UINT32_MAX && (!l->fua || l->volatile_cache) &&
	       (!i->metadata_size ||
		(is_power_of_two(i->interval) && i->interval >= BLOCK_SIZE_MIN &&
		 i->interval <= l->logical_block_size && i->metadata_size <= UINT8_MAX &&
		 i->pi_offset <= UINT8_MAX && i->tag_size <= UINT8_MAX));
}

static int params_check(const struct ub_limits *l, uint32_t max_io_bytes, struct failure *f)
{
	int r = check_blocks(l, f);

	if (r == 0 && !is_possible(l))
		r = refuse(f, "the target asks for limits no device can have");
	if (r == 0)
		r = check_hints(l, f);
	if (r == 0)
		r = check_requests(l, max_io_bytes, f);
	return r == 0 ? check_discard(l, f) : r;
}

/* ---- as the driver takes them */

static void set_basic(struct ublk_params *p, const struct ub_limits *l, uint32_t max_io_bytes)
{
	p->types |= UBLK_PARAM_TYPE_BASIC;
	p->basic = (struct ublk_param_basic){
		.attrs = (l->read_only ? UBLK_ATTR_READ_ONLY : 0) |
			 (l->rotational > 0 ? UBLK_ATTR_ROTATIONAL : 0) |
			 (l->volatile_cache ? UBLK_ATTR_VOLATILE_CACHE : 0) |
			 (l->fua ? UBLK_ATTR_FUA : 0),
		.logical_bs_shift = shift_of(l->logical_block_size),
		.physical_bs_shift = shift_of(l->physical_block_size),
		.io_min_shift = shift_of(l->io_min ? l->io_min : l->physical_block_size),
		.io_opt_shift = shift_of(l->io_opt),
		.max_sectors = max_io_bytes >> SECTOR_SHIFT,
		.chunk_sectors = (uint32_t) (l->chunk_size >> SECTOR_SHIFT),
		.dev_sectors = l->size >> SECTOR_SHIFT,
		.virt_boundary_mask = l->virt_boundary ? l->virt_boundary - 1 : 0,
	};
}

static void set_discard(struct ublk_params *p, const struct ub_limits *l)
{
	if (l->read_only || (!l->max_discard_bytes && !l->max_write_zeroes_bytes))
		return;
	p->types |= UBLK_PARAM_TYPE_DISCARD;
	p->discard = (struct ublk_param_discard){
		.discard_alignment = l->max_discard_bytes ? l->discard_alignment : 0,
		.discard_granularity = l->discard_granularity,
		.max_discard_sectors = sectors(l->max_discard_bytes, l->discard_granularity),
		.max_write_zeroes_sectors =
			sectors(l->max_write_zeroes_bytes, l->logical_block_size),
		.max_discard_segments = l->max_discard_bytes ? 1 : 0,
	};
}

static void set_memory(struct ublk_params *p, const struct ub_limits *l)
{
	if (l->dma_alignment) {
		p->types |= UBLK_PARAM_TYPE_DMA_ALIGN;
		p->dma.alignment = l->dma_alignment - 1;
	}
	if (!l->max_segments && !l->max_segment_size && !l->segment_boundary)
		return;
	p->types |= UBLK_PARAM_TYPE_SEGMENT;
	p->seg = (struct ublk_param_segment){
		.seg_boundary_mask =
			(l->segment_boundary ? l->segment_boundary : SEGMENT_BOUNDARY_DEFAULT) - 1,
		.max_segment_size = l->max_segment_size ? l->max_segment_size
							: SEGMENT_SIZE_DEFAULT,
		.max_segments = (uint16_t) (l->max_segments ? l->max_segments : SEGMENTS_MAX),
	};
}

static void set_integrity(struct ublk_params *p, const struct ub_integrity *i)
{
	static const uint8_t checksums[] = {
		[UB_CHECKSUM_NONE] = LBMD_PI_CSUM_NONE,
		[UB_CHECKSUM_IP] = LBMD_PI_CSUM_IP,
		[UB_CHECKSUM_CRC16] = LBMD_PI_CSUM_CRC16_T10DIF,
		[UB_CHECKSUM_CRC64] = LBMD_PI_CSUM_CRC64_NVME,
	};

	if (!i->metadata_size)
		return;
	p->types |= UBLK_PARAM_TYPE_INTEGRITY;
	p->integrity = (struct ublk_param_integrity){
		.flags = i->reference_tag ? LBMD_PI_CAP_REFTAG : 0,
		.interval_exp = shift_of(i->interval),
		.metadata_size = (uint8_t) i->metadata_size,
		.pi_offset = (uint8_t) i->pi_offset,
		.csum_type = checksums[i->checksum],
		.tag_size = (uint8_t) i->tag_size,
	};
}

int params_from_limits(const struct ub_limits *l, uint32_t max_io_bytes, struct ublk_params *ret,
		       struct failure *f)
{
	struct ublk_params p = {.len = sizeof(p)};
	int r = params_check(l, max_io_bytes, f);

	if (r < 0)
		return r;
	set_basic(&p, l, max_io_bytes);
	set_discard(&p, l);
	set_memory(&p, l);
	set_integrity(&p, &l->integrity);
	*ret = p;
	return 0;
}

/* ---- what became of them */

/* An old kernel masks the types it does not know and cuts the struct: what both have counts. */
static bool same_part(const struct ublk_params *set, const struct ublk_params *got, uint32_t type,
		      size_t offset, size_t size)
{
	const char *a = (const char *) set + offset, *b = (const char *) got + offset;

	return !(set->types & got->types & type) || memcmp(a, b, size) == 0;
}

#define SAME_PART(set, got, type, member)                                                          \
	same_part(set, got, UBLK_PARAM_TYPE_##type, offsetof(struct ublk_params, member),          \
		  sizeof((set)->member))

bool params_same(const struct ublk_params *set, const struct ublk_params *got)
{
	uint32_t everywhere = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD;

	return (got->types & everywhere) == (set->types & everywhere) &&
	       !(set->types & UBLK_PARAM_TYPE_INTEGRITY & ~got->types) &&
	       SAME_PART(set, got, BASIC, basic) && SAME_PART(set, got, DISCARD, discard) &&
	       SAME_PART(set, got, DMA_ALIGN, dma) && SAME_PART(set, got, SEGMENT, seg) &&
	       SAME_PART(set, got, INTEGRITY, integrity);
}

bool params_lack_shape(const struct ublk_params *set, const struct ublk_params *got)
{
	return set->types & ~got->types & (UBLK_PARAM_TYPE_DMA_ALIGN | UBLK_PARAM_TYPE_SEGMENT);
}
