/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault-cache - the memory of the fault target, and what a power cut does to it.
 *
 * With a volatile cache there are two copies: what readers see, and what is stable. Each sector
 * that differs between them knows the number of the write that made it so. A flush makes all of it
 * stable; a cut decides for each write since then whether it reached the medium.
 *
 * Queue threads read and write side by side; a flush and a cut want to be alone. Nobody waits here:
 * whoever cannot get in is told -EAGAIN, and comes again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FAULT_SECTOR 512

/* What a power cut does to a write that was not flushed. */
enum fault_cut {
	FAULT_CUT_ALL, /* it is lost */
	FAULT_CUT_SOME, /* it is kept or lost, by chance */
	FAULT_CUT_TORN, /* it is kept, lost, or each of its sectors is, by chance */
};

struct fault_cache {
	uint64_t size; /* bytes, a multiple of FAULT_SECTOR */
	uint8_t *now, *stable; /* stable: NULL without a volatile cache; so the next two */
	_Atomic uint32_t *writers; /* of each sector: the write that is not stable, 0: none */
	_Atomic uint64_t *touched; /* a bit for each group of sectors: some have a writer */
	_Atomic uint32_t n_writes;
	_Atomic int gate; /* how many are in, -1: one, and alone */
};

/** fault_cache_init - all zeroes; takes memory as it is written to
 *  Return: 0 or -ENOMEM, and nothing is held */
int fault_cache_init(struct fault_cache *c, uint64_t size, bool is_volatile);
/** fault_cache_done - also of a zeroed one */
void fault_cache_done(struct fault_cache *c);

/** fault_cache_read, fault_cache_write - @off, @len: within the size, multiples of FAULT_SECTOR
 *  @from: NULL for zeroes; @durable: stable at once
 *  Queue threads. Return: 0 or -EAGAIN */
int fault_cache_read(struct fault_cache *c, uint64_t off, void *to, uint64_t len);
int fault_cache_write(struct fault_cache *c, uint64_t off, const void *from, uint64_t len,
		      bool durable);

/** fault_cache_flush - all that was written becomes stable. Any thread. Return: 0 or -EAGAIN */
int fault_cache_flush(struct fault_cache *c);

/** fault_cache_cut - what was not stable is decided upon, and what is left is stable
 *  @seed: the same writes in the same order have the same fate. Any thread. Return: 0 or -EAGAIN */
int fault_cache_cut(struct fault_cache *c, enum fault_cut how, uint64_t seed);
