/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options - a struct's fields by name, through a table of struct ub_opt rows. One implementation
 * for the targets' options and for the daemon's and the devices' own keys. Pure; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include <ublkd/target.h>

/** options_find - row of @key (and of @section, if the row has one); exact, case-sensitive.
 *  Return: the row, or NULL. */
const struct ub_opt *options_find(const struct ub_opt *opts, const char *section, const char *key);

/** options_suggest - the key most like a misspelt one (edit distance <= 2, or equal but for case)
 *  Return: the key, or NULL if none is near. */
const char *options_suggest(const struct ub_opt *opts, const char *section, const char *key);

/** options_init - set every field to its default. @base is zeroed memory.
 *  Return: 0 or -ENOMEM (the struct can be released). A default that does not parse is a bug. */
int options_init(const struct ub_opt *opts, void *base);

/** options_release - free what options_init/options_parse allocated and zero those fields */
void options_release(const struct ub_opt *opts, void *base);

/**
 * options_parse - set one field from text
 * @why: on -EINVAL, the rule that was broken ("must be 1 .. 4096", "must be yes or no", ...), as it
 *       stands behind `Key=value: ` in messages
 * An empty @value sets the default again.
 * Return: 0, -EINVAL, -ENOMEM. The field is unchanged on failure.
 */
int options_parse(const struct ub_opt *opt, void *base, const char *value, char *why,
		  size_t why_size);

/** options_format - the field as text that options_parse() reads back.
 *  Return: allocated string ("" for an unset string), NULL if out of memory. */
char *options_format(const struct ub_opt *opt, const void *base);

/** options_is_set - required fields: the field has a value (string present, number non-zero) */
bool options_is_set(const struct ub_opt *opt, const void *base);

/** options_help - the table for a person: key, type or range, default, help */
void options_help(const struct ub_opt *opts, FILE *f);

/** options_equal - all fields of two structs are the same */
bool options_equal(const struct ub_opt *opts, const void *a, const void *b);
