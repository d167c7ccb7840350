/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-pools - memory that clients share with a running device (SHMEM_ZC): checked, mapped,
 * registered with the driver, and taken back. Main thread; the queues only look at the pools.
 *
 * 1. A pool is published before REG_BUF and unmapped after UNREG_BUF: the driver lets requests name
 *    it at any moment in between, and UNREG_BUF waits for all of them to be complete.
 * 2. Who wants something waits in line. So there is one command of a device at a time, and the
 *    number it will be given is the lowest that is free: nobody else registers on our device.
 * 3. Failed requests (queue_abort) may leave operations in the memory behind. From then on nothing
 *    is unmapped until the queues are over, which is after the last operation.
 * 4. The commands have no deadline: until they are answered, nobody knows whether requests name the
 *    memory. Like STOP_DEV they end with the requests, which a forced stop can fail.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "device/device-internal.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/parse.h"

_Static_assert(DEVICE_POOLS_MAX == QUEUE_POOLS_MAX, "as many as the queues look at");

#define POOL_BYTES_MAX (UBLK_SHMEM_ZC_OFF_MASK + 1)

/* ---- the pools */

static int find_free(const struct device_pools *p)
{
	for (unsigned int i = 0; i < DEVICE_POOLS_MAX; i++)
		if (p->slots[i].state == POOL_FREE)
			return (int) i;
	return -ENOSPC;
}

static void pool_publish(struct device_pools *p, unsigned int i, struct device_pool_call *c)
{
	atomic_store_explicit(&p->shared[i].len, c->len, memory_order_relaxed);
	atomic_store_explicit(&p->shared[i].base, TAKE_PTR(c->map), memory_order_release);
	p->slots[i].state = POOL_ADDING;
	p->slots[i].read_only = c->read_only;
}

static void pool_unmap(struct device_pools *p, unsigned int i)
{
	uint8_t *base = atomic_load_explicit(&p->shared[i].base, memory_order_relaxed);
	uint64_t len = atomic_load_explicit(&p->shared[i].len, memory_order_relaxed);

	atomic_store_explicit(&p->shared[i].base, NULL, memory_order_relaxed);
	p->slots[i].state = POOL_FREE;
	if (base)
		(void) munmap(base, len);
}

/* No request names it any more. */
static void pool_give_up(struct device *d, unsigned int i)
{
	if (d->kernel.aborting)
		d->pools.slots[i].state = POOL_KEPT;
	else
		pool_unmap(&d->pools, i);
}

/* ---- the line */

static void pools_next(struct device *d);

static void call_release(struct device_pool_call *c)
{
	if (c->fd >= 0)
		(void) close(TAKE_FD(c->fd));
	if (c->map)
		(void) munmap(TAKE_PTR(c->map), c->len);
}

static struct device_pool_call *call_at_work(const struct device_pools *p)
{
	assert(p->busy && !list_empty(&p->calls));
	return container_of(p->calls.next, struct device_pool_call, link);
}

/* The first in the line is done. @f: why it failed, or NULL */
static void call_finish(struct device *d, const struct failure *f)
{
	struct device_pools *p = &d->pools;
	struct device_pool_call *c = call_at_work(p);
	bool resume = p->awaited;

	list_remove(&c->link);
	call_release(c);
	p->busy = p->awaited = false;
	manager_device_changed(d->manager, d);
	pools_next(d);
	c->done(c, f);
	if (resume)
		device_resume(d, 0);
}

static void call_fail(struct device *d, enum failure_kind kind, int error, const char *what)
{
	struct failure f = {0};

	(void) failure_set(&f, kind, error, "%s%s%s", what, error ? ": " : "",
			   error ? strerror(abs(error)) : "");
	call_finish(d, &f);
}

/* ---- one comes */

static void on_undone(struct ctrl_cmd *cmd, int res)
{
	struct device *d = container_of(cmd, struct device, pools.cmd);
	struct device_pools *p = &d->pools;
	struct failure f = p->failure;
	unsigned int i = call_at_work(p)->index;

	/* Not even that is known: requests may name it. */
	if (res < 0 && res != -ENOENT)
		p->slots[i].state = POOL_KEPT;
	else
		pool_give_up(d, i);
	call_finish(d, &f);
}

/* It may be registered as @index, and is not wanted. */
static void call_undo(struct device *d, unsigned int index, const char *why)
{
	struct device_pools *p = &d->pools;

	p->failure = (struct failure){0};
	(void) failure_set(&p->failure, FAILURE_KERNEL_FAILED, 0, "%s", why);
	p->cmd.done = on_undone;
	ctrl_unreg_buf(manager_ctrl(d->manager), &p->cmd, d->kernel.dev_id, index);
}

static void on_registered(struct ctrl_cmd *cmd, int res)
{
	struct device *d = container_of(cmd, struct device, pools.cmd);
	struct device_pools *p = &d->pools;
	unsigned int i = call_at_work(p)->index;

	if (res == (int) i) {
		p->slots[i].state = POOL_SERVING;
		log_full(LOG_DEBUG, 0, device_get_name(d), NULL, 0, "memory %u is shared", i);
		return call_finish(d, NULL);
	}
	if (res >= 0)
		return call_undo(d, (unsigned int) res,
				 "the driver gave the memory another number than the lowest free");
	if (res == -EOWNERDEAD)
		return call_undo(d, i,
				 "the guard process died while it registered the memory: "
				 "try again");
	pool_unmap(p, i);
	call_fail(d, FAILURE_KERNEL_FAILED, res, "the kernel cannot register the memory");
}

static void call_start_add(struct device *d, struct device_pool_call *c)
{
	struct device_pools *p = &d->pools;
	int i = find_free(p);

	if (i < 0)
		return call_fail(d, FAILURE_LIMITS_EXCEEDED, 0,
				 "no more memory can be shared: remove another one first");
	c->index = (unsigned int) i;
	pool_publish(p, c->index, c);
	p->cmd.done = on_registered;
	ctrl_reg_buf(manager_ctrl(d->manager), &p->cmd, d->kernel.dev_id, c->fd, c->len,
		     c->read_only);
}

/* ---- one goes */

static void on_unregistered(struct ctrl_cmd *cmd, int res)
{
	struct device *d = container_of(cmd, struct device, pools.cmd);
	unsigned int i = call_at_work(&d->pools)->index;

	if (res < 0 && res != -ENOENT && res != -ENODEV) {
		d->pools.slots[i].state = POOL_SERVING; /* for all we know */
		return call_fail(d, FAILURE_KERNEL_FAILED, res,
				 "the kernel cannot let go of the memory");
	}
	log_full(LOG_DEBUG, 0, device_get_name(d), NULL, 0, "memory %u is shared no more", i);
	pool_give_up(d, i);
	call_finish(d, NULL);
}

static int fail_no_such(const struct device *d, unsigned int index, struct failure *f)
{
	return failure_set(f, FAILURE_NO_SUCH_MEMORY, ENOENT,
			   "device '%s' shares no memory of number %u", device_get_name(d), index);
}

static bool is_serving(const struct device_pools *p, unsigned int index)
{
	return index < DEVICE_POOLS_MAX && p->slots[index].state == POOL_SERVING;
}

static void call_start_remove(struct device *d, struct device_pool_call *c)
{
	struct device_pools *p = &d->pools;
	struct failure f = {0};

	if (!is_serving(p, c->index)) {
		/* Somebody before it in the line removed it. */
		(void) fail_no_such(d, c->index, &f);
		return call_finish(d, &f);
	}
	p->slots[c->index].state = POOL_REMOVING;
	p->cmd.done = on_unregistered;
	ctrl_unreg_buf(manager_ctrl(d->manager), &p->cmd, d->kernel.dev_id, c->index);
}

static void pools_next(struct device *d)
{
	struct device_pools *p = &d->pools;
	struct device_pool_call *c;

	/* What still waits then is told no by device_pools_quit(). */
	if (p->busy || list_empty(&p->calls) || d->down)
		return;
	p->busy = true;
	c = call_at_work(p);
	if (c->remove)
		call_start_remove(d, c);
	else
		call_start_add(d, c);
}

/* ---- is it memory, and of a shape that can be shared? */

static int check_size(const struct stat *st, uint64_t unit, struct failure *f)
{
	char buf[FORMAT_SIZE_MAX];
	uint64_t size = (uint64_t) st->st_size;

	if (size == 0 || size > POOL_BYTES_MAX || size % unit)
		return failure_set(f, FAILURE_INVALID_MEMORY, EINVAL,
				   "the memory has %" PRIu64 " bytes: it must be a multiple of its "
				   "page size, %s, and not be larger than 4G",
				   size, format_size(buf, unit));
	return 0;
}

/* Only what memory is asked anything that could block: no other file system knows seals. */
static int check_memory(int fd, bool read_only, bool sealed, uint64_t *ret_len, struct failure *f)
{
	int seals = fcntl(fd, F_GET_SEALS), flags = fcntl(fd, F_GETFL);
	uint64_t unit = (uint64_t) sysconf(_SC_PAGESIZE);
	struct statfs fs;
	struct stat st;
	int r;

	if (seals < 0 || flags < 0)
		return failure_set(f, FAILURE_INVALID_MEMORY, EINVAL,
				   "this is no memory: it must be a memfd, or a file on tmpfs or "
				   "hugetlbfs");
	if ((flags & O_ACCMODE) == O_WRONLY || (!read_only && (flags & O_ACCMODE) != O_RDWR))
		return failure_set(f, FAILURE_INVALID_MEMORY, EACCES,
				   "the memory is not open for reading%s",
				   read_only ? "" : " and writing");
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return failure_set(f, FAILURE_INVALID_MEMORY, errno,
				   "cannot look at the memory: %s", strerror(errno));
	if (fs.f_type == HUGETLBFS_MAGIC)
		unit = (uint64_t) fs.f_bsize;
	r = check_size(&st, unit, f);
	if (r < 0)
		return r;
	if (sealed && !(seals & F_SEAL_SHRINK))
		return failure_set(f, FAILURE_INVALID_MEMORY, EPERM,
				   "the memory could be made shorter, and requests in it would "
				   "fail: seal it with F_SEAL_SHRINK first");
	*ret_len = (uint64_t) st.st_size;
	return 0;
}

/* Touches no page. */
static int call_map(struct device_pool_call *c, struct failure *f)
{
	int prot = PROT_READ | (c->read_only ? 0 : PROT_WRITE);
	void *map = mmap(NULL, c->len, prot, MAP_SHARED, c->fd, 0);

	if (map == MAP_FAILED)
		return failure_set(f, FAILURE_INVALID_MEMORY, errno, "cannot map the memory: %s",
				   strerror(errno));
	(void) madvise(map, c->len, MADV_DONTDUMP);
	c->map = map;
	return 0;
}

/* ---- asking */

static int pools_add(struct device *d, int fd, bool read_only, bool sealed,
		     struct device_pool_call *c, struct failure *f)
{
	int r = check_memory(fd, read_only, sealed, &c->len, f);

	if (r < 0)
		return r;
	c->remove = false;
	c->read_only = read_only;
	c->map = NULL;
	c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (c->fd < 0)
		return failure_set(f, FAILURE_NO_MEMORY, errno,
				   "cannot keep the memory's descriptor: %s", strerror(errno));
	r = call_map(c, f);
	if (r < 0) {
		call_release(c);
		return r;
	}
	list_append(&d->pools.calls, &c->link);
	pools_next(d);
	return 0;
}

static int check_shares(const struct device *d, struct failure *f)
{
	if (d->state != DEVICE_RUNNING)
		return failure_set(f, FAILURE_DEVICE_NOT_RUNNING, EPERM,
				   "device '%s' is %s: memory is shared while it is running",
				   device_get_name(d), device_state_name(d->state));
	if (!d->kernel.path.shared_memory)
		return failure_set(f, FAILURE_INVALID_CONFIGURATION, EOPNOTSUPP,
				   "device '%s' was started without SharedMemory=: set it to yes, "
				   "and start the device again",
				   device_get_name(d));
	return 0;
}

int device_add_pool(struct device *d, int fd, bool read_only, struct device_pool_call *c,
		    struct failure *f)
{
	int r = check_shares(d, f);

	if (r < 0)
		return r;
	if (find_free(&d->pools) < 0)
		return failure_set(f, FAILURE_LIMITS_EXCEEDED, ENOSPC,
				   "device '%s' shares %d memories, which is the most: remove one "
				   "first",
				   device_get_name(d), DEVICE_POOLS_MAX);
	return pools_add(d, fd, read_only, true, c, f);
}

int device_remove_pool(struct device *d, unsigned int index, struct device_pool_call *c,
		       struct failure *f)
{
	int r = check_shares(d, f);

	if (r < 0)
		return r;
	if (!is_serving(&d->pools, index))
		return fail_no_such(d, index, f);
	c->remove = true;
	c->index = index;
	c->fd = -1;
	c->map = NULL;
	list_append(&d->pools.calls, &c->link);
	pools_next(d);
	return 0;
}

unsigned int device_get_pools(const struct device *d,
			      struct device_pool ret[static DEVICE_POOLS_MAX])
{
	const struct device_pools *p = &d->pools;
	unsigned int n = 0;

	for (unsigned int i = 0; i < DEVICE_POOLS_MAX; i++)
		if (p->slots[i].state == POOL_SERVING)
			ret[n++] = (struct device_pool){
				.index = i,
				.bytes = atomic_load_explicit(&p->shared[i].len,
							      memory_order_relaxed),
				.read_only = p->slots[i].read_only,
			};
	return n;
}

/* ---- the sequences' side */

void device_pools_init(struct device *d)
{
	list_init(&d->pools.calls);
	d->pools.file = -1;
}

static int fail_file(struct device *d, const struct failure *f)
{
	return failure_set(&d->failure, f->kind, f->error, "SharedMemory=%s: %s",
			   device_config_memory_file(d->config), f->text);
}

static void on_file_added(struct device_pool_call *c, const struct failure *f)
{
	struct device *d = container_of(c, struct device, pools.own);

	device_resume(d, f ? fail_file(d, f) : 0);
}

void device_pools_add_file(struct device *d)
{
	struct device_pools *p = &d->pools;
	_cleanup_close_ int fd = TAKE_FD(p->file);
	struct failure f = {0};
	int r;

	p->own.done = on_file_added;
	r = pools_add(d, fd, false, false, &p->own, &f);
	if (r < 0)
		device_resume(d, fail_file(d, &f));
}

bool device_pools_quit(struct device *d)
{
	struct device_pools *p = &d->pools;
	struct list *first = p->busy ? &call_at_work(p)->link : &p->calls;
	struct failure f = {0};

	(void) failure_set(&f, FAILURE_DEVICE_NOT_RUNNING, ECANCELED,
			   "device '%s' was stopped before it was the memory's turn",
			   device_get_name(d));
	while (first->next != &p->calls) {
		struct device_pool_call *c =
			container_of(first->next, struct device_pool_call, link);

		list_remove(&c->link);
		call_release(c);
		c->done(c, &f);
	}
	p->awaited = p->busy;
	return p->busy;
}

void device_pools_release(struct device *d)
{
	struct device_pools *p = &d->pools;

	assert(!p->busy && list_empty(&p->calls) && d->kernel.n_threads == 0);
	for (unsigned int i = 0; i < DEVICE_POOLS_MAX; i++)
		pool_unmap(p, i);
	if (p->file >= 0)
		(void) close(TAKE_FD(p->file));
}
