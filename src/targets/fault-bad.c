/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "targets/fault-bad.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

#include "targets/fault-laws.h"

static uint64_t n_words(const struct fault_bad *b)
{
	return b->size / b->block / 64 + 1;
}

int fault_bad_init(struct fault_bad *b, uint64_t size, uint32_t block)
{
	void *p;

	*b = (struct fault_bad){.size = size, .block = block};
	/* Of a mapping only what is used takes memory: most disks have no bad block. */
	p = mmap(NULL, n_words(b) * sizeof(*b->healed), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	b->healed = p;
	return 0;
}

void fault_bad_done(struct fault_bad *b)
{
	if (b->healed)
		(void) munmap(b->healed, n_words(b) * sizeof(*b->healed));
	b->healed = NULL;
}

static bool has_bad(const struct fault_bad_law *law)
{
	return law->length || law->per_million;
}

static bool is_healed(const struct fault_bad *b, uint64_t block)
{
	return atomic_load_explicit(&b->healed[block / 64], memory_order_relaxed) >> block % 64 & 1;
}

static bool is_bad(const struct fault_bad *b, const struct fault_bad_law *law, uint64_t block)
{
	uint64_t off = block * b->block;

	if (law->length && off + b->block > law->at && off < law->at + law->length)
		return true;
	return law->per_million &&
	       fault_happens(law->per_million, fault_random(law->seed, FAULT_DRAW_BAD, block));
}

bool fault_bad_hits(const struct fault_bad *b, const struct fault_bad_law *law, uint64_t off,
		    uint64_t len)
{
	if (!has_bad(law))
		return false;
	for (uint64_t i = off / b->block; i < (off + len) / b->block; i++)
		if (is_bad(b, law, i) && !is_healed(b, i))
			return true;
	return false;
}

void fault_bad_heal(struct fault_bad *b, const struct fault_bad_law *law, uint64_t off,
		    uint64_t len)
{
	if (!has_bad(law))
		return;
	for (uint64_t i = off / b->block; i < (off + len) / b->block; i++)
		if (is_bad(b, law, i))
			atomic_fetch_or_explicit(&b->healed[i / 64], UINT64_C(1) << (i % 64),
						 memory_order_relaxed);
}

void fault_bad_renew(struct fault_bad *b)
{
	for (uint64_t i = 0; i < n_words(b); i++)
		if (atomic_load_explicit(&b->healed[i], memory_order_relaxed))
			atomic_store_explicit(&b->healed[i], 0, memory_order_relaxed);
}
