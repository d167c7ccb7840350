/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * null - a device that does nothing, at once: writes are forgotten, and a read leaves in the
 * reader's memory what was there before, as null_blk's do. To measure what ublk itself costs.
 *
 * Order: none. Errors: none. Flush: answered, there is no cache. Metadata are as the data: a reader
 * that compares checksums will find them wrong.
 */
#include <ublkd/target.h>

#define NULL_DEFAULT_SIZE (UINT64_C(250) << 30)

static const struct ub_opt null_options[] = {{0}};

static int null_open(struct ub_dev *dev, void *state)
{
	struct ub_limits *l = ub_dev_limits(dev);

	if (!l->size)
		l->size = NULL_DEFAULT_SIZE;
	if (!l->max_discard_bytes)
		l->max_discard_bytes = UINT64_C(1) << 30;
	if (!l->max_write_zeroes_bytes)
		l->max_write_zeroes_bytes = UINT64_C(1) << 30;
	l->fua = true; /* nothing is as durable as anything else */
	return 0;
}

static void null_submit(struct ub_io *io)
{
	ub_io_done(io, 0);
}

UB_TARGET(null, .section = "Null", .description = "nothing: forgets writes, for measuring",
	  .options = null_options, .data = UB_DATA_NONE, .integrity = true, .repeatable = true,
	  .open = null_open, .submit = null_submit);
