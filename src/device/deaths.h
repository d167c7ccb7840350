/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * deaths - which device a thread is at work for, so that a signal that kills the daemon names the
 * one that brought it on. It is written where the next daemon finds it: flight-book.h.
 */
#pragma once

#include <stdint.h>

#include "ublk/flight.h"

/* Written by a signal handler; read as if it were hostile. */
struct death {
	uint32_t signal; /* 0: it did not die of one that can be caught */
	uint32_t has_request;
	uint64_t usec; /* CLOCK_MONOTONIC */
	char device[FLIGHT_NAME_MAX]; /* "": no device's thread */
	struct flight_record request; /* the last that its queue was given */
};

/** deaths_catch - from now on write down in @d what this process dies of; NULL: no more. What was
 * to be done with those signals is done after that. Main thread */
void deaths_catch(struct death *d);

/** deaths_enter, deaths_leave - this thread works for that device
 *  @device: its name, lives until deaths_leave(); @flight: may be NULL */
void deaths_enter(const char *device, const struct flight *flight);
void deaths_leave(void);
