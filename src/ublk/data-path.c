/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/data-path.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ublk/abi.h"
#include "ublk/features.h"

const char *const data_copy_names[] = {
	[DATA_COPY_AUTO] = "auto",	     [DATA_COPY_NONE] = "none",
	[DATA_COPY_DRIVER] = "driver",	     [DATA_COPY_GET_DATA] = "get-data",
	[DATA_COPY_USER] = "user",	     [DATA_COPY_ZERO] = "zero",
	[DATA_COPY_ZERO_AUTO] = "zero-auto", NULL,
};

const char *const data_batch_names[] = {
	[DATA_BATCH_AUTO] = "auto",
	[DATA_BATCH_NO] = "no",
	[DATA_BATCH_YES] = "yes",
	NULL,
};

/* ---- the table */

#define KERNEL(major, minor) ((major) << 8 | (minor))

enum {
	SERVES_MEMORY = 1 << UB_DATA_MEMORY,
	SERVES_FILES = 1 << UB_DATA_FILES,
	SERVES_NONE = 1 << UB_DATA_NONE,
	SERVES_ALL = SERVES_MEMORY | SERVES_FILES | SERVES_NONE,
};

struct row {
	enum data_copy copy, fallback;
	bool batch;
	bool integrity; /* the metadata of a request can be had beside its data */
	unsigned int serves;
	uint64_t features; /* needed, and asked for */
	unsigned int bad_from, bad_to; /* the kernels that have it but should not be led there */
	const char *bad; /* why */
};

/* Batch I/O is there from 7.0 on; the cancelling of commands in a server's last moments, that all
 * of a queue hangs on there, became right with 7.1. */
#define BATCH_IS_BAD                                                                               \
	.bad_from = KERNEL(7, 0), .bad_to = KERNEL(7, 0),                                          \
	.bad = "Linux 7.0 lacks fixes of the end of a server that came with 7.1"

/*
 * Best first, by instructions per request of small and large requests; what does not move a byte
 * beats all. Zero copy by commands of our own is dearer than a copy of 4 KiB, so it comes after the
 * driver's. A copy by pread and pwrite costs a system call's work more than the driver's, the
 * question where to copy to a round trip.
 */
static const struct row rows[] = {
	{
		.copy = DATA_COPY_NONE,
		.batch = true,
		.integrity = true,
		.serves = SERVES_NONE,
		.features = UBLK_F_USER_COPY | UBLK_F_BATCH_IO,
		BATCH_IS_BAD,
	},
	{
		.copy = DATA_COPY_NONE,
		.integrity = true,
		.serves = SERVES_NONE,
		.features = UBLK_F_USER_COPY,
	},
	{
		.copy = DATA_COPY_ZERO_AUTO,
		.fallback = DATA_COPY_USER,
		.batch = true,
		.serves = SERVES_FILES | SERVES_NONE,
		.features = UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY | UBLK_F_BATCH_IO,
		BATCH_IS_BAD,
	},
	{
		.copy = DATA_COPY_ZERO_AUTO,
		.fallback = DATA_COPY_USER,
		.serves = SERVES_FILES | SERVES_NONE,
		.features = UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY,
	},
	{
		.copy = DATA_COPY_DRIVER,
		.batch = true,
		.serves = SERVES_ALL,
		.features = UBLK_F_BATCH_IO,
		BATCH_IS_BAD,
	},
	{
		.copy = DATA_COPY_DRIVER,
		.serves = SERVES_ALL,
	},
	{
		.copy = DATA_COPY_ZERO,
		.fallback = DATA_COPY_USER,
		.serves = SERVES_FILES | SERVES_NONE,
		.features = UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_USER_COPY,
	},
	{
		.copy = DATA_COPY_USER,
		.integrity = true,
		.serves = SERVES_FILES | SERVES_NONE,
		.features = UBLK_F_USER_COPY,
	},
	{
		.copy = DATA_COPY_GET_DATA,
		.serves = SERVES_ALL,
		.features = UBLK_F_NEED_GET_DATA,
	},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

/* The kernel that brought a feature, as an administrator looks for it. */
static const char *since(uint64_t feature)
{
	switch (feature) {
	case UBLK_F_USER_COPY:
		return "6.5";
	case UBLK_F_SUPPORT_ZERO_COPY:
		return "6.15";
	case UBLK_F_AUTO_BUF_REG:
	case UBLK_F_PER_IO_DAEMON:
		return "6.16";
	case UBLK_F_BATCH_IO:
	case UBLK_F_INTEGRITY:
		return "7.0";
	case UBLK_F_SHMEM_ZC:
		return "7.1";
	default:
		return "6.0";
	}
}

unsigned int data_path_kernel(const char *release)
{
	unsigned int major, minor;

	if (sscanf(release, "%3u.%3u", &major, &minor) != 2 || minor > 255)
		return 0;
	return KERNEL(major, minor);
}

/* ---- one row */

/* The newest of some features; a kernel that has it has the others. */
static uint64_t newest(uint64_t features)
{
	return features ? UINT64_C(1) << (63 - __builtin_clzll(features)) : 0;
}

static const char *row_format(char buf[static DATA_PATH_NAME_MAX], const struct row *row)
{
	const struct data_path p = {.copy = row->copy, .batch = row->batch};

	return data_path_format(buf, &p);
}

static bool is_asked_for(const struct row *row, const struct data_path_wish *w)
{
	return (w->copy == DATA_COPY_AUTO || w->copy == row->copy) &&
	       (w->batch == DATA_BATCH_AUTO || (w->batch == DATA_BATCH_YES) == row->batch);
}

static bool is_known_bad(const struct row *row, const struct data_path_wish *w)
{
	return row->bad && w->kernel >= row->bad_from && w->kernel <= row->bad_to;
}

/* Who names a way knows why: fixes are carried to old kernels, too. */
static bool is_named(const struct row *row, const struct data_path_wish *w)
{
	return row->batch ? w->batch == DATA_BATCH_YES : w->copy == row->copy;
}

/* What the configuration rules out comes before the kernel's age: a newer one would not help. */
static int check_row(const struct row *row, const struct data_path_wish *w, struct failure *f)
{
	const enum failure_kind config = FAILURE_INVALID_CONFIGURATION;
	const enum failure_kind kernel = FAILURE_KERNEL_UNSUPPORTED;
	uint64_t missing = newest(row->features & ~w->features);

	if (!(row->serves & 1U << w->needs))
		return failure_set(
			f, config, EINVAL,
			row->copy == DATA_COPY_NONE
				? "the target keeps the data, which would be lost"
				: "the target looks at the data, which never reach ublkd");
	if (w->integrity && !row->integrity)
		return failure_set(f, config, EINVAL,
				   "[Integrity] metadata go by way of user copy only");
	if (row->batch && w->threads_per_queue > 1)
		return failure_set(f, config, EINVAL,
				   "batch I/O has one thread per queue, and ThreadsPerQueue=%u",
				   w->threads_per_queue);
	if (row->batch && w->handover)
		return failure_set(f, config, EINVAL,
				   "Recovery=requeue needs every tag handed back at a restart, "
				   "which batch I/O cannot do");
	if (row->batch && w->queue_depth == 1)
		return failure_set(f, config, EINVAL,
				   "the driver refuses batch I/O for one request at a time, and "
				   "Depth=1");
	if (missing)
		return failure_set(
			f, kernel, EOPNOTSUPP, "the driver has no %s, which came with Linux %s",
			features_name((unsigned int) __builtin_ctzll(missing)), since(missing));
	if (is_known_bad(row, w) && !is_named(row, w))
		return failure_set(f, kernel, EOPNOTSUPP, "%s", row->bad);
	return 0;
}

/* ---- all of them */

/* What no row can help with. */
static int check_extras(const struct data_path_wish *w, struct failure *f)
{
	const enum failure_kind kernel = FAILURE_KERNEL_UNSUPPORTED;

	if (w->threads_per_queue > 1 && !(w->features & UBLK_F_PER_IO_DAEMON))
		return failure_set(f, kernel, EOPNOTSUPP,
				   "ThreadsPerQueue=%u: the driver has no PER_IO_DAEMON, which "
				   "came with Linux %s: set ThreadsPerQueue=1",
				   w->threads_per_queue, since(UBLK_F_PER_IO_DAEMON));
	if (w->integrity && !(w->features & UBLK_F_INTEGRITY))
		return failure_set(f, kernel, EOPNOTSUPP,
				   "[Integrity]: the driver has no INTEGRITY, which came with "
				   "Linux %s: remove the section",
				   since(UBLK_F_INTEGRITY));
	if (w->shared_memory && !(w->features & UBLK_F_SHMEM_ZC))
		return failure_set(f, kernel, EOPNOTSUPP,
				   "SharedMemory=: the driver has no SHMEM_ZC, which came with "
				   "Linux %s: remove the setting",
				   since(UBLK_F_SHMEM_ZC));
	return 0;
}

/* The best row that fits, NULL: none; then @f is what is wrong with the least that was asked. */
static const struct row *find_row(const struct data_path_wish *w, struct failure *f)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		struct failure why = {0};

		if (!is_asked_for(&rows[i], w))
			continue;
		if (check_row(&rows[i], w, &why) == 0)
			return &rows[i];
		*f = why;
	}
	return NULL;
}

static bool has_row(enum data_copy copy, bool batch)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].copy == copy && rows[i].batch == batch)
			return true;
	return false;
}

static int refuse(const struct data_path_wish *w, const struct failure *why, struct failure *f)
{
	const char *copy = w->copy_is_default ? "DefaultCopy" : "Copy";
	const char *batch = w->batch_is_default ? "DefaultBatch" : "Batch";
	const char *way = data_copy_names[w->copy];

	if (w->copy == DATA_COPY_AUTO)
		return failure_set(f, why->kind, why->error, "%s=%s: %s: set %s=auto", batch,
				   data_batch_names[w->batch], why->text, batch);
	if (w->batch == DATA_BATCH_YES && !has_row(w->copy, true))
		return failure_set(f, FAILURE_INVALID_CONFIGURATION, EINVAL,
				   "%s=yes: there is no batch I/O with %s=%s: set %s=auto or "
				   "%s=auto",
				   batch, copy, way, batch, copy);
	if (w->batch == DATA_BATCH_YES)
		return failure_set(f, why->kind, why->error,
				   "%s=%s with %s=yes: %s: set %s=auto and %s=auto", copy, way,
				   batch, why->text, copy, batch);
	return failure_set(f, why->kind, why->error, "%s=%s: %s: set %s=auto", copy, way, why->text,
			   copy);
}

int data_path_choose(const struct data_path_wish *w, struct data_path *ret, struct failure *f)
{
	struct failure why = {0};
	const struct row *row;
	int r;

	assert(w->threads_per_queue >= 1);
	assert(w->copy < DATA_COPY_MAX_);

	r = check_extras(w, f);
	if (r < 0)
		return r;
	row = find_row(w, &why);
	if (!row)
		return refuse(w, &why, f);
	*ret = (struct data_path){
		.copy = row->copy,
		.fallback = row->fallback ? row->fallback : row->copy,
		.batch = row->batch,
		.shared_memory = w->shared_memory,
		.flags = row->features | (w->threads_per_queue > 1 ? UBLK_F_PER_IO_DAEMON : 0) |
			 (w->integrity ? UBLK_F_INTEGRITY : 0) |
			 (w->shared_memory ? UBLK_F_SHMEM_ZC : 0),
	};
	return 0;
}

/* ---- in words */

const char *data_path_format(char buf[static DATA_PATH_NAME_MAX], const struct data_path *p)
{
	(void) snprintf(buf, DATA_PATH_NAME_MAX, "%s%s%s", data_copy_names[p->copy],
			p->batch ? "+batch" : "", p->shared_memory ? "+shared-memory" : "");
	return buf;
}

void data_path_explain(const struct data_path_wish *w, FILE *to)
{
	struct data_path chosen = {0};
	struct failure refused = {0};
	int r = data_path_choose(w, &chosen, &refused);

	for (size_t i = 0; i < N_ROWS; i++) {
		const struct row *row = &rows[i];
		char name[DATA_PATH_NAME_MAX];
		struct failure why = {0};
		const char *verdict;

		if (check_row(row, w, &why) < 0)
			verdict = why.text;
		else if (r == 0 && row->copy == chosen.copy && row->batch == chosen.batch)
			verdict = "chosen";
		else if (!is_asked_for(row, w))
			verdict = "would do, but something else is asked for";
		else
			verdict = "would do";
		(void) fprintf(to, "  %-16s %s\n", row_format(name, row), verdict);
	}
	if (r < 0)
		(void) fprintf(to, "\nNone: %s.\n", refused.text);
}
