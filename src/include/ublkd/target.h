/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ublkd/target.h - everything a target may see of ublkd.
 *
 * A target is one file in src/targets/: it turns block requests into io_uring operations. The core
 * owns the device, its queues, threads, rings, buffers and files; the target owns its state struct.
 *
 * Life of a device, callbacks in the order they come:
 *
 *   parse   options        the core fills the state struct from the option table
 *   open    set-up thread  may block, may fail; opens the backing, fills the limits
 *   submit  queue threads  once per request, from any queue's thread; must not block
 *   update  main thread    while requests run: options that were set anew; must not block
 *   close   set-up thread  after the last request is complete; may block, cannot fail
 *
 * open and close never run at the same time as submit or update. After a failed open, close is
 * called too. The state struct is zeroed before the options are parsed and is read-only while
 * requests run, but for what update() and submit() share by means of their own (atomics).
 */
#ifndef UBLKD_TARGET_H
#define UBLKD_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with every incompatible change. Until 1.0 a target must be built with the tree it runs in.
 */
#define UB_ABI 1

struct ub_dev; /* one device while it is opened and closed */
struct ub_file; /* a file the queues do I/O on */
struct io_uring_sqe;

/* ---------------------------------------------------------------- requests */

enum ub_op {
	UB_READ, /* fill buf with len bytes from off */
	UB_WRITE, /* store len bytes of buf at off; durable before completion if UB_FUA */
	UB_FLUSH, /* all writes completed before this one become durable; off and len are 0 */
	UB_DISCARD, /* the range's content is no longer needed */
	UB_WRITE_ZEROES, /* the range reads as zeroes after; must stay allocated if UB_NOUNMAP */
};

enum ub_io_flag {
	UB_FUA = 1U << 0,
	UB_NOUNMAP = 1U << 1,
};

/*
 * One request. Belongs to the target from submit() until it is completed; then the core may have
 * reused it already: touch nothing of it after the completing call.
 */
struct ub_io {
	enum ub_op op;
	uint32_t flags; /* enum ub_io_flag */
	uint64_t off; /* bytes from the start of the device, a multiple of the logical block size */
	uint64_t len; /* bytes, a multiple of the logical block size; READ/WRITE: <= max_io_bytes */
};

/** ub_io_state - the device's state struct. Any thread. */
void *ub_io_state(struct ub_io *io);

/** ub_io_priv - this request's private bytes (`io_size` of the target), zeroed before submit */
void *ub_io_priv(struct ub_io *io);

/** ub_io_buf - the request's io->len bytes, of a target with UB_DATA_MEMORY; READ and WRITE only.
 *  Queue thread, until the request is completed. */
void *ub_io_buf(struct ub_io *io);

/** ub_io_done - complete a request without (further) operations.
 *  @res: 0 on success, or -errno. Call on the queue thread, inside submit() or a continuation. */
void ub_io_done(struct ub_io *io, int res);

/*
 * Operations. Each takes one of the request's `max_ops` operations, prepares one SQE on the queue's
 * ring and returns; it never submits, waits or allocates. When all operations of a request have
 * completed, the request completes by itself: with the first error, or with success. A short
 * transfer goes on with its rest (no progress is EIO), EAGAIN and EINTR are tried again.
 * A failure to prepare counts as an operation that failed.
 */

/** ub_read, ub_write - io->len bytes between the request's buffer and @off of @file.
 *  ub_write is durable before it completes if the request carries UB_FUA. */
void ub_read(struct ub_io *io, struct ub_file *file, uint64_t off);
void ub_write(struct ub_io *io, struct ub_file *file, uint64_t off);

/** ub_fdatasync - data, and what is needed to read it back, to stable storage */
void ub_fdatasync(struct ub_io *io, struct ub_file *file);

/** ub_fallocate - io->len bytes at @off.
 *  @mode: FALLOC_FL_* of linux/falloc.h
 *  @fallback_mode: mode to try if the file says EOPNOTSUPP to the first, -1 for none */
void ub_fallocate(struct ub_io *io, struct ub_file *file, int mode, int fallback_mode,
		  uint64_t off);

/** ub_blkdiscard - discard io->len bytes at @off of a block device, asynchronously (Linux 6.12);
 *  older kernels: hole punching on the device */
void ub_blkdiscard(struct ub_io *io, struct ub_file *file, uint64_t off);

/** ub_sqe - a raw operation: the caller prepares the SQE (all but user_data) and gets the result.
 *  @done: called on the queue thread with the CQE's result; may complete the request, take further
 *         operations, or return 0 or -errno which counts as this operation's result
 *  Return: the SQE; NULL if the request used up its max_ops or the ring has no SQE (the operation
 *  counts as failed). */
struct io_uring_sqe *ub_sqe(struct ub_io *io, int (*done)(struct ub_io *io, int res));

/** ub_sync_failed - a raw operation that was to make data durable failed with @error (-errno), and
 *  the next one may succeed although what this one lost stays lost: all flushes of the device fail
 *  from now on, as after a failed ub_fdatasync(). Queue thread. */
void ub_sync_failed(struct ub_io *io, int error);

/** ub_file_slot - index of @file in the ring's registered files, for IOSQE_FIXED_FILE */
unsigned int ub_file_slot(const struct ub_file *file);

/* ---------------------------------------------------------------- devices */

enum ub_checksum { UB_CHECKSUM_NONE, UB_CHECKSUM_IP, UB_CHECKSUM_CRC16, UB_CHECKSUM_CRC64 };

/* Metadata that travel beside the data; only of a target with .integrity. */
struct ub_integrity {
	uint32_t metadata_size; /* bytes per interval, 0: there are none */
	uint32_t interval; /* bytes of data, power of two, <= logical block size */
	uint32_t pi_offset, tag_size; /* bytes */
	enum ub_checksum checksum;
	bool reference_tag;
};

/*
 * What the device looks like. The core sets the fields the administrator fixed, 0 (or -1 where
 * said) otherwise; open() replaces every 0 by what the backing wants and refuses what it cannot do.
 * Whether caches, discards and zeroing are offered in the end is the administrator's word again,
 * within what open() left.
 */
struct ub_limits {
	uint64_t size; /* bytes; open() must leave it > 0 */
	uint32_t logical_block_size; /* 512 .. 4096, power of two */
	uint32_t physical_block_size; /* >= logical, power of two, <= 256 MiB */
	uint32_t io_min, io_opt; /* bytes, power of two, <= 256 MiB; 0: none */
	uint32_t discard_granularity; /* bytes; needed if max_discard_bytes */
	uint32_t discard_alignment; /* bytes from the device's start to the first granule */
	uint64_t max_discard_bytes; /* 0: discard is not offered */
	uint64_t max_write_zeroes_bytes; /* 0: the kernel writes the zeroes itself */
	/* The shape of a request; 0: the kernel's default. What requests are passed on to is best
	 * given here, or they are split there a second time. */
	uint32_t max_io_bytes; /* largest read or write, a multiple of 4096 up to 32 MiB */
	uint32_t dma_alignment; /* bytes, power of two, 4 .. 4096 */
	uint32_t max_segments; /* pieces of memory, <= 65535 */
	uint32_t max_segment_size; /* bytes, >= 4096; 0 if there is a virt_boundary */
	uint64_t segment_boundary; /* no piece crosses a multiple of it; power of two >= 4096 */
	uint64_t virt_boundary; /* pieces end and begin at its multiples; power of two */
	uint64_t chunk_size; /* no request crosses a multiple of it */
	struct ub_integrity integrity; /* as the administrator fixed it */
	bool read_only;
	bool volatile_cache; /* completed writes need a FLUSH to be durable; UB_FLUSH must be
				answered in any case */
	bool fua; /* UB_FUA is honoured; of no use without a volatile_cache */
	int rotational; /* 0, 1, or -1: not fixed (then 0) */
};

/** ub_dev_limits - open() only */
struct ub_limits *ub_dev_limits(struct ub_dev *dev);

/** ub_dev_name - the device's name, for messages */
const char *ub_dev_name(const struct ub_dev *dev);

/** ub_dev_block_size_fixed - the administrator chose the logical block size. open() only */
bool ub_dev_block_size_fixed(const struct ub_dev *dev);

#define UB_FILES_MAX 8

/** ub_dev_file - let the queues do I/O on @fd. open() only, at most UB_FILES_MAX per device.
 *  @fd: belongs to the core from here on, also on failure; closed after close()
 *  Return: the file, or NULL (out of memory, too many). */
struct ub_file *ub_dev_file(struct ub_dev *dev, int fd);

/**
 * ub_dev_claim - take [@off, @off + @len) of a backing for this device alone
 * @fd: open file or block device
 * @writable: several devices may read a range, one may write it
 *
 * Refuses a range that another device of this daemon serves, by that device's name, and a range
 * that another process has locked (OFD lock on files, O_EXCL by the caller on block devices). May
 * wait a few seconds for a lock that a dying process still holds. Released after close(). Return:
 * 0, or -errno with the failure recorded.
 */
int ub_dev_claim(struct ub_dev *dev, int fd, const char *path, uint64_t off, uint64_t len,
		 bool writable);

/** ub_dev_pause - for an open() that finds its backing busy: a process that died keeps it until its
 *  last write has ended, so it is worth asking again
 *  @path: for messages; @tries: how often this was called before
 *  Return: true after a moment; false: that was long enough, or the device is given up */
bool ub_dev_pause(struct ub_dev *dev, const char *path, unsigned int tries);

enum ub_failure {
	UB_E_CONFIG, /* an option makes no sense with this backing: InvalidConfiguration */
	UB_E_BACKING, /* the backing is missing, unreadable, of the wrong kind: BackingUnavailable
		       */
	UB_E_IN_USE, /* somebody else has it: BackingInUse */
	UB_E_UNSUPPORTED, /* this kernel or file system cannot: KernelUnsupported */
};

/** ub_dev_fail - say in one sentence why open() fails, naming the thing and the fix.
 *  @error: errno behind it, 0 if none; Return: -errno, for `return ub_dev_fail(...)`. */
int ub_dev_fail(struct ub_dev *dev, enum ub_failure what, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ---------------------------------------------------------------- options */

enum ub_opt_type {
	UB_TYPE_STRING, /* char *, allocated by the core */
	UB_TYPE_PATH, /* char *, must be absolute */
	UB_TYPE_BYTES, /* uint64_t, "10G" */
	UB_TYPE_UINT, /* uint32_t, min .. max */
	UB_TYPE_BOOL, /* bool */
	UB_TYPE_ENUM, /* int, index into `values` */
	UB_TYPE_USEC, /* uint64_t, "5s" */
};

/* One row: drives the parser, --help-target, the D-Bus view and the shipped sample. */
struct ub_opt {
	const char *key; /* as in the INI file, CamelCase */
	const char *help; /* one line */
	const char *dflt; /* default as text; NULL: unset (0, NULL) */
	const char *const *values; /* UB_TYPE_ENUM: NULL-terminated */
	uint64_t min, max; /* UINT, BYTES, USEC; inclusive; max 0: no limit */
	size_t offset; /* of the field in the state struct */
	enum ub_opt_type type;
	bool required;
	bool live; /* can be set while the device runs, if the target has an update() */
	/* For tables that serve several sections or another name on D-Bus; targets leave them NULL.
	 */
	const char *section;
	const char *bus_key;
};

/* A row whose type is not the field's type does not compile. */
#define UB_OPT_CHECK(s, f, t) ((size_t) (0 * sizeof(_Generic(&((s *) 0)->f, t * : 1))))
#define UB_OPT_ROW(s, f, t, k, enumtype, ...)                                                      \
	{                                                                                          \
		.key = (k), .type = (enumtype), .offset = offsetof(s, f) + UB_OPT_CHECK(s, f, t),  \
		__VA_ARGS__                                                                        \
	}

#define UB_OPT_STRING(s, f, k, ...) UB_OPT_ROW(s, f, char *, k, UB_TYPE_STRING, __VA_ARGS__)
#define UB_OPT_PATH(s, f, k, ...) UB_OPT_ROW(s, f, char *, k, UB_TYPE_PATH, __VA_ARGS__)
#define UB_OPT_BYTES(s, f, k, ...) UB_OPT_ROW(s, f, uint64_t, k, UB_TYPE_BYTES, __VA_ARGS__)
#define UB_OPT_UINT(s, f, k, ...) UB_OPT_ROW(s, f, uint32_t, k, UB_TYPE_UINT, __VA_ARGS__)
#define UB_OPT_BOOL(s, f, k, ...) UB_OPT_ROW(s, f, bool, k, UB_TYPE_BOOL, __VA_ARGS__)
#define UB_OPT_ENUM(s, f, k, ...) UB_OPT_ROW(s, f, int, k, UB_TYPE_ENUM, __VA_ARGS__)
#define UB_OPT_USEC(s, f, k, ...) UB_OPT_ROW(s, f, uint64_t, k, UB_TYPE_USEC, __VA_ARGS__)

/* ---------------------------------------------------------------- the target */

/* What a target does with the bytes of a request; the fewer it must see, the cheaper they move. */
enum ub_data {
	UB_DATA_MEMORY, /* looks at them: ub_io_buf() */
	UB_DATA_FILES, /* moves them by ub_read() and ub_write() only */
	UB_DATA_NONE, /* nothing: they stay where they are, reads keep what was in the memory */
};

struct ub_target {
	uint32_t abi; /* UB_ABI, set by UB_TARGET */
	uint32_t size; /* sizeof(struct ub_target), set by UB_TARGET */
	const char *name; /* as in Target= */
	const char *section; /* INI section of its options, as "Loop" */
	const char *description; /* one line */
	const struct ub_opt *options; /* ends with a row without key */
	size_t state_size; /* of the state struct */
	size_t io_size; /* private bytes per request, <= 256 */
	uint32_t max_ops; /* operations one request may have in flight; 0 means 1 */
	enum ub_data data;
	bool integrity; /* serves devices with metadata */
	/* A request that was served, all or in part, may be served once more before any other that
	 * overlaps it: what a crashed server has not answered is then given to the next one. */
	bool repeatable;

	/* Set-up thread; may block; records a failure by ub_dev_fail(). Omitted: only for targets
	 * whose limits are all fixed by the administrator. */
	int (*open)(struct ub_dev *dev, void *state);
	/* Set-up thread; also after a failed open. Omitted: nothing to release. */
	void (*close)(struct ub_dev *dev, void *state);
	/* Queue thread; see struct ub_io. Required. */
	void (*submit)(struct ub_io *io);
	/* Main thread, at any time while requests run: take over the options that are live.
	 * @options: another state struct of which only the options are set, valid during the call.
	 * Return: 0, or -errno with the failure recorded by ub_dev_fail(), and nothing changed.
	 * Omitted: no option is live. */
	int (*update)(struct ub_dev *dev, void *state, const void *options);
	/* What the device holds is gone with its server: there is nothing to recover. @state: of
	 * which only the options are set. Any thread. Omitted: it is not. */
	bool (*forgets)(const void *state);
	/* What the device is backed by, for `Backing`: a string in the state, or NULL. Any thread.
	 */
	const char *(*backing)(const void *state);
};

#define UB_TARGET(ident, ...)                                                                      \
	extern const struct ub_target ub_target_##ident;                                           \
	const struct ub_target ub_target_##ident = {                                               \
		.abi = UB_ABI, .size = sizeof(struct ub_target), .name = #ident, __VA_ARGS__}

#ifdef __cplusplus
}
#endif

#endif
