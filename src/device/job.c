/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/job.h"

#include <pthread.h>
#include <sys/prctl.h>

#include "util/list.h"

static void job_deliver(struct mail *m)
{
	struct job *j = container_of(m, struct job, mail);

	j->done(j);
}

static void *job_thread(void *arg)
{
	struct job *j = arg;

	(void) prctl(PR_SET_NAME, "ublkd-job");
	j->work(j);
	mailbox_post(j->home, &j->mail);
	return NULL;
}

int job_start(struct job *j, struct mailbox *home)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	j->home = home;
	j->mail.deliver = job_deliver;
	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	(void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, job_thread, j);
	(void) pthread_attr_destroy(&attr);
	return -r;
}
