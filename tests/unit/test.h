/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test - named cases and assertions; prints TAP, so that meson counts the cases.
 *
 *	static void adds(void) { CHECK_EQ(1 + 1, 2); }
 *	TEST_MAIN(CASE(adds))
 *
 * A failed assertion prints both values, ends its case, and the program ends with 1.
 */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct test_case {
	const char *name;
	void (*run)(void);
};

static jmp_buf test_failed;

#define TEST_FAIL(...)                                                                             \
	do {                                                                                       \
		(void) printf("# %s:%d: %s: ", __FILE__, __LINE__, __func__);                      \
		(void) printf(__VA_ARGS__);                                                        \
		(void) printf("\n");                                                               \
		longjmp(test_failed, 1);                                                           \
	} while (0)

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			TEST_FAIL("not true: %s", #condition);                                     \
	} while (0)

/* Integers of any type up to 64 bits; both are printed signed. */
#define CHECK_EQ(a, b)                                                                             \
	do {                                                                                       \
		__typeof__(a) _a = (a);                                                            \
		__typeof__(b) _b = (b);                                                            \
		if ((int64_t) _a != (int64_t) _b)                                                  \
			TEST_FAIL("%s is %lld, %s is %lld", #a, (long long) _a, #b,                \
				  (long long) _b);                                                 \
	} while (0)

/* Strings; NULL equals NULL alone. */
#define CHECK_STR(a, b)                                                                            \
	do {                                                                                       \
		const char *_a = (a), *_b = (b);                                                   \
		if ((!_a != !_b) || (_a && strcmp(_a, _b) != 0))                                   \
			TEST_FAIL("%s is \"%s\", should be \"%s\"", #a, _a ? _a : "(null)",        \
				  _b ? _b : "(null)");                                             \
	} while (0)

#define CHECK_CONTAINS(a, b)                                                                       \
	do {                                                                                       \
		const char *_a = (a), *_b = (b);                                                   \
		if (!_a || !strstr(_a, _b))                                                        \
			TEST_FAIL("%s is \"%s\", without \"%s\"", #a, _a ? _a : "(null)", _b);     \
	} while (0)

static inline bool test_passes(void (*run)(void))
{
	if (setjmp(test_failed) != 0)
		return false;
	run();
	return true;
}

static inline int test_run(const struct test_case *cases, unsigned int n)
{
	unsigned int n_failed = 0;

	(void) printf("1..%u\n", n);
	for (unsigned int i = 0; i < n; i++) {
		bool ok = test_passes(cases[i].run);

		(void) printf("%sok %u %s\n", ok ? "" : "not ", i + 1, cases[i].name);
		(void) fflush(stdout);
		n_failed += !ok;
	}
	(void) printf("# %u of %u cases failed\n", n_failed, n);
	return n_failed ? 1 : 0;
}

#define CASE(fn)                                                                                   \
	{                                                                                          \
		.name = #fn, .run = fn                                                             \
	}

#define TEST_MAIN(...)                                                                             \
	int main(void)                                                                             \
	{                                                                                          \
		static const struct test_case cases[] = {__VA_ARGS__};                             \
		return test_run(cases, sizeof(cases) / sizeof(cases[0]));                          \
	}
