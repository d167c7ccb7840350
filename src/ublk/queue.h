/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue - the data path of one hardware queue, or of every n-th tag of one: descriptors, slots, the
 * loop. How requests come and results go is the exchange's affair, where data is the buffer's.
 *
 * Made and released by the main thread; everything between belongs to the queue's own thread, from
 * queue_run() until it returned and the thread is joined. The only way in meanwhile is its mailbox.
 *
 * Invariants:
 * 1. A tag is, at any time, with the kernel, or busy (its slot holds a request), or ended (aborted
 *    by the kernel). busy -> with the kernel happens in slot_commit() and nowhere else, so a
 *    request is committed exactly once, or, if its queue failed before it came, not at all.
 * 2. A slot holds one reference per operation in flight and one while submit() runs. The request
 *    completes when the last one goes; its result is the first error, or everything.
 * 3. An aborted slot (queue_abort) was committed with -EIO while operations were in flight. Until
 *    they ended, its buffer is theirs: the kernel is given the spare one, and new requests fail.
 * 4. A linked slot is not busy: its only operation and its commit are with the kernel, the second
 *    linked to the first. The operation completes only if it fails, which unlinks the two and makes
 *    the slot busy again; otherwise the slot's next news is its next request. Only with zero copy,
 *    where the kernel keeps a request until its operation has let go of its pages.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ublkd/target.h>

#include "ublk/abi.h"
#include "ublk/buffer.h"
#include "ublk/data-path.h"
#include "ublk/exchange.h"
#include "ublk/flight.h"
#include "uring/mailbox.h"
#include "uring/ring.h"

enum { QUEUE_CHAR_SLOT = 0 }; /* of the ring's registered files; the target's follow */

/* Memory that clients share with us; a request in it names it by index. The main thread publishes
 * it, base last, before the driver can name it, and takes it back when it cannot any more. */
struct shared_pool {
	uint8_t *_Atomic base; /* NULL: no such pool */
	_Atomic uint64_t len;
};
#define QUEUE_POOLS_MAX 8

struct queue_config {
	unsigned int q_id;
	unsigned int depth; /* of the hardware queue, 1 .. 4096 */
	/* The tags of this thread: first_tag, first_tag + tag_step ... below depth. */
	unsigned int first_tag, tag_step;
	unsigned int n_tags; /* set by queue_new() */
	uint32_t max_io_bytes; /* multiple of 4096 */
	struct data_path path;
	/* QUEUE_POOLS_MAX of them; borrowed, and changed while the queue runs. NULL: none */
	const struct shared_pool *pools;
	int char_fd; /* /dev/ublkcN; borrowed */
	const int *files; /* the target's; the array is copied, the files are borrowed */
	unsigned int n_files;
	const struct ub_target *target;
	void *state;
	/* Why a sync of the device's backing failed, 0: none did. Set once, by whichever of its
	 * queues sees it first; from then on nobody is told that writes are durable. */
	_Atomic int *sync_error;
	/* Queue thread, once: every tag is with the driver, or -errno and queue_run() is about to
	 * return. */
	void (*armed)(void *arg, int res);
	/* Queue thread, at most once: a request had to take the slower way that @path names. */
	void (*fell_back)(void *arg);
	/* Queue thread, once per device: this queue has set @sync_error. */
	void (*sync_failed)(void *arg);
	/* Queue thread: there is something to do after a time without, or the flight record wants a
	 * ring (flight.wants_ring). Not again before flight.called is taken back. NULL: nobody
	 * cares. */
	void (*called)(void *arg);
	void *arg;
	struct flight_seat *seat; /* borrowed, zeroed; NULL: one of its own */
	bool watched; /* somebody looks at the flight record while there is work */
};

/* One writer (the queue), any reader. */
struct queue_counters {
	_Atomic uint64_t ops[UB_WRITE_ZEROES + 1]; /* by enum ub_op */
	_Atomic uint64_t read_bytes, write_bytes;
	_Atomic uint64_t errors;
	_Atomic uint64_t arrived, done; /* requests, a linked one is done; the difference is in
					   flight */
	_Atomic uint64_t fallbacks; /* requests that path.fallback served */
	_Atomic uint64_t shared; /* requests whose data is in a shared pool */
};

struct slot;

enum slot_op_kind { SLOT_OP_RW, SLOT_OP_FSYNC, SLOT_OP_FALLOCATE, SLOT_OP_BLKDISCARD, SLOT_OP_RAW };

/* One operation of a request; target/io.c is the only one that looks inside. */
struct slot_op {
	struct ur_op op;
	struct ur_op bounce; /* PLACE_BOUNCE: the copy that is linked to it */
	struct slot *slot;
	int (*done)(struct ub_io *io, int res); /* SLOT_OP_RAW */
	uint64_t off;
	uint64_t moved; /* bytes transferred so far */
	enum slot_op_kind kind;
	unsigned int file;
	int mode, fallback_mode;
	unsigned int retries;
	bool copied; /* PLACE_BOUNCE: a write's bytes are in our memory */
	bool in_use;
};

struct slot {
	struct ub_io io; /* first member: a struct ub_io * is its slot */
	struct queue *queue;
	struct ur_op fetched; /* the exchange's */
	struct ur_op step; /* registering or unregistering its pages */
	struct data_ref data;
	struct flight_record *record; /* of its request, while it is busy */
	unsigned int tag;
	unsigned int refs;
	int error; /* first one, 0 if none */
	bool busy; /* holds a request the kernel waits for */
	bool announced; /* a write whose data is on its way (NEED_GET_DATA) */
	bool answered; /* the target did something about it */
	bool aborted; /* invariant 3 */
	bool registered; /* by REGISTER_IO_BUF: to be undone */
	uint32_t used; /* bytes of its buffer that were used since it was trimmed */
	struct io_uring_sqe *last; /* of its read or write; only within submit() */
	struct slot_op *linked; /* invariant 4 */
	uint64_t elem[2]; /* the batch exchange's */
};

struct batch;

struct queue {
	struct queue *next_kept; /* of those that could not be freed */
	struct queue_config config; /* files: is ours */
	int files[UB_FILES_MAX];
	uint32_t cached; /* those written through the page cache, a bit for each slot */
	struct ring ring;
	struct mailbox mailbox;
	struct ur_op mailbox_op;
	const struct ublksrv_io_desc *descs; /* mapped from char_fd */
	size_t descs_len;
	struct buffer buffer;
	const struct exchange *exchange;
	struct batch *batch; /* the batch exchange's */
	void *tables; /* one mapping of tables_len bytes, in it: */
	size_t tables_len;
	struct slot *slots; /* n_tags of them */
	struct slot_op *ops; /* n_tags * max_ops */
	uint8_t *privs; /* n_tags * io_size */
	unsigned int max_ops;
	unsigned int n_live; /* tags not ended */
	unsigned int n_busy;
	unsigned int n_in_flight; /* operations */
	bool alone; /* the request that arrives is the only one there is */
	bool quit, aborting;
	bool fell_back; /* reported */
	int error; /* why the loop ends early */
	struct ur_op tick_op;
	bool tick_armed;
	bool grown, burst, trim_due; /* buffers that grew, once and just now: see queue_trim() */
	bool unannounced; /* the driver may hold back requests until the next turn */
	struct mail quit_mail, abort_mail, ping_mail;
	_Atomic bool pinged; /* and it has not answered */
	struct queue_counters counters;
	struct flight_seat *seat; /* config.seat, or one of its own */
	struct flight flight;
};

/** queue_new - allocate and map; main thread.
 *  Return: 0, -ENOMEM, or the errno of mapping the descriptors */
int queue_new(const struct queue_config *config, struct queue **ret);

/** queue_free - release; the queue's thread is joined, or never existed. Closes the ring. */
struct queue *queue_free(struct queue *q);

/** queue_run - the whole life of the queue's thread: ring, every tag offered, serve until every
 *  tag has ended or queue_quit(), and no operation is in flight.
 *  Return: 0, or -errno if the queue failed (its requests then end with the char device) */
int queue_run(struct queue *q);

/** queue_quit - leave as soon as nothing is busy, whatever the kernel still holds (linked pairs,
 * too); any thread, once
 */
void queue_quit(struct queue *q);

/** queue_abort - fail every request, now and from now on, with EIO, without waiting for the
 * backing; any thread, once. With zero copy the kernel ends a request only when the backing has let
 * go of its pages, too. */
void queue_abort(struct queue *q);

/* ---- for the exchange */

/** queue_slot - of the @i-th tag of this queue. Made when it is first asked for: many idle devices
 *  whose tags were never used have next to no memory. */
struct slot *queue_slot(struct queue *q, unsigned int i);

/** slot_arrived - the driver has put a request into the slot's descriptor */
void slot_arrived(struct slot *s);

/** slot_memory - the memory to name to the driver for the slot's next request; 0: none */
uint64_t slot_memory(const struct slot *s);

/** queue_ended - @n_tags will get no request any more. @res: UBLK_IO_RES_ABORT, or why the driver
 *  refused a command, which is the end of the queue */
void queue_ended(struct queue *q, unsigned int n_tags, int res);

/** queue_command - an SQE for a command to the char device, without its payload; NULL, and the
 *  queue has failed, if there is none */
struct io_uring_sqe *queue_command(struct queue *q, struct ur_op *op, uint32_t cmd_op);

/* ---- for the main thread */

/** queue_give_ring - FLIGHT_RECORDS zeroed records that the flight record wants; they stay until
 * queue_free(). Once. */
void queue_give_ring(struct queue *q, struct flight_record *ring);

/** queue_ping - find out whether the queue's thread moves. Return: it has answered the ping before
 *  this one; if it has not, there is no other */
bool queue_ping(struct queue *q);

/* ---- for target/io.c */

/** slot_ref, slot_unref - queue thread. @error: of the operation, 0 or -errno. After slot_unref()
 *  the slot may hold another request. */
static inline void slot_ref(struct slot *s)
{
	s->refs++;
}
void slot_unref(struct slot *s, int error);

/** queue_sync_error - why syncs fail from now on, -errno; 0: they do not */
static inline int queue_sync_error(const struct queue *q)
{
	return atomic_load_explicit(q->config.sync_error, memory_order_relaxed);
}

/** slot_unlink - the operation of a linked slot has failed: the slot is busy again */
void slot_unlink(struct slot *s);

/* ABI of BLOCK_URING_CMD_DISCARD, Linux 6.12: type 0x12, number 0. */
#define QUEUE_BLOCK_URING_CMD_DISCARD 0x1200U
