/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "targets/fault-cache.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "targets/fault-laws.h"

/* So many sectors have a bit in touched; a flush of little need not look at all of a disk. */
#define GROUP 128
#define PAGE 4096

/* ---- life */

static void *map(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void) madvise(p, size, MADV_DONTDUMP);
	return p;
}

static void unmap(void *p, uint64_t size)
{
	if (p)
		(void) munmap(p, size);
}

static uint64_t n_sectors(const struct fault_cache *c)
{
	return c->size / FAULT_SECTOR;
}

static uint64_t n_words(const struct fault_cache *c)
{
	return n_sectors(c) / GROUP / 64 + 1;
}

int fault_cache_init(struct fault_cache *c, uint64_t size, bool is_volatile)
{
	*c = (struct fault_cache){.size = size};
	c->now = map(size);
	if (is_volatile) {
		c->stable = map(size);
		c->writers = map(n_sectors(c) * sizeof(*c->writers));
		c->touched = map(n_words(c) * sizeof(*c->touched));
	}
	if (c->now && (!is_volatile || (c->stable && c->writers && c->touched)))
		return 0;
	fault_cache_done(c);
	return -ENOMEM;
}

void fault_cache_done(struct fault_cache *c)
{
	unmap(c->now, c->size);
	unmap(c->stable, c->size);
	unmap(c->writers, n_sectors(c) * sizeof(*c->writers));
	unmap(c->touched, n_words(c) * sizeof(*c->touched));
	*c = (struct fault_cache){0};
}

/* ---- the gate */

static bool enter(struct fault_cache *c)
{
	int n = atomic_load_explicit(&c->gate, memory_order_relaxed);

	do
		if (n < 0)
			return false;
	while (!atomic_compare_exchange_weak_explicit(&c->gate, &n, n + 1, memory_order_acquire,
						      memory_order_relaxed));
	return true;
}

static void leave(struct fault_cache *c)
{
	atomic_fetch_sub_explicit(&c->gate, 1, memory_order_release);
}

static bool enter_alone(struct fault_cache *c)
{
	int nobody = 0;

	return atomic_compare_exchange_strong_explicit(&c->gate, &nobody, -1, memory_order_acquire,
						       memory_order_relaxed);
}

static void leave_alone(struct fault_cache *c)
{
	atomic_store_explicit(&c->gate, 0, memory_order_release);
}

/* ---- data */

static bool is_zero(const uint8_t *p, uint64_t len)
{
	return !*p && memcmp(p, p + 1, len - 1) == 0;
}

/* Zeroes where there are some already must not cost memory: a disk is discarded as a whole. */
static void put_zeroes(uint8_t *to, uint64_t len)
{
	for (uint64_t n; len; to += n, len -= n) {
		n = len < PAGE ? len : PAGE;
		if (!is_zero(to, n))
			memset(to, 0, n);
	}
}

static void put(uint8_t *to, const void *from, uint64_t len)
{
	if (from)
		memcpy(to, from, len);
	else
		put_zeroes(to, len);
}

static void note_writer(struct fault_cache *c, uint64_t off, uint64_t len, uint32_t writer)
{
	uint64_t end = (off + len) / FAULT_SECTOR;

	for (uint64_t s = off / FAULT_SECTOR; s < end; s++) {
		uint64_t group = s / GROUP;

		atomic_store_explicit(&c->writers[s], writer, memory_order_relaxed);
		atomic_fetch_or_explicit(&c->touched[group / 64], UINT64_C(1) << (group % 64),
					 memory_order_relaxed);
	}
}

/* Never 0, which is no writer. */
static uint32_t next_writer(struct fault_cache *c)
{
	uint32_t n = atomic_fetch_add_explicit(&c->n_writes, 1, memory_order_relaxed) + 1;

	return n ? n : next_writer(c);
}

int fault_cache_read(struct fault_cache *c, uint64_t off, void *to, uint64_t len)
{
	if (!enter(c))
		return -EAGAIN;
	memcpy(to, c->now + off, len);
	leave(c);
	return 0;
}

int fault_cache_write(struct fault_cache *c, uint64_t off, const void *from, uint64_t len,
		      bool durable)
{
	if (!enter(c))
		return -EAGAIN;
	put(c->now + off, from, len);
	/* Where a sector had a writer that is not stable, its fate makes no difference now. */
	if (c->stable && durable)
		put(c->stable + off, from, len);
	else if (c->stable)
		note_writer(c, off, len, next_writer(c));
	leave(c);
	return 0;
}

/* ---- all that is not stable */

/* Is what write number @writer left in @sector on the medium? */
typedef bool keep_fn(const void *arg, uint32_t writer, uint64_t sector);

static void settle_group(struct fault_cache *c, uint64_t group, keep_fn *keep, const void *arg)
{
	uint64_t end = (group + 1) * GROUP;

	for (uint64_t s = group * GROUP; s < end && s < n_sectors(c); s++) {
		uint32_t writer = atomic_load_explicit(&c->writers[s], memory_order_relaxed);
		uint8_t *now = c->now + s * FAULT_SECTOR, *stable = c->stable + s * FAULT_SECTOR;

		if (!writer)
			continue;
		if (keep(arg, writer, s))
			memcpy(stable, now, FAULT_SECTOR);
		else
			memcpy(now, stable, FAULT_SECTOR);
		atomic_store_explicit(&c->writers[s], 0, memory_order_relaxed);
	}
}

static int settle(struct fault_cache *c, keep_fn *keep, const void *arg)
{
	if (!c->stable)
		return 0;
	if (!enter_alone(c))
		return -EAGAIN;
	for (uint64_t i = 0; i < n_words(c); i++) {
		uint64_t bits = atomic_load_explicit(&c->touched[i], memory_order_relaxed);

		if (!bits)
			continue;
		for (; bits; bits &= bits - 1)
			settle_group(c, i * 64 + (uint64_t) __builtin_ctzll(bits), keep, arg);
		atomic_store_explicit(&c->touched[i], 0, memory_order_relaxed);
	}
	leave_alone(c);
	return 0;
}

static bool keep_all(const void *arg, uint32_t writer, uint64_t sector)
{
	return true;
}

int fault_cache_flush(struct fault_cache *c)
{
	return settle(c, keep_all, NULL);
}

struct cut {
	enum fault_cut how;
	uint64_t seed;
};

static bool is_even(uint64_t random)
{
	return (random >> 63) == 0;
}

static bool survives(const void *arg, uint32_t writer, uint64_t sector)
{
	const struct cut *cut = arg;
	uint64_t fate = fault_random(cut->seed, FAULT_DRAW_FATE, writer);

	switch (cut->how) {
	case FAULT_CUT_ALL:
		return false;
	case FAULT_CUT_SOME:
		return is_even(fate);
	case FAULT_CUT_TORN:
		if (fate % 3 == 0)
			return is_even(fault_random(fate, FAULT_DRAW_SECTOR, sector));
		return fate % 3 == 1;
	}
	return false;
}

int fault_cache_cut(struct fault_cache *c, enum fault_cut how, uint64_t seed)
{
	struct cut cut = {.how = how, .seed = seed};

	return settle(c, survives, &cut);
}
