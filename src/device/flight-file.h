/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flight-file - the file of flight-book.h: its layout, and reading one that another daemon wrote.
 * One daemon writes it; the layout may change with every version, which the file names.
 *
 *   a page: struct flight_file_header | FLIGHT_FILE_SEATS seats | for each of them a ring, if it
 * has been given one (else a hole)
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "device/deaths.h"
#include "ublk/flight.h"

#define FLIGHT_FILE_MAGIC UINT64_C(0x31746867696c6675) /* "uflight1" */
#define FLIGHT_FILE_VERSION 1U
#define FLIGHT_FILE_PAGE 4096U
#define FLIGHT_FILE_SEATS 8192U /* queues of all devices; those beyond are not kept */
#define FLIGHT_FILE_DEATHS 32U
#define FLIGHT_FILE_RINGS ((uint64_t) FLIGHT_FILE_PAGE + FLIGHT_FILE_SEATS * FLIGHT_SEAT_BYTES)
#define FLIGHT_FILE_BYTES (FLIGHT_FILE_RINGS + FLIGHT_FILE_SEATS * FLIGHT_RING_BYTES)

/* A device that brought the daemon down. */
struct flight_deaths {
	char device[FLIGHT_NAME_MAX];
	uint32_t count; /* in a row; 0: no entry */
	uint32_t reserved;
	uint64_t usec; /* of the last, CLOCK_MONOTONIC */
};

struct flight_file_header {
	uint64_t magic;
	uint32_t version;
	uint32_t n_seats; /* that were ever taken */
	uint32_t left; /* the daemon ended in order */
	uint32_t reserved;
	struct death death;
	struct flight_deaths deaths[FLIGHT_FILE_DEATHS]; /* of daemons before it */
};

_Static_assert(sizeof(struct flight_file_header) <= FLIGHT_FILE_PAGE, "one page");

static inline off_t flight_seat_offset(unsigned int i)
{
	return (off_t) FLIGHT_FILE_PAGE + (off_t) i * FLIGHT_SEAT_BYTES;
}

static inline off_t flight_ring_offset(unsigned int i)
{
	return (off_t) FLIGHT_FILE_RINGS + (off_t) i * (off_t) FLIGHT_RING_BYTES;
}

/* What can be relied upon: names end and are of devices, or empty. */
struct flight_crash {
	struct flight_file_header header;
	struct {
		char device[FLIGHT_NAME_MAX];
		unsigned int in_flight;
	} * v; /* a seat's */
	size_t n;
};

/** flight_crash_read - a daemon's file
 *  Return: 0; -ENOENT; -EPERM if somebody else could have written it; -EINVAL if it is none */
int flight_crash_read(int dir, const char *name, struct flight_crash *ret);
void flight_crash_release(struct flight_crash *c);
