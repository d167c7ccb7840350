/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * parse - text to numbers and back. Pure, no allocation but where said, safe on any input (fuzzed).
 * All return 0 or -EINVAL (not of the form) / -ERANGE (of the form, but too large); the output is
 * untouched on failure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** parse_bool - 1 yes y true t on / 0 no n false f off, any case */
int parse_bool(const char *s, bool *ret);

/** parse_uint - decimal, digits only */
int parse_uint(const char *s, uint64_t *ret);

/** parse_size - bytes, or with one of the suffixes K M G T P (base 1024, upper case); no fractions
 */
int parse_size(const char *s, uint64_t *ret);

/** parse_sec - time in microseconds from "5s 2min 500ms"; a bare number is seconds;
 *  units us ms s sec m min h d; 0 is allowed */
int parse_sec(const char *s, uint64_t *ret_usec);

/** parse_cpus - CPU list "0-3,8" into a bit mask; bits must be below max_cpus
 *  @ret_mask: max_cpus bits, as 64-bit words */
int parse_cpus(const char *s, unsigned int max_cpus, uint64_t *ret_mask);

#define FORMAT_SIZE_MAX 24
/** format_size - exact, shortest form parse_size() reads back: 1536 -> "1536", 2048 -> "2K" */
char *format_size(char buf[static FORMAT_SIZE_MAX], uint64_t bytes);

#define DEVICE_NAME_MAX 48
/** device_name_is_valid - [A-Za-z0-9][A-Za-z0-9._-]{0,47}, and not "control" */
bool device_name_is_valid(const char *s);
/** DEVICE_NAME_RULE - the same as a sentence, for messages */
#define DEVICE_NAME_RULE                                                                           \
	"a device name is 1 .. 48 letters, digits, '.', '_' or '-', begins with a "                \
	"letter or a digit, and is not 'control'"

/** utf8_is_valid - whole string is well-formed UTF-8 without NUL */
bool utf8_is_valid(const char *s, size_t len);

/** text_distance - how many slips of a finger (a wrong, missing, extra or swapped letter; case does
 *  not count) turn @typed into @known
 *  Return: the number, at most 2 and less than half of the length of @known; UINT_MAX beyond. */
unsigned int text_distance(const char *typed, const char *known);
