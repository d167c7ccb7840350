/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ublk/params: limits as the driver takes them. */
#include <errno.h>

#include "test.h"
#include "ublk/params.h"

static struct ub_limits limits(void)
{
	return (struct ub_limits){.size = 1 << 20, .rotational = -1};
}

static struct ublk_params params_of(struct ub_limits l, uint32_t max_io)
{
	struct ublk_params p = {0};
	struct failure f = {0};

	params_defaults(&l);
	CHECK_EQ(params_from_limits(&l, max_io, &p, &f), 0);
	CHECK_EQ(p.len, sizeof(p));
	return p;
}

static struct failure refused(struct ub_limits l, uint32_t max_io)
{
	struct ublk_params p = {.len = 77};
	struct failure f = {0};

	params_defaults(&l);
	CHECK_EQ(params_from_limits(&l, max_io, &p, &f), -EINVAL);
	CHECK_EQ(f.kind, FAILURE_INVALID_CONFIGURATION);
	CHECK_EQ(p.len, 77);
	return f;
}

static void defaults(void)
{
	struct ublk_params p = params_of(limits(), 524288);

	CHECK_EQ(p.types, UBLK_PARAM_TYPE_BASIC);
	CHECK_EQ(p.basic.logical_bs_shift, 9);
	CHECK_EQ(p.basic.physical_bs_shift, 9);
	CHECK_EQ(p.basic.io_min_shift, 9);
	CHECK_EQ(p.basic.io_opt_shift, 0);
	CHECK_EQ(p.basic.max_sectors, 1024);
	CHECK_EQ(p.basic.dev_sectors, 2048);
	CHECK_EQ(p.basic.attrs, 0);
}

static void everything_set(void)
{
	struct ub_limits l = {.size = UINT64_C(1) << 60,
			      .logical_block_size = 4096,
			      .physical_block_size = 65536,
			      .io_min = 131072,
			      .io_opt = 1 << 20,
			      .discard_granularity = 8192,
			      .dma_alignment = 512,
			      .max_discard_bytes = 10000,
			      .max_write_zeroes_bytes = 10000,
			      .volatile_cache = true,
			      .fua = true,
			      .rotational = 1};
	struct ublk_params p = params_of(l, 4096);

	CHECK_EQ(p.types,
		 UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD | UBLK_PARAM_TYPE_DMA_ALIGN);
	CHECK_EQ(p.basic.logical_bs_shift, 12);
	CHECK_EQ(p.basic.physical_bs_shift, 16);
	CHECK_EQ(p.basic.io_min_shift, 17);
	CHECK_EQ(p.basic.io_opt_shift, 20);
	CHECK_EQ(p.basic.max_sectors, 8);
	CHECK_EQ(p.basic.dev_sectors, UINT64_C(1) << 51);
	CHECK_EQ(p.basic.attrs, UBLK_ATTR_ROTATIONAL | UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA);
	CHECK_EQ(p.discard.discard_granularity, 8192);
	CHECK_EQ(p.discard.max_discard_sectors, 16);
	CHECK_EQ(p.discard.max_write_zeroes_sectors, 16);
	CHECK_EQ(p.discard.max_discard_segments, 1);
	CHECK_EQ(p.dma.alignment, 511);
}

static void read_only_discards_nothing(void)
{
	struct ub_limits l = limits();
	struct ublk_params p;

	l.read_only = true;
	l.max_discard_bytes = 1 << 20;
	p = params_of(l, 4096);
	CHECK_EQ(p.types, UBLK_PARAM_TYPE_BASIC);
	CHECK_EQ(p.basic.attrs, UBLK_ATTR_READ_ONLY);
}

static void only_write_zeroes(void)
{
	struct ub_limits l = limits();
	struct ublk_params p;

	l.max_write_zeroes_bytes = UINT64_MAX;
	p = params_of(l, 4096);
	CHECK_EQ(p.discard.max_discard_sectors, 0);
	CHECK_EQ(p.discard.max_discard_segments, 0);
	CHECK_EQ(p.discard.max_write_zeroes_sectors, UINT32_MAX >> 9);
}

static void large_discards_are_cut_to_the_granularity(void)
{
	struct ub_limits l = limits();
	struct ublk_params p;

	l.max_discard_bytes = UINT64_MAX;
	l.discard_granularity = 4096;
	p = params_of(l, 4096);
	CHECK_EQ(p.discard.max_discard_sectors, (UINT32_MAX >> 12) * 8);
}

static void block_sizes(void)
{
	static const uint32_t bad[] = {1, 256, 513, 1000, 8192, UINT32_MAX};
	struct ub_limits l = limits();

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		l.logical_block_size = bad[i];
		CHECK_CONTAINS(refused(l, 4096).text, "set LogicalBlockSize=");
	}
	l = limits();
	l.physical_block_size = 3000;
	CHECK_CONTAINS(refused(l, 4096).text, "set PhysicalBlockSize=");
	l.physical_block_size = 1U << 29;
	CHECK_CONTAINS(refused(l, 4096).text, "set PhysicalBlockSize=");
	l.physical_block_size = 1U << 28;
	CHECK_EQ(params_of(l, 4096).basic.physical_bs_shift, 28);
	l = limits();
	l.logical_block_size = 4096;
	l.physical_block_size = 512; /* raised to the logical one */
	CHECK_EQ(params_of(l, 4096).basic.physical_bs_shift, 12);
}

static void sizes(void)
{
	struct ub_limits l = limits();

	l.size = 0;
	CHECK_CONTAINS(refused(l, 4096).text, "empty: set Size=");
	l.size = 513;
	CHECK_CONTAINS(refused(l, 4096).text, "not a multiple of the logical block size 512");
	l.size = 512;
	CHECK_EQ(params_of(l, 4096).basic.dev_sectors, 1);
}

static void largest_requests(void)
{
	static const uint32_t bad[] = {0, 512, 4095, 4097, (32 << 20) + 4096};

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_CONTAINS(refused(limits(), bad[i]).text, "set MaxIOSize=");
	CHECK_EQ(params_of(limits(), 32 << 20).basic.max_sectors, 65536);
}

static void hints_are_not_below_the_physical_block(void)
{
	struct ub_limits l = limits();

	l.physical_block_size = 4096;
	l.io_min = 2048;
	CHECK_CONTAINS(refused(l, 4096).text,
		       "MinimumIOSize=2048 is less than the physical block size 4096");
	l.io_min = 4096;
	l.io_opt = 512;
	CHECK_CONTAINS(refused(l, 4096).text,
		       "OptimalIOSize=512 is less than the physical block size 4096");
	l.io_opt = 0;
	CHECK_EQ(params_of(l, 4096).basic.io_min_shift, 12);
}

static void the_shape_of_requests(void)
{
	struct ub_limits l = limits();
	struct ublk_params p;

	l.chunk_size = 1 << 16;
	l.virt_boundary = 4096;
	p = params_of(l, 4096);
	CHECK_EQ(p.types, UBLK_PARAM_TYPE_BASIC);
	CHECK_EQ(p.basic.chunk_sectors, 128);
	CHECK_EQ(p.basic.virt_boundary_mask, 4095);

	/* One of them asks for all three: the others are what the driver has without. */
	l.max_segments = 17;
	p = params_of(l, 4096);
	CHECK_EQ(p.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_SEGMENT);
	CHECK_EQ(p.seg.max_segments, 17);
	CHECK_EQ(p.seg.max_segment_size, UINT32_MAX);
	CHECK_EQ(p.seg.seg_boundary_mask, UINT32_MAX);

	l.virt_boundary = 0;
	l.max_segments = 0;
	l.max_segment_size = 65536;
	l.segment_boundary = UINT64_C(1) << 40;
	p = params_of(l, 4096);
	CHECK_EQ(p.basic.virt_boundary_mask, 0);
	CHECK_EQ(p.seg.max_segments, 65535);
	CHECK_EQ(p.seg.max_segment_size, 65536);
	CHECK_EQ(p.seg.seg_boundary_mask, (UINT64_C(1) << 40) - 1);

	l.virt_boundary = 4096;
	CHECK_CONTAINS(refused(l, 4096).text, "both a VirtBoundary= and a MaxSegmentSize=");
	l = limits();
	l.logical_block_size = 4096;
	l.chunk_size = 6144;
	CHECK_CONTAINS(refused(l, 4096).text, "set ChunkSize=");
}

static void discards_that_fit(void)
{
	struct ub_limits l = limits();
	struct ublk_params p;

	l.max_discard_bytes = 1 << 20;
	l.discard_granularity = 65536;
	l.discard_alignment = 4096;
	p = params_of(l, 4096);
	CHECK_EQ(p.discard.discard_alignment, 4096);
	CHECK_EQ(p.discard.discard_granularity, 65536);
	l.discard_alignment = 65536;
	CHECK_CONTAINS(refused(l, 4096).text, "set DiscardAlignment=");
	l.discard_alignment = 0;
	l.max_discard_bytes = 32768;
	CHECK_CONTAINS(refused(l, 4096).text, "set DiscardMax= or DiscardGranularity=");
	l.max_discard_bytes = 1 << 20;
	l.logical_block_size = 4096;
	l.discard_granularity = 6144;
	CHECK_CONTAINS(refused(l, 4096).text, "set DiscardGranularity=");
	/* Without discards nobody asks. */
	l.max_discard_bytes = 0;
	CHECK_EQ(params_of(l, 4096).types, UBLK_PARAM_TYPE_BASIC);
}

static void metadata(void)
{
	struct ub_limits l = limits();
	struct ublk_params p;

	l.logical_block_size = 4096;
	l.integrity = (struct ub_integrity){.metadata_size = 16,
					    .pi_offset = 8,
					    .tag_size = 2,
					    .checksum = UB_CHECKSUM_CRC16,
					    .reference_tag = true};
	p = params_of(l, 4096);
	CHECK_EQ(p.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_INTEGRITY);
	CHECK_EQ(p.integrity.metadata_size, 16);
	CHECK_EQ(p.integrity.interval_exp, 12);
	CHECK_EQ(p.integrity.pi_offset, 8);
	CHECK_EQ(p.integrity.csum_type, LBMD_PI_CSUM_CRC16_T10DIF);
	CHECK_EQ(p.integrity.tag_size, 2);
	CHECK_EQ(p.integrity.flags, LBMD_PI_CAP_REFTAG);
	l.integrity.interval = 512;
	CHECK_EQ(params_of(l, 4096).integrity.interval_exp, 9);
	l.integrity.interval = 8192;
	CHECK_CONTAINS(refused(l, 4096).text, "the target asks");
}

static void what_targets_get_wrong(void)
{
	static const struct ub_limits wrong[] = {
		{.io_min = 1000},
		{.io_opt = 3},
		{.dma_alignment = 8192},
		{.dma_alignment = 3},
		{.fua = true},
		{.max_segments = 65536},
		{.max_segment_size = 512},
		{.segment_boundary = 2048},
		{.segment_boundary = 12288},
		{.virt_boundary = 5000},
		{.chunk_size = UINT64_C(1) << 42},
	};

	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ub_limits l = wrong[i];

		l.size = 1 << 20;
		CHECK_CONTAINS(refused(l, 4096).text, "the target asks");
	}
}

static void what_the_driver_took(void)
{
	struct ub_limits l = limits();
	struct ublk_params set, got;

	l.max_discard_bytes = 1 << 20;
	l.dma_alignment = 512;
	got = set = params_of(l, 4096);
	got.types |= UBLK_PARAM_TYPE_DEVT;
	got.devt.disk_minor = 7;
	CHECK(params_same(&set, &got));
	/* An old driver masks what it does not know. */
	CHECK(!params_lack_shape(&set, &got));
	got.types &= ~UBLK_PARAM_TYPE_DMA_ALIGN;
	got.dma.alignment = 0;
	CHECK(params_same(&set, &got));
	CHECK(params_lack_shape(&set, &got));
	got.basic.max_sectors++;
	CHECK(!params_same(&set, &got));
	got = set;
	got.discard.max_discard_sectors--;
	CHECK(!params_same(&set, &got));
	got = set;
	got.types &= ~UBLK_PARAM_TYPE_DISCARD;
	CHECK(!params_same(&set, &got));
	got = set;
	got.dma.alignment = 4095;
	CHECK(!params_same(&set, &got));
}

/* A device without its metadata is another device. */
static void metadata_are_not_passed_over(void)
{
	struct ub_limits l = limits();
	struct ublk_params set, got;

	l.integrity.metadata_size = 8;
	got = set = params_of(l, 4096);
	CHECK(params_same(&set, &got));
	got.types &= ~UBLK_PARAM_TYPE_INTEGRITY;
	CHECK(!params_same(&set, &got));
}

TEST_MAIN(CASE(defaults), CASE(everything_set), CASE(read_only_discards_nothing),
	  CASE(only_write_zeroes), CASE(large_discards_are_cut_to_the_granularity),
	  CASE(block_sizes), CASE(sizes), CASE(largest_requests),
	  CASE(hints_are_not_below_the_physical_block), CASE(the_shape_of_requests),
	  CASE(discards_that_fit), CASE(metadata), CASE(what_targets_get_wrong),
	  CASE(what_the_driver_took), CASE(metadata_are_not_passed_over))
