/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/options.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/parse.h"

/* A value of any type on its way into a field. */
union value {
	char *text; /* borrowed until it is stored */
	uint64_t u64;
	uint32_t u32;
	int index;
	bool boolean;
};

/* A target without options may leave the table out. */
#define for_each_option(o, opts) for ((o) = (opts); (o) && (o)->key; (o)++)

static bool is_text(const struct ub_opt *opt)
{
	return opt->type == UB_TYPE_STRING || opt->type == UB_TYPE_PATH;
}

static void *field(const struct ub_opt *opt, const void *base)
{
	return (char *) base + opt->offset;
}

static char **text_field(const struct ub_opt *opt, const void *base)
{
	return field(opt, base);
}

static bool in_section(const struct ub_opt *opt, const char *section)
{
	return !opt->section || !section || strcmp(opt->section, section) == 0;
}

const struct ub_opt *options_find(const struct ub_opt *opts, const char *section, const char *key)
{
	const struct ub_opt *o;

	for_each_option(o, opts) if (in_section(o, section) && strcmp(o->key, key) == 0) return o;
	return NULL;
}

const char *options_suggest(const struct ub_opt *opts, const char *section, const char *key)
{
	unsigned int best = UINT_MAX;
	const char *nearest = NULL;
	const struct ub_opt *o;

	for_each_option(o, opts)
	{
		unsigned int d = in_section(o, section) ? text_distance(key, o->key) : UINT_MAX;

		if (d < best) {
			best = d;
			nearest = o->key;
		}
	}
	return nearest;
}

/* ---- the rules, as they stand in messages */

static int broken(char *why, size_t size, const char *rule)
{
	(void) snprintf(why, size, "%s", rule);
	return -EINVAL;
}

static int broken_size_range(const struct ub_opt *opt, char *why, size_t size)
{
	char min[FORMAT_SIZE_MAX], max[FORMAT_SIZE_MAX];

	(void) format_size(min, opt->min);
	(void) format_size(max, opt->max);
	if (opt->max)
		(void) snprintf(why, size, "must be %s .. %s", min, max);
	else if (opt->min)
		(void) snprintf(why, size, "must be at least %s", min);
	else
		(void) snprintf(why, size, "is too large");
	return -EINVAL;
}

/* "must be auto, yes or no" */
static int broken_enum(const struct ub_opt *opt, char *why, size_t size)
{
	size_t used = 0;

	for (const char *const *v = opt->values; *v && used < size; v++) {
		const char *joint = v == opt->values ? "must be " : v[1] ? ", " : " or ";

		used += (size_t) snprintf(why + used, size - used, "%s%s", joint, *v);
	}
	return -EINVAL;
}

/* ---- text to a value */

static int parse_path(const char *s, union value *ret, char *why, size_t size)
{
	if (s[0] != '/')
		return broken(why, size, "must be an absolute path");
	if (strlen(s) >= PATH_MAX)
		return broken(why, size, "must be shorter than 4096 bytes");
	ret->text = (char *) s;
	return 0;
}

static int parse_bytes(const struct ub_opt *opt, const char *s, union value *ret, char *why,
		       size_t size)
{
	uint64_t v = 0;
	int r;

	r = parse_size(s, &v);
	if (r == -EINVAL)
		return broken(why, size, "must be a size: bytes, or a number and K, M, G, T or P");
	if (r < 0 || v < opt->min || (opt->max && v > opt->max))
		return broken_size_range(opt, why, size);
	ret->u64 = v;
	return 0;
}

static int parse_u32(const struct ub_opt *opt, const char *s, union value *ret, char *why,
		     size_t size)
{
	uint64_t max = opt->max ? opt->max : UINT32_MAX, v = 0;

	if (parse_uint(s, &v) < 0 || v < opt->min || v > max) {
		(void) snprintf(why, size, "must be %" PRIu64 " .. %" PRIu64, opt->min, max);
		return -EINVAL;
	}
	ret->u32 = (uint32_t) v;
	return 0;
}

/* Where a word is yes or no, the other spellings of a boolean are good too. */
static int parse_enum(const struct ub_opt *opt, const char *s, union value *ret, char *why,
		      size_t size)
{
	const char *synonym = "";
	bool b;

	if (parse_bool(s, &b) == 0)
		synonym = b ? "yes" : "no";
	for (int i = 0; opt->values[i]; i++)
		if (strcmp(opt->values[i], s) == 0 || strcmp(opt->values[i], synonym) == 0) {
			ret->index = i;
			return 0;
		}
	return broken_enum(opt, why, size);
}

static int parse_value(const struct ub_opt *opt, const char *s, union value *ret, char *why,
		       size_t size)
{
	switch (opt->type) {
	case UB_TYPE_STRING:
		ret->text = (char *) s;
		return 0;
	case UB_TYPE_PATH:
		return parse_path(s, ret, why, size);
	case UB_TYPE_BYTES:
		return parse_bytes(opt, s, ret, why, size);
	case UB_TYPE_UINT:
		return parse_u32(opt, s, ret, why, size);
	case UB_TYPE_ENUM:
		return parse_enum(opt, s, ret, why, size);
	case UB_TYPE_BOOL:
		if (parse_bool(s, &ret->boolean) < 0)
			return broken(why, size, "must be yes or no");
		return 0;
	case UB_TYPE_USEC:
		if (parse_sec(s, &ret->u64) < 0)
			return broken(why, size, "must be a time such as 30s, 500ms or 5min");
		if (ret->u64 < opt->min || (opt->max && ret->u64 > opt->max))
			return broken(why, size, "must be a time between 1us and a year");
		return 0;
	}
	assert(!"a type of an option");
	return -EINVAL;
}

/* ---- a value to the field, and back to text */

static int store(const struct ub_opt *opt, void *base, const union value *v)
{
	switch (opt->type) {
	case UB_TYPE_STRING:
	case UB_TYPE_PATH: {
		char *copy = v->text ? strdup(v->text) : NULL;

		if (v->text && !copy)
			return -ENOMEM;
		free(*text_field(opt, base));
		*text_field(opt, base) = copy;
		return 0;
	}
	case UB_TYPE_BYTES:
	case UB_TYPE_USEC:
		*(uint64_t *) field(opt, base) = v->u64;
		return 0;
	case UB_TYPE_UINT:
		*(uint32_t *) field(opt, base) = v->u32;
		return 0;
	case UB_TYPE_ENUM:
		*(int *) field(opt, base) = v->index;
		return 0;
	case UB_TYPE_BOOL:
		*(bool *) field(opt, base) = v->boolean;
		return 0;
	}
	assert(!"a type of an option");
	return -EINVAL;
}

int options_parse(const struct ub_opt *opt, void *base, const char *value, char *why,
		  size_t why_size)
{
	union value v = {.u64 = 0};
	int r;

	assert(opt && base && value && why && why_size);
	if (!*value)
		value = opt->dflt;
	if (value) {
		r = parse_value(opt, value, &v, why, why_size);
		if (r < 0)
			return r;
	}
	return store(opt, base, &v);
}

int options_init(const struct ub_opt *opts, void *base)
{
	const struct ub_opt *o;
	char why[128];
	int r;

	for_each_option(o, opts)
	{
		r = options_parse(o, base, "", why, sizeof(why));
		assert(r == 0 || r == -ENOMEM);
		if (r < 0)
			return r;
	}
	return 0;
}

void options_release(const struct ub_opt *opts, void *base)
{
	const struct ub_opt *o;

	for_each_option(o, opts) if (is_text(o))
	{
		free(*text_field(o, base));
		*text_field(o, base) = NULL;
	}
}

static char *format_uint(uint64_t v, const char *unit)
{
	char *text;

	return asprintf(&text, "%" PRIu64 "%s", v, unit) < 0 ? NULL : text;
}

static char *format_usec(uint64_t usec)
{
	if (usec % 1000000 == 0)
		return format_uint(usec / 1000000, "s");
	if (usec % 1000 == 0)
		return format_uint(usec / 1000, "ms");
	return format_uint(usec, "us");
}

/* A number that is 0 without a default is unset; "0" might not be in its range. */
static bool is_unset(const struct ub_opt *opt, const void *base)
{
	switch (opt->type) {
	case UB_TYPE_STRING:
	case UB_TYPE_PATH:
		return !*text_field(opt, base);
	case UB_TYPE_BYTES:
	case UB_TYPE_USEC:
		return *(uint64_t *) field(opt, base) == 0;
	case UB_TYPE_UINT:
		return *(uint32_t *) field(opt, base) == 0;
	case UB_TYPE_ENUM:
	case UB_TYPE_BOOL:
		return false;
	}
	return false;
}

char *options_format(const struct ub_opt *opt, const void *base)
{
	char size[FORMAT_SIZE_MAX];

	assert(opt && base);
	if (!opt->dflt && is_unset(opt, base))
		return strdup("");
	switch (opt->type) {
	case UB_TYPE_STRING:
	case UB_TYPE_PATH:
		return strdup(*text_field(opt, base) ? *text_field(opt, base) : "");
	case UB_TYPE_BYTES:
		return strdup(format_size(size, *(uint64_t *) field(opt, base)));
	case UB_TYPE_USEC:
		return format_usec(*(uint64_t *) field(opt, base));
	case UB_TYPE_UINT:
		return format_uint(*(uint32_t *) field(opt, base), "");
	case UB_TYPE_ENUM:
		return strdup(opt->values[*(int *) field(opt, base)]);
	case UB_TYPE_BOOL:
		return strdup(*(bool *) field(opt, base) ? "yes" : "no");
	}
	assert(!"a type of an option");
	return NULL;
}

bool options_is_set(const struct ub_opt *opt, const void *base)
{
	return !is_unset(opt, base);
}

static bool field_equal(const struct ub_opt *opt, const void *a, const void *b)
{
	switch (opt->type) {
	case UB_TYPE_STRING:
	case UB_TYPE_PATH: {
		const char *s = *text_field(opt, a), *t = *text_field(opt, b);

		return strcmp(s ? s : "", t ? t : "") == 0;
	}
	case UB_TYPE_BYTES:
	case UB_TYPE_USEC:
		return *(uint64_t *) field(opt, a) == *(uint64_t *) field(opt, b);
	case UB_TYPE_UINT:
		return *(uint32_t *) field(opt, a) == *(uint32_t *) field(opt, b);
	case UB_TYPE_ENUM:
		return *(int *) field(opt, a) == *(int *) field(opt, b);
	case UB_TYPE_BOOL:
		return *(bool *) field(opt, a) == *(bool *) field(opt, b);
	}
	return false;
}

bool options_equal(const struct ub_opt *opts, const void *a, const void *b)
{
	const struct ub_opt *o;

	for_each_option(o, opts) if (!field_equal(o, a, b)) return false;
	return true;
}

/* ---- help */

static void type_text(const struct ub_opt *opt, char *buf, size_t size)
{
	static const char *const names[] = {
		[UB_TYPE_STRING] = "TEXT", [UB_TYPE_PATH] = "PATH",   [UB_TYPE_BYTES] = "BYTES",
		[UB_TYPE_UINT] = "NUMBER", [UB_TYPE_BOOL] = "yes|no", [UB_TYPE_USEC] = "TIME",
	};
	char min[FORMAT_SIZE_MAX], max[FORMAT_SIZE_MAX];
	size_t used = 0;

	if (opt->type == UB_TYPE_ENUM)
		for (const char *const *v = opt->values; *v && used < size; v++)
			used += (size_t) snprintf(buf + used, size - used, "%s%s",
						  v == opt->values ? "" : "|", *v);
	else if (opt->type == UB_TYPE_UINT && opt->max)
		(void) snprintf(buf, size, "%" PRIu64 "..%" PRIu64, opt->min, opt->max);
	else if (opt->type == UB_TYPE_BYTES && opt->max)
		(void) snprintf(buf, size, "%s..%s", format_size(min, opt->min),
				format_size(max, opt->max));
	else
		(void) snprintf(buf, size, "%s", names[opt->type]);
}

void options_help(const struct ub_opt *opts, FILE *f)
{
	const struct ub_opt *o;

	for_each_option(o, opts)
	{
		char type[128], head[192];

		type_text(o, type, sizeof(type));
		(void) snprintf(head, sizeof(head), "%s=%s", o->key, type);
		(void) fprintf(f, "  %-30s %s", head, o->help ? o->help : "");
		if (o->required)
			(void) fprintf(f, " (required)");
		else if (o->dflt)
			(void) fprintf(f, " (default: %s)", o->dflt);
		if (o->live)
			(void) fprintf(f, " (live)");
		(void) fputc('\n', f);
	}
}
