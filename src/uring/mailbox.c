/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "uring/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *b)
{
	atomic_init(&b->head, NULL);
	b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return b->fd < 0 ? -errno : 0;
}

void mailbox_done(struct mailbox *b)
{
	if (b->fd >= 0)
		(void) close(b->fd);
	b->fd = -1;
}

void mailbox_post(struct mailbox *b, struct mail *m)
{
	struct mail *head = atomic_load_explicit(&b->head, memory_order_relaxed);
	static const uint64_t one = 1;

	do {
		m->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&b->head, &head, m, memory_order_acq_rel,
							memory_order_relaxed));
	/* Cannot fail: the counter never comes near its limit. */
	if (!head)
		(void) !write(b->fd, &one, sizeof(one));
}

void mailbox_deliver(struct mailbox *b)
{
	struct mail *in_order = NULL;
	struct mail *m;
	uint64_t n;

	/* Before the list is taken: a post after that writes the eventfd anew. */
	(void) !read(b->fd, &n, sizeof(n));

	m = atomic_exchange_explicit(&b->head, NULL, memory_order_acq_rel);
	while (m) {
		struct mail *next = m->next;

		m->next = in_order;
		in_order = m;
		m = next;
	}
	while (in_order) {
		m = in_order;
		in_order = m->next;
		m->deliver(m);
	}
}
