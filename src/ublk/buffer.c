/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/buffer.h"

#include <errno.h>
#include <liburing.h>
#include <sys/mman.h>

#include "ublk/abi.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static enum data_place place_of(enum data_copy copy)
{
	switch (copy) {
	case DATA_COPY_DRIVER:
	case DATA_COPY_GET_DATA:
		return PLACE_MEMORY;
	case DATA_COPY_USER:
		return PLACE_BOUNCE;
	case DATA_COPY_ZERO:
	case DATA_COPY_ZERO_AUTO:
		return PLACE_FIXED;
	case DATA_COPY_NONE:
	case DATA_COPY_AUTO:
	case DATA_COPY_MAX_:
		break;
	}
	return PLACE_NOWHERE;
}

int buffer_init(struct buffer *b, const struct data_path *path, unsigned int n, size_t bytes)
{
	size_t len = (n + 1UL) * bytes;
	void *p;

	*b = (struct buffer){.place = place_of(path->copy), .stride = bytes, .n = n};
	/* With zero copy it is for the requests that have to fall back. */
	if (b->place == PLACE_NOWHERE)
		return 0;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	/* Huge pages would make a 4 KiB request cost 2 MiB; a child must not copy what the kernel
	 * writes to. */
	(void) madvise(p, len, MADV_NOHUGEPAGE);
	(void) madvise(p, len, MADV_DONTFORK);
	b->base = p;
	return 0;
}

void buffer_done(struct buffer *b)
{
	if (b->base)
		(void) munmap(b->base, (b->n + 1UL) * b->stride);
	b->base = NULL;
}

unsigned int buffer_spare(const struct buffer *b)
{
	return b->n;
}

void buffer_prep(const struct buffer *b, struct io_uring_sqe *sqe, const struct data_ref *d,
		 bool write, unsigned int slot, uint64_t skip, uint32_t len, uint64_t off,
		 int rw_flags)
{
	bool fixed = d->place == PLACE_FIXED;

	if (fixed) {
		sqe->opcode = write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
		sqe->addr = skip;
		sqe->buf_index = (uint16_t) d->index;
	} else {
		sqe->opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
		sqe->addr = (d->place == PLACE_SHARED ? (uintptr_t) d->shared
						      : buffer_addr(b, d->index)) +
			    skip;
	}
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = (int) slot;
	sqe->len = len;
	sqe->off = off;
	sqe->rw_flags = rw_flags;
}

void buffer_prep_bounce(const struct buffer *b, struct io_uring_sqe *sqe, unsigned int index,
			bool out, unsigned int slot, unsigned int q_id, unsigned int tag,
			uint32_t len)
{
	sqe->opcode = out ? IORING_OP_WRITE : IORING_OP_READ;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = (int) slot;
	sqe->addr = buffer_addr(b, index);
	sqe->len = len;
	sqe->off = UBLKSRV_IO_BUF_OFFSET + ((uint64_t) q_id << UBLK_QID_OFF) +
		   ((uint64_t) tag << UBLK_TAG_OFF);
}

void buffer_trim(struct buffer *b, unsigned int index, size_t used)
{
	uint8_t *from = b->base + index * b->stride + BUFFER_KEEP;

	if (used <= BUFFER_KEEP)
		return;
	/* Locked memory is given back by its own word (Linux 5.18), other memory by either. */
	if (madvise(from, used - BUFFER_KEEP, MADV_DONTNEED_LOCKED) < 0)
		(void) madvise(from, used - BUFFER_KEEP, MADV_DONTNEED);
}
