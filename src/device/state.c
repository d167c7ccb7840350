/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/ini-reader.h"
#include "ublk/data-path.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/parse.h"

/*
 * A program writes the version it knows, and the oldest reader its files are good for. Keys that a
 * reader does not know it passes over.
 */
enum { STATE_VERSION = 1, STATE_READABLE_FROM = 1 };

#define STATE_FILE_MAX (64 * 1024)
#define ERRNO_MAX 4095

DEFINE_CLEANUP(struct saved_device *, saved_device_free);

struct saved_device *saved_device_free(struct saved_device *s)
{
	if (!s)
		return NULL;
	(void) device_config_free(s->config);
	free(s);
	return NULL;
}

void state_free(struct saved_device **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void) saved_device_free(v[i]);
	free(v);
}

int state_open(const char *runtime_dir)
{
	_cleanup_close_ int dir = -1;
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/state", runtime_dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0 || fstat(dir, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return -EPERM;
	return TAKE_FD(dir);
}

/* ---- writing */

/* A value on one line, whatever is in it. */
static void put_escaped(FILE *f, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char) *s;

		if (c <= ' ' || c >= 0x7f || strchr("%\"\\;#", c))
			(void) fprintf(f, "%%%02x", c);
		else
			(void) fputc(c, f);
	}
}

static int put_setting(void *arg, const char *section, const struct ub_opt *opt, const char *value)
{
	FILE *f = arg;

	(void) section;
	if (!*value)
		return 0;
	(void) fprintf(f, "%s=", opt->bus_key ? opt->bus_key : opt->key);
	put_escaped(f, value);
	(void) fputc('\n', f);
	return 0;
}

static int put_all(FILE *f, const struct saved_device *s)
{
	int r;

	(void) fprintf(f,
		       "[State]\nVersion=%d\nReadableFrom=%d\nName=%s\nCookie=%016" PRIx64
		       "\nCopy=%s\nBatch=%s\nThreadsPerQueue=%" PRIu32 "\nSyncError=%d\nBacking=",
		       STATE_VERSION, STATE_READABLE_FROM, s->config->name, s->cookie,
		       data_copy_names[s->copy], data_batch_names[s->batch], s->threads_per_queue,
		       -s->sync_error);
	put_escaped(f, s->backing);
	(void) fputs("\nFragment=", f);
	put_escaped(f, s->config->fragment_path ? s->config->fragment_path : "");
	(void) fputs("\n[Settings]\n", f);
	r = device_config_foreach(s->config, put_setting, f);
	if (r < 0)
		return r;
	return fflush(f) == 0 && !ferror(f) ? 0 : -EIO;
}

/* Names that no device has. */
static void temporary_name(const char *name, char buf[static 64])
{
	(void) snprintf(buf, 64, ".%s.new", name);
}

int state_save(int dir, const struct saved_device *s)
{
	_cleanup_fclose_ FILE *f = NULL;
	char temporary[64];
	int fd, r;

	temporary_name(s->config->name, temporary);
	(void) unlinkat(dir, temporary, 0);
	fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	f = fdopen(fd, "we");
	if (!f) {
		(void) close(fd);
		r = -ENOMEM;
	} else {
		r = put_all(f, s);
	}
	if (r == 0 && renameat(dir, temporary, dir, s->config->name) < 0)
		r = -errno;
	if (r < 0)
		(void) unlinkat(dir, temporary, 0);
	return r;
}

void state_remove(int dir, const char *name)
{
	if (dir >= 0 && unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		log_full(LOG_WARNING, errno, name, NULL, 0, "cannot remove its state file: %s",
			 strerror(errno));
}

bool state_exists(int dir, const char *name)
{
	return dir >= 0 && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- reading */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. Return: 0 or -EINVAL */
static int unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		int high, low;

		if (*s != '%') {
			*to++ = *s;
			continue;
		}
		high = hex_digit(s[1]);
		low = high < 0 ? -1 : hex_digit(s[2]);
		if (low < 0 || (high == 0 && low == 0))
			return -EINVAL;
		*to++ = (char) (high << 4 | low);
		s += 2;
	}
	*to = '\0';
	return 0;
}

static int find_name(const char *const *names, const char *value)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], value) == 0)
			return i;
	return -EINVAL;
}

static int get_number(const char *value, uint64_t min, uint64_t max, uint64_t *ret)
{
	if (parse_uint(value, ret) < 0 || *ret < min || *ret > max)
		return -EINVAL;
	return 0;
}

static int get_cookie(const char *value, uint64_t *ret)
{
	char *end;

	if (strlen(value) != 16 || strspn(value, "0123456789abcdef") != 16)
		return -EINVAL;
	*ret = strtoull(value, &end, 16);
	return 0;
}

/* A key of [State]. */
static int get_state(struct saved_device *s, const char *key, char *value)
{
	uint64_t n;
	int r = 0;

	if (strcmp(key, "ReadableFrom") == 0) {
		r = get_number(value, 0, UINT32_MAX, &n);
		return r == 0 && n > STATE_VERSION ? -EPROTONOSUPPORT : r;
	}
	if (strcmp(key, "Name") == 0)
		return strcmp(value, s->config->name) == 0 ? 0 : -EINVAL;
	if (strcmp(key, "Cookie") == 0)
		return get_cookie(value, &s->cookie);
	if (strcmp(key, "Copy") == 0)
		return s->copy = find_name(data_copy_names, value);
	if (strcmp(key, "Batch") == 0)
		return s->batch = find_name(data_batch_names, value);
	if (strcmp(key, "ThreadsPerQueue") == 0) {
		r = get_number(value, 1, 4096, &n);
		s->threads_per_queue = (uint32_t) n;
		return r;
	}
	if (strcmp(key, "SyncError") == 0) {
		r = get_number(value, 0, ERRNO_MAX, &n);
		s->sync_error = -(int) n;
		return r;
	}
	if (strcmp(key, "Backing") == 0) {
		if (unescape(value) < 0 || strlen(value) >= sizeof(s->backing))
			return -EINVAL;
		(void) snprintf(s->backing, sizeof(s->backing), "%s", value);
	} else if (strcmp(key, "Fragment") == 0 && *value) {
		if (unescape(value) < 0)
			return -EINVAL;
		free(s->config->fragment_path);
		s->config->fragment_path = strdup(value);
		r = s->config->fragment_path ? 0 : -ENOMEM;
	}
	return r;
}

static int get_setting(struct saved_device *s, const char *key, char *value)
{
	struct problems p = {0};
	int r = unescape(value);

	/* One that this version has not: a newer one's, whose default will do. */
	if (r == 0)
		r = device_config_set(s->config, key, value, &p);
	problems_release(&p);
	return r == -ENOMEM ? r : 0;
}

static int get_all(struct saved_device *s, const struct settings *written)
{
	struct problems p = {0};
	int r = 0;

	for (size_t i = 0; i < written->n && r >= 0; i++) {
		const struct setting *w = &written->v[i];

		if (!w->key)
			continue;
		if (strcmp(w->section, "State") == 0)
			r = get_state(s, w->key, w->value);
		else if (strcmp(w->section, "Settings") == 0)
			r = get_setting(s, w->key, w->value);
	}
	if (r >= 0)
		r = device_config_check(s->config, &p);
	problems_release(&p);
	if (r < 0)
		return r;
	return s->cookie && s->threads_per_queue && s->copy != DATA_COPY_AUTO ? 0 : -EINVAL;
}

/* Return: the open file, or NULL with errno; EPERM if somebody else could have written it */
static FILE *open_checked(int dir, const char *name)
{
	_cleanup_close_ int fd =
		openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	FILE *f;

	if (fd < 0 || fstat(fd, &st) < 0)
		return NULL;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) ||
	    st.st_nlink != 1 || st.st_size > STATE_FILE_MAX) {
		errno = EPERM;
		return NULL;
	}
	f = fdopen(fd, "re");
	if (f)
		(void) TAKE_FD(fd);
	return f;
}

static int load_one(int dir, const char *name, struct saved_device **ret)
{
	_cleanup_(saved_device_freep) struct saved_device *s = calloc(1, sizeof(*s));
	_cleanup_fclose_ FILE *f = open_checked(dir, name);
	struct settings written = {0};
	struct problems p = {0};
	int r;

	if (!f)
		return -errno;
	if (s)
		s->config = device_config_new(name);
	if (!s || !s->config)
		return -ENOMEM;
	r = ini_read(f, name, &written, &p);
	if (r == 0)
		r = problems_since(&p, 0);
	if (r == 0)
		r = get_all(s, &written);
	problems_release(&p);
	settings_release(&written);
	if (r == 0)
		*ret = TAKE_PTR(s);
	return r;
}

static const char *explain(int error)
{
	switch (error) {
	case -EINVAL:
		return "not of our making";
	case -EPROTONOSUPPORT:
		return "written by a newer ublkd, for those that know its format";
	default:
		return strerror(-error);
	}
}

static int load_entry(int dir, const char *name, struct saved_device ***v, size_t *n)
{
	struct saved_device *s = NULL, **more;
	int r = load_one(dir, name, &s);

	if (r < 0)
		return r;
	more = reallocarray(*v, *n + 1, sizeof(struct saved_device *));
	if (!more) {
		(void) saved_device_free(s);
		return -ENOMEM;
	}
	*v = more;
	more[(*n)++] = s;
	return 0;
}

size_t state_load(int dir, struct saved_device ***ret)
{
	int copy = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *e;
	size_t n = 0;

	*ret = NULL;
	if (!d && copy >= 0)
		(void) close(copy);
	while (d && (e = readdir(d))) {
		int r;

		if (!device_name_is_valid(e->d_name))
			continue;
		r = load_entry(dir, e->d_name, ret, &n);
		if (r < 0)
			log_full(LOG_ERR, -r, e->d_name, NULL, 0,
				 "its state file cannot be used (%s): if the kernel still has the "
				 "device, it is left as it is",
				 explain(r));
	}
	return n;
}
