/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-error - failures as D-Bus errors. Our kinds live below org.ublkd1.Error; what D-Bus has a
 * name for keeps that. Texts are cut at fixed sizes and may quote file names, so they can hold
 * broken UTF-8: the broker would throw us off the bus for it, hence nothing is sent uncleaned.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "util/parse.h"

void bus_clean_text(char *s)
{
	bool valid = utf8_is_valid(s, strlen(s));

	for (; *s; s++) {
		unsigned char c = (unsigned char) *s;

		if (c < 0x20 || c == 0x7f || (c >= 0x80 && !valid))
			*s = '?';
	}
}

int bus_append_string(sd_bus_message *m, const char *s)
{
	_cleanup_free_ char *copy = NULL;

	if (!s)
		s = "";
	if (utf8_is_valid(s, strlen(s)))
		return sd_bus_message_append_basic(m, 's', s);

	copy = strdup(s);
	if (!copy)
		return -ENOMEM;
	bus_clean_text(copy);
	return sd_bus_message_append_basic(m, 's', copy);
}

const char *bus_failure_name(enum failure_kind kind, char buf[static BUS_ERROR_NAME_MAX])
{
	if (kind == FAILURE_LIMITS_EXCEEDED)
		return SD_BUS_ERROR_LIMITS_EXCEEDED;
	if (kind == FAILURE_NO_MEMORY)
		return SD_BUS_ERROR_NO_MEMORY;
	(void) snprintf(buf, BUS_ERROR_NAME_MAX, BUS_ERROR_PREFIX "%s", failure_name(kind));
	return buf;
}

/* "disk0: ..." or "... 'disk0' ..." */
static bool names_device(const char *text, const char *device)
{
	char quoted[DEVICE_NAME_MAX + 3];
	size_t n = strlen(device);

	(void) snprintf(quoted, sizeof(quoted), "'%s'", device);
	return (strncmp(text, device, n) == 0 && text[n] == ':') || strstr(text, quoted);
}

void bus_failure_text(const struct failure *f, const char *device, char *ret, size_t size)
{
	if (!device || names_device(f->text, device))
		(void) snprintf(ret, size, "%s", f->text);
	else
		(void) snprintf(ret, size, "%s: %s", device, f->text);
	bus_clean_text(ret);
}

int bus_set_failure(sd_bus_error *error, const char *device, const struct failure *f)
{
	char name[BUS_ERROR_NAME_MAX], text[sizeof(f->text) + 64];

	if (!failure_is_set(f))
		return sd_bus_error_setf(error, SD_BUS_ERROR_NO_MEMORY, "%s: not enough memory",
					 device ? device : "ublkd");
	bus_failure_text(f, device, text, sizeof(text));
	return sd_bus_error_set(error, bus_failure_name(f->kind, name), text);
}

static int set_formatted(sd_bus_error *error, const char *name, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

static int set_formatted(sd_bus_error *error, const char *name, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		return sd_bus_error_set(error, SD_BUS_ERROR_NO_MEMORY, NULL);
	}
	bus_clean_text(text);
	return sd_bus_error_set(error, name, text);
}

int bus_set_errorf(sd_bus_error *error, enum failure_kind kind, const char *fmt, ...)
{
	char name[BUS_ERROR_NAME_MAX];
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = set_formatted(error, bus_failure_name(kind, name), fmt, ap);
	va_end(ap);
	return r;
}

int bus_set_argsf(sd_bus_error *error, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = set_formatted(error, SD_BUS_ERROR_INVALID_ARGS, fmt, ap);
	va_end(ap);
	return r;
}
