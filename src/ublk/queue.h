/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue - the data path of one hardware queue: descriptors, slots, FETCH and COMMIT, the loop.
 *
 * Made and released by the main thread; everything between belongs to the queue's own thread, from
 * queue_run() until it returned and the thread is joined. The only way in meanwhile is its mailbox.
 *
 * Invariants:
 * 1. A tag is, at any time, with the kernel (fetched), or busy (its slot holds a request), or ended
 *    (aborted by the kernel). busy -> with the kernel happens in slot_commit() and nowhere else, so
 *    a request is committed exactly once.
 * 2. A slot holds one reference per operation in flight and one while submit() runs. The request
 *    completes when the last one goes; its result is the first error, or everything.
 * 3. An aborted slot (queue_abort) was committed with -EIO while operations were in flight. Until
 *    they ended, its buffer is theirs: the kernel is given the spare one, and new requests fail.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ublkd/target.h>

#include "ublk/abi.h"
#include "ublk/buffer.h"
#include "uring/mailbox.h"
#include "uring/ring.h"

struct queue_config {
	unsigned int q_id;
	unsigned int depth; /* 1 .. 4096 */
	uint32_t max_io_bytes; /* multiple of 4096 */
	int char_fd; /* /dev/ublkcN; borrowed */
	const int *files; /* the target's; the array is copied, the files are borrowed */
	unsigned int n_files;
	const struct ub_target *target;
	void *state;
	/* Queue thread, once: every tag is fetched, or -errno and queue_run() is about to return.
	 */
	void (*armed)(void *arg, int res);
	void *arg;
};

/* One writer (the queue), any reader. */
struct queue_counters {
	_Atomic uint64_t ops[UB_WRITE_ZEROES + 1]; /* by enum ub_op */
	_Atomic uint64_t read_bytes, write_bytes;
	_Atomic uint64_t errors;
	_Atomic uint64_t arrived, done; /* requests; the difference is in flight */
};

struct slot;

enum slot_op_kind { SLOT_OP_RW, SLOT_OP_FSYNC, SLOT_OP_FALLOCATE, SLOT_OP_BLKDISCARD, SLOT_OP_RAW };

/* One operation of a request; target/io.c is the only one that looks inside. */
struct slot_op {
	struct ur_op op;
	struct slot *slot;
	int (*done)(struct ub_io *io, int res); /* SLOT_OP_RAW */
	uint64_t off;
	uint64_t moved; /* bytes transferred so far */
	enum slot_op_kind kind;
	unsigned int file;
	int mode, fallback_mode;
	unsigned int retries;
	bool in_use;
};

struct slot {
	struct ub_io io; /* first member: a struct ub_io * is its slot */
	struct queue *queue;
	struct ur_op fetched;
	unsigned int tag;
	unsigned int refs;
	int error; /* first one, 0 if none */
	bool busy; /* holds a request the kernel waits for */
	bool answered; /* the target did something about it */
	bool aborted; /* invariant 3 */
};

struct queue {
	struct queue_config config; /* files: is ours */
	int files[UB_FILES_MAX];
	struct ring ring;
	struct mailbox mailbox;
	struct ur_op mailbox_op;
	const struct ublksrv_io_desc *descs; /* mapped from char_fd */
	size_t descs_len;
	struct buffer buffer;
	struct slot *slots;
	struct slot_op *ops; /* depth * max_ops */
	uint8_t *privs; /* depth * io_size */
	unsigned int max_ops;
	unsigned int n_live; /* tags not ended */
	unsigned int n_busy;
	unsigned int n_in_flight; /* operations */
	bool quit, aborting;
	int error; /* why the loop ends early */
	struct mail quit_mail, abort_mail;
	struct queue_counters counters;
};

/** queue_new - allocate and map; main thread.
 *  Return: 0, -ENOMEM, or the errno of mapping the descriptors */
int queue_new(const struct queue_config *config, struct queue **ret);

/** queue_free - release; the queue's thread is joined, or never existed. Closes the ring. */
struct queue *queue_free(struct queue *q);

/** queue_run - the whole life of the queue's thread: ring, FETCH of every tag, serve until every
 *  tag has ended or queue_quit(), and no operation is in flight.
 *  Return: 0, or -errno if the queue failed (its requests then end with the char device) */
int queue_run(struct queue *q);

/** queue_quit - leave as soon as nothing is busy, whatever the kernel still holds; any thread, once
 */
void queue_quit(struct queue *q);

/** queue_abort - fail every request, now and from now on, with EIO, without waiting for the
 * backing; any thread, once */
void queue_abort(struct queue *q);

/* ---- for target/io.c */

/** slot_ref, slot_unref - queue thread. @error: of the operation, 0 or -errno. After slot_unref()
 *  the slot may hold another request. */
void slot_ref(struct slot *s);
void slot_unref(struct slot *s, int error);

/* ABI of BLOCK_URING_CMD_DISCARD, Linux 6.12: type 0x12, number 0. */
#define QUEUE_BLOCK_URING_CMD_DISCARD 0x1200U
