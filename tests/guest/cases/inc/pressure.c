/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pressure MEGABYTES - touch so much memory again and again, each page with a number that the next
 * round must find. Prints a line per 2 MB. At SIGTERM all of it is read once more; exit status 0 if
 * every page was right.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096, WORDS = PAGE / sizeof(uint64_t) };

static volatile sig_atomic_t over;

static void on_term(int sig)
{
	over = 1;
}

static uint64_t word(size_t page, uint64_t round)
{
	return page << 20 | round;
}

/* @rounds: how often the page was written. The rest of it is zero: zram makes little of it. */
static bool is_right(const uint64_t *memory, size_t page, uint64_t rounds)
{
	const uint64_t *p = memory + page * WORDS;
	uint64_t good = rounds ? word(page, rounds) : 0;

	if (p[0] == good && p[WORDS / 2] == 0 && p[WORDS - 1] == good)
		return true;
	printf("page %zu: %lx %lx %lx, not %lx\n", page, (unsigned long) p[0],
	       (unsigned long) p[WORDS / 2], (unsigned long) p[WORDS - 1], (unsigned long) good);
	return false;
}

int main(int argc, char **argv)
{
	size_t n = argc == 2 ? (size_t) atoi(argv[1]) << 8 : 0, page = 0;
	uint64_t rounds = 0;
	uint64_t *memory =
		mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!n || memory == MAP_FAILED)
		return perror("pressure"), 2;
	(void) setvbuf(stdout, NULL, _IOLBF, 0);
	(void) signal(SIGTERM, on_term);
	while (!over) {
		if (!is_right(memory, page, rounds))
			return 1;
		memory[page * WORDS] = memory[page * WORDS + WORDS - 1] = word(page, rounds + 1);
		if (page % 512 == 511)
			printf("%lu\n", (unsigned long) (rounds * n + page) >> 8);
		if (++page == n) {
			page = 0;
			rounds++;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (!is_right(memory, i, i < page ? rounds + 1 : rounds))
			return 1;
	return 0;
}
