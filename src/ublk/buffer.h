/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buffer - where the data of a request is, and how an operation names it. With the exchange
 * (exchange.h) the one place that knows the transfer mode.
 *
 * Memory of ours is mapped at once and touched when it is first used. It goes back to the system
 * only by buffer_trim(), which see: a buffer that idles may be about to receive a write.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ublk/data-path.h"

struct io_uring_sqe;

enum data_place {
	PLACE_NOWHERE, /* no operation needs it */
	PLACE_MEMORY, /* in our buffer; the driver copies */
	PLACE_BOUNCE, /* in our buffer; we copy, with an operation on the char device */
	PLACE_SHARED, /* in memory that the client shares with us */
	PLACE_FIXED, /* the request's own pages, as a registered buffer of the ring */
};

struct buffer {
	enum data_place place; /* of a request's data unless its descriptor says otherwise */
	uint8_t *base; /* (n + 1) * stride bytes; NULL if no request can need memory of ours */
	size_t stride;
	unsigned int n;
};

/* What one request's operation must know of its data. */
struct data_ref {
	enum data_place place;
	unsigned int index; /* of the buffer */
	uint8_t *shared; /* PLACE_SHARED: its first byte */
};

/** buffer_init - for @n requests of up to @bytes (a multiple of 4096) each, and a spare one
 *  Return: 0 or -ENOMEM */
int buffer_init(struct buffer *b, const struct data_path *path, unsigned int n, size_t bytes);
void buffer_done(struct buffer *b);

/** buffer_addr - the memory of a request; 0 if there is none */
static inline uint64_t buffer_addr(const struct buffer *b, unsigned int index)
{
	return b->base ? (uintptr_t) (b->base + index * b->stride) : 0;
}

/** buffer_spare - the index of the buffer for a tag whose own one an abandoned operation still
 *  uses. What arrives there is never looked at. */
unsigned int buffer_spare(const struct buffer *b);

/** buffer_prep - read into (or write from) the data, beginning @skip bytes in it
 *  @slot: registered file; @off: bytes in the file; @rw_flags: RWF_* */
void buffer_prep(const struct buffer *b, struct io_uring_sqe *sqe, const struct data_ref *d,
		 bool write, unsigned int slot, uint64_t skip, uint32_t len, uint64_t off,
		 int rw_flags);

/** buffer_prep_bounce - copy all @len bytes of the request of @q_id and @tag into our memory, or
 *  out of it; @slot: the char device's registered file */
void buffer_prep_bounce(const struct buffer *b, struct io_uring_sqe *sqe, unsigned int index,
			bool out, unsigned int slot, unsigned int q_id, unsigned int tag,
			uint32_t len);

/** BUFFER_KEEP - what buffer_trim() leaves of a buffer, in bytes */
#define BUFFER_KEEP ((size_t) 16384)

/** buffer_trim - give back what a buffer holds beyond BUFFER_KEEP; its content is lost.
 *  @used: bytes of it that were ever used. The caller knows that no byte of a request is in it. */
void buffer_trim(struct buffer *b, unsigned int index, size_t used);
