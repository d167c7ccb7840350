/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mailbox - the only door between threads: any thread posts a message, one thread receives it.
 *
 * A message is embedded in its sender's struct and belongs to the receiver from post until its
 * deliver() was called. Lock-free (a stack that the receiver empties at once and turns round), the
 * eventfd is written only when the box was empty.
 */
#pragma once

#include <stdatomic.h>

struct mail {
	struct mail *next;
	void (*deliver)(struct mail *m); /* on the receiver's thread */
};

struct mailbox {
	_Atomic(struct mail *) head;
	int fd; /* eventfd, readable while something waits; owned */
};

/** mailbox_init - Return: 0 or -errno; a zeroed mailbox with fd -1 may be done'd */
int mailbox_init(struct mailbox *b);
void mailbox_done(struct mailbox *b);

/** mailbox_post - any thread, never blocks */
void mailbox_post(struct mailbox *b, struct mail *m);

/** mailbox_deliver - receiver: take all messages, oldest first, and call their deliver(). The
 *  caller has read the eventfd, or lets this do it (non-blocking). */
void mailbox_deliver(struct mailbox *b);
