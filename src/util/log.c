/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-login.h>

#define IDENTIFIER "ublkd"
#define TEXT_MAX 2048
#define FIELDS_MAX 8

const char *const log_level_names[LOG_DEBUG + 2] = {"emerg",   "alert",	 "crit", "err",
						    "warning", "notice", "info", "debug"};

static _Atomic int max_level = LOG_INFO;
static _Atomic unsigned int n_lost; /* since the last message that was taken */
static bool use_journal; /* written by log_init only */
static int journal = -1; /* likewise */
static char *unit; /* likewise; NULL: not known */
static const struct sockaddr_un journal_address = {
	.sun_family = AF_UNIX,
	.sun_path = "/run/systemd/journal/socket",
};

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
	if (!use_journal || journal >= 0)
		return;
	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void) sd_pid_get_unit(0, &unit);
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

/* A field that does not fit is cut. The journal takes a line break for the field's end. */
static void __attribute__((format(printf, 2, 3))) entry_add(struct entry *e, const char *fmt, ...)
{
	char *field = e->text + e->used;
	size_t room = sizeof(e->text) - e->used, len;
	va_list ap;
	int r;

	assert(e->n < FIELDS_MAX);
	va_start(ap, fmt);
	r = vsnprintf(field, room, fmt, ap);
	va_end(ap);
	if (r < 0 || room == 0)
		return;
	len = (size_t) r < room ? (size_t) r : room - 1;
	for (size_t i = 0; i < len; i++)
		if (field[i] == '\n')
			field[i] = ' ';
	field[len++] = '\n';
	e->fields[e->n++] = (struct iovec){.iov_base = field, .iov_len = len};
	e->used += len;
}

/* What libsystemd would do, but for waiting: while the journal does not read, because it is
 * stopped, or because it waits for a disk that we serve, its socket fills up. */
static int send_to_journal(int level, int error, const char *device, const char *config_file,
			   unsigned int config_line, const char *text)
{
	struct entry e;
	struct msghdr m = {
		.msg_name = (void *) (uintptr_t) &journal_address,
		.msg_namelen = sizeof(journal_address),
		.msg_iov = e.fields,
	};

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
	/* The journal looks up whose a message is when it reads it. Who has ended by then has none,
	 * and his last words would be missing where the unit's messages are shown. */
	if (unit)
		entry_add(&e, "OBJECT_SYSTEMD_UNIT=%s", unit);
	m.msg_iovlen = (size_t) e.n;
	return sendmsg(journal, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* A pipe that can be written to takes a line of ours as a whole (PIPE_BUF). */
static int send_to_stderr(const char *text)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	char line[sizeof(IDENTIFIER) + TEXT_MAX + 2];
	int n = snprintf(line, sizeof(line), IDENTIFIER ": %s\n", text);

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return -EAGAIN;
	return write(STDERR_FILENO, line, (size_t) n) < 0 ? -errno : 0;
}

static int send_somewhere(int level, int error, const char *device, const char *config_file,
			  unsigned int config_line, const char *text)
{
	int r = -ENOENT;

	if (use_journal)
		r = send_to_journal(level, error, device, config_file, config_line, text);
	/* The stream that systemd made of stderr ends at the same journal. */
	return r == 0 || r == -EAGAIN ? r : send_to_stderr(text);
}

static void tell_lost(void)
{
	unsigned int n = atomic_exchange_explicit(&n_lost, 0, memory_order_relaxed);
	char text[64];

	if (!n)
		return;
	(void) snprintf(text, sizeof(text), "%u messages before this one are lost", n);
	if (send_somewhere(LOG_WARNING, 0, NULL, NULL, 0, text) < 0)
		atomic_fetch_add_explicit(&n_lost, n, memory_order_relaxed);
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
	tell_lost();
	if (send_somewhere(level, error, device, config_file, config_line, text) < 0)
		atomic_fetch_add_explicit(&n_lost, 1, memory_order_relaxed);
	errno = saved_errno;
}
