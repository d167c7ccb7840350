/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault-bad - the bad blocks of the fault target: those of a range, and some everywhere by chance.
 * They cannot be read until they are written. Which are bad is computed; remembered is only which
 * were written. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Which blocks are bad; the same values, the same blocks. */
struct fault_bad_law {
	uint64_t at, length; /* bytes: a range of bad blocks */
	uint32_t per_million; /* of all blocks, besides */
	uint32_t seed;
};

struct fault_bad {
	uint64_t size; /* of the device, bytes */
	uint32_t block; /* bytes */
	_Atomic uint64_t *healed; /* a bit for each block */
};

/** fault_bad_init - Return: 0 or -ENOMEM, and nothing is held */
int fault_bad_init(struct fault_bad *b, uint64_t size, uint32_t block);
/** fault_bad_done - also of a zeroed one */
void fault_bad_done(struct fault_bad *b);

/** fault_bad_hits - is one of the blocks of the range bad, and not written yet? */
bool fault_bad_hits(const struct fault_bad *b, const struct fault_bad_law *law, uint64_t off,
		    uint64_t len);

/** fault_bad_heal - the blocks of the range were written */
void fault_bad_heal(struct fault_bad *b, const struct fault_bad_law *law, uint64_t off,
		    uint64_t len);

/** fault_bad_renew - forget what was written */
void fault_bad_renew(struct fault_bad *b);
