/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define USEC_PER_SEC 1000000ULL

static const char size_suffixes[] = "KMGTP";

static bool in_list(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (strcasecmp(s, *list) == 0)
			return true;
	return false;
}

int parse_bool(const char *s, bool *ret)
{
	static const char *const yes[] = {"1", "yes", "y", "true", "t", "on", NULL};
	static const char *const no[] = {"0", "no", "n", "false", "f", "off", NULL};

	if (in_list(s, yes))
		*ret = true;
	else if (in_list(s, no))
		*ret = false;
	else
		return -EINVAL;
	return 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Takes all digits at *s, also when they are too many: what follows may still be -EINVAL. */
static int scan_uint(const char **s, uint64_t *ret)
{
	uint64_t v = 0;
	int r = 0;

	if (!is_digit(**s))
		return -EINVAL;
	for (; is_digit(**s); (*s)++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t) (**s - '0'), &v))
			r = -ERANGE;
	if (r == 0)
		*ret = v;
	return r;
}

int parse_uint(const char *s, uint64_t *ret)
{
	uint64_t v = 0;
	int r;

	r = scan_uint(&s, &v);
	if (*s)
		return -EINVAL;
	if (r == 0)
		*ret = v;
	return r;
}

int parse_size(const char *s, uint64_t *ret)
{
	unsigned int shift = 0;
	uint64_t v = 0;
	int r;

	r = scan_uint(&s, &v);
	if (r == -EINVAL)
		return r;
	if (*s) {
		const char *suffix = strchr(size_suffixes, *s++);

		if (!suffix || *s)
			return -EINVAL;
		shift = 10 * (unsigned int) (suffix - size_suffixes + 1);
	}
	if (r < 0 || v > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = v << shift;
	return 0;
}

/* The unit at *s in microseconds, 0 if there is none of that name. */
static uint64_t scan_unit(const char **s)
{
	static const struct {
		const char *name;
		uint64_t usec;
	} units[] = {
		{"us", 1},
		{"ms", 1000},
		{"s", USEC_PER_SEC},
		{"sec", USEC_PER_SEC},
		{"m", 60 * USEC_PER_SEC},
		{"min", 60 * USEC_PER_SEC},
		{"h", 3600 * USEC_PER_SEC},
		{"d", 24 * 3600 * USEC_PER_SEC},
	};
	size_t len = 0;

	while (isalpha((unsigned char) (*s)[len]))
		len++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strlen(units[i].name) == len && strncmp(*s, units[i].name, len) == 0) {
			*s += len;
			return units[i].usec;
		}
	return 0;
}

int parse_sec(const char *s, uint64_t *ret_usec)
{
	uint64_t sum = 0;
	bool overflow = false, first = true;

	do {
		uint64_t n = 0, unit;
		int r = scan_uint(&s, &n);

		if (r == -EINVAL)
			return r;
		/* A bare number stands alone: "2min 30" says not what 30 is. */
		unit = first && !*s ? USEC_PER_SEC : scan_unit(&s);
		if (unit == 0)
			return -EINVAL;
		overflow |= r < 0 || __builtin_mul_overflow(n, unit, &n) ||
			    __builtin_add_overflow(sum, n, &sum);
		s += strspn(s, " ");
		first = false;
	} while (*s);
	if (overflow)
		return -ERANGE;
	*ret_usec = sum;
	return 0;
}

/* One item "3" or "0-3" of a CPU list and the comma behind it. */
static int scan_cpus(const char **s, uint64_t *ret_first, uint64_t *ret_last)
{
	uint64_t first = 0, last = 0;
	int r, q = 0;

	r = scan_uint(s, &first);
	if (r == -EINVAL)
		return r;
	last = first;
	if (**s == '-') {
		(*s)++;
		q = scan_uint(s, &last);
		if (q == -EINVAL)
			return q;
	}
	if (**s == ',' && (*s)[1])
		(*s)++;
	else if (**s)
		return -EINVAL;
	if (r < 0 || q < 0)
		return -ERANGE;
	if (first > last)
		return -EINVAL;
	*ret_first = first;
	*ret_last = last;
	return 0;
}

int parse_cpus(const char *s, unsigned int max_cpus, uint64_t *ret_mask)
{
	uint64_t first = 0, last = 0;
	const char *at = s;

	do {
		int r = scan_cpus(&at, &first, &last);

		if (r < 0)
			return r;
		if (last >= max_cpus)
			return -ERANGE;
	} while (*at);

	memset(ret_mask, 0, ((size_t) max_cpus + 63) / 64 * sizeof(*ret_mask));
	do {
		(void) scan_cpus(&s, &first, &last);
		for (uint64_t cpu = first; cpu <= last; cpu++)
			ret_mask[cpu / 64] |= UINT64_C(1) << cpu % 64;
	} while (*s);
	return 0;
}

char *format_size(char buf[static FORMAT_SIZE_MAX], uint64_t bytes)
{
	const char *next = size_suffixes;
	char suffix[2] = "";

	for (; bytes && bytes % 1024 == 0 && *next; bytes /= 1024)
		suffix[0] = *next++;
	(void) snprintf(buf, FORMAT_SIZE_MAX, "%" PRIu64 "%s", bytes, suffix);
	return buf;
}

static bool is_alnum(char c)
{
	return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool device_name_is_valid(const char *s)
{
	size_t len = 0;

	if (!is_alnum(s[0]) || strcmp(s, "control") == 0)
		return false;
	while (is_alnum(s[len]) || (s[len] && strchr("._-", s[len])))
		len++;
	return s[len] == '\0' && len <= DEVICE_NAME_MAX;
}

/* Length of the sequence @lead begins, 0 if none begins so; its smallest code point. */
static size_t utf8_sequence(unsigned char lead, uint32_t *ret_min)
{
	static const uint32_t min[] = {0, 1, 0x80, 0x800, 0x10000};
	size_t n;

	if (lead < 0x80)
		n = lead ? 1 : 0;
	else if ((lead & 0xe0) == 0xc0)
		n = 2;
	else if ((lead & 0xf0) == 0xe0)
		n = 3;
	else
		n = (lead & 0xf8) == 0xf0 ? 4 : 0;
	*ret_min = min[n];
	return n;
}

bool utf8_is_valid(const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *) s, *end = u + len;

	while (u < end) {
		uint32_t min, code;
		size_t n = utf8_sequence(*u, &min);

		if (n == 0 || n > (size_t) (end - u))
			return false;
		code = n == 1 ? *u : *u & (0x7fU >> n);
		for (size_t i = 1; i < n; i++) {
			if ((u[i] & 0xc0) != 0x80)
				return false;
			code = code << 6 | (u[i] & 0x3fU);
		}
		if (code < min || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return false;
		u += n;
	}
	return true;
}

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int ab = a < b ? a : b;

	return ab < c ? ab : c;
}

static char folded(const char *s, size_t i)
{
	return (char) tolower((unsigned char) s[i]);
}

/* Optimal string alignment: edit distance in which a swap of two neighbours is one step. */
unsigned int text_distance(const char *typed, const char *known)
{
	enum { LEN_MAX = 48 };
	unsigned int row[LEN_MAX + 1][LEN_MAX + 1];
	size_t n = strlen(typed), m = strlen(known);

	if (n > LEN_MAX || m > LEN_MAX)
		return UINT_MAX;
	for (unsigned int i = 0; i <= n; i++) {
		for (unsigned int j = 0; j <= m; j++) {
			unsigned int *d = &row[i][j];
			bool same;

			if (i == 0 || j == 0) {
				*d = i + j;
				continue;
			}
			same = folded(typed, i - 1) == folded(known, j - 1);
			*d = min3(row[i - 1][j] + 1, row[i][j - 1] + 1, row[i - 1][j - 1] + !same);
			if (i > 1 && j > 1 && folded(typed, i - 1) == folded(known, j - 2) &&
			    folded(typed, i - 2) == folded(known, j - 1))
				*d = min3(*d, row[i - 2][j - 2] + 1, UINT_MAX);
		}
	}
	return row[n][m] <= 2 && (row[n][m] == 0 || row[n][m] * 2 < m) ? row[n][m] : UINT_MAX;
}
