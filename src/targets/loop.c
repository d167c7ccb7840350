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
	uint32_t direct_align; /* of offset and length; 0: no O_DIRECT */
	uint32_t memory_align; /* of the memory of direct I/O */
	bool direct;
};

/* ---- what the disk says of itself */

#define HINT_MAX (UINT32_C(256) << 20)
#define PAGE 4096
#define LARGEST_BY_DEFAULT (UINT32_C(1) << 20) /* of ublkd with zero copy; no backing raises it */

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* A number from below /sys/dev/block/MAJOR:MINOR/; 0 if there is none. */
static uint64_t sysfs_u64(dev_t dev, const char *attr)
{
	char path[128];
	uint64_t v = 0;
	FILE *f;

	(void) snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(dev), minor(dev),
			attr);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%" SCNu64, &v) != 1)
		v = 0;
	(void) fclose(f);
	return v;
}

/* A partition has no queue of its own. */
static uint64_t queue_u64(dev_t dev, const char *attr)
{
	char path[64];
	uint64_t v;

	(void) snprintf(path, sizeof(path), "queue/%s", attr);
	v = sysfs_u64(dev, path);
	if (v)
		return v;
	(void) snprintf(path, sizeof(path), "../queue/%s", attr);
	return sysfs_u64(dev, path);
}

/* The disk that the data are on in the end; of file systems with a number of their own: none. */
static dev_t disk_of(const struct backing *b)
{
	return S_ISBLK(b->st.st_mode) ? b->st.st_rdev : b->st.st_dev;
}

/* ---- limits */

/* What is offered is as large as the administrator wants it, if the backing can do it at all. */
static void offer(uint64_t *max, uint64_t backing_max)
{
	if (!backing_max || !*max)
		*max = backing_max;
}

/* The first granule behind Offset=, of granules the first of which begins at @first. */
static void align_discards(struct ub_limits *l, uint64_t offset, uint32_t granularity,
			   uint64_t first)
{
	uint64_t to_go;

	if (!l->discard_granularity)
		l->discard_granularity = granularity;
	granularity = l->discard_granularity;
	if (l->discard_alignment || granularity <= l->logical_block_size)
		return;
	to_go = (first + granularity - offset % granularity) % granularity;
	if (to_go % l->logical_block_size == 0)
		l->discard_alignment = (uint32_t) to_go;
}

/* Hints only: the driver takes powers of two up to a limit. */
static uint32_t hint(const struct ub_limits *l, uint64_t v)
{
	return is_power_of_two(v) && v <= HINT_MAX && v >= l->physical_block_size ? (uint32_t) v
										  : 0;
}

static void limits_of_block(struct ub_limits *l, const struct loop *loop, const struct backing *b)
{
	dev_t dev = b->st.st_rdev;

	if (!l->physical_block_size)
		l->physical_block_size = (uint32_t) queue_u64(dev, "physical_block_size");
	if (l->physical_block_size < l->logical_block_size)
		l->physical_block_size = l->logical_block_size;
	if (!l->io_min)
		l->io_min = hint(l, queue_u64(dev, "minimum_io_size"));
	if (!l->io_opt)
		l->io_opt = hint(l, queue_u64(dev, "optimal_io_size"));
	offer(&l->max_discard_bytes, l->read_only ? 0 : queue_u64(dev, "discard_max_bytes"));
	align_discards(l, loop->offset, (uint32_t) queue_u64(dev, "discard_granularity"),
		       sysfs_u64(dev, "discard_alignment"));
	/* Zeroing works on every block device; the kernel writes where the device cannot. */
	offer(&l->max_write_zeroes_bytes,
	      l->read_only ? 0 : queue_u64(dev, "write_zeroes_max_bytes"));
}

/* A hole behind the end changes nothing, and tells whether the file system makes holes. */
static bool file_punches_holes(const struct backing *b)
{
	off_t end = (off_t) ((b->size | 4095) + 1);

	return fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0;
}

static void limits_of_file(struct ub_limits *l, const struct loop *loop, const struct backing *b)
{
	uint64_t most = 0;

	if (!l->physical_block_size && is_power_of_two((uint64_t) b->st.st_blksize) &&
	    b->st.st_blksize <= 65536)
		l->physical_block_size = (uint32_t) b->st.st_blksize;
	if (!l->read_only && file_punches_holes(b))
		most = UINT64_C(1) << 31;
	offer(&l->max_discard_bytes, most);
	offer(&l->max_write_zeroes_bytes, most);
	if (most)
		align_discards(l, loop->offset, l->physical_block_size, 0);
}

/* Chunks are counted from the start of the disk, requests from the start of the device. */
static void limit_chunks(struct ub_limits *l, const struct loop *loop, const struct backing *b)
{
	dev_t dev = b->st.st_rdev;
	uint64_t chunk = queue_u64(dev, "chunk_sectors") * 512;

	if (!l->chunk_size && chunk && chunk % l->logical_block_size == 0 &&
	    (loop->offset + sysfs_u64(dev, "start") * 512) % chunk == 0)
		l->chunk_size = chunk;
}

/* A disk in memory (brd, pmem) takes whatever comes, and its driver never says how much: what its
 * queue shows then is the block layer's caution, which nobody acts on. */
static bool takes_anything(dev_t dev)
{
	enum { NEVER_SET_KB = 127 };

	return queue_u64(dev, "max_hw_sectors_kb") == NEVER_SET_KB &&
	       !queue_u64(dev, "virt_boundary_mask") && !sysfs_u64(dev, "queue/nr_requests") &&
	       !sysfs_u64(dev, "../queue/nr_requests");
}

/*
 * Direct I/O passes a request on as it is. What the disk would have to split io_uring cannot submit
 * at once but hands to a thread, and what it would refuse is better not let in.
 */
static void limits_of_requests(struct ub_limits *l, dev_t dev)
{
	uint64_t largest = queue_u64(dev, "max_sectors_kb") * 1024;
	uint64_t segments = queue_u64(dev, "max_segments");
	uint64_t segment_size = queue_u64(dev, "max_segment_size");
	uint64_t gap_mask = queue_u64(dev, "virt_boundary_mask");

	if (!l->max_io_bytes && largest >= PAGE && largest < LARGEST_BY_DEFAULT)
		l->max_io_bytes = (uint32_t) (largest - largest % PAGE);
	if (!l->max_segments && segments < 65536)
		l->max_segments = (uint32_t) segments;
	/* A disk has the one or the other, and so has a device. */
	if (!l->virt_boundary && !l->max_segment_size && is_power_of_two(gap_mask + 1))
		l->virt_boundary = gap_mask ? gap_mask + 1 : 0;
	if (!l->virt_boundary && !l->max_segment_size && segment_size >= PAGE &&
	    segment_size < UINT32_MAX)
		l->max_segment_size = (uint32_t) segment_size;
}

static void limits_of_direct(struct ub_limits *l, const struct loop *loop, const struct backing *b)
{
	if (!l->dma_alignment)
		l->dma_alignment = b->memory_align;
	if (!takes_anything(disk_of(b)))
		limits_of_requests(l, disk_of(b));
	if (S_ISBLK(b->st.st_mode))
		limit_chunks(l, loop, b);
}

static void loop_limits(struct ub_limits *l, const struct loop *loop, const struct backing *b)
{
	if (S_ISBLK(b->st.st_mode))
		limits_of_block(l, loop, b);
	else
		limits_of_file(l, loop, b);
	if (b->direct)
		limits_of_direct(l, loop, b);
	if (l->rotational < 0)
		l->rotational = queue_u64(disk_of(b), "rotational") != 0;
	/* Direct or not: the disk below may cache, and file sizes and holes need a sync anyway. */
	l->volatile_cache = l->fua = !l->read_only;
}

/* ---- opening */

/* No access times: what is read is somebody else's data, and noting it costs each read. Only the
 * owner and root may leave them alone. */
static int set_file_flags(int fd, int flags)
{
	if (fcntl(fd, F_SETFL, flags | O_NOATIME) == 0 || fcntl(fd, F_SETFL, flags) == 0)
		return 0;
	return -errno;
}

/* A killed server holds a block device until its last write has ended, like the lock on a file. */
static int open_patiently(struct ub_dev *dev, const char *path, int flags)
{
	for (unsigned int i = 0;; i++) {
		int fd = open(path, flags);
		int r = errno;

		if (fd >= 0 || r != EBUSY || !(flags & O_EXCL) || !ub_dev_pause(dev, path, i)) {
			errno = r;
			return fd;
		}
	}
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
	b->fd = open_patiently(dev, l->path, flags);
	if (b->fd < 0 && errno == EBUSY && flags & O_EXCL)
		return loop_fail_in_use(dev, l);
	if (b->fd < 0)
		return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot open '%s' %s: %s", l->path,
				   ro ? "for reading" : "for reading and writing", strerror(errno));
	/* The name may have changed hands between stat and open. */
	if (fstat(b->fd, &b->st) < 0 || (!S_ISREG(b->st.st_mode) && !S_ISBLK(b->st.st_mode)))
		return ub_dev_fail(dev, UB_E_BACKING, EINVAL, "'%s' changed while it was opened",
				   l->path);
	if (set_file_flags(b->fd, 0) < 0)
		return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot set up '%s': %s", l->path,
				   strerror(errno));
	return 0;
}

static void loop_measure_direct(struct backing *b)
{
	bool is_block = S_ISBLK(b->st.st_mode);
	struct statx stx;

	if (statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    stx.stx_mask & STATX_DIOALIGN) {
		b->direct_align = is_block ? b->block_size : stx.stx_dio_offset_align;
		b->memory_align = stx.stx_dio_mem_align;
	} else if (is_block) {
		b->direct_align = b->block_size;
		b->memory_align = (uint32_t) queue_u64(b->st.st_rdev, "dma_alignment") + 1;
	} else if (set_file_flags(b->fd, O_DIRECT) == 0) {
		/* It can; how finely the file system does not say. */
		b->direct_align = b->memory_align = 4096;
	}
	/* Less is no alignment to the driver, more than a page none it could ask for. */
	if (b->memory_align < 4)
		b->memory_align = 4;
	if (b->memory_align > PAGE)
		b->direct_align = 0;
}

static int loop_measure(struct ub_dev *dev, const struct loop *l, struct backing *b)
{
	unsigned int block_size = 512;

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
	loop_measure_direct(b);
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

static int loop_choose_direct(struct ub_dev *dev, const struct loop *l, struct backing *b)
{
	const struct ub_limits *lim = ub_dev_limits(dev);
	uint32_t block = lim->logical_block_size;
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
	if (l->direct == DIRECT_YES && lim->dma_alignment && lim->dma_alignment < b->memory_align)
		return ub_dev_fail(dev, UB_E_CONFIG, EINVAL,
				   "direct I/O on '%s' needs memory aligned to %" PRIu32
				   " bytes: set DMAAlignment=%" PRIu32 " or DirectIO=auto",
				   l->path, b->memory_align, b->memory_align);
	fits = fits && (!lim->dma_alignment || lim->dma_alignment >= b->memory_align);
	if (l->direct == DIRECT_NO || !fits)
		return set_file_flags(b->fd, 0);
	b->direct = set_file_flags(b->fd, O_DIRECT) == 0;
	if (!b->direct && l->direct == DIRECT_YES)
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
	loop_limits(lim, l, b);
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
	  .submit = loop_submit, .backing = loop_backing, .data = UB_DATA_FILES,
	  .repeatable = true);
