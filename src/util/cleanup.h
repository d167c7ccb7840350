/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cleanup - scope-bound ownership. Every owning local carries _cleanup_(...) from the line it is
 * declared on; TAKE_PTR/TAKE_FD hand the thing over and leave nothing behind to release.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Defines NAMEp(), usable as _cleanup_(NAMEp), from `free_fn(type)`. */
#define DEFINE_CLEANUP(type, free_fn)                                                              \
	static inline void free_fn##p(type *p)                                                     \
	{                                                                                          \
		if (*p)                                                                            \
			(void) free_fn(*p);                                                        \
	}                                                                                          \
	struct swallow_semicolon

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *_pp = &(p);                                                         \
		__typeof__(p) _taken = *_pp;                                                       \
		*_pp = NULL;                                                                       \
		_taken;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *_pf = &(fd);                                                                  \
		int _taken = *_pf;                                                                 \
		*_pf = -1;                                                                         \
		_taken;                                                                            \
	})

static inline void freep(void *p)
{
	free(*(void **) p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		(void) close(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		(void) fclose(*f);
}

static inline void closedirp(DIR **d)
{
	if (*d)
		(void) closedir(*d);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)
#define _cleanup_closedir_ _cleanup_(closedirp)
