/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * problems - what is wrong with a configuration: all of it, always sorted by file and line, as an
 * administrator will read it: `file:line: [Section] Key=value: rule`. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct problem {
	char *file; /* NULL: not from a file (D-Bus settings) */
	unsigned int line; /* 0: about the file as a whole */
	char *text; /* "[Queue] Depth=9000: must be 1 .. 4096" */
	bool fatal; /* false: a warning */
};

/* Behind this many nothing is recorded, only counted: no file is worth more of our memory. */
#define PROBLEMS_MAX 1000

struct problems {
	struct problem *v;
	size_t n;
	size_t n_fatal; /* counts those that could not be recorded, too */
	bool out_of_memory; /* a problem could not be recorded; counts as fatal */
};

/* One setting as it was written, whatever becomes of it. */
struct setting {
	const char *file; /* NULL: by D-Bus; borrowed, outlives the setting */
	unsigned int line; /* 0: it was not written anywhere */
	char *section; /* NULL: by D-Bus */
	char *key; /* NULL: the line is the section's header */
	char *value; /* NULL: as the key */
};

/** problems_add - one more problem, at its place. Out of memory is noted in @p.
 *  @line: 0 for the file as a whole */
void problems_add(struct problems *p, const char *file, unsigned int line, bool fatal,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/** problems_add_setting - the same about a setting; @fmt is the rule behind `Key=value: ` */
void problems_add_setting(struct problems *p, const struct setting *s, bool fatal, const char *fmt,
			  ...) __attribute__((format(printf, 4, 5)));

/** problems_since - what a step that began with @n_fatal fatal problems returns.
 *  Return: 0 if there are no more now, -ENOMEM, or -EINVAL */
int problems_since(const struct problems *p, size_t n_fatal);

void problems_release(struct problems *p);

/** problems_format - "file:line: text" of one problem, allocated; NULL if out of memory */
char *problems_format(const struct problem *p);

/** problems_log - write all of them to the log, with file and line as fields */
void problems_log(const struct problems *p);
/** problems_join - fatal ones joined by "; ", allocated, for a D-Bus error; NULL if out of memory
 */
char *problems_join(const struct problems *p);
