/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device/limits: the administrator's word before and after a target's open(). */
#include <errno.h>

#include "device/config.h"
#include "device/limits.h"
#include "test.h"

static struct device_config config(void)
{
	return (struct device_config){.threads_per_queue = 1, .partition_scan = true};
}

/* What a target leaves that can do everything. */
static struct ub_limits able(void)
{
	return (struct ub_limits){.size = 1 << 20,
				  .max_discard_bytes = 1 << 16,
				  .max_write_zeroes_bytes = 1 << 17,
				  .max_io_bytes = 65536,
				  .volatile_cache = true,
				  .fua = true};
}

static struct ub_limits settled(struct ub_limits l, struct device_config c)
{
	struct failure f = {0};

	if (limits_after_open(&l, &c, &f) < 0)
		TEST_FAIL("%s", f.text);
	return l;
}

static void refused(struct ub_limits l, struct device_config c, const char *text)
{
	struct failure f = {0};

	CHECK_EQ(limits_after_open(&l, &c, &f), -EINVAL);
	CHECK_EQ(f.kind, FAILURE_INVALID_CONFIGURATION);
	CHECK_STR(f.text, text);
}

/* Field by field: what is in the padding of a struct is nobody's word. */
static void check_equal(const struct ub_limits *a, const struct ub_limits *b)
{
	CHECK_EQ(a->size, b->size);
	CHECK_EQ(a->logical_block_size, b->logical_block_size);
	CHECK_EQ(a->physical_block_size, b->physical_block_size);
	CHECK_EQ(a->io_min, b->io_min);
	CHECK_EQ(a->io_opt, b->io_opt);
	CHECK_EQ(a->discard_granularity, b->discard_granularity);
	CHECK_EQ(a->discard_alignment, b->discard_alignment);
	CHECK_EQ(a->max_discard_bytes, b->max_discard_bytes);
	CHECK_EQ(a->max_write_zeroes_bytes, b->max_write_zeroes_bytes);
	CHECK_EQ(a->max_io_bytes, b->max_io_bytes);
	CHECK_EQ(a->dma_alignment, b->dma_alignment);
	CHECK_EQ(a->max_segments, b->max_segments);
	CHECK_EQ(a->max_segment_size, b->max_segment_size);
	CHECK_EQ(a->segment_boundary, b->segment_boundary);
	CHECK_EQ(a->virt_boundary, b->virt_boundary);
	CHECK_EQ(a->chunk_size, b->chunk_size);
	CHECK_EQ(a->integrity.metadata_size, b->integrity.metadata_size);
	CHECK_EQ(a->integrity.interval, b->integrity.interval);
	CHECK_EQ(a->integrity.checksum, b->integrity.checksum);
	CHECK_EQ(a->read_only, b->read_only);
	CHECK_EQ(a->volatile_cache, b->volatile_cache);
	CHECK_EQ(a->fua, b->fua);
	CHECK_EQ(a->rotational, b->rotational);
}

static void nothing_is_fixed(void)
{
	struct device_config c = config();
	struct ub_limits l;

	limits_before_open(&l, &c);
	check_equal(&l, &(struct ub_limits){.rotational = -1});
}

static void all_is_fixed(void)
{
	struct device_config c = {.size = 1,
				  .logical_block_size = 2,
				  .physical_block_size = 3,
				  .io_min = 4,
				  .io_opt = 5,
				  .chunk_size = 6,
				  .discard_granularity = 7,
				  .discard_alignment = 8,
				  .max_discard = 9,
				  .max_write_zeroes = 10,
				  .max_io_size = 11,
				  .dma_alignment = 12,
				  .max_segments = 13,
				  .max_segment_size = 14,
				  .segment_boundary = 15,
				  .virt_boundary = 16,
				  .rotational = CHOICE_NO,
				  .read_only = true,
				  .metadata_size = 17,
				  .protection_interval = 18,
				  .pi_offset = 19,
				  .tag_size = 20,
				  .checksum = UB_CHECKSUM_IP,
				  .reference_tag = true};
	struct ub_limits l;

	limits_before_open(&l, &c);
	CHECK_EQ(l.size, 1);
	CHECK_EQ(l.logical_block_size, 2);
	CHECK_EQ(l.physical_block_size, 3);
	CHECK_EQ(l.io_min, 4);
	CHECK_EQ(l.io_opt, 5);
	CHECK_EQ(l.chunk_size, 6);
	CHECK_EQ(l.discard_granularity, 7);
	CHECK_EQ(l.discard_alignment, 8);
	CHECK_EQ(l.max_discard_bytes, 9);
	CHECK_EQ(l.max_write_zeroes_bytes, 10);
	CHECK_EQ(l.max_io_bytes, 11);
	CHECK_EQ(l.dma_alignment, 12);
	CHECK_EQ(l.max_segments, 13);
	CHECK_EQ(l.max_segment_size, 14);
	CHECK_EQ(l.segment_boundary, 15);
	CHECK_EQ(l.virt_boundary, 16);
	CHECK_EQ(l.rotational, 0);
	CHECK(l.read_only);
	CHECK_EQ(l.integrity.metadata_size, 17);
	CHECK_EQ(l.integrity.interval, 18);
	CHECK_EQ(l.integrity.pi_offset, 19);
	CHECK_EQ(l.integrity.tag_size, 20);
	CHECK_EQ(l.integrity.checksum, UB_CHECKSUM_IP);
	CHECK(l.integrity.reference_tag);
	c.rotational = CHOICE_YES;
	limits_before_open(&l, &c);
	CHECK_EQ(l.rotational, 1);
}

static void auto_is_as_the_target_left_it(void)
{
	struct ub_limits before = able(), l = settled(before, config());

	check_equal(&l, &before);
	l = settled((struct ub_limits){.fua = true}, config());
	CHECK(!l.volatile_cache && !l.fua);
	CHECK_EQ(l.max_io_bytes, LIMITS_MAX_IO_DEFAULT);
}

static void off_is_off(void)
{
	struct device_config c = config();
	struct ub_limits l;

	c.write_cache = CHOICE_NO;
	c.discard = CHOICE_NO;
	l = settled(able(), c);
	CHECK(!l.volatile_cache && !l.fua);
	CHECK_EQ(l.max_discard_bytes, 0);
	CHECK_EQ(l.max_write_zeroes_bytes, 1 << 17);
	c = config();
	c.fua = CHOICE_NO;
	c.write_zeroes = CHOICE_NO;
	l = settled(able(), c);
	CHECK(l.volatile_cache && !l.fua);
	CHECK_EQ(l.max_discard_bytes, 1 << 16);
	CHECK_EQ(l.max_write_zeroes_bytes, 0);
}

static void on_is_on_or_refused(void)
{
	struct device_config c = config();
	struct ub_limits l = able();

	c.write_cache = c.fua = c.discard = c.write_zeroes = CHOICE_YES;
	l.volatile_cache = false;
	l = settled(l, c);
	CHECK(l.volatile_cache && l.fua);

	l.fua = false;
	refused(l, c, "FUA=yes: the target cannot make single writes durable: set FUA=auto");
	l = able();
	l.max_discard_bytes = 0;
	refused(l, c, "Discard=yes: the backing cannot discard: set Discard=auto");
	l = able();
	l.max_write_zeroes_bytes = 0;
	refused(l, c,
		"WriteZeroes=yes: the backing cannot zero without being written to: set "
		"WriteZeroes=auto");
	l = able();
	l.volatile_cache = false;
	c.write_cache = CHOICE_AUTO;
	refused(l, c, "FUA=yes: the device has no write cache: set FUA=auto");
}

static void what_shapes_requests(void)
{
	struct device_config c = config();

	CHECK(!limits_fix_shape(&c));
	c.chunk_size = c.virt_boundary = 4096; /* as old as the driver */
	CHECK(!limits_fix_shape(&c));
	c.max_segments = 1;
	CHECK(limits_fix_shape(&c));
}

TEST_MAIN(CASE(nothing_is_fixed), CASE(all_is_fixed), CASE(auto_is_as_the_target_left_it),
	  CASE(off_is_off), CASE(on_is_on_or_refused), CASE(what_shapes_requests))
