/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * data-path - which of the driver's ways of moving data a device uses. The one table that decides,
 * from what the target can work with, what the driver has, what is known to be broken, and what
 * the administrator asked for. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <ublkd/target.h>

#include "util/failure.h"

/* How the bytes of a request get from the block layer to the backing. */
enum data_copy {
	DATA_COPY_AUTO, /* wish only: the best that serves */
	DATA_COPY_NONE, /* nobody looks at the bytes, none is moved (the driver's USER_COPY, unused)
			 */
	DATA_COPY_DRIVER, /* the driver copies to and from a buffer of ours per tag */
	DATA_COPY_GET_DATA, /* the same, but asks first where a write's bytes go (NEED_GET_DATA) */
	DATA_COPY_USER, /* we copy, by pread and pwrite on the char device (USER_COPY) */
	DATA_COPY_ZERO, /* REGISTER_IO_BUF and UNREGISTER_IO_BUF around each request */
	DATA_COPY_ZERO_AUTO, /* the driver registers each request's pages by itself (AUTO_BUF_REG)
			      */
	DATA_COPY_MAX_
};

enum data_batch { DATA_BATCH_AUTO, DATA_BATCH_NO, DATA_BATCH_YES };

/* What a device would like, and where. */
struct data_path_wish {
	uint64_t features; /* GET_FEATURES */
	unsigned int
		kernel; /* data_path_kernel(), 0: unknown; only for what is known to be broken */
	enum ub_data needs; /* of the target */
	enum data_copy copy; /* Copy= */
	enum data_batch batch; /* Batch= */
	bool copy_is_default,
		batch_is_default; /* they are DefaultCopy= and DefaultBatch=: for words */
	unsigned int threads_per_queue; /* >= 1 */
	unsigned int queue_depth; /* 0: unknown */
	bool integrity; /* carries metadata: only where USER_COPY is */
	bool handover; /* every tag must be had back from the driver: not in batches */
	bool shared_memory; /* a pool is named: SHMEM_ZC beside any way */
};

struct data_path {
	enum data_copy copy; /* never AUTO */
	enum data_copy fallback; /* of zero copy for a request whose pages cannot be registered:
				    USER; otherwise the same as copy */
	bool batch; /* PREP, COMMIT and FETCH_IO_CMDS instead of a command per request */
	bool shared_memory;
	uint64_t flags; /* UBLK_F_* to ask ADD_DEV for */
};

/** data_path_kernel - "7.2.13-amd64" of uname -r as major << 8 | minor; 0 if it is no version */
unsigned int data_path_kernel(const char *release);

/**
 * data_path_choose - decide
 *
 * What a kernel has but is known to do badly is not chosen by itself; who asks for it by name gets
 * it.
 * Return: 0, or -errno with @f set when what was asked for is not to be had, in a sentence that
 * says what is missing and what to set instead: KernelUnsupported if it is the driver that has it
 * not, InvalidConfiguration if no driver could
 */
int data_path_choose(const struct data_path_wish *w, struct data_path *ret, struct failure *f);

#define DATA_PATH_NAME_MAX 64
/** data_path_format - as in the property DataPath: "zero-auto+batch", "driver", "none+batch",
 *  "user+shared-memory" */
const char *data_path_format(char buf[static DATA_PATH_NAME_MAX], const struct data_path *p);

/** data_path_explain - the table with this device's verdicts: one line per way, best first: taken,
 *  or why not (what the kernel lacks, what is broken there, what the target cannot work with) */
void data_path_explain(const struct data_path_wish *w, FILE *to);

/* As in Copy= and Batch=, by enum, NULL-terminated. */
extern const char *const data_copy_names[]; /* auto none driver get-data user zero zero-auto */
extern const char *const data_batch_names[]; /* auto no yes */
