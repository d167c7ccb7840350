/* SPDX-License-Identifier: GPL-2.0-or-later */
/* util/parse: numbers, sizes, times, CPU lists, names, UTF-8. */
#include <errno.h>
#include <limits.h>

#include "test.h"
#include "util/parse.h"

static void bool_takes_all_spellings(void)
{
	static const char *const yes[] = {"1", "yes", "Y", "TRUE", "t", "On"};
	static const char *const no[] = {"0", "no", "N", "FALSE", "f", "Off"};
	static const char *const bad[] = {"", "2", "ye", "yes ", "nope", "-1"};

	for (int i = 0; i < 6; i++) {
		bool b = false;

		CHECK_EQ(parse_bool(yes[i], &b), 0);
		CHECK(b);
		CHECK_EQ(parse_bool(no[i], &b), 0);
		CHECK(!b);
		CHECK_EQ(parse_bool(bad[i], &b), -EINVAL);
		CHECK(!b);
	}
}

static void uint_is_digits_only(void)
{
	static const char *const bad[] = {
		"", " 1", "1 ", "+1", "-1", "0x1", "1K", "1.0", "99999999999999999999x"};
	uint64_t v = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(parse_uint(bad[i], &v), -EINVAL);
	CHECK_EQ(parse_uint("18446744073709551616", &v), -ERANGE);
	CHECK_EQ(parse_uint("99999999999999999999999", &v), -ERANGE);
	CHECK_EQ(v, 7);
	CHECK_EQ(parse_uint("18446744073709551615", &v), 0);
	CHECK(v == UINT64_MAX);
	CHECK_EQ(parse_uint("0007", &v), 0);
	CHECK_EQ(v, 7);
}

static void size_has_upper_case_suffixes(void)
{
	static const struct {
		const char *s;
		uint64_t v;
	} good[] = {
		{"0", 0},
		{"512", 512},
		{"4K", 4096},
		{"3M", 3 << 20},
		{"2G", UINT64_C(2) << 30},
		{"5T", UINT64_C(5) << 40},
		{"16383P", UINT64_C(16383) << 50},
	};
	static const char *const bad[] = {"", "K", "4k", "4KB", "4 K", "1.5G", "4KK", "-1K", "4E"};
	uint64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CHECK_EQ(parse_size(good[i].s, &v), 0);
		CHECK_EQ(v, good[i].v);
	}
	v = 7;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(parse_size(bad[i], &v), -EINVAL);
	CHECK_EQ(parse_size("16384P", &v), -ERANGE);
	CHECK_EQ(parse_size("99999999999999999999K", &v), -ERANGE);
	CHECK_EQ(v, 7);
}

static void formatted_size_reads_back(void)
{
	static const struct {
		uint64_t v;
		const char *s;
	} rows[] = {
		{0, "0"},
		{1, "1"},
		{1023, "1023"},
		{1024, "1K"},
		{1536, "1536"},
		{2048, "2K"},
		{10 << 20, "10M"},
		{UINT64_C(1) << 50, "1P"},
		{UINT64_C(1) << 63, "8192P"},
		{UINT64_MAX, "18446744073709551615"},
	};
	char buf[FORMAT_SIZE_MAX];
	uint64_t v;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_STR(format_size(buf, rows[i].v), rows[i].s);
		CHECK_EQ(parse_size(buf, &v), 0);
		CHECK_EQ(v, rows[i].v);
	}
}

static void time_is_a_sum_of_units(void)
{
	static const struct {
		const char *s;
		uint64_t usec;
	} good[] = {
		{"0", 0},
		{"5", 5000000},
		{"5s", 5000000},
		{"5sec", 5000000},
		{"500ms", 500000},
		{"7us", 7},
		{"2min", 120000000},
		{"2m", 120000000},
		{"1h", UINT64_C(3600000000)},
		{"1d", UINT64_C(86400000000)},
		{"5s 2min 500ms", 125500000},
		{"1h30m", UINT64_C(5400000000)},
	};
	static const char *const bad[] = {"",	  " ",	"s",	   "5 s",     "5x",	 "-5s",
					  "1.5s", "5S", "2min 30", "30 2min", "5s,2min", "5sx"};
	uint64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CHECK_EQ(parse_sec(good[i].s, &v), 0);
		CHECK_EQ(v, good[i].usec);
	}
	v = 7;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(parse_sec(bad[i], &v), -EINVAL);
	CHECK_EQ(parse_sec("18446744073709551615", &v), -ERANGE);
	CHECK_EQ(parse_sec("18446744073709551615us 1us", &v), -ERANGE);
	CHECK_EQ(parse_sec("99999999999999999999us", &v), -ERANGE);
	CHECK_EQ(v, 7);
}

static void cpu_list_is_ranges(void)
{
	static const char *const bad[] = {"",	",",   "1,",  ",1",   "1-",
					  "-1", "3-1", "1 2", "1,,2", "a"};
	uint64_t mask[2] = {7, 7};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(parse_cpus(bad[i], 128, mask), -EINVAL);
	CHECK_EQ(parse_cpus("128", 128, mask), -ERANGE);
	CHECK_EQ(parse_cpus("0,5-128", 128, mask), -ERANGE);
	CHECK_EQ(parse_cpus("99999999999999999999", 128, mask), -ERANGE);
	CHECK_EQ(mask[0], 7);
	CHECK_EQ(mask[1], 7);

	CHECK_EQ(parse_cpus("0-3,8", 128, mask), 0);
	CHECK_EQ(mask[0], 0x10f);
	CHECK_EQ(mask[1], 0);
	CHECK_EQ(parse_cpus("63-64,127", 128, mask), 0);
	CHECK(mask[0] == UINT64_C(1) << 63);
	CHECK(mask[1] == (UINT64_C(1) << 63 | 1));
}

static void device_names_follow_the_rule(void)
{
	static const char *const good[] = {"a",
					   "0",
					   "loop0",
					   "a.b_c-d",
					   "Control",
					   "control0",
					   "a2345678901234567890123456789012345678901234567x"};
	static const char *const bad[] = {
		"",	   ".a",
		"-a",	   "_a",
		"control", "a b",
		"a/b",	   "a\xc3\xa4",
		"a@b",	   "a2345678901234567890123456789012345678901234567xy"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(device_name_is_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!device_name_is_valid(bad[i]));
}

static void utf8_is_strict(void)
{
	static const char *const good[] = {"",
					   "a",
					   "\xc2\x80",
					   "\xe2\x82\xac",
					   "\xed\x9f\xbf",
					   "\xee\x80\x80",
					   "\xf0\x90\x80\x80",
					   "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {
		"\x80", /* a continuation alone */
		"\xc3", /* cut short */
		"\xc0\x80", /* overlong */
		"\xe0\x9f\xbf", /* overlong */
		"\xf0\x8f\xbf\xbf",
		"\xed\xa0\x80", /* surrogate */
		"\xf4\x90\x80\x80", /* above U+10FFFF */
		"\xf8\x88\x80\x80\x80",
		"\xff",
		"a\xe2\x82z",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(utf8_is_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!utf8_is_valid(bad[i], strlen(bad[i])));
	CHECK(!utf8_is_valid("a\0b", 3));
}

static void distance_counts_slips(void)
{
	CHECK_EQ(text_distance("File", "File"), 0);
	CHECK_EQ(text_distance("fILE", "File"), 0);
	CHECK_EQ(text_distance("Fiel", "File"), 1);
	CHECK_EQ(text_distance("Fle", "File"), 1);
	CHECK_EQ(text_distance("Filee", "File"), 1);
	CHECK_EQ(text_distance("Readnoly", "ReadOnly"), 1);
	CHECK_EQ(text_distance("Read-Only", "ReadOnly"), 1);
	CHECK_EQ(text_distance("Autsatrt", "Autostart"), 2);
	CHECK(text_distance("Foo", "File") == UINT_MAX);
	CHECK(text_distance("Xd", "Id") == UINT_MAX); /* half the word is no slip */
	CHECK(text_distance("", "File") == UINT_MAX);
}

TEST_MAIN(CASE(bool_takes_all_spellings), CASE(uint_is_digits_only),
	  CASE(size_has_upper_case_suffixes), CASE(formatted_size_reads_back),
	  CASE(time_is_a_sum_of_units), CASE(cpu_list_is_ranges),
	  CASE(device_names_follow_the_rule), CASE(utf8_is_strict), CASE(distance_counts_slips))
