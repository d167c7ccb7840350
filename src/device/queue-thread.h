/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue-thread - the thread around a queue: name, affinity, memory-reclaim flag, and the two news
 * of it (armed, exited) for the main thread.
 */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "ublk/queue.h"
#include "uring/mailbox.h"

struct queue_thread {
	/* set by the caller */
	struct mailbox *home; /* of the main thread */
	void (*armed)(struct queue_thread *t); /* main thread; result in armed_res */
	void (*exited)(struct queue_thread *t); /* main thread; result in exit_res; then join */
	void (*fell_back)(struct queue_thread *t); /* main thread; at most once */
	void (*sync_failed)(struct queue_thread *t); /* main thread; once per device */
	void (*called)(struct queue_thread *t); /* main thread; see queue_config.called */
	void *owner;
	const char *device; /* its name; lives as long as the thread */
	bool io_flusher;
	bool batch; /* SCHED_BATCH: waking up does not interrupt what runs */
	cpu_set_t *cpus; /* NULL: anywhere; borrowed until armed */
	size_t cpus_size;

	struct queue *queue; /* owned */
	/* The flight record's; of device-flight.c */
	struct flight_seat *seat;
	struct flight_record *ring;
	uint32_t looked_at, told; /* number of the last request there was, and that was told of */
	uint32_t pinged; /* ms, the last time that it had answered */
	bool stuck_told;

	int armed_res, exit_res;
	_Atomic int tid;

	/* private */
	pthread_t thread;
	bool running; /* to be joined */
	struct mail armed_mail, exited_mail, fell_back_mail, sync_failed_mail, called_mail;
};

/** queue_thread_start - make the queue and its thread
 *  @name: thread name, at most 15 characters
 *  @config: armed and arg are set by this
 *  Return: 0; or -errno (nothing runs, nothing is called; queue_thread_done() is still due) */
int queue_thread_start(struct queue_thread *t, const char *name, struct queue_config *config);

/** queue_thread_join - after exited(): wait until it is gone; any thread. May take as long as an
 *  operation that a worker of the kernel is at. */
void queue_thread_join(struct queue_thread *t);

/** queue_thread_done - after exited(): join, release the queue and close its ring; also for a
 * thread that never started */
void queue_thread_done(struct queue_thread *t);
