/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/buffer.h"

#include <errno.h>
#include <liburing.h>
#include <sys/mman.h>

int buffer_init(struct buffer *b, unsigned int tags, size_t bytes)
{
	size_t len = (tags + 1UL) * bytes;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	/* Huge pages would make a 4 KiB request cost 2 MiB; a child must not copy what the kernel
	 * writes to. */
	(void) madvise(p, len, MADV_NOHUGEPAGE);
	(void) madvise(p, len, MADV_DONTFORK);
	*b = (struct buffer){.base = p, .stride = bytes, .tags = tags};
	return 0;
}

void buffer_done(struct buffer *b)
{
	if (b->base)
		(void) munmap(b->base, (b->tags + 1UL) * b->stride);
	b->base = NULL;
}

uint64_t buffer_fetch_addr(const struct buffer *b, unsigned int tag)
{
	return (uintptr_t) (b->base + tag * b->stride);
}

uint64_t buffer_spare_addr(const struct buffer *b)
{
	return (uintptr_t) (b->base + b->tags * b->stride);
}

void buffer_prep(const struct buffer *b, struct io_uring_sqe *sqe, unsigned int tag, bool write,
		 unsigned int slot, uint64_t skip, uint32_t len, uint64_t off, int rw_flags)
{
	sqe->opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = (int) slot;
	sqe->addr = buffer_fetch_addr(b, tag) + skip;
	sqe->len = len;
	sqe->off = off;
	sqe->rw_flags = rw_flags;
}
