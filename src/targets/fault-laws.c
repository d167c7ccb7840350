/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "targets/fault-laws.h"

#include <stdatomic.h>

/* splitmix64 (Steele, Lea, Flood 2014): a counter becomes even bits, in any order. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t fault_random(uint64_t seed, unsigned int draw, uint64_t n)
{
	return mix(mix(mix(seed) + draw) + n);
}

bool fault_happens(uint32_t per_million, uint64_t random)
{
	return ((random >> 32) * 1000000) >> 32 < per_million;
}

/* Twelve even numbers of 16 bits: their sum is as good as normal up to four deviations, and one
 * deviation is 65536. */
static uint64_t normal(uint64_t time, uint64_t spread, uint64_t seed, uint64_t n)
{
	int64_t sum = 6 - 6 * 65536, usec;

	for (unsigned int i = 0; i < 3; i++)
		for (uint64_t v = fault_random(seed, FAULT_DRAW_LATENCY + i, n), j = 0; j < 4; j++)
			sum += (int64_t) (v >> (16 * j) & 0xffff);
	usec = (int64_t) time + (int64_t) spread * (sum / 16) / 4096;
	return usec > 0 ? (uint64_t) usec : 0;
}

static uint32_t square_root(uint64_t v)
{
	uint64_t root = 0;

	for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
		if ((root | bit) * (root | bit) <= v)
			root |= bit;
	return (uint32_t) root;
}

/* Of an even number u in (0, 1] the law is time / sqrt(u); u is counted in 2^-20. */
static uint64_t long_tail(uint64_t time, uint64_t random)
{
	uint64_t root = square_root(((random >> 44) + 1) << 20);

	return (time / root << 20) + ((time % root << 20) / root);
}

uint64_t fault_latency(enum fault_law law, uint64_t time, uint64_t spread, uint64_t seed,
		       uint64_t n)
{
	uint64_t random = fault_random(seed, FAULT_DRAW_LATENCY, n);

	switch (law) {
	case FAULT_FIXED:
		return time;
	case FAULT_UNIFORM:
		return time - spread + random % (2 * spread + 1);
	case FAULT_NORMAL:
		return normal(time, spread, seed, n);
	case FAULT_LONG_TAIL:
		return long_tail(time, random);
	}
	return time;
}

uint64_t fault_transfer(_Atomic uint64_t *free_at, uint64_t now, uint64_t bytes, uint64_t rate)
{
	uint64_t free = atomic_load_explicit(free_at, memory_order_relaxed);
	uint64_t takes = bytes * UINT64_C(1000000000) / rate;
	uint64_t end;

	do
		end = (free > now ? free : now) + takes;
	while (!atomic_compare_exchange_weak_explicit(free_at, &free, end, memory_order_relaxed,
						      memory_order_relaxed));
	return end - now;
}
