/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake-driver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { PENDING = 1 << 20, SYNCS_MAX = 32 };

struct fake_driver driver;
_Thread_local bool fake_is_guard;

static struct {
	int fd, id;
} syncs[SYNCS_MAX];
static bool released;

/* ---- devices */

static bool char_is_open(const struct fake_dev *d)
{
	char path[40];
	struct stat st;

	/* By name: the number may be another file's by now, which is none of our business. */
	(void) snprintf(path, sizeof(path), "/proc/self/fd/%d", d->char_fd);
	return d->char_fd >= 0 && stat(path, &st) == 0 && st.st_ino == d->ublk->ino;
}

/* The release of the char device, found out late. */
static void dev_settle(struct fake_dev *d)
{
	if (d->char_fd < 0 || char_is_open(d) || fake_ublk_is_attached(d->ublk))
		return;
	d->char_fd = -1;
	if (d->live && d->ublk->outlives)
		d->kept = d->info.flags & UBLK_F_USER_RECOVERY_FAIL_IO ? UBLK_S_DEV_FAIL_IO
								       : UBLK_S_DEV_QUIESCED;
	d->live = false;
	if (d->kept)
		fake_ublk_released(d->ublk);
}

static struct fake_dev *dev_of(uint32_t id)
{
	if (id >= DRIVER_DEVS || !driver.devs[id].exists)
		return NULL;
	dev_settle(&driver.devs[id]);
	return &driver.devs[id];
}

static unsigned int state_of(const struct fake_dev *d)
{
	return d->live ? UBLK_S_DEV_LIVE : d->kept;
}

static void dev_remove(struct fake_dev *d)
{
	d->ublk = fake_ublk_free(d->ublk);
	d->exists = false;
}

static int add_dev(struct ublksrv_ctrl_dev_info *info)
{
	uint32_t id = info->dev_id;

	if (info->state || info->ublksrv_pid)
		fake_broken("ADD_DEV with a state");
	if (id == UINT32_MAX)
		for (id = 0; id < DRIVER_DEVS && driver.devs[id].exists;)
			id++;
	if (id >= DRIVER_DEVS)
		return -EINVAL;
	if (driver.devs[id].exists)
		return -EEXIST;
	if (info->nr_hw_queues > driver.max_queues)
		info->nr_hw_queues = (uint16_t) driver.max_queues;
	info->dev_id = id;
	info->flags &= driver.features;
	info->flags |= UBLK_F_CMD_IOCTL_ENCODE;
	driver.devs[id] = (struct fake_dev){.exists = true, .info = *info, .char_fd = -1};
	driver.devs[id].ublk =
		fake_ublk_new(info->nr_hw_queues, info->queue_depth, info->max_io_buf_bytes);
	driver.devs[id].ublk->flags = info->flags;
	driver.n_added++;
	return 0;
}

static int start_dev(struct fake_dev *d, uint64_t pid)
{
	if (pid != (uint64_t) getpid())
		return -EINVAL;
	if (!d->params_set)
		return -EINVAL;
	if (d->was_live)
		fake_broken("START_DEV of a device that was stopped: a kernel oops");
	if (!fake_ublk_is_fetched(d->ublk))
		return PENDING;
	d->live = d->was_live = true;
	d->ublk->outlives = d->info.flags & UBLK_F_USER_RECOVERY;
	d->info.ublksrv_pid = (int32_t) pid;
	return 0;
}

static int start_recovery(const struct fake_dev *d)
{
	if (!(d->info.flags & UBLK_F_USER_RECOVERY))
		return -EINVAL;
	return d->kept && d->char_fd < 0 ? 0 : -EBUSY;
}

static int end_recovery(struct fake_dev *d, uint64_t pid)
{
	if (pid != (uint64_t) getpid() || !(d->info.flags & UBLK_F_USER_RECOVERY))
		return -EINVAL;
	if (!fake_ublk_is_fetched(d->ublk))
		return PENDING;
	if (!d->kept)
		return -EBUSY;
	d->kept = 0;
	d->live = true;
	d->info.ublksrv_pid = (int32_t) pid;
	fake_ublk_resume(d->ublk);
	return 0;
}

/* The guard has its disk open. */
static bool disk_is_open(const struct fake_dev *d)
{
	for (unsigned int i = 0; i < SYNCS_MAX; i++)
		if (syncs[i].fd && &driver.devs[syncs[i].id] == d)
			return true;
	return false;
}

static int stop_dev(struct fake_dev *d, bool only_unused)
{
	if (only_unused && !d->live && !d->kept)
		return -ENODEV;
	if (only_unused && (d->openers || disk_is_open(d)))
		return -EBUSY;
	/* From here on a server that goes takes its requests along, and what waits for one fails.
	 */
	d->ublk->outlives = false;
	if (d->kept)
		fake_ublk_fail_kept(d->ublk);
	d->held_at_stop = disk_is_open(d);
	if (d->live && d->ublk->n_busy)
		return PENDING;
	d->live = false;
	d->kept = 0;
	if (!d->ublk->ended)
		fake_end(d->ublk);
	return 0;
}

static int del_dev(struct fake_dev *d)
{
	if (d->live)
		fake_broken("DEL_DEV of a live device: a stuck request stops the whole host");
	if (char_is_open(d) || disk_is_open(d))
		return PENDING;
	dev_remove(d);
	return 0;
}

static int get_params(const struct fake_dev *d, struct ublk_params *p)
{
	*p = d->params;
	p->types |= UBLK_PARAM_TYPE_DEVT;
	p->devt = (struct ublk_param_devt){.disk_major = 259, .disk_minor = 7};
	return 0;
}

/* ---- memory */

/* Pins: whatever is mapped there afterwards is of no interest. */
static int reg_buf(struct fake_dev *d, const struct ublk_shmem_buf_reg *reg)
{
	const volatile uint8_t *p = (const uint8_t *) (uintptr_t) reg->addr;

	if (!(d->info.flags & UBLK_F_SHMEM_ZC))
		return -EOPNOTSUPP;
	if (reg->len == 0 || reg->addr % 4096 || reg->len % 4096 || reg->reserved)
		return -EINVAL;
	for (uint64_t i = 0; i < reg->len; i += 4096)
		(void) p[i];
	for (int i = 0; i < DRIVER_MEMORIES; i++) {
		if (d->memory[i].registered)
			continue;
		d->memory[i].registered = true;
		d->memory[i].len = reg->len;
		d->memory[i].flags = reg->flags;
		d->memory[i].first = p[0];
		return i;
	}
	return -ENOSPC;
}

/* Freezes the queue, which waits for requests. */
static int unreg_buf(struct fake_dev *d, uint64_t index)
{
	if (index >= DRIVER_MEMORIES || !d->memory[index].registered)
		return -ENOENT;
	if (d->ublk->n_busy)
		return PENDING;
	d->memory[index].registered = false;
	return 0;
}

/* ---- commands */

static int command(struct ublksrv_ctrl_cmd *c, uint32_t op)
{
	uint8_t *payload = (uint8_t *) (uintptr_t) c->addr + c->dev_path_len;
	struct fake_dev *d = dev_of(c->dev_id);

	if (op == UBLK_U_CMD_GET_FEATURES) {
		memcpy(payload, &driver.features, sizeof(driver.features));
		return 0;
	}
	if (op == UBLK_U_CMD_ADD_DEV)
		return add_dev((struct ublksrv_ctrl_dev_info *) (void *) payload);
	if (!d)
		return -ENODEV;
	switch (op) {
	case UBLK_U_CMD_SET_PARAMS:
		if (d->was_live)
			return -EACCES;
		memcpy(&d->params, payload, sizeof(d->params));
		d->params_set = true;
		return 0;
	case UBLK_U_CMD_GET_PARAMS:
		return get_params(d, (struct ublk_params *) (void *) payload);
	case UBLK_U_CMD_GET_QUEUE_AFFINITY:
		if (c->data[0] >= d->info.nr_hw_queues)
			return -EINVAL;
		memset(payload, 0, c->len);
		payload[0] = 1;
		return 0;
	case UBLK_U_CMD_GET_DEV_INFO:
		d->info.state = (uint16_t) state_of(d);
		memcpy(payload, &d->info, sizeof(d->info));
		return 0;
	case UBLK_U_CMD_GET_DEV_INFO2:
		if (!c->dev_path_len)
			return -EINVAL;
		return command(c, UBLK_U_CMD_GET_DEV_INFO);
	case UBLK_U_CMD_START_DEV:
		return start_dev(d, c->data[0]);
	case UBLK_U_CMD_START_USER_RECOVERY:
		return start_recovery(d);
	case UBLK_U_CMD_END_USER_RECOVERY:
		return end_recovery(d, c->data[0]);
	case UBLK_U_CMD_STOP_DEV:
		return stop_dev(d, false);
	case UBLK_U_CMD_TRY_STOP_DEV:
		return stop_dev(d, true);
	case UBLK_U_CMD_DEL_DEV:
		return del_dev(d);
	case UBLK_U_CMD_REG_BUF:
		return reg_buf(d, (const struct ublk_shmem_buf_reg *) (void *) payload);
	case UBLK_U_CMD_UNREG_BUF:
		return unreg_buf(d, c->data[0]);
	default:
		return -EOPNOTSUPP;
	}
}

/* Return: it is this command's turn to go wrong. */
static bool faulty(uint32_t op, bool first)
{
	struct fake_fault *f = &driver.fault;

	if (f->op != op || !first)
		return false;
	if (f->times && --f->times == 0)
		f->op = 0;
	return true;
}

/* A command is silent or late by a mark in its own memory. */
enum mark { NONE, SILENT, LATE, EXECUTING };

static int execute(struct fake_op *op)
{
	uint32_t mark = op->most;
	struct ublksrv_ctrl_cmd c;
	int res;

	memcpy(&c, op->cmd, sizeof(c));
	op->most = EXECUTING; /* what it changes must not have it looked at again */
	res = command(&c, op->sqe.cmd_op);
	op->most = mark;
	return res;
}

static enum fake_verdict control(struct fake_op *op)
{
	int res;

	driver.n_cmds[op->sqe.cmd_op & 0x1f]++;
	op->most = NONE;
	if (faulty(op->sqe.cmd_op, true)) {
		op->most = driver.fault.silent ? SILENT : driver.fault.late ? LATE : NONE;
		if (op->most == NONE) {
			op->res = driver.fault.res;
			return FAKE_ANSWER;
		}
		if (op->most == SILENT)
			return FAKE_HOLD;
	}
	res = execute(op);
	op->res = res;
	return res == PENDING || op->most == LATE ? FAKE_HOLD : FAKE_ANSWER;
}

/* What an FSYNC is of. */
static struct fake_dev *synced(const struct fake_op *op)
{
	for (unsigned int i = 0; i < SYNCS_MAX; i++)
		if (syncs[i].fd == op->sqe.fd)
			return dev_of((uint32_t) syncs[i].id);
	return NULL;
}

static void retry(struct fake_op *op)
{
	if (op->sqe.opcode == IORING_OP_FSYNC) {
		const struct fake_dev *d = synced(op);

		if (d && (d->ublk->n_busy || d->kept == UBLK_S_DEV_QUIESCED))
			return;
		return fake_answer(op, d ? 0 : -EIO);
	}
	if (op->most == EXECUTING || (op->most != NONE && !released))
		return;
	if (op->most == SILENT)
		return fake_answer(op, -EINTR);
	if (op->res == PENDING)
		op->res = execute(op);
	if (op->res != PENDING)
		fake_answer(op, op->res);
}

static bool is_ours(const struct fake_op *op)
{
	return !(op->sqe.flags & IOSQE_FIXED_FILE) &&
	       (op->sqe.opcode == IORING_OP_URING_CMD || op->sqe.opcode == IORING_OP_FSYNC);
}

static void on_change(void)
{
	static bool at_it, again;
	struct fake_op *op;

	again = true;
	if (at_it)
		return;
	at_it = true;
	while (again) {
		again = false;
		for (unsigned int i = 0; (op = fake_held(i)); i++)
			if (is_ours(op)) {
				retry(op);
				if (!op->in_use)
					i--;
			}
	}
	at_it = false;
}

/* What is done already is not undone. */
static bool on_cancel(struct fake_op *op)
{
	driver.n_cancelled++;
	return op->most != LATE;
}

/* ---- SYNC, and what the devices' queues do */

static int sync_open(const struct fake_op *op)
{
	const char *path = (const char *) (uintptr_t) op->sqe.addr;
	struct fake_dev *d;
	unsigned int id;

	driver.n_syncs++;
	if (sscanf(path, "/dev/ublkb%u", &id) != 1)
		fake_broken("SYNC of '%s'", path);
	if (faulty(GUARD_OP_SYNC, true))
		return driver.fault.silent ? PENDING : driver.fault.res;
	d = dev_of(id);
	if (!d || !state_of(d))
		return -ENOENT;
	if ((d->claimed || disk_is_open(d)) && op->sqe.open_flags & O_EXCL)
		return -EBUSY;
	for (unsigned int i = 0; i < SYNCS_MAX; i++) {
		if (syncs[i].fd)
			continue;
		syncs[i].fd = memfd_create("ublkb", MFD_CLOEXEC);
		syncs[i].id = (int) id;
		return syncs[i].fd;
	}
	fake_broken("too many syncs");
}

static enum fake_verdict on_op(struct fake_op *op)
{
	const struct fake_dev *d;

	if (op->sqe.flags & IOSQE_FIXED_FILE)
		return driver.on_backing ? driver.on_backing(op) : FAKE_DO;
	switch (op->sqe.opcode) {
	case IORING_OP_OPENAT:
		op->res = sync_open(op);
		return op->res == PENDING ? FAKE_HOLD : FAKE_ANSWER;
	case IORING_OP_FSYNC:
		driver.n_flushes++;
		d = synced(op);
		/* A flush is a request like any other: it waits for a server. */
		if (driver.fsync_waits || (d && d->kept == UBLK_S_DEV_QUIESCED))
			return FAKE_HOLD;
		return FAKE_DO;
	case IORING_OP_CLOSE:
		for (unsigned int i = 0; i < SYNCS_MAX; i++)
			if (syncs[i].fd == op->sqe.fd)
				syncs[i].fd = 0;
		fake_changed();
		return FAKE_DO;
	default:
		fake_broken("opcode %u from the guard", op->sqe.opcode);
	}
}

/* ---- calls of the daemon */

int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_open64(const char *path, int flags, ...);
DIR *__wrap_opendir(const char *path);
DIR *__real_opendir(const char *path);
int __wrap_closedir(DIR *dir);
int __real_closedir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);
struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);
struct dirent *__real_readdir64(DIR *dir);
int __wrap_prctl(int option, ...);
int __wrap_nanosleep(const struct timespec *t, struct timespec *left);
int __real_nanosleep(const struct timespec *t, struct timespec *left);

static int open_char(unsigned int id)
{
	struct fake_dev *d;
	int fd = -1;

	fake_lock();
	d = dev_of(id);
	if (!d) {
		errno = ENOENT;
	} else if (driver.char_error) {
		errno = driver.char_error;
	} else if (driver.char_busy || char_is_open(d)) {
		driver.char_busy -= driver.char_busy > 0;
		errno = EBUSY;
	} else {
		fd = d->char_fd = fake_ublk_open(d->ublk);
	}
	fake_unlock();
	return fd;
}

int __wrap_open64(const char *path, int flags, ...)
{
	unsigned int id;
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (bed_may_fail && bed_may_fail("open")) {
		errno = EMFILE;
		return -1;
	}
	if (sscanf(path, "/dev/ublkc%u", &id) == 1)
		return open_char(id);
	return __real_open64(path, flags, mode);
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	return __wrap_open64(path, flags, mode);
}

/* /sys/class/ublk-char: the names of ours, in a folder that is not one. */
static _Thread_local DIR *class_dir;
static _Thread_local unsigned int class_at;

DIR *__wrap_opendir(const char *path)
{
	if (bed_may_fail && bed_may_fail("opendir")) {
		errno = EMFILE;
		return NULL;
	}
	if (strcmp(path, "/sys/class/ublk-char") != 0)
		return __real_opendir(path);
	if (driver.class_error) {
		errno = driver.class_error;
		return NULL;
	}
	class_at = 0;
	return class_dir = __real_opendir("/");
}

static struct dirent *class_next(void)
{
	static _Thread_local struct dirent e;

	while (class_at < DRIVER_DEVS && !dev_of(class_at))
		class_at++;
	if (class_at == DRIVER_DEVS)
		return NULL;
	(void) snprintf(e.d_name, sizeof(e.d_name), "ublkc%u", class_at++);
	return &e;
}

int __wrap_closedir(DIR *dir)
{
	/* Another may be where this one was. */
	if (dir == class_dir)
		class_dir = NULL;
	return __real_closedir(dir);
}

struct dirent *__wrap_readdir64(DIR *dir)
{
	return dir == class_dir ? class_next() : __real_readdir64(dir);
}

struct dirent *__wrap_readdir(DIR *dir)
{
	return dir == class_dir ? class_next() : __real_readdir(dir);
}

/* What a thread sets for its process would be set for the test. */
int __wrap_prctl(int option, ...)
{
	return 0;
}

/* Time goes by faster. */
int __wrap_nanosleep(const struct timespec *t, struct timespec *left)
{
	struct timespec s = {.tv_nsec = t->tv_nsec / 20};

	return __real_nanosleep(&s, left);
}

/* ---- the guard */

_Atomic unsigned int driver_guard_rests;

static pthread_t guard_thread;
static bool guard_runs;
static int guard_sock = -1;

static void *guard_body(void *arg)
{
	struct pollfd p = {.fd = guard_sock, .events = POLLIN};
	struct guard guard;

	fake_is_guard = true;
	fake_inside++; /* what it allocates is not the daemon's */
	if (guard_init(&guard, guard_sock, 0) == 0)
		while (guard_serve(&guard) == 1) {
			atomic_fetch_add(&driver_guard_rests, 1);
			(void) poll(&p, 1, -1);
		}
	return NULL;
}

void driver_guard_start(int sock)
{
	guard_sock = sock;
	fake_inside++;
	if (pthread_create(&guard_thread, NULL, guard_body, NULL))
		fake_broken("no guard thread");
	fake_inside--;
	guard_runs = true;
}

void driver_guard_join(void)
{
	if (!guard_runs)
		return;
	(void) pthread_join(guard_thread, NULL);
	(void) close(guard_sock);
	guard_runs = false;
}

void driver_reset(void)
{
	fake_reset();
	for (unsigned int i = 0; i < DRIVER_DEVS; i++)
		if (driver.devs[i].ublk)
			dev_remove(&driver.devs[i]);
	driver = (struct fake_driver){
		.features = UBLK_F_CMD_IOCTL_ENCODE | UBLK_F_SAFE_STOP_DEV | UBLK_F_USER_RECOVERY |
			    UBLK_F_USER_RECOVERY_REISSUE | UBLK_F_USER_RECOVERY_FAIL_IO,
		.max_queues = 4,
	};
	released = false;
	memset(syncs, 0, sizeof(syncs));
	fake.on_op = on_op;
	fake.on_control = control;
	fake.on_change = on_change;
	fake.on_cancel = on_cancel;
}

void driver_release(void)
{
	fake_lock();
	driver.fault.op = 0;
	released = true;
	fake_changed();
	released = false;
	fake_unlock();
}

void driver_foreign_stop(int id)
{
	fake_lock();
	driver.devs[id].live = false;
	driver.devs[id].kept = 0;
	driver.devs[id].ublk->outlives = false;
	fake_ublk_fail_kept(driver.devs[id].ublk);
	fake_end(driver.devs[id].ublk);
	fake_unlock();
}

void driver_foreign_add(int id, uint64_t cookie, uint64_t flags, uint16_t state)
{
	struct fake_dev *d = &driver.devs[id];

	fake_lock();
	*d = (struct fake_dev){.exists = true, .was_live = state, .char_fd = -1};
	d->live = state == UBLK_S_DEV_LIVE;
	d->kept = d->live ? UBLK_S_DEV_DEAD : state;
	d->ublk = fake_ublk_new(1, 1, 4096);
	d->ublk->flags = d->info.flags = flags;
	d->ublk->outlives = d->kept;
	d->info.nr_hw_queues = d->info.queue_depth = 1;
	d->info.dev_id = (uint32_t) id;
	d->info.ublksrv_flags = cookie;
	fake_unlock();
}

void driver_foreign_del(int id)
{
	fake_lock();
	dev_remove(&driver.devs[id]);
	fake_unlock();
}

unsigned int driver_state(int id)
{
	const struct fake_dev *d;
	unsigned int state;

	fake_lock();
	d = dev_of((uint32_t) id);
	state = d ? state_of(d) : UBLK_S_DEV_DEAD;
	fake_unlock();
	return state;
}

bool driver_is_empty(void)
{
	bool empty = true;

	fake_lock();
	for (unsigned int i = 0; i < DRIVER_DEVS; i++)
		empty = empty && !driver.devs[i].exists;
	fake_unlock();
	return empty;
}

unsigned int driver_count(uint32_t op)
{
	unsigned int n;

	fake_lock();
	n = driver.n_cmds[op & 0x1f];
	fake_unlock();
	return n;
}
