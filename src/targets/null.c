/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * null - a device that does nothing, at once: writes are forgotten, reads give unspecified content
 * (zeroes, or what was written to this very device before). To measure what ublk itself costs.
 *
 * Order: none. Errors: none. Flush: there is no cache to flush.
 */
#include <ublkd/target.h>

#define NULL_DEFAULT_SIZE (UINT64_C(250) << 30)

static const struct ub_opt null_options[] = {{0}};

static int null_open(struct ub_dev *dev, void *state)
{
	struct ub_limits *l = ub_dev_limits(dev);

	if (!l->size)
		l->size = NULL_DEFAULT_SIZE;
	l->max_discard_bytes = l->max_write_zeroes_bytes = UINT64_C(1) << 30;
	return 0;
}

static void null_submit(struct ub_io *io)
{
	ub_io_done(io, 0);
}

UB_TARGET(null, .section = "Null", .description = "nothing: forgets writes, for measuring",
	  .options = null_options, .open = null_open, .submit = null_submit);
