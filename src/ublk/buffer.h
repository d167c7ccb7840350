/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buffer - where a request's data lives, and how an operation names it. The one place that knows
 * the transfer mode: today the driver's copy into and out of memory of ours, one buffer per tag.
 *
 * The memory is mapped at once and touched when it is first used. It is never handed back while its
 * queue lives: a request could still be using it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io_uring_sqe;

struct buffer {
	uint8_t *base; /* (tags + 1) * stride bytes */
	size_t stride;
	unsigned int tags;
};

/** buffer_init - @tags buffers of @bytes (a multiple of 4096) and a spare one
 *  Return: 0 or -ENOMEM */
int buffer_init(struct buffer *b, unsigned int tags, size_t bytes);
void buffer_done(struct buffer *b);

/** buffer_fetch_addr - what FETCH and COMMIT_AND_FETCH carry in `addr` for the tag's next request
 */
uint64_t buffer_fetch_addr(const struct buffer *b, unsigned int tag);

/** buffer_spare_addr - the same for a tag whose own buffer an abandoned operation still uses. What
 *  arrives there is never looked at. */
uint64_t buffer_spare_addr(const struct buffer *b);

/** buffer_prep - read into (or write from) the tag's data, beginning @skip bytes in it
 *  @slot: registered file; @off: bytes in the file; @rw_flags: RWF_* */
void buffer_prep(const struct buffer *b, struct io_uring_sqe *sqe, unsigned int tag, bool write,
		 unsigned int slot, uint64_t skip, uint32_t len, uint64_t off, int rw_flags);
