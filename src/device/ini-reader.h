/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ini-reader - an INI file as a list of settings with exact line numbers, for lines of any length.
 * Knows the form of a file and nothing of its meaning.
 *
 * libinih cuts lines at 200 bytes and sections and keys at 49, takes an indented line for a
 * continuation, goes on after errors and tells no line numbers; and how it does so depends on how
 * it was built. So it sees only lines that we have found good, one by one, and no more of a line
 * than its buffer holds; the rest of a long value comes from the line itself.
 */
#pragma once

#include <stdio.h>

#include "device/problems.h"

struct settings {
	struct setting *v; /* in the order they were written, section headers included */
	size_t n;
};

void settings_release(struct settings *s);

/**
 * ini_read - add the settings of a file to a list
 * @f: where to read
 * @path: its name for settings and messages; outlives @ret
 * @ret: added to; keys and sections that begin with "X-" are for others and left out
 * @p: added to; what is wrong with the form of a line is fatal
 *
 * Return: 0, also if there were problems; -ENOMEM.
 */
int ini_read(FILE *f, const char *path, struct settings *ret, struct problems *p);

/** ini_read_file - the same by name. It must be a regular file of at most 1 MiB; it should not be
 *  writable by everybody. What prevents reading is a problem in @p. */
int ini_read_file(const char *path, struct settings *ret, struct problems *p);
