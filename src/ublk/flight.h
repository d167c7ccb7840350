/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flight - the flight record of a queue: what its last requests were, when they came and how they
 * ended. The queue writes, with a few stores for each request; others look at any time.
 *
 * A queue begins with the few records of its seat, a piece of a page that it shares with other
 * queues, so that a thousand idle devices have next to no memory. One that works is given a ring of
 * FLIGHT_RECORDS: flight_grow(). Both can be in a file that outlives the process.
 *
 * The record of a request that is under way is never written over: there are no fewer records in a
 * ring than a queue has tags.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define FLIGHT_RECORDS 4096U
#define FLIGHT_RING_BYTES (FLIGHT_RECORDS * sizeof(struct flight_record))
#define FLIGHT_SEAT_BYTES 1024U
#define FLIGHT_SEAT_RECORDS 29U
#define FLIGHT_NAME_MAX 64U

/* A request ended with 0 or -errno; or with one of these. */
#define FLIGHT_PENDING INT32_MIN /* it has not */
#define FLIGHT_LINKED (INT32_MIN + 1) /* the kernel ends it by itself: see slot_link() */

/* All zero: never used. Times are in ms of CLOCK_MONOTONIC, the low 32 bits. */
struct flight_record {
	/* number << 32 | low half of the descriptor's op_flags << 16 | tag; 0: in the making */
	_Atomic uint64_t id;
	_Atomic uint64_t off; /* bytes */
	_Atomic uint64_t start; /* time << 32 | sectors */
	_Atomic uint64_t end; /* time << 32 | result */
};

struct flight_seat {
	char name[FLIGHT_NAME_MAX]; /* of the device; "": the seat is free */
	uint32_t q_id, first_tag; /* which of its queues, and of their threads */
	uint64_t reserved[3];
	struct flight_record records[FLIGHT_SEAT_RECORDS];
};

_Static_assert(sizeof(struct flight_record) == 32, "it is in a file");
_Static_assert(sizeof(struct flight_seat) == FLIGHT_SEAT_BYTES, "it is in a file");

/* The queue's end of it. */
struct flight {
	struct flight_record *at, *first, *end; /* the next one to use, and where they are */
	uint32_t number; /* of the last request */
	uint64_t now; /* ms << 32, of this turn */
	struct flight_record nowhere; /* there was no room */
	struct flight_record *_Atomic ring; /* to go on in; set once, by the main thread */
	/* Between the queue and the main thread: it looks at the queue from time to time; it was
	 * called to; it was asked for a ring. */
	_Atomic bool watched, called, wants_ring;
	bool asked; /* for the ring; once */
};

/** flight_init - @seat: zeroed; stays until the queue is gone */
void flight_init(struct flight *f, struct flight_seat *seat);

/** flight_find - of flight_take(): the next record is not free. Return: one, or &f->nowhere */
struct flight_record *flight_find(struct flight *f);

/** flight_can_grow, flight_grow - queue thread, between two turns: go on in the ring it was given
 */
static inline bool flight_can_grow(const struct flight *f)
{
	return atomic_load_explicit(&f->ring, memory_order_relaxed) &&
	       f->first != atomic_load_explicit(&f->ring, memory_order_relaxed);
}
void flight_grow(struct flight *f);

/** flight_tick - it is this time now: once a turn, for the records made in it */
static inline void flight_tick(struct flight *f)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	f->now = (uint64_t) ((uint32_t) ts.tv_sec * 1000U + (uint32_t) ts.tv_nsec / 1000000U) << 32;
}

static inline bool flight_is_pending(const struct flight_record *r)
{
	return (int32_t) atomic_load_explicit(&r->end, memory_order_relaxed) == FLIGHT_PENDING;
}

static inline void flight_set_pending(struct flight_record *r)
{
	atomic_store_explicit(&r->end, (uint64_t) (int64_t) FLIGHT_PENDING, memory_order_relaxed);
}

/** flight_begin - a request has come
 *  @op_flags, @sectors: as in its descriptor; @off: bytes
 *  Return: its record, until flight_end() */
static inline struct flight_record *flight_begin(struct flight *f, unsigned int tag,
						 uint32_t op_flags, uint32_t sectors, uint64_t off)
{
	struct flight_record *r = f->at;

	if (__builtin_expect(r == f->end || flight_is_pending(r), 0))
		r = flight_find(f);
	else
		f->at = r + 1;
	/* Whoever reads it meanwhile sees another number afterwards. */
	atomic_store_explicit(&r->id, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&r->off, off, memory_order_relaxed);
	atomic_store_explicit(&r->start, f->now | sectors, memory_order_relaxed);
	flight_set_pending(r);
	atomic_store_explicit(&r->id, (uint64_t) ++f->number << 32 | (op_flags << 16 | tag),
			      memory_order_release);
	return r;
}

/** flight_end - it is answered: 0, -errno or FLIGHT_LINKED */
static inline void flight_end(struct flight *f, struct flight_record *r, int32_t result)
{
	atomic_store_explicit(&r->end, f->now | (uint32_t) result, memory_order_relaxed);
}

/** flight_last - the record of the last request that came; NULL: there is none. Any thread, for
 * what it is worth. */
const struct flight_record *flight_last(const struct flight *f);

/** flight_reopen - a request that was linked is not over after all
 *  Return: false if its record was written over */
bool flight_reopen(struct flight_record *r, unsigned int tag, uint64_t off);

/* ---- looking: any thread, also at what another process left */

struct flight_entry {
	uint32_t number;
	unsigned int tag;
	uint32_t op_flags; /* the low half */
	uint64_t off, len; /* bytes */
	uint32_t start, end; /* ms */
	int32_t result;
};

/** flight_look - the entry of a record
 *  Return: false if it has none, or is just being written */
bool flight_look(const struct flight_record *r, struct flight_entry *ret);

#define FLIGHT_ENTRIES_MAX (FLIGHT_RECORDS + FLIGHT_SEAT_RECORDS)

/** flight_collect - all entries of a seat and its ring, oldest first. A linked request that another
 *  one of its tag came after went well, and is said to have.
 *  @ring: NULL: there is none
 *  @ret: room for FLIGHT_ENTRIES_MAX
 *  Return: how many */
size_t flight_collect(const struct flight_seat *seat, const struct flight_record *ring,
		      struct flight_entry *ret);

/** flight_print - entries as lines of JSON
 *  @now: how long those under way have been that: until then; NULL: it is not known */
void flight_print(FILE *f, const char *device, const struct flight_seat *seat,
		  const struct flight_entry *v, size_t n, const uint32_t *now);

/** flight_op_name - "read" ...; "unknown" for what is none */
const char *flight_op_name(uint32_t op_flags);

/** flight_now - the time in records, now */
uint32_t flight_now(void);
