/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fail-calls.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <systemd/sd-event.h>

#include "fake-driver.h"

static _Atomic bool counting;
static _Atomic unsigned int n_calls, fail_at;
static _Atomic bool sticky, hit;
static const char *volatile hit_call;

void fail_calls_arm(unsigned int n, bool all_after)
{
	atomic_store(&n_calls, 0);
	atomic_store(&fail_at, n);
	atomic_store(&sticky, all_after);
	atomic_store(&hit, false);
	hit_call = "";
}

void fail_calls_count(bool on)
{
	atomic_store(&counting, on);
}

bool fail_calls_hit(void)
{
	return atomic_load(&hit);
}

const char *fail_calls_name(void)
{
	return hit_call;
}

unsigned int fail_calls_counted(void)
{
	return atomic_load(&n_calls);
}

static bool fails(const char *call)
{
	unsigned int n, at;

	if (fake_inside || !atomic_load(&counting))
		return false;
	n = atomic_fetch_add(&n_calls, 1) + 1;
	at = atomic_load(&fail_at);
	if (!at || n < at || (n > at && !atomic_load(&sticky)))
		return false;
	if (n == at)
		hit_call = call;
	atomic_store(&hit, true);
	return true;
}

int fail_ring_call(const char *call)
{
	static const struct {
		const char *call;
		int error;
	} known[] = {
		{"init", -ENOMEM},
		{"register-files", -ENOMEM},
		{"register-buffers", -ENOMEM},
		{"register-buf-ring", -ENOMEM},
		{"submit", -EAGAIN},
	};

	for (unsigned int i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(call, known[i].call) == 0) {
			bool f;

			if (fake_is_guard)
				return 0;
			/* What asks to be tried again, for ever, is tried for ever. */
			if (known[i].error == -EAGAIN && atomic_load(&sticky))
				return 0;
			fake_inside--; /* it is the daemon's call */
			f = fails(call);
			fake_inside++;
			return f ? known[i].error : 0;
		}
	return 0;
}

#define WRAP(type, name, params, args, failed, error)                                              \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		if (fails(#name)) {                                                                \
			errno = (error);                                                           \
			return failed;                                                             \
		}                                                                                  \
		return __real_##name args;                                                         \
	}                                                                                          \
	struct swallow_semicolon

WRAP(void *, malloc, (size_t n), (n), NULL, ENOMEM);
WRAP(void *, calloc, (size_t n, size_t m), (n, m), NULL, ENOMEM);
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM);
WRAP(void *, reallocarray, (void *p, size_t n, size_t m), (p, n, m), NULL, ENOMEM);
WRAP(int, posix_memalign, (void **p, size_t align, size_t n), (p, align, n), ENOMEM, 0);
WRAP(char *, strdup, (const char *s), (s), NULL, ENOMEM);
WRAP(char *, strndup, (const char *s, size_t n), (s, n), NULL, ENOMEM);
WRAP(void *, mmap, (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o),
     MAP_FAILED, ENOMEM);
WRAP(void *, mmap64, (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o),
     MAP_FAILED, ENOMEM);
WRAP(int, eventfd, (unsigned int n, int flags), (n, flags), -1, EMFILE);
WRAP(int, epoll_create1, (int flags), (flags), -1, EMFILE);
WRAP(int, timerfd_create, (clockid_t c, int flags), (c, flags), -1, EMFILE);
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EMFILE);
WRAP(FILE *, fopen64, (const char *path, const char *mode), (path, mode), NULL, EMFILE);
WRAP(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode), -1,
     ENOSPC);
WRAP(int, openat64, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode),
     -1, ENOSPC);
WRAP(FILE *, fdopen, (int fd, const char *mode), (fd, mode), NULL, ENOMEM);
WRAP(DIR *, fdopendir, (int fd), (fd), NULL, ENOMEM);
WRAP(int, fflush, (FILE * f), (f), EOF, ENOSPC);
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, EROFS);
WRAP(int, renameat, (int from, const char *a, int to, const char *b), (from, a, to, b), -1, EROFS);
WRAP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), -1, EROFS);
WRAP(int, pthread_create, (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *arg),
     (t, a, f, arg), EAGAIN, 0);
WRAP(int, sd_event_add_io,
     (sd_event * e, sd_event_source **s, int fd, uint32_t events, sd_event_io_handler_t f,
      void *arg),
     (e, s, fd, events, f, arg), -ENOMEM, 0);
WRAP(int, sd_event_add_time,
     (sd_event * e, sd_event_source **s, clockid_t c, uint64_t usec, uint64_t acc,
      sd_event_time_handler_t f, void *arg),
     (e, s, c, usec, acc, f, arg), -ENOMEM, 0);

/* With _FORTIFY_SOURCE these are other symbols. */
#define WRAP_ASPRINTF(name, params)                                                                \
	int __wrap_##name params;                                                                  \
	int __wrap_##name params                                                                   \
	{                                                                                          \
		va_list ap;                                                                        \
		int r;                                                                             \
                                                                                                   \
		if (fails("asprintf"))                                                             \
			return -1;                                                                 \
		va_start(ap, fmt);                                                                 \
		r = __real_vasprintf(ret, fmt, ap);                                                \
		va_end(ap);                                                                        \
		return r;                                                                          \
	}                                                                                          \
	struct swallow_semicolon

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
int __real_vasprintf(char **ret, const char *fmt, va_list ap);
int __wrap_vasprintf(char **ret, const char *fmt, va_list ap);
int __wrap___vasprintf_chk(char **ret, int flag, const char *fmt, va_list ap);

WRAP_ASPRINTF(asprintf, (char **ret, const char *fmt, ...));
WRAP_ASPRINTF(__asprintf_chk, (char **ret, int flag, const char *fmt, ...));

int __wrap_vasprintf(char **ret, const char *fmt, va_list ap)
{
	return fails("vasprintf") ? -1 : __real_vasprintf(ret, fmt, ap);
}

int __wrap___vasprintf_chk(char **ret, int flag, const char *fmt, va_list ap)
{
	return __wrap_vasprintf(ret, fmt, ap);
}
#pragma GCC diagnostic pop

/* Of the calls that the bed has taken over already. */
bool bed_may_fail(const char *call)
{
	return fails(call);
}
