/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-start - bring a device up:
 *
 *   open the target (job) -> ADD_DEV -> SET_PARAMS -> queue threads, each FETCHing all its tags
 *   -> START_DEV -> GET_PARAMS -> running
 *
 * A device that the kernel kept comes to its queues another way: device-recover.c.
 * Everything that can fail comes before START_DEV. A failure at any step undoes all of it through
 * device_teardown(), the same way a stop does.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "device/deaths.h"
#include "device/device-internal.h"
#include "device/limits.h"
#include "device/manager.h"
#include "target/options.h"
#include "ublk/features.h"
#include "ublk/params.h"
#include "util/log.h"
#include "util/parse.h"

/* udev or a scanner may have the new char device open for a moment. */
enum { CHAR_OPEN_TRIES = 100, CHAR_OPEN_PAUSE_MS = 10 };

/* ---- the target */

/* The configuration stays as it is; the live state is a copy of it. */
static int copy_options(const struct ub_opt *opts, void *to, const void *from)
{
	char why[128];

	for (const struct ub_opt *o = opts; o && o->key; o++) {
		char *value = options_format(o, from);
		int r;

		if (!value)
			return -ENOMEM;
		r = options_parse(o, to, value, why, sizeof(why));
		free(value);
		if (r < 0)
			return r;
	}
	return 0;
}

static void target_fix_limits(struct device *d)
{
	const struct device_config *c = d->config;

	dev_init(&d->dev, c->name);
	limits_before_open(&d->dev.limits, c);
	d->dev.block_size_fixed = c->logical_block_size != 0;
	d->dev.recovering = d->recovering;
}

static int target_prepare(struct device *d)
{
	const struct ub_target *t = d->config->target;
	int r;

	d->target_state = calloc(1, t->state_size ? t->state_size : 1);
	if (!d->target_state)
		return -ENOMEM;
	r = options_init(t->options, d->target_state);
	return r < 0 ? r : copy_options(t->options, d->target_state, d->config->target_state);
}

static void work_open(struct job *j)
{
	struct device *d = container_of(j, struct device, job);
	const struct ub_target *t = d->config->target;

	d->res = target_prepare(d);
	if (d->res < 0) {
		(void) failure_set(&d->dev.failure, FAILURE_NO_MEMORY, d->res, "out of memory");
		return;
	}
	d->target_opened = true; /* also if it fails: its close() is due */
	deaths_enter(device_get_name(d), NULL);
	d->res = t->open ? t->open(&d->dev, d->target_state) : 0;
	deaths_leave();
	if (d->res < 0 && !failure_is_set(&d->dev.failure))
		(void) ub_dev_fail(&d->dev, UB_E_BACKING, d->res, "target '%s' cannot open: %s",
				   t->name, strerror(-d->res));
}

void device_open_target(struct device *d)
{
	device_step(d, "open");
	d->queue_failed = false;
	d->target_opened = false;
	target_fix_limits(d);
	device_run_job(d, work_open);
}

int device_fail_from_target(struct device *d)
{
	const struct failure *f = &d->dev.failure;

	/* The target's thread could not be made. */
	if (!failure_is_set(f))
		return failure_set(&d->failure, FAILURE_NO_MEMORY, d->res,
				   "cannot start a thread to open the backing: %s",
				   strerror(-d->res));
	return failure_set(&d->failure, f->kind, f->error, "%s", f->text);
}

/* ---- the kernel */

int device_fail_from_kernel(struct device *d, const char *command)
{
	int r = d->res;

	if (r == -ETIMEDOUT)
		return failure_set(&d->failure, FAILURE_TIMEOUT, r,
				   "the kernel did not answer %s in time", command);
	if (ctrl_ring_error(manager_ctrl(d->manager)) < 0)
		return manager_fail_no_ring(d->manager, &d->failure);
	if (r == -EPERM)
		return failure_set(&d->failure, FAILURE_KERNEL_FAILED, r,
				   "the kernel refused %s: ublkd needs CAP_SYS_ADMIN", command);
	return failure_set(&d->failure, FAILURE_KERNEL_FAILED, r, "the kernel refused %s: %s",
			   command, strerror(-r));
}

static unsigned int queue_depth(const struct device *d)
{
	unsigned int depth = d->config->depth;

	return depth ? depth : manager_get_config(d->manager)->default_queue_depth;
}

static int choose_data_path(struct device *d)
{
	const struct device_config *c = d->config;
	struct data_path_wish w;

	config_wish(manager_get_config(d->manager), c, manager_features(d->manager), &w);
	/* A thread without a tag would have nothing to do. */
	if (w.threads_per_queue > queue_depth(d))
		w.threads_per_queue = queue_depth(d);
	d->kernel.threads_per_queue = w.threads_per_queue;
	return data_path_choose(&w, &d->kernel.path, &d->failure);
}

static void warn(const struct device *d, const char *text)
{
	log_full(LOG_WARNING, 0, device_get_name(d), NULL, 0, "%s", text);
}

static uint64_t partition_scan_flag(const struct device *d)
{
	if (d->config->partition_scan)
		return 0;
	if (manager_features(d->manager) & UBLK_F_NO_AUTO_PART_SCAN)
		return UBLK_F_NO_AUTO_PART_SCAN;
	warn(d, "PartitionScan=no: the driver has no NO_AUTO_PART_SCAN, which came with Linux 7.0: "
		"partitions will be looked for all the same");
	return 0;
}

static void issue_add(struct device *d)
{
	const struct device_config *c = d->config;
	const struct daemon_config *dc = manager_get_config(d->manager);
	struct ctrl_cmd *cmd = device_cmd(d);

	cmd->info = (struct ublksrv_ctrl_dev_info){
		.nr_hw_queues = (uint16_t) (c->queues ? c->queues : dc->default_queues),
		.queue_depth = (uint16_t) queue_depth(d),
		.max_io_buf_bytes = d->dev.limits.max_io_bytes,
		.dev_id = (uint32_t) device_config_id(c),
		.flags = d->kernel.path.flags | d->kernel.recovery_flags | partition_scan_flag(d),
		.ublksrv_flags = d->kernel.cookie,
	};
	d->kernel.info = cmd->info; /* what was asked, until the answer is in */
	ctrl_add_dev(manager_ctrl(d->manager), cmd, DEVICE_CTRL_TIMEOUT_USEC);
}

static int fail_add(struct device *d)
{
	/* Should the kernel have added it after all, the sweep must know it for nobody's. */
	d->kernel.cookie = 0;
	if (d->res == -EEXIST)
		return failure_set(
			&d->failure, FAILURE_DEVICE_EXISTS, d->res,
			"id %d is taken by another ublk device, or by the dead disk of "
			"one, which somebody has still open: choose another Id=, or auto",
			device_config_id(d->config));
	if (d->res == -EACCES)
		return failure_set(&d->failure, FAILURE_LIMITS_EXCEEDED, d->res,
				   "the driver has as many devices as it may: raise "
				   "/sys/module/ublk_drv/parameters/ublks_max");
	return device_fail_from_kernel(d, "ADD_DEV");
}

/* The driver cuts what it does not like without a word: compare. */
static int check_granted(struct device *d, const struct ublksrv_ctrl_dev_info *got)
{
	struct ublksrv_ctrl_dev_info asked = d->kernel.info;

	d->kernel.dev_id = (int) got->dev_id;
	d->kernel.info = *got;
	if (got->nr_hw_queues != asked.nr_hw_queues)
		return failure_set(
			&d->failure, FAILURE_INVALID_CONFIGURATION, EINVAL,
			"%u queues are too many for this machine: set [Queue] Count= to at "
			"most %u",
			asked.nr_hw_queues, got->nr_hw_queues);
	if (got->queue_depth != asked.queue_depth)
		return failure_set(
			&d->failure, FAILURE_INVALID_CONFIGURATION, EINVAL,
			"the driver grants a queue depth of %u, not %u: set [Queue] Depth=",
			got->queue_depth, asked.queue_depth);
	if (got->max_io_buf_bytes != asked.max_io_buf_bytes)
		return failure_set(&d->failure, FAILURE_INVALID_CONFIGURATION, EINVAL,
				   "the driver grants requests of %" PRIu32 " bytes, not %" PRIu32
				   ": set [Queue] MaxIOSize=",
				   got->max_io_buf_bytes, asked.max_io_buf_bytes);
	if (got->ublksrv_flags != asked.ublksrv_flags || (got->flags & asked.flags) != asked.flags)
		return failure_set(&d->failure, FAILURE_KERNEL_UNSUPPORTED, EOPNOTSUPP,
				   "the driver does not grant what this device needs "
				   "(flags 0x%" PRIx64 " of 0x%" PRIx64 ")",
				   got->flags, asked.flags);
	return 0;
}

static void work_open_char(struct job *j)
{
	static const struct timespec pause = {.tv_nsec = CHAR_OPEN_PAUSE_MS * 1000000L};
	struct device *d = container_of(j, struct device, job);
	char path[32];

	(void) snprintf(path, sizeof(path), "/dev/ublkc%d", d->kernel.dev_id);
	for (unsigned int i = 0; i < CHAR_OPEN_TRIES; i++) {
		/* O_NONBLOCK: it never blocks, and io_uring sends user copies to a worker
		 * unless the file says so. */
		d->kernel.char_fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		d->res = d->kernel.char_fd < 0 ? -errno : 0;
		if (d->res != -EBUSY && d->res != -ENOENT)
			return;
		(void) nanosleep(&pause, NULL);
	}
}

static void work_open_memory(struct job *j)
{
	struct device *d = container_of(j, struct device, job);
	const char *path = device_config_memory_file(d->config);

	/* O_NONBLOCK: it may turn out to be a FIFO. */
	d->pools.file = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	d->res = d->pools.file < 0 ? -errno : 0;
}

static int fail_open_memory(struct device *d)
{
	return failure_set(&d->failure, FAILURE_BACKING_UNAVAILABLE, d->res,
			   "SharedMemory=%s: cannot open it: %s",
			   device_config_memory_file(d->config), strerror(-d->res));
}

/* ---- the queues */

static unsigned int count_threads(const struct device_kernel *k)
{
	return k->info.nr_hw_queues * k->threads_per_queue;
}

void device_on_queue_armed(struct queue_thread *t)
{
	struct device *d = t->owner;
	struct device_kernel *k = &d->kernel;

	if (t->armed_res < 0 && !k->arm_error)
		k->arm_error = t->armed_res;
	k->n_armed++;
	/* The start waits for all of them; a teardown does not care. */
	if (!d->down && k->n_armed == k->n_threads && k->n_threads == count_threads(k))
		device_resume(d, k->arm_error);
}

static int affinity_of_queue(struct device *d, cpu_set_t **ret)
{
	const struct device_config *c = d->config;
	uint64_t *mask = calloc(1, CTRL_AFFINITY_BYTES);

	if (!mask)
		return -ENOMEM;
	if (c->cpu_affinity && *c->cpu_affinity)
		(void) parse_cpus(c->cpu_affinity, CTRL_AFFINITY_BYTES * 8, mask);
	else
		memcpy(mask, d->cmd.affinity, CTRL_AFFINITY_BYTES);
	*ret = (cpu_set_t *) (void *) mask;
	return 0;
}

static int alloc_threads(struct device *d)
{
	struct device_kernel *k = &d->kernel;

	k->threads = calloc(count_threads(k), sizeof(*k->threads));
	return k->threads ? 0 : -ENOMEM;
}

static void on_queue_fell_back(struct queue_thread *t)
{
	struct device *d = t->owner;

	if (d->kernel.fell_back)
		return;
	d->kernel.fell_back = true;
	log_full(LOG_NOTICE, 0, device_get_name(d), NULL, 0,
		 "the kernel could not register the pages of a request: it and others like it are "
		 "copied instead");
}

/* As long as a thread's name may be. */
#define THREAD_NAME_MAX 16

static void name_thread(const struct device *d, unsigned int i, char name[static THREAD_NAME_MAX])
{
	const struct device_kernel *k = &d->kernel;
	unsigned int n = k->threads_per_queue;
	char text[40];

	if (n == 1)
		(void) snprintf(text, sizeof(text), "ublk%d.%u", k->dev_id, i);
	else
		(void) snprintf(text, sizeof(text), "ublk%d.%u.%u", k->dev_id, i / n, i % n);
	/* A long one is cut: a name is for people. */
	(void) memcpy(name, text, THREAD_NAME_MAX - 1);
	name[THREAD_NAME_MAX - 1] = '\0';
}

static int start_queues(struct device *d)
{
	struct device_kernel *k = &d->kernel;
	int files[UB_FILES_MAX];

	for (unsigned int i = 0; i < d->dev.n_files; i++)
		files[i] = d->dev.files[i].fd;
	for (unsigned int i = 0; i < count_threads(k); i++) {
		struct queue_thread *t = &k->threads[i];
		struct queue_config qc = {
			.q_id = i / k->threads_per_queue,
			.depth = k->info.queue_depth,
			.first_tag = i % k->threads_per_queue,
			.tag_step = k->threads_per_queue,
			.path = k->path,
			.pools = d->pools.shared,
			.max_io_bytes = k->info.max_io_buf_bytes,
			.char_fd = k->char_fd,
			.files = files,
			.n_files = d->dev.n_files,
			.target = d->config->target,
			.state = d->target_state,
			.sync_error = &k->sync_error,
		};
		char name[THREAD_NAME_MAX];
		int r;

		t->home = manager_mailbox(d->manager);
		t->owner = d;
		t->armed = device_on_queue_armed;
		t->exited = device_on_queue_exited;
		t->fell_back = on_queue_fell_back;
		t->sync_failed = device_on_sync_failed;
		t->io_flusher = manager_get_config(d->manager)->io_flusher;
		t->batch = d->config->cpu_policy == CPU_POLICY_BATCH;
		device_flight_begin(d, t, &qc);
		name_thread(d, i, name);
		r = queue_thread_start(t, name, &qc);
		if (r < 0) {
			queue_thread_done(t);
			device_flight_end(d, t);
			return failure_set(&d->failure, FAILURE_NO_MEMORY, r,
					   "cannot start queue %u (depth %u, requests of %" PRIu32
					   " bytes): %s",
					   i, k->info.queue_depth, k->info.max_io_buf_bytes,
					   strerror(-r));
		}
		k->n_threads++;
	}
	return 0;
}

static int fail_from_queues(struct device *d)
{
	if (d->res == -EPERM)
		return failure_set(
			&d->failure, FAILURE_KERNEL_UNSUPPORTED, d->res,
			"io_uring is disabled: set the sysctl kernel.io_uring_disabled to 0");
	return failure_set(&d->failure, FAILURE_KERNEL_FAILED, d->res,
			   "the queues cannot be set up: %s", strerror(-d->res));
}

/* ---- the sequence */

static void start_failed(struct device *d)
{
	/* Cancelled, and not because its time was up. */
	(void) failure_set(&d->failure, FAILURE_SHUTTING_DOWN, ESHUTDOWN,
			   "the start was cancelled: ublkd is shutting down");
	device_finish(d, d->keep ? DEVICE_QUIESCED : DEVICE_FAILED);
}

void device_start_undo(struct device *d)
{
	d->keep = d->recovering && !d->kernel.stopped;
	device_teardown(d, start_failed);
}

static int prepare_params(struct device *d)
{
	enum data_copy copy = d->kernel.path.copy;
	int r;

	if (!d->dev.limits.max_io_bytes && (copy == DATA_COPY_ZERO || copy == DATA_COPY_ZERO_AUTO))
		d->dev.limits.max_io_bytes = LIMITS_MAX_IO_ZERO_COPY;
	r = limits_after_open(&d->dev.limits, d->config, &d->failure);

	if (r < 0)
		return r;
	params_defaults(&d->dev.limits);
	return params_from_limits(&d->dev.limits, d->dev.limits.max_io_bytes, &d->kernel.params,
				  &d->failure);
}

/* A device that could not be found again must not outlive us. */
static int prepare_recovery(struct device *d)
{
	struct device_kernel *k = &d->kernel;
	int r = recovery_flags(d, &k->recovery_flags, &d->failure);

	k->cookie = manager_next_cookie(d->manager);
	if (r == 0 && k->recovery_flags && recovery_save(d) < 0)
		k->recovery_flags = 0;
	return r;
}

static int after_open(struct device *d)
{
	int r;

	if (d->res < 0)
		return device_fail_from_target(d);
	if (d->cancelled)
		return -ECANCELED;
	r = choose_data_path(d);
	if (r == 0)
		r = prepare_params(d);
	return r < 0 ? r : prepare_recovery(d);
}

static int after_started(struct device *d)
{
	const struct ublk_params *got = &d->cmd.params;

	if (d->res < 0)
		return device_fail_from_kernel(d, "GET_PARAMS");
	d->kernel.params.devt = got->devt; /* which the disk has also when it is dead */
	if (!params_same(&d->kernel.params, got))
		return failure_set(&d->failure, FAILURE_KERNEL_FAILED, EINVAL,
				   "the driver did not take the parameters it was given");
	if (limits_fix_shape(d->config) && params_lack_shape(&d->kernel.params, got))
		warn(d,
		     "DMAAlignment= and the segment limits have no effect: the driver knows them "
		     "from Linux 6.15 on");
	return 0;
}

/* The next part of the sequence. */
static void go_on(struct device *d, void (*run)(struct device *d))
{
	d->run = run;
	d->co = (struct co){0};
	run(d);
}

static void run_start_dev(struct device *d)
{
	struct ctrl *ctrl = manager_ctrl(d->manager);
	int dev_id = d->kernel.dev_id;

	CO_BEGIN(&d->co);

	device_step(d, "start-dev");
	d->kernel.stopped = false;
	CO_AWAIT(&d->co, ctrl_start_dev(ctrl, device_cmd(d), dev_id, getpid(),
					manager_get_config(d->manager)->start_timeout_usec));
	if (d->res < 0) {
		(void) device_fail_from_kernel(d, "START_DEV");
		return device_start_undo(d);
	}

	device_step(d, "get-params");
	CO_AWAIT(&d->co, ctrl_get_params(ctrl, device_cmd(d), dev_id, DEVICE_CTRL_TIMEOUT_USEC));
	if (after_started(d) < 0 || d->cancelled || d->queue_failed)
		return device_start_undo(d);

	log_full(LOG_INFO, 0, device_get_name(d), NULL, 0, "serving '%s' as /dev/ublkb%d",
		 d->config->target->name, dev_id);
	return device_finish(d, DEVICE_RUNNING);

	CO_END(&d->co);
}

static void run_end_recovery(struct device *d)
{
	CO_BEGIN(&d->co);

	device_step(d, "end-recovery");
	/* Without a limit: there is no way back that the kernel likes. */
	CO_AWAIT(&d->co, ctrl_end_recovery(manager_ctrl(d->manager), device_cmd(d),
					   d->kernel.dev_id, getpid(), 0));
	if (d->res < 0)
		(void) device_fail_from_kernel(d, "END_USER_RECOVERY");
	if (d->res < 0 || d->queue_failed)
		return device_start_undo(d);
	log_full(LOG_INFO, 0, device_get_name(d), NULL, 0, "recovered /dev/ublkb%d",
		 d->kernel.dev_id);
	return device_finish(d, DEVICE_RUNNING);

	CO_END(&d->co);
}

static void run_queues(struct device *d)
{
	int dev_id = d->kernel.dev_id;

	CO_BEGIN(&d->co);

	device_step(d, "queue-affinity");
	if (alloc_threads(d) < 0) {
		(void) failure_set(&d->failure, FAILURE_NO_MEMORY, ENOMEM, "out of memory");
		return device_start_undo(d);
	}
	for (d->i = 0; d->i < count_threads(&d->kernel); d->i++) {
		CO_AWAIT(&d->co, ctrl_get_queue_affinity(manager_ctrl(d->manager), device_cmd(d),
							 dev_id, d->i / d->kernel.threads_per_queue,
							 DEVICE_CTRL_TIMEOUT_USEC));
		/* Where to run is advice: without it the queue runs anywhere. */
		if (d->res >= 0 && affinity_of_queue(d, &d->kernel.threads[d->i].cpus) == 0)
			d->kernel.threads[d->i].cpus_size = CTRL_AFFINITY_BYTES;
	}

	device_step(d, "open-char");
	CO_AWAIT(&d->co, device_run_job(d, work_open_char));
	if (d->res < 0) {
		(void) failure_set(&d->failure, FAILURE_KERNEL_FAILED, d->res,
				   "cannot open /dev/ublkc%d: %s", dev_id, strerror(-d->res));
		return device_start_undo(d);
	}
	if (d->cancelled)
		return device_start_undo(d);

	device_step(d, "fetch");
	if (start_queues(d) < 0)
		return device_start_undo(d);
	CO_AWAIT(&d->co, (void) 0);
	if (d->res < 0) {
		(void) fail_from_queues(d);
		return device_start_undo(d);
	}
	return go_on(d, d->recovering ? run_end_recovery : run_start_dev);

	CO_END(&d->co);
}

void device_raise(struct device *d)
{
	go_on(d, run_queues);
}

void device_run_start(struct device *d)
{
	CO_BEGIN(&d->co);

	d->kernel = (struct device_kernel){.dev_id = -1, .char_fd = -1, .stopped = true};
	CO_AWAIT(&d->co, device_open_target(d));
	if (after_open(d) < 0)
		return device_start_undo(d);

	device_step(d, "add-dev");
	CO_AWAIT(&d->co, issue_add(d));
	if (d->res < 0) {
		(void) fail_add(d);
		return device_start_undo(d);
	}
	if (check_granted(d, &d->cmd.info) < 0 || d->cancelled)
		return device_start_undo(d);

	device_step(d, "set-params");
	d->cmd.params = d->kernel.params;
	CO_AWAIT(&d->co, ctrl_set_params(manager_ctrl(d->manager), device_cmd(d), d->kernel.dev_id,
					 DEVICE_CTRL_TIMEOUT_USEC));
	if (d->res < 0) {
		(void) device_fail_from_kernel(d, "SET_PARAMS");
		return device_start_undo(d);
	}

	/* Before the first FETCH: nothing that can fail may stand between those and START_DEV. */
	if (device_config_memory_file(d->config)) {
		device_step(d, "shared-memory");
		CO_AWAIT(&d->co, device_run_job(d, work_open_memory));
		if (d->res < 0) {
			(void) fail_open_memory(d);
			return device_start_undo(d);
		}
		CO_AWAIT(&d->co, device_pools_add_file(d));
		if (d->res < 0 || d->cancelled)
			return device_start_undo(d);
	}
	return device_raise(d);

	CO_END(&d->co);
}
