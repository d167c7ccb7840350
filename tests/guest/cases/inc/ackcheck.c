/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ackcheck DEVICE THREADS BLOCKS [PAUSE_MS] - was a write lost that the device had acknowledged?
 *
 * Each block of 4 KiB is a register with one owner: it holds its own number and how often it was
 * written. A thread writes its BLOCKS at random, one each PAUSE_MS, and reads them: what it reads
 * must be whole, not older than the last write that was acknowledged, and not newer than the last
 * that was issued. Until SIGTERM; then all blocks are read once more and the sum is printed. Exit
 * status: 0 if nothing was wrong and no request failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define WORDS (BLOCK / sizeof(uint64_t))

struct owner {
	pthread_t thread;
	unsigned int first, n;
	uint64_t *acked, *issued; /* per block */
	uint64_t random;
	uint64_t writes, reads, lost, torn, future, errors, longest_ns;
};

static int fd;
static unsigned int pause_ms;
static atomic_bool end;

static void on_signal(int sig)
{
	(void) sig;
	atomic_store(&end, true);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * 1000000000U + (uint64_t) t.tv_nsec;
}

static uint64_t rnd(struct owner *o)
{
	o->random = o->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return o->random >> 33;
}

/* Words are pairs of the block's number and its count. */
static void fill(uint64_t *buf, uint64_t block, uint64_t count)
{
	for (size_t i = 0; i < WORDS; i += 2) {
		buf[i] = block;
		buf[i + 1] = count;
	}
}

static bool done(struct owner *o, ssize_t res, const char *what, uint64_t block, uint64_t begin)
{
	uint64_t took = now_ns() - begin;

	if (took > o->longest_ns)
		o->longest_ns = took;
	if (res == BLOCK)
		return true;
	o->errors++;
	printf("%s of block %llu: %s\n", what, (unsigned long long) block,
	       res < 0 ? strerror(errno) : "short");
	return false;
}

static void write_block(struct owner *o, uint64_t *buf, unsigned int i)
{
	uint64_t block = o->first + i, begin = now_ns();

	fill(buf, block, ++o->issued[i]);
	o->writes++;
	if (done(o, pwrite(fd, buf, BLOCK, (off_t) (block * BLOCK)), "write", block, begin))
		o->acked[i] = o->issued[i];
}

static void read_block(struct owner *o, uint64_t *buf, unsigned int i)
{
	uint64_t block = o->first + i, begin = now_ns(), count;

	memset(buf, 0xa5, BLOCK);
	o->reads++;
	if (!done(o, pread(fd, buf, BLOCK, (off_t) (block * BLOCK)), "read", block, begin))
		return;
	count = buf[1];
	for (size_t w = 0; w < WORDS; w += 2)
		if (buf[w] != block || buf[w + 1] != count) {
			o->torn++;
			printf("block %llu is torn at byte %zu: block %llx, count %llu and %llu\n",
			       (unsigned long long) block, w * sizeof(*buf),
			       (unsigned long long) buf[w], (unsigned long long) count,
			       (unsigned long long) buf[w + 1]);
			return;
		}
	if (count >= o->acked[i] && count <= o->issued[i])
		return;
	*(count < o->acked[i] ? &o->lost : &o->future) += 1;
	printf("block %llu has count %llu: %llu were acknowledged, %llu issued\n",
	       (unsigned long long) block, (unsigned long long) count,
	       (unsigned long long) o->acked[i], (unsigned long long) o->issued[i]);
	o->acked[i] = count < o->acked[i] ? count : o->acked[i]; /* say it once */
}

static void *run(void *arg)
{
	struct owner *o = arg;
	uint64_t *buf = aligned_alloc(BLOCK, BLOCK);

	if (!buf)
		abort();
	for (unsigned int i = 0; i < o->n; i++)
		write_block(o, buf, i);
	while (!atomic_load(&end)) {
		unsigned int i = (unsigned int) (rnd(o) % o->n);

		if (rnd(o) % 3)
			write_block(o, buf, i);
		else
			read_block(o, buf, i);
		if (pause_ms)
			(void) usleep(pause_ms * 1000);
	}
	for (unsigned int i = 0; i < o->n; i++)
		read_block(o, buf, i);
	free(buf);
	return NULL;
}

static uint64_t *counters(unsigned int n)
{
	uint64_t *v = calloc(n, sizeof(*v));

	if (!v)
		abort();
	return v;
}

int main(int argc, char **argv)
{
	unsigned int n_threads = argc >= 4 ? (unsigned int) atoi(argv[2]) : 0;
	unsigned int n_blocks = argc >= 4 ? (unsigned int) atoi(argv[3]) : 0;
	struct owner sum = {0}, *owners;

	if (!n_threads || !n_blocks) {
		fprintf(stderr, "usage: ackcheck DEVICE THREADS BLOCKS [PAUSE_MS]\n");
		return 2;
	}
	pause_ms = argc > 4 ? (unsigned int) atoi(argv[4]) : 0;
	fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[1]);
		return 2;
	}
	(void) signal(SIGTERM, on_signal);
	(void) setvbuf(stdout, NULL, _IOLBF, 0);
	owners = calloc(n_threads, sizeof(*owners));
	if (!owners)
		abort();
	for (unsigned int i = 0; i < n_threads; i++) {
		owners[i] = (struct owner){
			.first = i * n_blocks,
			.n = n_blocks,
			.acked = counters(n_blocks),
			.issued = counters(n_blocks),
			.random = i + 1,
		};
		if (pthread_create(&owners[i].thread, NULL, run, &owners[i]))
			abort();
	}
	for (unsigned int i = 0; i < n_threads; i++) {
		const struct owner *o = &owners[i];

		(void) pthread_join(owners[i].thread, NULL);
		sum.writes += o->writes;
		sum.reads += o->reads;
		sum.lost += o->lost;
		sum.torn += o->torn;
		sum.future += o->future;
		sum.errors += o->errors;
		if (o->longest_ns > sum.longest_ns)
			sum.longest_ns = o->longest_ns;
	}
	printf("%llu writes, %llu reads: %llu lost, %llu torn, %llu future, %llu errors; longest "
	       "%llu "
	       "ms\n",
	       (unsigned long long) sum.writes, (unsigned long long) sum.reads,
	       (unsigned long long) sum.lost, (unsigned long long) sum.torn,
	       (unsigned long long) sum.future, (unsigned long long) sum.errors,
	       (unsigned long long) sum.longest_ns / 1000000);
	return sum.lost || sum.torn || sum.future || sum.errors;
}
