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
	CHECK_EQ(p.discard.max_write_zeroes_sectors, UINT32_MAX);
}

static void large_discards_are_cut_to_the_granularity(void)
{
	struct ub_limits l = limits();
	struct ublk_params p;

	l.max_discard_bytes = UINT64_MAX;
	l.discard_granularity = 4096;
	p = params_of(l, 4096);
	CHECK_EQ(p.discard.max_discard_sectors, UINT32_MAX - UINT32_MAX % 8);
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

static void what_targets_get_wrong(void)
{
	struct ub_limits l = limits();

	l.io_min = 1000;
	CHECK_CONTAINS(refused(l, 4096).text, "the target asks");
	l = limits();
	l.io_opt = 3;
	CHECK_CONTAINS(refused(l, 4096).text, "the target asks");
	l = limits();
	l.dma_alignment = 8192;
	CHECK_CONTAINS(refused(l, 4096).text, "the target asks");
	l = limits();
	l.fua = true;
	CHECK_CONTAINS(refused(l, 4096).text, "the target asks");
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
	got.types &= ~UBLK_PARAM_TYPE_DMA_ALIGN;
	CHECK(params_same(&set, &got));
	got.basic.max_sectors++;
	CHECK(!params_same(&set, &got));
	got = set;
	got.discard.max_discard_sectors--;
	CHECK(!params_same(&set, &got));
	got = set;
	got.types &= ~UBLK_PARAM_TYPE_DISCARD;
	CHECK(!params_same(&set, &got));
}

TEST_MAIN(CASE(defaults), CASE(everything_set), CASE(read_only_discards_nothing),
	  CASE(only_write_zeroes), CASE(large_discards_are_cut_to_the_granularity),
	  CASE(block_sizes), CASE(sizes), CASE(largest_requests), CASE(what_targets_get_wrong),
	  CASE(what_the_driver_took))
