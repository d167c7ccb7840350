/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clock - now, in microseconds. Not for the data path, which looks at no clock. */
#pragma once

#include <stdint.h>
#include <time.h>

/** clock_usec - @clock: CLOCK_MONOTONIC or CLOCK_REALTIME */
static inline uint64_t clock_usec(clockid_t clock)
{
	struct timespec ts;

	(void) clock_gettime(clock, &ts);
	return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}
