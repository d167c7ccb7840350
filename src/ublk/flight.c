/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/flight.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ublk/abi.h"

/* ---- the queue */

void flight_init(struct flight *f, struct flight_seat *seat)
{
	f->at = f->first = seat->records;
	f->end = seat->records + FLIGHT_SEAT_RECORDS;
	flight_tick(f);
}

struct flight_record *flight_find(struct flight *f)
{
	size_t n = (size_t) (f->end - f->first);

	/* The seat's are used up: from here on a ring is worth its memory. */
	if (!f->asked) {
		f->asked = true;
		/* In this order, which is the opposite of the reader's: one of the two sees it. */
		atomic_store(&f->wants_ring, true);
		atomic_store(&f->watched, false); /* so it calls */
	}
	for (size_t i = 0; i < n; i++) {
		struct flight_record *r = f->at == f->end ? f->first : f->at;

		f->at = r + 1;
		if (!flight_is_pending(r))
			return r;
	}
	return &f->nowhere;
}

void flight_grow(struct flight *f)
{
	f->at = f->first = atomic_load_explicit(&f->ring, memory_order_acquire);
	f->end = f->first + FLIGHT_RECORDS;
}

const struct flight_record *flight_last(const struct flight *f)
{
	if (!f->number)
		return NULL;
	return f->at == f->first ? f->end - 1 : f->at - 1;
}

bool flight_reopen(struct flight_record *r, unsigned int tag, uint64_t off)
{
	struct flight_entry e;

	if (!flight_look(r, &e) || e.tag != tag || e.off != off || e.result != FLIGHT_LINKED)
		return false;
	flight_set_pending(r);
	return true;
}

/* ---- looking */

bool flight_look(const struct flight_record *r, struct flight_entry *ret)
{
	uint64_t id = atomic_load_explicit(&r->id, memory_order_acquire);
	uint64_t off = atomic_load_explicit(&r->off, memory_order_relaxed);
	uint64_t start = atomic_load_explicit(&r->start, memory_order_relaxed);
	uint64_t end = atomic_load_explicit(&r->end, memory_order_relaxed);

	atomic_thread_fence(memory_order_acquire);
	if (!id || atomic_load_explicit(&r->id, memory_order_relaxed) != id)
		return false;
	*ret = (struct flight_entry){
		.number = (uint32_t) (id >> 32),
		.tag = id & 0xffff,
		.op_flags = id >> 16 & 0xffff,
		.off = off,
		.len = (start & UINT32_MAX) << 9,
		.start = (uint32_t) (start >> 32),
		.end = (uint32_t) (end >> 32),
		.result = (int32_t) (uint32_t) end,
	};
	return true;
}

static size_t collect_from(const struct flight_record *r, size_t n, struct flight_entry *ret)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += flight_look(&r[i], &ret[found]);
	return found;
}

/* Numbers go round after four billions; those that are kept are close to each other. */
static int by_number(const void *a, const void *b)
{
	const struct flight_entry *x = a, *y = b;
	int32_t d = (int32_t) (x->number - y->number);

	return (d > 0) - (d < 0);
}

size_t flight_collect(const struct flight_seat *seat, const struct flight_record *ring,
		      struct flight_entry *ret)
{
	uint8_t later[(UINT16_MAX + 1) / 8] = {0}; /* tags */
	size_t n = collect_from(seat->records, FLIGHT_SEAT_RECORDS, ret);

	if (ring)
		n += collect_from(ring, FLIGHT_RECORDS, ret + n);
	qsort(ret, n, sizeof(*ret), by_number);
	for (size_t i = n; i-- > 0;) {
		uint8_t *byte = &later[ret[i].tag / 8], bit = (uint8_t) (1U << ret[i].tag % 8);

		if (ret[i].result == FLIGHT_LINKED && *byte & bit) {
			ret[i].result = 0;
			ret[i].end = 0; /* nobody knows when */
		}
		*byte |= bit;
	}
	return n;
}

const char *flight_op_name(uint32_t op_flags)
{
	switch (op_flags & 0xff) {
	case UBLK_IO_OP_READ:
		return "read";
	case UBLK_IO_OP_WRITE:
		return "write";
	case UBLK_IO_OP_FLUSH:
		return "flush";
	case UBLK_IO_OP_DISCARD:
		return "discard";
	case UBLK_IO_OP_WRITE_ZEROES:
		return "write-zeroes";
	default:
		return "unknown";
	}
}

static void print_entry(FILE *f, const char *device, const struct flight_seat *seat,
			const struct flight_entry *e, const uint32_t *now)
{
	(void) fprintf(f,
		       "{\"device\":\"%s\",\"queue\":%u,\"thread\":%u,\"number\":%u,\"tag\":%u,"
		       "\"op\":\"%s\",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64
		       ",\"fua\":%s,\"start-ms\":%u,",
		       device, seat->q_id, seat->first_tag, e->number, e->tag,
		       flight_op_name(e->op_flags), e->off, e->len,
		       e->op_flags & UBLK_IO_F_FUA ? "true" : "false", e->start);
	if (e->result == FLIGHT_PENDING) {
		(void) fputs("\"state\":\"in-flight\"", f);
		if (now)
			(void) fprintf(f, ",\"ms\":%u", *now - e->start);
	} else if (e->result == FLIGHT_LINKED) {
		(void) fputs("\"state\":\"handed-over\"", f);
	} else {
		(void) fprintf(f, "\"state\":\"done\",\"errno\":%d",
			       e->result < 0 ? -e->result : 0);
		if (e->end)
			(void) fprintf(f, ",\"ms\":%u", e->end - e->start);
	}
	(void) fputs("}\n", f);
}

void flight_print(FILE *f, const char *device, const struct flight_seat *seat,
		  const struct flight_entry *v, size_t n, const uint32_t *now)
{
	for (size_t i = 0; i < n; i++)
		print_entry(f, device, seat, &v[i], now);
}

uint32_t flight_now(void)
{
	struct flight f;

	flight_tick(&f);
	return (uint32_t) (f.now >> 32);
}
