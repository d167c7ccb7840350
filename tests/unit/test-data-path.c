/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ublk/data-path: which way the data goes, from what there is and what is asked for. */
#include <errno.h>
#include <stdlib.h>

#include "test.h"
#include "ublk/abi.h"
#include "ublk/data-path.h"

/* GET_FEATURES as measured, and the kernel's number. */
enum kernel { K6_12, K6_15, K6_16, K6_18, K7_0, K7_1, K7_3, N_KERNELS };

static const struct {
	const char *release;
	uint64_t features;
} kernels[N_KERNELS] = {
	[K6_12] = {"6.12.117+deb13-amd64", 0x1fe},
	[K6_15] = {"6.15.1", 0x3ff},
	[K6_16] = {"6.16.12", 0x3fff},
	[K6_18] = {"6.18.15", 0x7fff},
	[K7_0] = {"7.0.0-38-generic", 0x7ffff},
	[K7_1] = {"7.1.0", 0xfffff},
	[K7_3] = {"7.3.4", 0x1fffff},
};

static struct data_path_wish wish(enum kernel k, enum ub_data needs)
{
	return (struct data_path_wish){
		.features = kernels[k].features,
		.kernel = data_path_kernel(kernels[k].release),
		.needs = needs,
		.threads_per_queue = 1,
	};
}

static struct data_path chosen(struct data_path_wish w)
{
	struct data_path p = {0};
	struct failure f = {0};

	if (data_path_choose(&w, &p, &f) < 0)
		TEST_FAIL("refused: %s", f.text);
	/* What is asked for is what there is. */
	CHECK_EQ(p.flags & ~w.features, 0);
	return p;
}

static const char *name_of(struct data_path_wish w)
{
	static char buf[DATA_PATH_NAME_MAX];
	struct data_path p = chosen(w);

	return data_path_format(buf, &p);
}

static struct failure refused(struct data_path_wish w, enum failure_kind kind, const char *text)
{
	struct data_path p = {.flags = 77};
	struct failure f = {0};

	CHECK_EQ(data_path_choose(&w, &p, &f),
		 kind == FAILURE_KERNEL_UNSUPPORTED ? -EOPNOTSUPP : -EINVAL);
	CHECK_EQ(f.kind, kind);
	CHECK_STR(f.text, text);
	CHECK_EQ(p.flags, 77);
	return f;
}

static void by_itself(void)
{
	static const struct {
		enum kernel kernel;
		const char *memory, *files, *none;
	} best[] = {
		{K6_12, "driver", "driver", "none"},
		{K6_15, "driver", "driver", "none"},
		{K6_16, "driver", "zero-auto", "none"},
		{K6_18, "driver", "zero-auto", "none"},
		{K7_0, "driver", "zero-auto", "none"},
		{K7_1, "driver+batch", "zero-auto+batch", "none+batch"},
		{K7_3, "driver+batch", "zero-auto+batch", "none+batch"},
	};

	_Static_assert(sizeof(best) / sizeof(best[0]) == N_KERNELS, "all kernels");
	for (unsigned int i = 0; i < N_KERNELS; i++) {
		CHECK_STR(name_of(wish(best[i].kernel, UB_DATA_MEMORY)), best[i].memory);
		CHECK_STR(name_of(wish(best[i].kernel, UB_DATA_FILES)), best[i].files);
		CHECK_STR(name_of(wish(best[i].kernel, UB_DATA_NONE)), best[i].none);
	}
}

static void flags_and_fallbacks(void)
{
	struct data_path_wish w = wish(K7_3, UB_DATA_FILES);
	struct data_path p = chosen(w);

	CHECK_EQ(p.flags, UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY | UBLK_F_BATCH_IO);
	CHECK_EQ(p.fallback, DATA_COPY_USER);
	CHECK(!p.shared_memory);

	w.copy = DATA_COPY_GET_DATA;
	p = chosen(w);
	CHECK_EQ(p.flags, UBLK_F_NEED_GET_DATA);
	CHECK_EQ(p.fallback, DATA_COPY_GET_DATA);

	w.copy = DATA_COPY_DRIVER;
	w.batch = DATA_BATCH_NO;
	CHECK_EQ(chosen(w).flags, 0);
	w.copy = DATA_COPY_USER;
	CHECK_EQ(chosen(w).flags, UBLK_F_USER_COPY);
	w.copy = DATA_COPY_ZERO;
	CHECK_EQ(chosen(w).flags, UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_USER_COPY);
}

/* What the driver clears without a word is never asked for together. */
static void no_flags_that_clear_each_other(void)
{
	for (unsigned int copy = 0; copy < DATA_COPY_MAX_; copy++)
		for (unsigned int batch = 0; batch <= DATA_BATCH_YES; batch++)
			for (unsigned int threads = 1; threads < 3; threads++) {
				struct data_path_wish w = wish(K7_3, UB_DATA_NONE);
				struct data_path p;

				w.copy = (enum data_copy) copy;
				w.batch = (enum data_batch) batch;
				w.threads_per_queue = threads;
				if (data_path_choose(&w, &p, NULL) < 0)
					continue;
				CHECK(p.copy != DATA_COPY_AUTO);
				CHECK(copy == DATA_COPY_AUTO || p.copy == copy);
				CHECK(!(p.flags & UBLK_F_NEED_GET_DATA) ||
				      p.flags == UBLK_F_NEED_GET_DATA || threads > 1);
				CHECK(!(p.flags & UBLK_F_BATCH_IO) ||
				      !(p.flags & UBLK_F_PER_IO_DAEMON));
				CHECK_EQ(!(p.flags & UBLK_F_BATCH_IO), !p.batch);
			}
}

static void asked_for(void)
{
	struct data_path_wish w = wish(K7_3, UB_DATA_FILES);

	w.copy = DATA_COPY_DRIVER;
	CHECK_STR(name_of(w), "driver+batch");
	w.batch = DATA_BATCH_NO;
	CHECK_STR(name_of(w), "driver");
	w.copy = DATA_COPY_AUTO;
	CHECK_STR(name_of(w), "zero-auto");
	w.batch = DATA_BATCH_YES;
	CHECK_STR(name_of(w), "zero-auto+batch");
	w.batch = DATA_BATCH_AUTO;
	w.copy = DATA_COPY_ZERO;
	CHECK_STR(name_of(w), "zero");
	/* A target that looks at nothing can be served in every way: to measure them. */
	w.needs = UB_DATA_NONE;
	CHECK_STR(name_of(w), "zero");
	w.copy = DATA_COPY_USER;
	CHECK_STR(name_of(w), "user");
}

static void several_threads(void)
{
	struct data_path_wish w = wish(K7_3, UB_DATA_FILES);

	w.threads_per_queue = 4;
	CHECK_STR(name_of(w), "zero-auto");
	CHECK(chosen(w).flags & UBLK_F_PER_IO_DAEMON);
	w.batch = DATA_BATCH_YES;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "Batch=yes: batch I/O has one thread per queue, and ThreadsPerQueue=4: "
		       "set Batch=auto");
	w = wish(K6_15, UB_DATA_FILES);
	w.threads_per_queue = 2;
	(void) refused(w, FAILURE_KERNEL_UNSUPPORTED,
		       "ThreadsPerQueue=2: the driver has no PER_IO_DAEMON, which came with Linux "
		       "6.16: set ThreadsPerQueue=1");
}

static void one_request_at_a_time(void)
{
	struct data_path_wish w = wish(K7_3, UB_DATA_FILES);

	w.queue_depth = 2;
	CHECK_STR(name_of(w), "zero-auto+batch");
	w.queue_depth = 1;
	CHECK_STR(name_of(w), "zero-auto");
	w.batch = DATA_BATCH_YES;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "Batch=yes: the driver refuses batch I/O for one request at a time, and "
		       "Depth=1: set Batch=auto");
}

static void what_the_kernel_has_not(void)
{
	struct data_path_wish w = wish(K6_12, UB_DATA_FILES);

	w.copy = DATA_COPY_ZERO;
	(void) refused(w, FAILURE_KERNEL_UNSUPPORTED,
		       "Copy=zero: the driver has no SUPPORT_ZERO_COPY, which came with Linux "
		       "6.15: set Copy=auto");
	w = wish(K6_15, UB_DATA_FILES);
	w.copy = DATA_COPY_ZERO_AUTO;
	(void) refused(w, FAILURE_KERNEL_UNSUPPORTED,
		       "Copy=zero-auto: the driver has no AUTO_BUF_REG, which came with Linux "
		       "6.16: set Copy=auto");
	w = wish(K6_18, UB_DATA_FILES);
	w.batch = DATA_BATCH_YES;
	(void) refused(w, FAILURE_KERNEL_UNSUPPORTED,
		       "Batch=yes: the driver has no BATCH_IO, which came with Linux 7.0: set "
		       "Batch=auto");
	w.copy = DATA_COPY_DRIVER;
	(void) refused(w, FAILURE_KERNEL_UNSUPPORTED,
		       "Copy=driver with Batch=yes: the driver has no BATCH_IO, which came with "
		       "Linux 7.0: set Copy=auto and Batch=auto");
}

static void what_no_kernel_could(void)
{
	struct data_path_wish w = wish(K7_3, UB_DATA_MEMORY);

	w.copy = DATA_COPY_ZERO;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "Copy=zero: the target looks at the data, which never reach ublkd: set "
		       "Copy=auto");
	w.copy = DATA_COPY_ZERO_AUTO;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "Copy=zero-auto: the target looks at the data, which never reach ublkd: set "
		       "Copy=auto");
	w.copy = DATA_COPY_NONE;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "Copy=none: the target keeps the data, which would be lost: set Copy=auto");
	w.needs = UB_DATA_FILES;
	w.batch = DATA_BATCH_YES;
	w.copy = DATA_COPY_ZERO;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "Batch=yes: there is no batch I/O with Copy=zero: set Batch=auto or "
		       "Copy=auto");
}

static void defaults_are_named(void)
{
	struct data_path_wish w = wish(K7_3, UB_DATA_MEMORY);

	w.copy = DATA_COPY_ZERO;
	w.copy_is_default = true;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "DefaultCopy=zero: the target looks at the data, which never reach ublkd: "
		       "set DefaultCopy=auto");
	w.batch = DATA_BATCH_YES;
	w.batch_is_default = true;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "DefaultBatch=yes: there is no batch I/O with DefaultCopy=zero: set "
		       "DefaultBatch=auto or DefaultCopy=auto");
}

static void metadata(void)
{
	struct data_path_wish w = wish(K7_3, UB_DATA_FILES);

	w.integrity = true;
	CHECK_STR(name_of(w), "user");
	CHECK_EQ(chosen(w).flags, UBLK_F_USER_COPY | UBLK_F_INTEGRITY);
	w.copy = DATA_COPY_DRIVER;
	(void) refused(w, FAILURE_INVALID_CONFIGURATION,
		       "Copy=driver: [Integrity] metadata go by way of user copy only: set "
		       "Copy=auto");
	w = wish(K7_3, UB_DATA_NONE);
	w.integrity = true;
	CHECK_STR(name_of(w), "none+batch");
	w = wish(K6_18, UB_DATA_NONE);
	w.integrity = true;
	(void) refused(w, FAILURE_KERNEL_UNSUPPORTED,
		       "[Integrity]: the driver has no INTEGRITY, which came with Linux 7.0: "
		       "remove the section");
}

static void shared_memory(void)
{
	struct data_path_wish w = wish(K7_1, UB_DATA_FILES);

	w.shared_memory = true;
	CHECK_STR(name_of(w), "zero-auto+batch+shared-memory");
	CHECK(chosen(w).flags & UBLK_F_SHMEM_ZC);
	w = wish(K7_0, UB_DATA_FILES);
	w.shared_memory = true;
	(void) refused(w, FAILURE_KERNEL_UNSUPPORTED,
		       "SharedMemory=: the driver has no SHMEM_ZC, which came with Linux 7.1: "
		       "remove the setting");
}

static void broken_kernels_by_name_only(void)
{
	struct data_path_wish w = wish(K7_0, UB_DATA_FILES);

	w.copy = DATA_COPY_DRIVER;
	CHECK_STR(name_of(w), "driver");
	w.batch = DATA_BATCH_YES;
	CHECK_STR(name_of(w), "driver+batch");
	w.kernel = 0; /* nobody knows: the features decide */
	w.batch = DATA_BATCH_AUTO;
	CHECK_STR(name_of(w), "driver+batch");
}

static void versions(void)
{
	CHECK_EQ(data_path_kernel("6.12.117+deb13-amd64"), 0x60c);
	CHECK_EQ(data_path_kernel("7.2"), 0x702);
	CHECK_EQ(data_path_kernel("7.10-rc1"), 0x70a);
	CHECK_EQ(data_path_kernel(""), 0);
	CHECK_EQ(data_path_kernel("linux"), 0);
	CHECK_EQ(data_path_kernel("7"), 0);
	CHECK_EQ(data_path_kernel("7.300"), 0);
}

static const char *explained(struct data_path_wish w)
{
	static char *text;
	size_t size;
	FILE *f;

	free(text);
	f = open_memstream(&text, &size);
	CHECK(f);
	data_path_explain(&w, f);
	(void) fclose(f);
	return text;
}

static void explanations(void)
{
	struct data_path_wish w = wish(K7_0, UB_DATA_FILES);
	const char *text;

	w.copy = DATA_COPY_ZERO_AUTO;
	CHECK_STR(explained(w),
		  "  none+batch       the target keeps the data, which would be lost\n"
		  "  none             the target keeps the data, which would be lost\n"
		  "  zero-auto+batch  Linux 7.0 lacks fixes of the end of a server that came with "
		  "7.1\n"
		  "  zero-auto        chosen\n"
		  "  driver+batch     Linux 7.0 lacks fixes of the end of a server that came with "
		  "7.1\n"
		  "  driver           would do, but something else is asked for\n"
		  "  zero             would do, but something else is asked for\n"
		  "  user             would do, but something else is asked for\n"
		  "  get-data         would do, but something else is asked for\n");
	w.needs = UB_DATA_MEMORY;
	text = explained(w);
	CHECK(!strstr(text, "chosen"));
	CHECK_CONTAINS(text, "\nNone: Copy=zero-auto: the target looks at the data, which never "
			     "reach ublkd: set Copy=auto.\n");
	CHECK_CONTAINS(explained(wish(K6_12, UB_DATA_FILES)),
		       "  zero-auto        the driver has no AUTO_BUF_REG, which came with "
		       "Linux 6.16\n");
	CHECK_CONTAINS(explained(wish(K7_1, UB_DATA_NONE)), "  none+batch       chosen\n"
							    "  none             would do\n");
}

TEST_MAIN(CASE(by_itself), CASE(flags_and_fallbacks), CASE(no_flags_that_clear_each_other),
	  CASE(asked_for), CASE(several_threads), CASE(one_request_at_a_time),
	  CASE(what_the_kernel_has_not), CASE(what_no_kernel_could), CASE(defaults_are_named),
	  CASE(metadata), CASE(shared_memory), CASE(broken_kernels_by_name_only), CASE(versions),
	  CASE(explanations))
