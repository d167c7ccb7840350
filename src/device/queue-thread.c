/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/queue-thread.h"

#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "device/deaths.h"
#include "util/list.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

static void deliver_armed(struct mail *m)
{
	struct queue_thread *t = container_of(m, struct queue_thread, armed_mail);

	t->armed(t);
}

static void deliver_exited(struct mail *m)
{
	struct queue_thread *t = container_of(m, struct queue_thread, exited_mail);

	t->exited(t);
}

static void deliver_fell_back(struct mail *m)
{
	struct queue_thread *t = container_of(m, struct queue_thread, fell_back_mail);

	t->fell_back(t);
}

static void deliver_called(struct mail *m)
{
	struct queue_thread *t = container_of(m, struct queue_thread, called_mail);

	/* Before it is looked at what for: a call after that is a new one. */
	atomic_store(&t->queue->flight.called, false);
	t->called(t);
}

static void on_called(void *arg)
{
	struct queue_thread *t = arg;

	mailbox_post(t->home, &t->called_mail);
}

static void on_fell_back(void *arg)
{
	struct queue_thread *t = arg;

	mailbox_post(t->home, &t->fell_back_mail);
}

static void deliver_sync_failed(struct mail *m)
{
	struct queue_thread *t = container_of(m, struct queue_thread, sync_failed_mail);

	t->sync_failed(t);
}

static void on_sync_failed(void *arg)
{
	struct queue_thread *t = arg;

	mailbox_post(t->home, &t->sync_failed_mail);
}

static void on_armed(void *arg, int res)
{
	struct queue_thread *t = arg;

	t->armed_res = res;
	mailbox_post(t->home, &t->armed_mail);
}

static void *thread_main(void *arg)
{
	struct queue_thread *t = arg;

	atomic_store_explicit(&t->tid, gettid(), memory_order_relaxed);
	/* Inherited, but a reload may have changed it since. */
	(void) prctl(PR_SET_IO_FLUSHER, t->io_flusher ? 1 : 0, 0, 0, 0);
	if (t->batch)
		(void) sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
	deaths_enter(t->device, &t->queue->flight);
	t->exit_res = queue_run(t->queue);
	deaths_leave();
	mailbox_post(t->home, &t->exited_mail);
	return NULL;
}

static int thread_create(struct queue_thread *t, const char *name)
{
	pthread_attr_t attr;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	/* Before the thread runs, so that its memory is near its CPUs. */
	if (t->cpus)
		(void) pthread_attr_setaffinity_np(&attr, t->cpus_size, t->cpus);
	r = pthread_create(&t->thread, &attr, thread_main, t);
	if (r == EINVAL && t->cpus) {
		/* None of the CPUs may be used by us: better anywhere than not at all. */
		r = pthread_create(&t->thread, NULL, thread_main, t);
	}
	(void) pthread_attr_destroy(&attr);
	if (r)
		return -r;
	t->running = true;
	(void) pthread_setname_np(t->thread, name);
	return 0;
}

int queue_thread_start(struct queue_thread *t, const char *name, struct queue_config *config)
{
	int r;

	t->armed_mail.deliver = deliver_armed;
	t->exited_mail.deliver = deliver_exited;
	t->fell_back_mail.deliver = deliver_fell_back;
	t->sync_failed_mail.deliver = deliver_sync_failed;
	t->called_mail.deliver = deliver_called;
	config->armed = on_armed;
	config->fell_back = on_fell_back;
	config->sync_failed = on_sync_failed;
	config->called = on_called;
	config->arg = t;
	r = queue_new(config, &t->queue);
	if (r < 0)
		return r;
	return thread_create(t, name);
}

void queue_thread_join(struct queue_thread *t)
{
	if (t->running)
		(void) pthread_join(t->thread, NULL);
	t->running = false;
}

void queue_thread_done(struct queue_thread *t)
{
	/* Thread first, ring second: in the other order Linux 6.12 leaves requests behind. */
	queue_thread_join(t);
	t->queue = queue_free(t->queue);
}
