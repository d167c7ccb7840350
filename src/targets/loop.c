/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop - a regular file or a block device as a block device.
 *
 * Order: none among requests; FLUSH makes everything completed before it durable.
 * Errors: those of the file, unchanged. A file that got shorter gives EIO behind its end.
 * Discard: holes in a file, a discard on a block device. Write-zeroes: a hole if the request allows
 * it, zeroed blocks that stay allocated otherwise; what the file cannot do the kernel does with
 * ordinary writes.
 *
 * Nothing blocks a queue: reads, writes, syncs and fallocates all go through the ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <ublkd/target.h>

enum direct { DIRECT_AUTO, DIRECT_YES, DIRECT_NO };

static const char *const direct_values[] = {"auto", "yes", "no", NULL};

struct loop {
	/* options */
	char *path;
	uint64_t offset;
	int direct;
	/* after open */
	struct ub_file *file;
	bool is_block;
};

static const struct ub_opt loop_options[] = {
	UB_OPT_PATH(struct loop, path, "File", .required = true,
		    .help = "the backing: a regular file or a block device"),
	UB_OPT_BYTES(struct loop, offset, "Offset", .dflt = "0",
		     .help = "where in it the device begins, a multiple of the logical block size"),
	UB_OPT_ENUM(struct loop, direct, "DirectIO", .dflt = "auto", .values = direct_values,
		    .help = "past the page cache (O_DIRECT); auto: if the file can do it"),
	{0},
};

/* What open() learns about the backing. */
struct backing {
	int fd; /* owned until ub_dev_file() */
	struct stat st;
	uint64_t size;
	uint32_t block_size; /* of a block device, else 512 */
	uint32_t direct_align; /* of offset, length and memory; 0: no O_DIRECT */
};

/* ---- what a block device says of itself */

#define HINT_MAX (UINT32_C(256) << 20)

static uint64_t sysfs_u64(dev_t dev, const char *attr)
{
	char path[128];
	uint64_t v = 0;
	FILE *f;

	/* A partition has no queue of its own. */
	for (int up = 0; up < 2; up++) {
		(void) snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(dev),
				minor(dev), up ? "../" : "", attr);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%" SCNu64, &v) != 1)
			v = 0;
		(void) fclose(f);
		break;
	}
	return v;
}

static void limits_of_block(struct ub_limits *l, const struct backing *b)
{
	dev_t dev = b->st.st_rdev;

	if (!l->physical_block_size)
		l->physical_block_size = (uint32_t) sysfs_u64(dev, "physical_block_size");
	l->io_min = (uint32_t) sysfs_u64(dev, "minimum_io_size");
	l->io_opt = (uint32_t) sysfs_u64(dev, "optimal_io_size");
	/* Hints only: the driver takes powers of two up to a limit. */
	if (l->io_min & (l->io_min - 1) || l->io_min > HINT_MAX)
		l->io_min = 0;
	if (l->io_opt & (l->io_opt - 1) || l->io_opt > HINT_MAX)
		l->io_opt = 0;
	l->discard_granularity = (uint32_t) sysfs_u64(dev, "discard_granularity");
	l->max_discard_bytes = sysfs_u64(dev, "discard_max_bytes");
	/* Zeroing works on every block device; the kernel writes where the device cannot. */
	l->max_write_zeroes_bytes = sysfs_u64(dev, "write_zeroes_max_bytes");
	if (l->rotational < 0)
		l->rotational = sysfs_u64(dev, "rotational") != 0;
}

/* A hole behind the end changes nothing, and tells whether the file system makes holes. */
static bool file_punches_holes(const struct backing *b)
{
	off_t end = (off_t) ((b->size | 4095) + 1);

	return fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0;
}

static void limits_of_file(struct ub_limits *l, const struct backing *b)
{
	if (!l->physical_block_size && b->st.st_blksize > 0 && b->st.st_blksize <= 65536 &&
	    !(b->st.st_blksize & (b->st.st_blksize - 1)))
		l->physical_block_size = (uint32_t) b->st.st_blksize;
	if (!l->read_only && file_punches_holes(b)) {
		l->discard_granularity = l->physical_block_size;
		l->max_discard_bytes = l->max_write_zeroes_bytes = UINT64_C(1) << 31;
	}
	if (l->rotational < 0)
		l->rotational = sysfs_u64(b->st.st_dev, "rotational") != 0;
}

/* ---- opening */

/* A killed server holds it until its last write has ended, like the lock on a file. */
static int open_patiently(const char *path, int flags)
{
	static const struct timespec pause = {.tv_nsec = 50 * 1000000L};
	int fd = open(path, flags);

	for (int i = 0; fd < 0 && errno == EBUSY && flags & O_EXCL && i < 100; i++) {
		(void) nanosleep(&pause, NULL);
		fd = open(path, flags);
	}
	return fd;
}

/* The kernel does not say who has a block device: we know if it is one of our own devices. */
static int loop_fail_in_use(struct ub_dev *dev, const struct loop *l)
{
	int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r = fd < 0 ? 0 : ub_dev_claim(dev, fd, l->path, 0, UINT64_MAX, true);

	if (fd >= 0)
		(void) close(fd);
	if (r < 0)
		return r;
	return ub_dev_fail(
		dev, UB_E_IN_USE, EBUSY,
		"'%s' is in use (mounted, or part of another device): unmount it, or set "
		"ReadOnly=yes",
		l->path);
}

static int loop_open_fd(struct ub_dev *dev, const struct loop *l, struct backing *b)
{
	bool ro = ub_dev_limits(dev)->read_only;
	int flags = (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

	if (stat(l->path, &b->st) < 0)
		return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot open '%s': %s", l->path,
				   strerror(errno));
	if (!S_ISREG(b->st.st_mode) && !S_ISBLK(b->st.st_mode))
		return ub_dev_fail(
			dev, UB_E_BACKING, S_ISDIR(b->st.st_mode) ? EISDIR : EINVAL,
			"'%s' is %s: File= must name a regular file or a block device", l->path,
			S_ISDIR(b->st.st_mode) ? "a directory" : "neither a file nor a disk");
	/* A disk that is mounted or claimed is not written behind its user's back. */
	if (S_ISBLK(b->st.st_mode) && !ro)
		flags |= O_EXCL;
	b->fd = open_patiently(l->path, flags);
	if (b->fd < 0 && errno == EBUSY && flags & O_EXCL)
		return loop_fail_in_use(dev, l);
	if (b->fd < 0)
		return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot open '%s' %s: %s", l->path,
				   ro ? "for reading" : "for reading and writing", strerror(errno));
	/* The name may have changed hands between stat and open. */
	if (fstat(b->fd, &b->st) < 0 || (!S_ISREG(b->st.st_mode) && !S_ISBLK(b->st.st_mode)))
		return ub_dev_fail(dev, UB_E_BACKING, EINVAL, "'%s' changed while it was opened",
				   l->path);
	if (fcntl(b->fd, F_SETFL, 0) < 0)
		return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot set up '%s': %s", l->path,
				   strerror(errno));
	return 0;
}

static int loop_measure(struct ub_dev *dev, const struct loop *l, struct backing *b)
{
	unsigned int block_size = 512;
	struct statx stx;

	b->size = (uint64_t) b->st.st_size;
	if (S_ISBLK(b->st.st_mode)) {
		if (ioctl(b->fd, BLKGETSIZE64, &b->size) < 0 ||
		    ioctl(b->fd, BLKSSZGET, &block_size) < 0)
			return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot measure '%s': %s",
					   l->path, strerror(errno));
	}
	b->block_size = block_size;
	if (!b->size)
		return ub_dev_fail(dev, UB_E_BACKING, ENODATA,
				   "'%s' is empty: give it a size with 'truncate -s SIZE'",
				   l->path);

	if (S_ISBLK(b->st.st_mode))
		b->direct_align = block_size;
	else if (statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
		 stx.stx_mask & STATX_DIOALIGN)
		b->direct_align = stx.stx_dio_offset_align;
	else if (fcntl(b->fd, F_SETFL, O_DIRECT) == 0)
		b->direct_align = 4096; /* it can; how finely the file system does not say */
	return 0;
}

static int loop_place(struct ub_dev *dev, const struct loop *l, const struct backing *b)
{
	struct ub_limits *lim = ub_dev_limits(dev);

	if (!ub_dev_block_size_fixed(dev))
		lim->logical_block_size = b->block_size;
	if (lim->logical_block_size < b->block_size)
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "'%s' has blocks of %" PRIu32 " bytes: LogicalBlockSize=%" PRIu32
				   " must not be smaller",
				   l->path, b->block_size, lim->logical_block_size);
	if (l->offset % lim->logical_block_size)
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "Offset=%" PRIu64
				   " is not a multiple of the logical block size %" PRIu32,
				   l->offset, lim->logical_block_size);
	if (l->offset >= b->size)
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "Offset=%" PRIu64 " is behind the end of '%s' (%" PRIu64
				   " bytes)",
				   l->offset, l->path, b->size);
	if (!lim->size) {
		lim->size = b->size - l->offset;
		if (lim->size % lim->logical_block_size)
			return ub_dev_fail(
				dev, UB_E_CONFIG, EINVAL,
				"'%s' has %" PRIu64
				" bytes from Offset= on, not a multiple of the logical block size "
				"%" PRIu32 ": set Size=%" PRIu64 ", or resize it",
				l->path, lim->size, lim->logical_block_size,
				lim->size - lim->size % lim->logical_block_size);
	} else if (lim->size > b->size - l->offset) {
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "Size=%" PRIu64 " at Offset=%" PRIu64
				   " reaches behind the end of '%s' (%" PRIu64 " bytes)",
				   lim->size, l->offset, l->path, b->size);
	}
	return 0;
}

static int loop_choose_direct(struct ub_dev *dev, const struct loop *l, const struct backing *b)
{
	uint32_t block = ub_dev_limits(dev)->logical_block_size;
	bool fits = b->direct_align && b->direct_align <= block && l->offset % b->direct_align == 0;

	if (l->direct == DIRECT_YES && !b->direct_align)
		return ub_dev_fail(dev, UB_E_UNSUPPORTED, EINVAL,
				   "the file system of '%s' has no direct I/O: set DirectIO=auto",
				   l->path);
	if (l->direct == DIRECT_YES && !fits)
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "direct I/O on '%s' needs blocks of %" PRIu32
				   " bytes: set LogicalBlockSize=%" PRIu32 " or DirectIO=auto",
				   l->path, b->direct_align, b->direct_align);
	if (l->direct == DIRECT_NO || !fits)
		return fcntl(b->fd, F_SETFL, 0) < 0 ? -errno : 0;
	if (fcntl(b->fd, F_SETFL, O_DIRECT) < 0 && l->direct == DIRECT_YES)
		return ub_dev_fail(dev, UB_E_UNSUPPORTED, errno,
				   "'%s' refuses direct I/O (%s): set DirectIO=auto", l->path,
				   strerror(errno));
	return 0;
}

static int loop_open_backing(struct ub_dev *dev, struct loop *l, struct backing *b)
{
	struct ub_limits *lim = ub_dev_limits(dev);
	int r;

	r = loop_open_fd(dev, l, b);
	if (r < 0)
		return r;
	r = loop_measure(dev, l, b);
	if (r < 0)
		return r;
	r = loop_place(dev, l, b);
	if (r < 0)
		return r;
	r = ub_dev_claim(dev, b->fd, l->path, l->offset, lim->size, !lim->read_only);
	if (r < 0)
		return r;
	r = loop_choose_direct(dev, l, b);
	if (r < 0)
		return r;
	l->is_block = S_ISBLK(b->st.st_mode);
	if (l->is_block)
		limits_of_block(lim, b);
	else
		limits_of_file(lim, b);
	/* Direct or not: the disk below may cache, and file sizes and holes need a sync anyway. */
	lim->volatile_cache = lim->fua = !lim->read_only;
	return 0;
}

static int loop_open(struct ub_dev *dev, void *state)
{
	struct backing b = {.fd = -1};
	struct loop *l = state;
	int r = loop_open_backing(dev, l, &b);

	if (r < 0) {
		if (b.fd >= 0)
			(void) close(b.fd);
		return r;
	}
	l->file = ub_dev_file(dev, b.fd);
	return l->file ? 0 : ub_dev_fail(dev, UB_E_BACKING, ENOMEM, "out of memory");
}

/* ---- serving */

static void loop_submit(struct ub_io *io)
{
	struct loop *l = ub_io_state(io);
	uint64_t off = l->offset + io->off;

	switch (io->op) {
	case UB_READ:
		return ub_read(io, l->file, off);
	case UB_WRITE:
		return ub_write(io, l->file, off);
	case UB_FLUSH:
		return ub_fdatasync(io, l->file);
	case UB_DISCARD:
		if (l->is_block)
			return ub_blkdiscard(io, l->file, off);
		return ub_fallocate(io, l->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, -1,
				    off);
	case UB_WRITE_ZEROES:
		if (io->flags & UB_NOUNMAP)
			return ub_fallocate(io, l->file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
					    -1, off);
		return ub_fallocate(io, l->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off);
	}
	ub_io_done(io, -EOPNOTSUPP);
}

static const char *loop_backing(const void *state)
{
	return ((const struct loop *) state)->path;
}

UB_TARGET(loop, .section = "Loop", .description = "a regular file or a block device",
	  .options = loop_options, .state_size = sizeof(struct loop), .open = loop_open,
	  .submit = loop_submit, .backing = loop_backing);
