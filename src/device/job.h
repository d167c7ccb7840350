/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * job - one piece of work that may block, on a thread of its own, with its end told to the main
 * thread. For opening and closing backings: the main loop never blocks.
 */
#pragma once

#include "uring/mailbox.h"

struct job {
	void (*work)(struct job *j); /* on the thread */
	void (*done)(struct job *j); /* on the main thread, afterwards */
	/* private */
	struct mailbox *home;
	struct mail mail;
};

/** job_start - run j->work, then j->done; the job must stay until then
 *  @home: the main thread's mailbox
 *  Return: 0, or -errno (no thread could be made, nothing is called) */
int job_start(struct job *j, struct mailbox *home);
