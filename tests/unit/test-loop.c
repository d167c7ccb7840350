/* SPDX-License-Identifier: GPL-2.0-or-later */
/* targets/loop: the limits it takes from the disk below; disk and its sysfs are made up. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/device-config.h"
#include "device/limits.h"
#include "target/dev.h"
#include "target/options.h"
#include "target/registry.h"
#include "test.h"

/* What is behind File=, and what sysfs has about its disk: names relative to /sys/dev/block/8:1/ */
static struct {
	bool is_block;
	bool no_holes;
	unsigned int block_size;
	uint32_t memory_align, offset_align; /* as statx() tells for files */
	const char *attr[32][2];
} disk;

static char path[] = "/tmp/ublkd-loop-XXXXXX";

/* ---- the disk */

FILE *__wrap_fopen64(const char *name, const char *mode);
FILE *__real_fopen64(const char *name, const char *mode);
FILE *__wrap_fopen(const char *name, const char *mode);
int __wrap_stat64(const char *name, struct stat *st);
int __real_stat64(const char *name, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __real_fstat64(int fd, struct stat *st);
int __wrap_statx(int fd, const char *name, int flags, unsigned int mask, struct statx *stx);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);

FILE *__wrap_fopen64(const char *name, const char *mode)
{
	static const char prefix[] = "/sys/dev/block/8:1/";
	size_t len = sizeof(prefix) - 1;

	if (strncmp(name, "/sys/", 5) != 0)
		return __real_fopen64(name, mode);
	for (size_t i = 0; strncmp(name, prefix, len) == 0 && disk.attr[i][0]; i++)
		if (strcmp(disk.attr[i][0], name + len) == 0)
			return fmemopen((char *) disk.attr[i][1], strlen(disk.attr[i][1]), "r");
	errno = ENOENT;
	return NULL;
}

FILE *__wrap_fopen(const char *name, const char *mode)
{
	return __wrap_fopen64(name, mode);
}

static int made_up(int r, struct stat *st)
{
	if (disk.is_block) {
		st->st_mode = S_IFBLK | 0600;
		st->st_rdev = makedev(8, 1);
	} else {
		st->st_dev = makedev(8, 1);
		st->st_blksize = 4096;
	}
	return r;
}

int __wrap_stat64(const char *name, struct stat *st)
{
	return made_up(__real_stat64(name, st), st);
}

int __wrap_fstat64(int fd, struct stat *st)
{
	return made_up(__real_fstat64(fd, st), st);
}

int __wrap_statx(int fd, const char *name, int flags, unsigned int mask, struct statx *stx)
{
	*stx = (struct statx){0};
	if (disk.memory_align) {
		stx->stx_mask = STATX_DIOALIGN;
		stx->stx_dio_mem_align = disk.memory_align;
		stx->stx_dio_offset_align = disk.offset_align;
	}
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == BLKGETSIZE64)
		*(uint64_t *) arg = 1 << 20;
	else
		*(unsigned int *) arg = disk.block_size;
	return 0;
}

int __wrap_fcntl64(int fd, int cmd, ...)
{
	return 0; /* direct or locked, it is ours */
}

int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
	errno = EOPNOTSUPP;
	return disk.no_holes ? -1 : 0;
}

/* ---- opening */

static struct ub_dev dev;

/* @more: option and value, ..., NULL. Return: as open() */
static int open_with(const struct device_config *c, ...)
{
	const struct ub_target *t = registry_find("loop");
	void *state = calloc(1, t->state_size);
	char why[100];
	const char *key;
	va_list ap;
	int r;

	dev_init(&dev, "d");
	limits_before_open(&dev.limits, c);
	dev.block_size_fixed = c->logical_block_size != 0;
	CHECK(state);
	CHECK_EQ(options_init(t->options, state), 0);
	CHECK_EQ(options_parse(options_find(t->options, NULL, "File"), state, path, why,
			       sizeof(why)),
		 0);
	va_start(ap, c);
	while ((key = va_arg(ap, const char *)))
		CHECK_EQ(options_parse(options_find(t->options, NULL, key), state,
				       va_arg(ap, const char *), why, sizeof(why)),
			 0);
	va_end(ap);
	r = t->open(&dev, state);
	options_release(t->options, state);
	free(state);
	dev_release(&dev);
	return r;
}

static const struct ub_limits *limits_with(const struct device_config *c, const char *key,
					   const char *value)
{
	if (open_with(c, key, value, NULL) < 0)
		TEST_FAIL("%s", dev.failure.text);
	return &dev.limits;
}

static void a_disk(void)
{
	static const char *const attr[][2] = {
		{"queue/physical_block_size", "4096"},
		{"queue/minimum_io_size", "8192"},
		{"queue/optimal_io_size", "65536"},
		{"queue/discard_granularity", "65536"},
		{"queue/discard_max_bytes", "1048576"},
		{"queue/write_zeroes_max_bytes", "2097152"},
		{"queue/rotational", "1"},
		{"queue/dma_alignment", "511"},
		{"queue/max_sectors_kb", "126"},
		{"queue/max_segments", "64"},
		{"queue/max_segment_size", "65536"},
		{"queue/virt_boundary_mask", "0"},
		{"queue/chunk_sectors", "256"},
		{"discard_alignment", "4096"},
	};

	memset(&disk, 0, sizeof(disk));
	disk.block_size = 512;
	memcpy(disk.attr, attr, sizeof(attr));
}

static void set_attr(const char *name, const char *value)
{
	size_t i = 0;

	while (disk.attr[i][0] && strcmp(disk.attr[i][0], name) != 0)
		i++;
	disk.attr[i][0] = name;
	disk.attr[i][1] = value;
}

static void a_block_device(void)
{
	a_disk();
	disk.is_block = true;
}

static void a_file(void)
{
	a_disk();
	disk.memory_align = 4;
	disk.offset_align = 512;
}

/* ---- cases */

static void block_device_as_it_is(void)
{
	struct device_config c = {0};
	const struct ub_limits *l;

	a_block_device();
	l = limits_with(&c, NULL, NULL);
	CHECK_EQ(l->size, 1 << 20);
	CHECK_EQ(l->logical_block_size, 512);
	CHECK_EQ(l->physical_block_size, 4096);
	CHECK_EQ(l->io_min, 8192);
	CHECK_EQ(l->io_opt, 65536);
	CHECK_EQ(l->discard_granularity, 65536);
	CHECK_EQ(l->discard_alignment, 4096);
	CHECK_EQ(l->max_discard_bytes, 1 << 20);
	CHECK_EQ(l->max_write_zeroes_bytes, 2 << 20);
	CHECK_EQ(l->rotational, 1);
	CHECK_EQ(l->dma_alignment, 512);
	CHECK_EQ(l->max_io_bytes, 124 << 10); /* whole pages */
	CHECK_EQ(l->max_segments, 64);
	CHECK_EQ(l->max_segment_size, 65536);
	CHECK_EQ(l->virt_boundary, 0);
	CHECK_EQ(l->chunk_size, 131072);
	CHECK(l->volatile_cache && l->fua);
}

static void partition_has_the_queue_of_its_disk(void)
{
	struct device_config c = {0};

	a_block_device();
	for (size_t i = 0; disk.attr[i][0]; i++)
		disk.attr[i][0] = strcmp(disk.attr[i][0], "queue/chunk_sectors") == 0
					  ? "../queue/chunk_sectors"
					  : disk.attr[i][0];
	set_attr("start", "512");
	CHECK_EQ(limits_with(&c, NULL, NULL)->chunk_size, 131072);
	/* Chunks do not fall in with a partition that begins anywhere. */
	set_attr("start", "34");
	CHECK_EQ(limits_with(&c, NULL, NULL)->chunk_size, 0);
}

static void offset_moves_granules_and_chunks(void)
{
	struct device_config c = {0};

	a_block_device();
	CHECK_EQ(limits_with(&c, "Offset", "8K")->discard_alignment, 65536 - 4096);
	CHECK_EQ(dev.limits.chunk_size, 0);
	CHECK_EQ(limits_with(&c, "Offset", "128K")->discard_alignment, 4096);
	CHECK_EQ(dev.limits.chunk_size, 131072);
}

static void gaps_or_large_pieces(void)
{
	struct device_config c = {0};

	a_block_device();
	set_attr("queue/virt_boundary_mask", "4095");
	CHECK_EQ(limits_with(&c, NULL, NULL)->virt_boundary, 4096);
	CHECK_EQ(dev.limits.max_segment_size, 0);
	c.max_segment_size = 8192;
	CHECK_EQ(limits_with(&c, NULL, NULL)->virt_boundary, 0);
	CHECK_EQ(dev.limits.max_segment_size, 8192);
	set_attr("queue/max_segment_size", "4294967295");
	set_attr("queue/virt_boundary_mask", "0");
	c.max_segment_size = 0;
	CHECK_EQ(limits_with(&c, NULL, NULL)->max_segment_size, 0);
}

static void what_is_fixed_stays(void)
{
	struct device_config c = {.physical_block_size = 16384,
				  .io_opt = 32768,
				  .chunk_size = 8192,
				  .discard_granularity = 32768,
				  .max_discard = 65536,
				  .max_write_zeroes = 131072,
				  .max_io_size = 1 << 20,
				  .max_segments = 7,
				  .dma_alignment = 1024,
				  .rotational = CHOICE_NO};
	const struct ub_limits *l;

	a_block_device();
	l = limits_with(&c, NULL, NULL);
	CHECK_EQ(l->physical_block_size, 16384);
	CHECK_EQ(l->io_min, 0); /* the disk's is less than a block now */
	CHECK_EQ(l->io_opt, 32768);
	CHECK_EQ(l->chunk_size, 8192);
	CHECK_EQ(l->discard_granularity, 32768);
	CHECK_EQ(l->max_discard_bytes, 65536);
	CHECK_EQ(l->max_write_zeroes_bytes, 131072);
	CHECK_EQ(l->max_io_bytes, 1 << 20);
	CHECK_EQ(l->max_segments, 7);
	CHECK_EQ(l->dma_alignment, 1024);
	CHECK_EQ(l->rotational, 0);
}

static void what_the_disk_cannot_is_not_offered(void)
{
	struct device_config c = {.max_discard = 65536, .max_write_zeroes = 131072};

	a_block_device();
	set_attr("queue/discard_max_bytes", "0");
	set_attr("queue/write_zeroes_max_bytes", "0");
	CHECK_EQ(limits_with(&c, NULL, NULL)->max_discard_bytes, 0);
	CHECK_EQ(dev.limits.max_write_zeroes_bytes, 0);
	a_file();
	disk.no_holes = true;
	CHECK_EQ(limits_with(&c, NULL, NULL)->max_discard_bytes, 0);
	c.read_only = true;
	disk.no_holes = false;
	CHECK_EQ(limits_with(&c, NULL, NULL)->max_discard_bytes, 0);
	CHECK(!dev.limits.volatile_cache);
}

static void file_has_its_disks_queue(void)
{
	struct device_config c = {0};
	const struct ub_limits *l;

	a_file();
	l = limits_with(&c, NULL, NULL);
	CHECK_EQ(l->physical_block_size, 4096);
	CHECK_EQ(l->io_min, 0);
	CHECK_EQ(l->discard_granularity, 4096);
	CHECK_EQ(l->discard_alignment, 0);
	CHECK_EQ(l->max_discard_bytes, UINT64_C(1) << 31);
	CHECK_EQ(l->rotational, 1);
	CHECK_EQ(l->dma_alignment, 4);
	CHECK_EQ(l->max_io_bytes, 124 << 10);
	CHECK_EQ(l->max_segments, 64);
	/* Its blocks are anywhere on the disk. */
	CHECK_EQ(l->chunk_size, 0);
	CHECK_EQ(limits_with(&c, "Offset", "512")->discard_alignment, 4096 - 512);
}

static void page_cache_has_no_shape(void)
{
	struct device_config c = {0};
	const struct ub_limits *l;

	a_file();
	l = limits_with(&c, "DirectIO", "no");
	CHECK_EQ(l->dma_alignment, 0);
	CHECK_EQ(l->max_io_bytes, 0);
	CHECK_EQ(l->max_segments, 0);
	CHECK_EQ(l->max_segment_size, 0);
	CHECK_EQ(l->rotational, 1);
	/* The blocks are too small for direct I/O: no reason to fail. */
	disk.offset_align = 4096;
	CHECK_EQ(limits_with(&c, NULL, NULL)->max_segments, 0);
	CHECK(open_with(&c, "DirectIO", "yes", NULL) < 0);
	CHECK_CONTAINS(dev.failure.text, "set LogicalBlockSize=4096");
}

static void memory_that_direct_io_would_refuse(void)
{
	struct device_config c = {.dma_alignment = 4};

	a_file();
	disk.memory_align = 512;
	CHECK_EQ(limits_with(&c, NULL, NULL)->max_segments, 0);
	CHECK_EQ(dev.limits.dma_alignment, 4);
	CHECK(open_with(&c, "DirectIO", "yes", NULL) < 0);
	CHECK_CONTAINS(dev.failure.text, "set DMAAlignment=512");
	c.dma_alignment = 0;
	disk.memory_align = 1;
	CHECK_EQ(limits_with(&c, NULL, NULL)->dma_alignment, 4);
	disk.memory_align = 8192;
	CHECK_EQ(limits_with(&c, NULL, NULL)->dma_alignment, 0);
}

static void disk_unknown(void)
{
	struct device_config c = {0};
	const struct ub_limits *l;

	a_file();
	memset(disk.attr, 0, sizeof(disk.attr));
	l = limits_with(&c, NULL, NULL);
	CHECK_EQ(l->max_segments, 0);
	CHECK_EQ(l->max_io_bytes, 0);
	CHECK_EQ(l->virt_boundary, 0);
	CHECK_EQ(l->rotational, 0);
}

static void begin(void)
{
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 1 << 20), 0);
	(void) close(fd);
}

static void end(void)
{
	CHECK_EQ(unlink(path), 0);
}

TEST_MAIN(CASE(begin), CASE(block_device_as_it_is), CASE(partition_has_the_queue_of_its_disk),
	  CASE(offset_moves_granules_and_chunks), CASE(gaps_or_large_pieces),
	  CASE(what_is_fixed_stays), CASE(what_the_disk_cannot_is_not_offered),
	  CASE(file_has_its_disks_queue), CASE(page_cache_has_no_shape),
	  CASE(memory_that_direct_io_would_refuse), CASE(disk_unknown), CASE(end))
