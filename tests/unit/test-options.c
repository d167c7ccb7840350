/* SPDX-License-Identifier: GPL-2.0-or-later */
/* target/options: a struct's fields by name. */
#include <errno.h>
#include <stdlib.h>

#include "target/options.h"
#include "test.h"
#include "util/cleanup.h"

struct sample {
	char *text, *path;
	uint64_t bytes, limited, usec;
	uint32_t count, any;
	bool flag;
	int mode;
};

static const char *const modes[] = {"auto", "yes", "no", NULL};

static const struct ub_opt rows[] = {
	UB_OPT_STRING(struct sample, text, "Text", .help = "any text"),
	UB_OPT_PATH(struct sample, path, "Path", .required = true),
	UB_OPT_BYTES(struct sample, bytes, "Bytes", .dflt = "0", .live = true),
	UB_OPT_BYTES(struct sample, limited, "Limited", .min = 4096, .max = 32 << 20),
	UB_OPT_USEC(struct sample, usec, "Usec", .dflt = "90s"),
	UB_OPT_UINT(struct sample, count, "Count", .min = 1, .max = 4096, .dflt = "2"),
	UB_OPT_UINT(struct sample, any, "Any"),
	UB_OPT_BOOL(struct sample, flag, "Flag", .dflt = "yes"),
	UB_OPT_ENUM(struct sample, mode, "Mode", .values = modes, .dflt = "auto"),
	{0},
};

static const char *why_not(struct sample *s, const char *key, const char *value)
{
	static char why[160];
	int r;

	(void) snprintf(why, sizeof(why), "ok");
	r = options_parse(options_find(rows, NULL, key), s, value, why, sizeof(why));
	CHECK_EQ(r, strcmp(why, "ok") == 0 ? 0 : -EINVAL);
	return why;
}

static void check_format(const struct sample *s, const char *key, const char *expected)
{
	_cleanup_free_ char *text = options_format(options_find(rows, NULL, key), s);

	CHECK_STR(text, expected);
}

static void defaults_are_set(void)
{
	struct sample s = {0};

	CHECK_EQ(options_init(rows, &s), 0);
	CHECK_STR(s.text, NULL);
	CHECK_EQ(s.usec, 90000000);
	CHECK_EQ(s.count, 2);
	CHECK_EQ(s.any, 0);
	CHECK(s.flag);
	CHECK_EQ(s.mode, 0);
	options_release(rows, &s);
}

static void values_are_stored(void)
{
	struct sample s = {0};

	CHECK_STR(why_not(&s, "Text", "hello"), "ok");
	CHECK_STR(why_not(&s, "Text", "again"), "ok");
	CHECK_STR(why_not(&s, "Path", "/x"), "ok");
	CHECK_STR(why_not(&s, "Limited", "1M"), "ok");
	CHECK_STR(why_not(&s, "Count", "4096"), "ok");
	CHECK_STR(why_not(&s, "Flag", "on"), "ok");
	CHECK_STR(why_not(&s, "Mode", "no"), "ok");
	CHECK_STR(s.text, "again");
	CHECK_STR(s.path, "/x");
	CHECK_EQ(s.limited, 1 << 20);
	CHECK_EQ(s.count, 4096);
	CHECK(s.flag);
	CHECK_EQ(s.mode, 2);
	options_release(rows, &s);
	CHECK_STR(s.text, NULL);
	CHECK_STR(s.path, NULL);
}

static void empty_value_is_the_default(void)
{
	struct sample s = {0};

	CHECK_STR(why_not(&s, "Text", "hello"), "ok");
	CHECK_STR(why_not(&s, "Text", ""), "ok");
	CHECK_STR(why_not(&s, "Count", "9"), "ok");
	CHECK_STR(why_not(&s, "Count", ""), "ok");
	CHECK_STR(s.text, NULL);
	CHECK_EQ(s.count, 2);
}

static void rules_are_named(void)
{
	struct sample s = {.count = 7, .limited = 7, .mode = 1};

	CHECK_STR(why_not(&s, "Path", "x"), "must be an absolute path");
	CHECK_STR(why_not(&s, "Bytes", "1.5G"),
		  "must be a size: bytes, or a number and K, M, G, T or P");
	CHECK_STR(why_not(&s, "Bytes", "99999999P"), "is too large");
	CHECK_STR(why_not(&s, "Limited", "512"), "must be 4K .. 32M");
	CHECK_STR(why_not(&s, "Limited", "33M"), "must be 4K .. 32M");
	CHECK_STR(why_not(&s, "Count", "0"), "must be 1 .. 4096");
	CHECK_STR(why_not(&s, "Count", "many"), "must be 1 .. 4096");
	CHECK_STR(why_not(&s, "Any", "4294967296"), "must be 0 .. 4294967295");
	CHECK_STR(why_not(&s, "Flag", "maybe"), "must be yes or no");
	CHECK_STR(why_not(&s, "Mode", "maybe"), "must be auto, yes or no");
	CHECK_STR(why_not(&s, "Usec", "soon"), "must be a time such as 30s, 500ms or 5min");
	CHECK_EQ(s.count, 7);
	CHECK_EQ(s.limited, 7);
	CHECK_EQ(s.mode, 1);
}

static void long_path_is_refused(void)
{
	_cleanup_free_ char *path = malloc(4097);
	struct sample s = {0};

	CHECK(path);
	memset(path, 'x', 4096);
	path[0] = '/';
	path[4096] = '\0';
	CHECK_STR(why_not(&s, "Path", path), "must be shorter than 4096 bytes");
	path[4095] = '\0';
	CHECK_STR(why_not(&s, "Path", path), "ok");
	options_release(rows, &s);
}

static void enum_with_yes_takes_booleans(void)
{
	struct sample s = {0};

	CHECK_STR(why_not(&s, "Mode", "TRUE"), "ok");
	CHECK_EQ(s.mode, 1);
	CHECK_STR(why_not(&s, "Mode", "0"), "ok");
	CHECK_EQ(s.mode, 2);
}

static void formatted_values_read_back(void)
{
	struct sample s = {0}, t = {0};

	CHECK_EQ(options_init(rows, &s), 0);
	check_format(&s, "Text", "");
	check_format(&s, "Bytes", "0");
	check_format(&s, "Limited", "");
	check_format(&s, "Any", "");
	check_format(&s, "Usec", "90s");
	check_format(&s, "Flag", "yes");
	check_format(&s, "Mode", "auto");
	CHECK_STR(why_not(&s, "Text", "a b;c"), "ok");
	CHECK_STR(why_not(&s, "Bytes", "1536"), "ok");
	CHECK_STR(why_not(&s, "Limited", "8192"), "ok");
	CHECK_STR(why_not(&s, "Usec", "1s 500ms"), "ok");
	check_format(&s, "Limited", "8K");
	check_format(&s, "Usec", "1500ms");
	for (const struct ub_opt *o = rows; o->key; o++) {
		_cleanup_free_ char *text = options_format(o, &s);

		CHECK_STR(why_not(&t, o->key, text), "ok");
	}
	CHECK(options_equal(rows, &s, &t));
	options_release(rows, &s);
	CHECK(!options_equal(rows, &s, &t));
	options_release(rows, &t);
}

static void required_needs_a_value(void)
{
	const struct ub_opt *path = options_find(rows, NULL, "Path");
	struct sample s = {0};

	CHECK(!options_is_set(path, &s));
	CHECK_STR(why_not(&s, "Path", "/x"), "ok");
	CHECK(options_is_set(path, &s));
	options_release(rows, &s);
}

static void keys_are_exact_and_suggested(void)
{
	static const struct ub_opt sections[] = {
		{.key = "Depth", .section = "Queue"},
		{.key = "Size", .section = "Device"},
		{0},
	};

	CHECK(!options_find(rows, NULL, "path"));
	CHECK_STR(options_suggest(rows, NULL, "path"), "Path");
	CHECK_STR(options_suggest(rows, NULL, "Coutn"), "Count");
	CHECK_STR(options_suggest(rows, NULL, "Nothing"), NULL);
	CHECK(options_find(sections, "Queue", "Depth") == &sections[0]);
	CHECK(!options_find(sections, "Device", "Depth"));
	CHECK_STR(options_suggest(sections, "Device", "Dept"), NULL);
}

static void help_shows_all_rows(void)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	CHECK(f);
	options_help(rows, f);
	(void) fclose(f);
	CHECK_CONTAINS(text, "  Text=TEXT                      any text\n");
	CHECK_CONTAINS(text, "Path=PATH");
	CHECK_CONTAINS(text, "(required)");
	CHECK_CONTAINS(text, "Limited=4K..32M");
	CHECK_CONTAINS(text, "Count=1..4096");
	CHECK_CONTAINS(text, "Mode=auto|yes|no");
	CHECK_CONTAINS(text, "(default: 90s)\n");
	CHECK_CONTAINS(text, "(default: 0) (live)\n");
}

static void no_table_is_an_empty_table(void)
{
	CHECK(!options_find(NULL, NULL, "Path"));
	CHECK_STR(options_suggest(NULL, NULL, "Path"), NULL);
	CHECK_EQ(options_init(NULL, NULL), 0);
	CHECK(options_equal(NULL, NULL, NULL));
	options_release(NULL, NULL);
}

TEST_MAIN(CASE(defaults_are_set), CASE(values_are_stored), CASE(empty_value_is_the_default),
	  CASE(rules_are_named), CASE(long_path_is_refused), CASE(enum_with_yes_takes_booleans),
	  CASE(formatted_values_read_back), CASE(required_needs_a_value),
	  CASE(keys_are_exact_and_suggested), CASE(help_shows_all_rows),
	  CASE(no_table_is_an_empty_table))
