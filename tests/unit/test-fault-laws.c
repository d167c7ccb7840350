/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * targets/fault-laws, fault-bad, fault-cache: chance follows its laws, and is the same each time.
 *
 * Every number here comes from fixed seeds: a case passes always or never. The bounds are what the
 * laws say, five standard deviations wide.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "targets/fault-bad.h"
#include "targets/fault-cache.h"
#include "targets/fault-laws.h"
#include "test.h"

#define MILLION 1000000

static double root(double v)
{
	double r = v > 1 ? v : 1;

	for (int i = 0; i < 60; i++)
		r = (r + v / r) / 2;
	return r;
}

/* @got of @n, each with probability @p: within five standard deviations? */
static bool is_likely(uint64_t got, uint64_t n, double p)
{
	double off = (double) got - (double) n * p, bound = 5 * root((double) n * p * (1 - p));
	bool likely = off * off <= bound * bound;

	if (!likely)
		(void) printf("# %llu of %llu, should be %f\n", (unsigned long long) got,
			      (unsigned long long) n, (double) n * p);
	return likely;
}

/* The counts of @bins equally likely cases: chi-square within five standard deviations above its
 * mean, and not suspiciously even. */
static bool are_even(const uint64_t *counts, unsigned int bins, uint64_t n)
{
	double expected = (double) n / bins, chi = 0, df = bins - 1;

	for (unsigned int i = 0; i < bins; i++)
		chi += ((double) counts[i] - expected) * ((double) counts[i] - expected) / expected;
	(void) printf("# chi-square %.1f with %.0f degrees of freedom\n", chi, df);
	return chi < df + 5 * root(2 * df) && chi > df - 5 * root(2 * df);
}

/* ---- draws */

static void draws_are_even(void)
{
	static uint64_t top[256], bottom[256], follow[256];
	const uint64_t n = MILLION;

	for (uint64_t i = 0, last = 0; i < n; i++) {
		uint64_t v = fault_random(7, FAULT_DRAW_ERROR, i);

		top[v >> 56]++;
		bottom[v & 255]++;
		follow[(v & 15) << 4 | (last & 15)]++;
		last = v;
	}
	CHECK(are_even(top, 256, n));
	CHECK(are_even(bottom, 256, n));
	CHECK(are_even(follow, 256, n));
}

/* Neighbours in any of the three arguments have nothing in common. */
static void draws_are_independent(void)
{
	uint64_t seeds = 0, draws = 0, numbers = 0;
	const uint64_t n = 100000;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = fault_random(i, 1, i);

		seeds += (uint64_t) __builtin_popcountll(v ^ fault_random(i + 1, 1, i));
		draws += (uint64_t) __builtin_popcountll(v ^ fault_random(i, 2, i));
		numbers += (uint64_t) __builtin_popcountll(v ^ fault_random(i, 1, i + 1));
	}
	CHECK(is_likely(seeds, n * 64, 0.5));
	CHECK(is_likely(draws, n * 64, 0.5));
	CHECK(is_likely(numbers, n * 64, 0.5));
}

/* What a seed means must not change with the program: somebody wrote it into a bug report. */
static void draws_stay_the_same(void)
{
	CHECK_EQ(fault_random(1, FAULT_DRAW_ERROR, 1), UINT64_C(7806873273932414515));
	CHECK_EQ(fault_random(UINT32_MAX, FAULT_DRAW_LATENCY, UINT64_MAX),
		 UINT64_C(1634147845610264924));
	CHECK_EQ(fault_latency(FAULT_NORMAL, 1000, 100, 42, 7), 1185);
	CHECK_EQ(fault_latency(FAULT_LONG_TAIL, 1000, 0, 42, 7), 1437);
}

static void probability_is_met(void)
{
	static const uint32_t per_million[] = {0, 1, 100, 50000, 500000, 999999, MILLION};
	const uint64_t n = MILLION;

	for (unsigned int i = 0; i < sizeof(per_million) / sizeof(per_million[0]); i++) {
		uint64_t hits = 0;

		for (uint64_t j = 0; j < n; j++)
			hits += fault_happens(per_million[i], fault_random(i, FAULT_DRAW_ERROR, j));
		if (per_million[i] % MILLION == 0)
			CHECK_EQ(hits, per_million[i]);
		else
			CHECK(is_likely(hits, n, per_million[i] / 1e6));
	}
}

/* ---- time */

static void fixed_is_fixed(void)
{
	for (uint64_t i = 0; i < 1000; i++)
		CHECK_EQ(fault_latency(FAULT_FIXED, 123, 45, 6, i), 123);
}

static void uniform_is_even_in_its_range(void)
{
	static uint64_t bins[21];
	const uint64_t n = MILLION;

	/* 1000 +- 10: 21 values */
	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = fault_latency(FAULT_UNIFORM, 1000, 10, 3, i);

		CHECK(v >= 990 && v <= 1010);
		bins[v - 990]++;
	}
	CHECK(are_even(bins, 21, n));
	CHECK_EQ(fault_latency(FAULT_UNIFORM, 5, 0, 3, 9), 5);
}

static void normal_is_a_bell(void)
{
	/* Below -3, -2, -1, 0, 1, 2, 3 standard deviations. */
	static const double below[] = {0.001350, 0.022750, 0.158655, 0.5,
				       0.841345, 0.977250, 0.998650};
	uint64_t counts[7] = {0};
	const uint64_t n = MILLION, time = 1000000, spread = 100000;
	double sum = 0, squares = 0, mean;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = fault_latency(FAULT_NORMAL, time, spread, 11, i);
		double z = ((double) v - (double) time) / (double) spread;

		sum += z;
		squares += z * z;
		for (int j = 0; j < 7; j++)
			counts[j] += z < j - 3;
	}
	mean = sum / (double) n;
	/* The mean of n has a deviation of 1/1000, the variance one of 1.4/1000. */
	CHECK(mean > -0.005 && mean < 0.005);
	CHECK(squares / (double) n > 0.993 && squares / (double) n < 1.007);
	for (int j = 0; j < 7; j++) {
		double p = (double) counts[j] / (double) n;

		/* A sum of twelve is a little short in its tails. */
		CHECK(p > below[j] - 0.0025 && p < below[j] + 0.0025);
	}
}

static void normal_is_never_negative(void)
{
	uint64_t zeroes = 0, most = 0;
	const uint64_t n = 100000;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = fault_latency(FAULT_NORMAL, 100, 100, 5, i);

		zeroes += v == 0;
		most = v > most ? v : most;
	}
	CHECK(is_likely(zeroes, n, 0.158655 + 0.002));
	CHECK(most > 400 && most < 700);
}

static void long_tail_is_pareto(void)
{
	static const struct {
		uint64_t times;
		double p;
	} tail[] = {{2, 0.25}, {3, 1 / 9.0}, {10, 0.01}, {30, 1 / 900.0}, {100, 0.0001}};
	uint64_t counts[5] = {0}, median = 0, most = 0;
	const uint64_t n = MILLION, time = 10000;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = fault_latency(FAULT_LONG_TAIL, time, 0, 17, i);

		CHECK(v >= time);
		most = v > most ? v : most;
		median += v < 14142;
		for (int j = 0; j < 5; j++)
			counts[j] += v >= tail[j].times * time;
	}
	for (int j = 0; j < 5; j++)
		CHECK(is_likely(counts[j], n, tail[j].p));
	CHECK(is_likely(median, n, 0.5));
	CHECK(most > 100 * time && most <= 1024 * time);
}

static void a_year_does_not_overflow(void)
{
	const uint64_t year = UINT64_C(31536000000000);

	for (uint64_t i = 0; i < 10000; i++) {
		uint64_t v = fault_latency(FAULT_NORMAL, year, year, 1, i);

		CHECK(v <= 7 * year);
		v = fault_latency(FAULT_LONG_TAIL, year, 0, 1, i);
		CHECK(v >= year && v <= 1024 * year);
		CHECK(fault_latency(FAULT_UNIFORM, year, year, 1, i) <= 2 * year);
	}
}

/* ---- bandwidth */

static void bandwidth_is_met(void)
{
	_Atomic uint64_t free_at = 0;
	const uint64_t rate = 100 << 20, second = 1000000000;
	uint64_t wait = 0;

	/* All at once: the last of a second's bytes is through after a second. */
	for (int i = 0; i < 100; i++)
		wait = fault_transfer(&free_at, 5 * second, 1 << 20, rate);
	CHECK_EQ(wait, second);
	/* Whoever comes half a second later has half of it in front. */
	CHECK_EQ(fault_transfer(&free_at, 5 * second + second / 2, 1 << 20, rate),
		 second / 2 + second / 100);
}

static void an_idle_line_saves_nothing_up(void)
{
	_Atomic uint64_t free_at = 0;
	const uint64_t rate = 1 << 20, second = 1000000000;

	CHECK_EQ(fault_transfer(&free_at, second, 1 << 20, rate), second);
	CHECK_EQ(fault_transfer(&free_at, 100 * second, 1 << 20, rate), second);
	CHECK_EQ(fault_transfer(&free_at, 100 * second, 1 << 20, rate), 2 * second);
}

static _Atomic uint64_t line;

static void *use_line(void *arg)
{
	for (int i = 0; i < 20000; i++)
		(void) fault_transfer(&line, 0, 1000, 1000000000);
	return arg;
}

static void threads_share_a_line(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, use_line, NULL), 0);
	for (int i = 0; i < 4; i++)
		(void) pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&line), 4 * 20000 * 1000);
}

/* ---- bad blocks */

#define DISK (UINT64_C(64) << 20)

static uint64_t count_bad(const struct fault_bad *b, const struct fault_bad_law *law)
{
	uint64_t n = 0;

	for (uint64_t off = 0; off < b->size; off += b->block)
		n += fault_bad_hits(b, law, off, b->block);
	return n;
}

static void blocks_are_bad_by_chance(void)
{
	struct fault_bad_law law = {.per_million = 10000, .seed = 1}, other = law;
	struct fault_bad b;
	uint64_t both = 0, n = DISK / 512;

	CHECK_EQ(fault_bad_init(&b, DISK, 512), 0);
	CHECK(is_likely(count_bad(&b, &law), n, 0.01));
	CHECK_EQ(count_bad(&b, &law), count_bad(&b, &other));
	other.seed = 2;
	for (uint64_t off = 0; off < DISK; off += 512)
		both += fault_bad_hits(&b, &law, off, 512) && fault_bad_hits(&b, &other, off, 512);
	CHECK(is_likely(both, n, 0.0001));
	CHECK_EQ(count_bad(&b, &(struct fault_bad_law){.seed = 1}), 0);
	fault_bad_done(&b);
}

static void bad_blocks_heal(void)
{
	const struct fault_bad_law law = {.at = 8192, .length = 8192};
	struct fault_bad b;

	CHECK_EQ(fault_bad_init(&b, DISK, 4096), 0);
	CHECK(!fault_bad_hits(&b, &law, 0, 8192));
	CHECK(fault_bad_hits(&b, &law, 0, 12288));
	CHECK(fault_bad_hits(&b, &law, 12288, 4096));
	CHECK(!fault_bad_hits(&b, &law, 16384, 4096));
	fault_bad_heal(&b, &law, 8192, 4096);
	CHECK(!fault_bad_hits(&b, &law, 8192, 4096));
	CHECK(fault_bad_hits(&b, &law, 8192, 8192));
	CHECK_EQ(count_bad(&b, &law), 1);
	fault_bad_heal(&b, &law, 0, DISK);
	CHECK_EQ(count_bad(&b, &law), 0);
	fault_bad_renew(&b);
	CHECK_EQ(count_bad(&b, &law), 2);
	fault_bad_done(&b);
}

/* ---- memory and its cache */

#define MEMORY (UINT64_C(4) << 20)
#define SECTORS (MEMORY / FAULT_SECTOR)
#define WRITE_SECTORS 4

static struct fault_cache cache;

static void begin(bool is_volatile)
{
	fault_cache_done(&cache);
	CHECK_EQ(fault_cache_init(&cache, MEMORY, is_volatile), 0);
}

static void put(uint64_t sector, int c, unsigned int n, bool durable)
{
	uint8_t buf[16 * FAULT_SECTOR];

	memset(buf, c, sizeof(buf));
	CHECK_EQ(fault_cache_write(&cache, sector * FAULT_SECTOR, c ? buf : NULL, n * FAULT_SECTOR,
				   durable),
		 0);
}

/* The byte that all of a sector is; -1: it is not */
static int get(uint64_t sector)
{
	uint8_t buf[FAULT_SECTOR];

	CHECK_EQ(fault_cache_read(&cache, sector * FAULT_SECTOR, buf, sizeof(buf)), 0);
	for (unsigned int i = 1; i < sizeof(buf); i++)
		if (buf[i] != buf[0])
			return -1;
	return buf[0];
}

static void memory_keeps_what_is_written(void)
{
	begin(false);
	CHECK_EQ(get(9), 0);
	put(8, 'a', 3, false);
	put(9, 0, 1, false);
	CHECK_EQ(get(8), 'a');
	CHECK_EQ(get(9), 0);
	CHECK_EQ(get(10), 'a');
	CHECK_EQ(fault_cache_flush(&cache), 0);
	/* Nothing of it is volatile. */
	CHECK_EQ(fault_cache_cut(&cache, FAULT_CUT_ALL, 1), 0);
	CHECK_EQ(get(8), 'a');
}

static void a_cut_loses_what_is_not_flushed(void)
{
	begin(true);
	put(8, 'a', 2, false);
	put(SECTORS - 1, 'e', 1, false);
	CHECK_EQ(fault_cache_flush(&cache), 0);
	put(9, 'b', 2, false);
	put(200, 'c', 1, false);
	put(201, 'd', 1, true);
	put(8, 0, 1, false);
	put(SECTORS - 1, 'f', 1, false);
	CHECK_EQ(get(9), 'b');
	CHECK_EQ(fault_cache_cut(&cache, FAULT_CUT_ALL, 1), 0);
	CHECK_EQ(get(8), 'a');
	CHECK_EQ(get(9), 'a');
	CHECK_EQ(get(10), 0);
	CHECK_EQ(get(200), 0);
	CHECK_EQ(get(201), 'd');
	CHECK_EQ(get(SECTORS - 1), 'e');
	/* That was all of it. */
	CHECK_EQ(fault_cache_cut(&cache, FAULT_CUT_ALL, 1), 0);
	CHECK_EQ(get(8), 'a');
}

/* A durable write goes over a volatile one: nothing is left to be lost. */
static void durable_writes_settle_what_was_there(void)
{
	begin(true);
	put(5, 'a', 1, false);
	put(5, 'b', 1, true);
	CHECK_EQ(fault_cache_cut(&cache, FAULT_CUT_ALL, 1), 0);
	CHECK_EQ(get(5), 'b');
}

/* Writes of four sectors each over all of the memory, cut; what is left of each of them. */
static void cut_many(enum fault_cut how, uint64_t seed, uint64_t counts[WRITE_SECTORS + 1],
		     uint8_t *ret_map)
{
	memset(counts, 0, (WRITE_SECTORS + 1) * sizeof(*counts));
	begin(true);
	for (uint64_t s = 0; s < SECTORS; s += WRITE_SECTORS)
		put(s, 'n', WRITE_SECTORS, false);
	CHECK_EQ(fault_cache_cut(&cache, how, seed), 0);
	for (uint64_t s = 0; s < SECTORS; s += WRITE_SECTORS) {
		unsigned int kept = 0;

		for (unsigned int i = 0; i < WRITE_SECTORS; i++) {
			int c = get(s + i);

			CHECK(c == 'n' || c == 0);
			kept += c == 'n';
			ret_map[s + i] = (uint8_t) c;
		}
		counts[kept]++;
	}
}

static void some_writes_are_lost_as_a_whole(void)
{
	static uint8_t map[SECTORS];
	uint64_t counts[WRITE_SECTORS + 1];

	cut_many(FAULT_CUT_SOME, 1, counts, map);
	CHECK_EQ(counts[1] + counts[2] + counts[3], 0);
	CHECK(is_likely(counts[4], SECTORS / WRITE_SECTORS, 0.5));
}

static void some_writes_are_torn(void)
{
	/* A third lost, a third kept, of a third each sector by itself. */
	static const double p[] = {1 / 3.0 + 1 / 48.0, 4 / 48.0, 6 / 48.0, 4 / 48.0,
				   1 / 3.0 + 1 / 48.0};
	static uint8_t map[SECTORS];
	uint64_t counts[WRITE_SECTORS + 1];

	cut_many(FAULT_CUT_TORN, 1, counts, map);
	for (int i = 0; i <= WRITE_SECTORS; i++)
		CHECK(is_likely(counts[i], SECTORS / WRITE_SECTORS, p[i]));
}

static void the_same_seed_tears_the_same(void)
{
	static uint8_t first[SECTORS], second[SECTORS], other[SECTORS];
	uint64_t counts[WRITE_SECTORS + 1];

	cut_many(FAULT_CUT_TORN, 5, counts, first);
	cut_many(FAULT_CUT_TORN, 5, counts, second);
	cut_many(FAULT_CUT_TORN, 6, counts, other);
	CHECK(memcmp(first, second, SECTORS) == 0);
	CHECK(memcmp(first, other, SECTORS) != 0);
}

static void nobody_waits_at_the_gate(void)
{
	uint8_t buf[FAULT_SECTOR] = {0};

	begin(true);
	cache.gate = 1; /* a copy is under way */
	CHECK_EQ(fault_cache_flush(&cache), -EAGAIN);
	CHECK_EQ(fault_cache_cut(&cache, FAULT_CUT_ALL, 1), -EAGAIN);
	CHECK_EQ(fault_cache_read(&cache, 0, buf, sizeof(buf)), 0);
	cache.gate = -1; /* a flush is */
	CHECK_EQ(fault_cache_read(&cache, 0, buf, sizeof(buf)), -EAGAIN);
	CHECK_EQ(fault_cache_write(&cache, 0, buf, sizeof(buf), false), -EAGAIN);
	CHECK_EQ(fault_cache_flush(&cache), -EAGAIN);
	cache.gate = 0;
	CHECK_EQ(fault_cache_flush(&cache), 0);
}

/* Two write, one flushes: what a cut brings back of a sector is one write of it, and none that is
 * older than the last flush. */
enum { ROUNDS = 200, OWN = 64 };
static _Atomic bool writing;

static void *write_own(void *arg)
{
	uint64_t first = *(const uint64_t *) arg;
	uint8_t buf[OWN * FAULT_SECTOR];

	for (int i = 1; i <= ROUNDS; i++) {
		memset(buf, i, sizeof(buf));
		while (fault_cache_write(&cache, first * FAULT_SECTOR, buf, sizeof(buf), false) ==
		       -EAGAIN)
			;
	}
	return NULL;
}

static void *flush_on(void *arg)
{
	while (writing)
		(void) fault_cache_flush(&cache);
	return arg;
}

static void a_flush_between_writes_takes_whole_ones(void)
{
	static const uint64_t firsts[] = {100, 100 + OWN};
	pthread_t writers[2], flusher;

	begin(true);
	writing = true;
	CHECK_EQ(pthread_create(&flusher, NULL, flush_on, NULL), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&writers[i], NULL, write_own, (void *) &firsts[i]), 0);
	for (int i = 0; i < 2; i++)
		(void) pthread_join(writers[i], NULL);
	writing = false;
	(void) pthread_join(flusher, NULL);
	CHECK_EQ(fault_cache_cut(&cache, FAULT_CUT_ALL, 1), 0);
	for (int i = 0; i < 2; i++)
		for (uint64_t s = firsts[i]; s < firsts[i] + OWN; s++)
			CHECK_EQ(get(s), get(firsts[i]));
	CHECK_EQ(get(100 + 2 * OWN), 0);
}

TEST_MAIN(CASE(draws_are_even), CASE(draws_are_independent), CASE(draws_stay_the_same),
	  CASE(probability_is_met), CASE(fixed_is_fixed), CASE(uniform_is_even_in_its_range),
	  CASE(normal_is_a_bell), CASE(normal_is_never_negative), CASE(long_tail_is_pareto),
	  CASE(a_year_does_not_overflow), CASE(bandwidth_is_met),
	  CASE(an_idle_line_saves_nothing_up), CASE(threads_share_a_line),
	  CASE(blocks_are_bad_by_chance), CASE(bad_blocks_heal), CASE(memory_keeps_what_is_written),
	  CASE(a_cut_loses_what_is_not_flushed), CASE(durable_writes_settle_what_was_there),
	  CASE(some_writes_are_lost_as_a_whole), CASE(some_writes_are_torn),
	  CASE(the_same_seed_tears_the_same), CASE(nobody_waits_at_the_gate),
	  CASE(a_flush_between_writes_takes_whole_ones))
