/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * json - writes what is in a D-Bus message as JSON: numbers and booleans as they are, everything
 * textual as string, structs and arrays as array, dictionaries as object. Whether the FILE could
 * take it is the caller's to ask at the end.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bus/bus-internal.h"

void json_string(FILE *f, const char *s)
{
	(void) fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char) *s;

		if (c == '"' || c == '\\')
			(void) fprintf(f, "\\%c", c);
		else if (c == '\n')
			(void) fputs("\\n", f);
		else if (c == '\t')
			(void) fputs("\\t", f);
		else if (c < 0x20 || c == 0x7f)
			(void) fprintf(f, "\\u%04x", (unsigned int) c);
		else
			(void) fputc(c, f);
	}
	(void) fputc('"', f);
}

static int json_basic(FILE *f, sd_bus_message *m, char type, bool as_string)
{
	union {
		const char *s;
		int b;
		uint8_t y;
		int16_t n;
		uint16_t q;
		int32_t i;
		uint32_t u;
		int64_t x;
		uint64_t t;
	} v;
	const char *quote = as_string ? "\"" : "";
	int r;

	if (!strchr("sogbynqiuxt", type))
		return -EOPNOTSUPP;
	r = sd_bus_message_read_basic(m, type, &v);
	if (r < 0)
		return r;

	if (type == 's' || type == 'o' || type == 'g') {
		json_string(f, v.s);
		return 0;
	}
	(void) fputs(quote, f);
	if (type == 'b')
		(void) fputs(v.b ? "true" : "false", f);
	else if (type == 'y')
		(void) fprintf(f, "%" PRIu8, v.y);
	else if (type == 'n')
		(void) fprintf(f, "%" PRId16, v.n);
	else if (type == 'q')
		(void) fprintf(f, "%" PRIu16, v.q);
	else if (type == 'i')
		(void) fprintf(f, "%" PRId32, v.i);
	else if (type == 'u')
		(void) fprintf(f, "%" PRIu32, v.u);
	else if (type == 'x')
		(void) fprintf(f, "%" PRId64, v.x);
	else
		(void) fprintf(f, "%" PRIu64, v.t);
	(void) fputs(quote, f);
	return 0;
}

static int json_entry(FILE *f, sd_bus_message *m, const char *contents)
{
	int r;

	r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, contents);
	if (r < 0)
		return r;
	r = json_basic(f, m, contents[0], true);
	if (r < 0)
		return r;
	(void) fputc(':', f);
	r = json_value(f, m);
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

int json_value(FILE *f, sd_bus_message *m)
{
	const char *contents, *inner;
	bool object, list;
	char type, inner_type;
	int r;

	r = sd_bus_message_peek_type(m, &type, &contents);
	if (r < 0)
		return r;
	if (r == 0)
		return -ENODATA;
	if (!strchr("arv", type))
		return json_basic(f, m, type, false);

	r = sd_bus_message_enter_container(m, type, contents);
	if (r < 0)
		return r;
	object = type == SD_BUS_TYPE_ARRAY && contents[0] == '{';
	list = type != SD_BUS_TYPE_VARIANT;
	if (list)
		(void) fputc(object ? '{' : '[', f);
	for (bool first = true;; first = false) {
		r = sd_bus_message_peek_type(m, &inner_type, &inner);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		if (!first)
			(void) fputc(',', f);
		r = object ? json_entry(f, m, inner) : json_value(f, m);
		if (r < 0)
			return r;
	}
	if (list)
		(void) fputc(object ? '}' : ']', f);
	return sd_bus_message_exit_container(m);
}
