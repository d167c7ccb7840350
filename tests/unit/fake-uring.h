/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake-uring - an io_uring and the data side of ublk_drv without a kernel: liburing's functions are
 * replaced at link time (fake_calls in meson.build), its inline ones work on memory of ours.
 *
 * Registered file 0 of a ring is a fake ublk device, if it is one (fake-ublk.c). A request is put
 * on a tag by fake_send() and reaches the queue inside its next io_uring_enter(), as with
 * DEFER_TASKRUN. Which commands the device takes, and how data moves, its flags say. Every other
 * operation is really done on the registered files, or answered as a script says, at once or later.
 *
 * Works on one thread (fake.idle makes things happen whenever the queue would sleep) and with queue
 * threads (it sleeps, on an eventfd). One lock, recursive: hooks run with it held.
 *
 * What a kernel would make us pay for dearly (a tag committed twice, a buffer given away while an
 * operation uses it) ends the test program at once: fake_broken().
 */
#pragma once

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "ublk/abi.h"

/* ---- requests */

/* What a client asks of the device, and what it got. */
struct fake_request {
	uint32_t op_flags; /* UBLK_IO_OP_*, UBLK_IO_F_* */
	uint32_t n_sectors;
	uint64_t sector;
	uint8_t *data; /* its pages. WRITE: taken from here; READ: put here */
	uint64_t shared; /* with UBLK_IO_F_SHMEM_ZC: the descriptor's addr; no data is moved */
	/* filled by the fake */
	bool done;
	int result;
	unsigned int deliveries, commits;
	uint64_t buffer; /* where its data was */
};

struct fake_ring;
enum fake_tag_state {
	TAG_NEW,
	TAG_PARKED, /* with the driver; has a request until that has ended */
	TAG_ASKED, /* NEED_GET_DATA */
	TAG_BUSY,
	TAG_ENDED,
};

struct fake_tag {
	enum fake_tag_state state;
	struct fake_ring *ring;
	uint64_t user_data, addr;
	struct fake_request *request;
	uint64_t sent; /* not delivered yet: the how-manieth */
	int result; /* committed */
	struct fake_pages *pages; /* NULL: nobody holds them */
	unsigned int buf_index; /* AUTO_BUF_REG */
	bool buf_fallback, buf_registered;
};

/* A queue's FETCH_IO_CMDS. */
struct fake_fetch {
	struct fake_ring *ring; /* NULL: there is none */
	uint64_t user_data;
};

/* The data side of one device. */
struct fake_ublk {
	unsigned int n_queues, depth;
	uint32_t max_io_bytes;
	uint64_t flags; /* UBLK_F_* */
	int memfd; /* descriptors; its inode tells the device from a descriptor */
	uint64_t ino;
	uint8_t *descs;
	struct fake_tag *tags;
	struct fake_fetch *fetches; /* BATCH_IO, by queue */
	unsigned int n_parked, n_busy, n_ended;
	bool ended; /* the disk is gone: tags end as they come */
	bool outlives; /* there is a disk, and it stays when its server goes */
	bool silent; /* a server has gone: no request is told to anyone */
	bool fails_io; /* until there is another one, new requests fail */
	int refuse_fetch; /* -errno: every FETCH (or PREP) of queue refuse_queue */
	unsigned int refuse_queue;
	uint64_t deliveries, commits, aborts;
	uint64_t n_sent;
};

struct fake_ublk *fake_ublk_new(unsigned int n_queues, unsigned int depth, uint32_t max_io_bytes);
struct fake_ublk *fake_ublk_free(struct fake_ublk *u);
/* A descriptor of its char device; the caller's. */
int fake_ublk_open(struct fake_ublk *u);
struct fake_tag *fake_tag_of(struct fake_ublk *u, unsigned int q, unsigned int tag);

/* Every tag is with the driver. */
bool fake_ublk_is_fetched(const struct fake_ublk *u);
/* Some ring has it among its registered files. */
bool fake_ublk_is_attached(const struct fake_ublk *u);
/* The last descriptor of the char device is closed: what the server had is kept or fails. */
void fake_ublk_released(struct fake_ublk *u);
/* The next server may begin. */
void fake_ublk_resume(struct fake_ublk *u);
/* Requests that no server has fail. */
void fake_ublk_fail_kept(struct fake_ublk *u);

/* Put a request on a tag that is free. While a disk that outlives its server has none, it waits
 * there, or fails. */
void fake_send(struct fake_ublk *u, unsigned int q, unsigned int tag, struct fake_request *r);
/* The same on any free tag of the queue; false if there is none. */
bool fake_send_any(struct fake_ublk *u, unsigned int q, struct fake_request *r);
/* Other threads: until the request is done; false after ten seconds. */
bool fake_wait(struct fake_request *r);
/* What a stop does in the end: every parked tag gets ABORT, others when they are committed. */
void fake_end(struct fake_ublk *u);

/* ---- operations */

/* An operation a ring was given, from the SQE to the CQE. */
struct fake_op {
	struct fake_ring *ring;
	struct io_uring_sqe sqe;
	uint8_t cmd[80]; /* of a 128-byte SQE */
	uint64_t seq;
	int fd; /* what it works on, its registered file resolved */
	int res; /* FAKE_ANSWER */
	uint32_t most; /* FAKE_DO of a READ or WRITE: at most so many bytes; 0: all */
	struct fake_op *next; /* linked to it */
	struct fake_pages *pages; /* of READ_FIXED and WRITE_FIXED */
	bool in_use;
	bool waits; /* for the one it is linked to */
};

enum fake_verdict {
	FAKE_DO, /* do it */
	FAKE_ANSWER, /* do not: complete with op->res */
	FAKE_HOLD, /* neither, until fake_finish() */
};

/* Held operations, oldest first; NULL behind the last. */
struct fake_op *fake_held(unsigned int i);
unsigned int fake_n_held(void);
void fake_finish(struct fake_op *op, enum fake_verdict how);

/* ---- the whole */

struct fake {
	/* every operation that is neither for ublk nor a poll; NULL: FAKE_DO */
	enum fake_verdict (*on_op)(struct fake_op *op);
	/* READ and WRITE of the char device (user copy); NULL: FAKE_DO */
	enum fake_verdict (*on_copy)(struct fake_op *op);
	/* a request's pages are to be registered, by the driver itself if @automatic; Return: 0
	 * or -errno. NULL: 0 */
	int (*on_register)(bool automatic);
	/* @n results come in a COMMIT_IO_CMDS; Return: how many are taken, or -errno. NULL: all */
	int (*on_commit)(unsigned int n);
	/* URING_CMD on a file that is not registered: the control plane. FAKE_DO is not for it. */
	enum fake_verdict (*on_control)(struct fake_op *op);
	/* a held operation is to be cancelled; false: it cannot. NULL: it can */
	bool (*on_cancel)(struct fake_op *op);
	/* something happened to tags or requests */
	void (*on_change)(void);
	/* a ring has nothing to do; true: now it may have. NULL: it sleeps */
	bool (*idle)(void);
	/* calls that may fail: "init", "register-files", "register-buffers", "register-buf-ring",
	 * "submit", "ring-fd"; Return: 0 or -errno */
	int (*fail)(const char *call);
	/* what ring_init() asked for last */
	struct io_uring_params params;
	unsigned int files_registered;
	bool polls_first; /* of what happens at once, polls complete before requests arrive */
	uint32_t features; /* IORING_FEAT_* of the rings to come */

	uint64_t timers_usec; /* of all TIMEOUTs in the rings of queues */
	uint64_t n_ops; /* operations submitted */
	uint64_t n_copies; /* user copy */
	uint64_t n_registered; /* pages, automatically or not */
	uint64_t n_commands[16]; /* to the char device, by number from 0x20 on */
	uint64_t n_turns; /* calls that submit and wait */
	uint64_t n_enters; /* of them by io_uring_enter() itself */
	unsigned int max_tags; /* of a completion of FETCH_IO_CMDS, seen */
	unsigned int tags_limit; /* of one; 0: the driver's */
	uint64_t n_opcode[IORING_OP_LAST];
	struct io_uring_sqe last; /* the last of them */
	unsigned int n_rings; /* open ones */
	unsigned int dropped; /* held operations their ring's end took along */
};

extern struct fake fake;
/* The fake itself is at work on this thread: whoever counts or fails calls leaves these alone. */
extern _Thread_local int fake_inside;

/* Forget hooks and counters. No ring may be open. */
void fake_reset(void);
void fake_lock(void);
void fake_unlock(void);
/* Other threads: sleep until @condition holds; it is looked at with the lock held, after every
 * change. False after ten seconds. */
bool fake_wait_for(bool (*condition)(void *arg), void *arg);
/* Something changed: look at what waits again. Lock held. */
void fake_changed(void);
/* Every TIMEOUT that runs is over. */
void fake_timeout(void);
/* The rings of this process, but for the guard's, do no more: as if it were killed. What they hold
 * is dropped; the threads get an error and leave. Off again with @killed false. */
void fake_kill(bool killed);
/* One runs in the ring of a queue. */
bool fake_timer_runs(void);
/* From now on there is no SQE to be had in its ring. */
void fake_starve(struct fake_op *op);
/* Complete an operation held with @res. */
void fake_answer(struct fake_op *op, int res);

_Noreturn void fake_broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Deterministic numbers. */
uint32_t fake_random(uint64_t *state);
