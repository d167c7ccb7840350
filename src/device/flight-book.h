/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flight-book - the flight records of all queues in one file, RUNTIME/flight/requests, so that they
 * outlive the daemon, and with them what it died of. The next daemon keeps the file of one that
 * died as RUNTIME/flight/crash, and learns from it who was at work and who brings the daemon down
 * again and again.
 *
 * What is read is read as if somebody hostile had written it. Memory is allocated before it is
 * mapped: a full RUNTIME costs records, it does not kill. Main thread; the file is in memory
 * (tmpfs).
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "device/deaths.h"
#include "ublk/flight.h"

struct flight_book;

/** flight_book_open - a new file, and what the last one says
 *  @runtime_dir: "/run/ublkd"
 *  Return: 0 or -errno; -EPERM if the folder is not ours alone */
int flight_book_open(const char *runtime_dir, struct flight_book **ret);

/** flight_book_close - the file goes; no seat is taken */
struct flight_book *flight_book_close(struct flight_book *b);

/** flight_book_leave - this daemon ends in order, though with its devices: no crash */
void flight_book_leave(struct flight_book *b);

/** flight_book_death - where to write down what this daemon dies of */
struct death *flight_book_death(struct flight_book *b);

/** flight_book_take, flight_book_give_back - a queue's seat; NULL if there is none. @b may be NULL
 */
struct flight_seat *flight_book_take(struct flight_book *b, const char *device, uint32_t q_id,
				     uint32_t first_tag);
void flight_book_give_back(struct flight_book *b, struct flight_seat *seat);

/** flight_book_take_ring, flight_book_give_back_ring - FLIGHT_RECORDS for a seat, zeroed; in memory
 *  that ends with the daemon if there is no other (@b or @seat NULL). Return: NULL: no memory */
struct flight_record *flight_book_take_ring(struct flight_book *b, const struct flight_seat *seat);
void flight_book_give_back_ring(struct flight_book *b, const struct flight_seat *seat,
				struct flight_record *ring);

/** flight_book_dir - the folder, for flight_book_write(); "" without a book */
const char *flight_book_dir(const struct flight_book *b);

/** flight_book_write - replace the file NAME.stall there by what @write writes
 *  Return: 0 or -errno */
int flight_book_write(struct flight_book *b, const char *device, void (*write)(void *arg, FILE *f),
		      void *arg);

/* ---- of the daemon before this one */

/** flight_book_crash - what it died of; signal 0: nothing is known, or it did not crash */
const struct death *flight_book_crash(const struct flight_book *b);

/** flight_book_in_flight - requests that a device had not answered when it crashed */
unsigned int flight_book_in_flight(const struct flight_book *b, const char *device);

/** flight_book_deaths - how often in a row, and with little time between, the device has brought
 *  the daemon down; flight_book_forgive - never mind. @b may be NULL */
unsigned int flight_book_deaths(const struct flight_book *b, const char *device);
void flight_book_forgive(struct flight_book *b, const char *device);

/** flight_book_show - a file of ours as lines of JSON; no daemon needed
 *  Return: 0 or -errno; -EINVAL if it is none of ours */
int flight_book_show(const char *path, FILE *to);
