/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define IDENTIFIER "ublkd"
#define TEXT_MAX 2048
#define FIELDS_MAX 8

const char *const log_level_names[LOG_DEBUG + 2] = {"emerg",   "alert",	 "crit", "err",
						    "warning", "notice", "info", "debug"};

static _Atomic int max_level = LOG_INFO;
static bool use_journal; /* written by log_init only */

/* systemd gives the device and inode of the stream it made; a redirected stderr is another one. */
static bool stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;

	if (!s || sscanf(s, "%" SCNuMAX ":%" SCNuMAX, &dev, &ino) != 2)
		return false;
	if (fstat(STDERR_FILENO, &st) < 0)
		return false;
	return st.st_dev == dev && st.st_ino == ino;
}

void log_init(void)
{
	use_journal = stderr_is_journal();
}

bool log_is_journal(void)
{
	return use_journal;
}

void log_set_level(int level)
{
	assert(level >= LOG_EMERG && level <= LOG_DEBUG);
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

int log_get_level(void)
{
	return atomic_load_explicit(&max_level, memory_order_relaxed);
}

int log_level_from_string(const char *s)
{
	if (s[0] >= '0' && s[0] <= '7' && s[1] == '\0')
		return s[0] - '0';
	for (int i = 0; log_level_names[i]; i++)
		if (strcmp(s, log_level_names[i]) == 0)
			return i;
	return -EINVAL;
}

const char *log_level_to_string(int level)
{
	assert(level >= LOG_EMERG && level <= LOG_DEBUG);
	return log_level_names[level];
}

/* The fields of one journal entry, in memory of its own: logging must work without malloc. */
struct entry {
	struct iovec fields[FIELDS_MAX];
	int n;
	size_t used;
	char text[TEXT_MAX + PATH_MAX + 256];
};

/* A field that does not fit is cut. */
static void __attribute__((format(printf, 2, 3))) entry_add(struct entry *e, const char *fmt, ...)
{
	size_t room = sizeof(e->text) - e->used, len;
	va_list ap;
	int r;

	assert(e->n < FIELDS_MAX);
	va_start(ap, fmt);
	r = vsnprintf(e->text + e->used, room, fmt, ap);
	va_end(ap);
	if (r < 0 || room == 0)
		return;
	len = (size_t) r < room ? (size_t) r : room - 1;
	e->fields[e->n++] = (struct iovec){.iov_base = e->text + e->used, .iov_len = len};
	e->used += len;
}

static int send_to_journal(int level, int error, const char *device, const char *config_file,
			   unsigned int config_line, const char *text)
{
	struct entry e;

	e.n = 0;
	e.used = 0;
	entry_add(&e, "MESSAGE=%s", text);
	entry_add(&e, "PRIORITY=%d", level);
	entry_add(&e, "SYSLOG_IDENTIFIER=" IDENTIFIER);
	if (device)
		entry_add(&e, "UBLKD_DEVICE=%s", device);
	if (error)
		entry_add(&e, "ERRNO=%d", abs(error));
	if (config_file)
		entry_add(&e, "CONFIG_FILE=%s", config_file);
	if (config_line)
		entry_add(&e, "CONFIG_LINE=%u", config_line);
	return sd_journal_sendv(e.fields, e.n);
}

void log_full(int level, int error, const char *device, const char *config_file,
	      unsigned int config_line, const char *fmt, ...)
{
	int saved_errno = errno;
	char text[TEXT_MAX];
	size_t used = 0;
	va_list ap;

	if (level > log_get_level())
		return;
	if (device)
		used = (size_t) snprintf(text, sizeof(text), "%.*s: ", NAME_MAX, device);
	va_start(ap, fmt);
	(void) vsnprintf(text + used, sizeof(text) - used, fmt, ap);
	va_end(ap);
	if (!use_journal ||
	    send_to_journal(level, error, device, config_file, config_line, text) < 0)
		(void) fprintf(stderr, IDENTIFIER ": %s\n", text);
	errno = saved_errno;
}
