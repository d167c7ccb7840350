/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device - states, waiting callers, and what can be seen of a device. The sequences are in
 * device-start.c and device-stop.c.
 */
#include "device/device.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device-internal.h"
#include "device/manager.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

static const char *const state_names[] = {
	[DEVICE_DEFINED] = "defined", [DEVICE_STARTING] = "starting",
	[DEVICE_RUNNING] = "running", [DEVICE_STOPPING] = "stopping",
	[DEVICE_FAILED] = "failed",   [DEVICE_QUIESCED] = "quiesced",
	[DEVICE_STUCK] = "stuck",
};

const char *device_state_name(enum device_state s)
{
	return state_names[s];
}

/* ---- life */

int device_new(struct manager *m, struct device_config *config, struct device **ret)
{
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->manager = m;
	d->config = config;
	d->sub_state = d->operation = "";
	d->kernel.dev_id = d->kernel.char_fd = -1;
	list_init(&d->waits);
	device_pools_init(d);
	d->state_change_usec = clock_usec(CLOCK_REALTIME);
	*ret = d;
	return 0;
}

struct device *device_free(struct device *d)
{
	if (!d)
		return NULL;
	assert(d->kernel.dev_id < 0 && d->kernel.n_threads == 0 && !d->target_state &&
	       list_empty(&d->waits) && list_empty(&d->pools.calls));
	list_remove(&d->link);
	sd_event_source_disable_unref(d->wait_timer);
	sd_event_source_disable_unref(d->pause_timer);
	watch_end(d);
	sd_event_source_disable_unref(d->stall_timer);
	(void) device_config_free(d->config);
	(void) device_config_free(d->changed);
	(void) device_config_free(d->updated);
	free(d);
	return NULL;
}

/* ---- states */

void device_enter(struct device *d, enum device_state state)
{
	d->state = state;
	d->state_change_usec = clock_usec(CLOCK_REALTIME);
	if (state == DEVICE_RUNNING)
		d->active_usec = d->state_change_usec;
	manager_device_changed(d->manager, d);
}

void device_step(struct device *d, const char *sub_state)
{
	d->sub_state = sub_state;
	watch_step(d);
	log_full(LOG_DEBUG, 0, device_get_name(d), NULL, 0, "%s: %s", d->operation, sub_state);
	manager_device_changed(d->manager, d);
}

/* ---- callers who wait */

static void device_tell(struct device_wait *w, const struct failure *f)
{
	list_remove(&w->link);
	w->done(w, f);
}

static int on_wait_timer(sd_event_source *s, uint64_t usec, void *arg);

static void device_arm_wait_timer(struct device *d)
{
	struct device_wait *w, *tmp;
	uint64_t first = 0;
	int r;

	list_for_each (w, tmp, &d->waits, link)
		if (!first || w->deadline_usec < first)
			first = w->deadline_usec;
	if (!first) {
		if (d->wait_timer)
			(void) sd_event_source_set_enabled(d->wait_timer, SD_EVENT_OFF);
		return;
	}
	if (!d->wait_timer) {
		r = sd_event_add_time(manager_event(d->manager), &d->wait_timer, CLOCK_MONOTONIC,
				      first, 1, on_wait_timer, d);
		if (r < 0)
			log_full(LOG_WARNING, -r, device_get_name(d), NULL, 0,
				 "no timer for this operation, it is waited for without limit: %s",
				 strerror(-r));
		return;
	}
	(void) sd_event_source_set_time(d->wait_timer, first);
	(void) sd_event_source_set_enabled(d->wait_timer, SD_EVENT_ONESHOT);
}

static int on_wait_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct device *d = arg;
	struct device_wait *w, *tmp;
	struct failure f = {0};
	struct list late;

	if (!watch_is_late(d, &f))
		(void) failure_set(
			&f, FAILURE_TIMEOUT, ETIMEDOUT,
			"device '%s' is still %s (at step '%s') after the time given to it",
			device_get_name(d), device_state_name(d->state), d->sub_state);
	/* A start that nobody waits for any more is undone; a stop or a recovery goes on. */
	if (d->state == DEVICE_STARTING && !d->recovering) {
		d->cancelled = true;
		(void) failure_set(&d->failure, FAILURE_TIMEOUT, ETIMEDOUT, "%s", f.text);
	}
	list_init(&late);
	list_for_each (w, tmp, &d->waits, link) {
		if (w->deadline_usec > usec)
			continue;
		list_remove(&w->link);
		list_append(&late, &w->link);
	}
	device_arm_wait_timer(d);
	/* Callers may delete the device, which only dooms it while it is at work. */
	while (!list_empty(&late))
		device_tell(container_of(late.next, struct device_wait, link), &f);
	return 0;
}

void device_add_wait(struct device *d, struct device_wait *w, uint64_t timeout_usec)
{
	if (!w)
		return;
	w->deadline_usec = clock_usec(CLOCK_MONOTONIC) + timeout_usec;
	list_append(&d->waits, &w->link);
	device_arm_wait_timer(d);
}

void device_finish(struct device *d, enum device_state state)
{
	struct failure f = d->failure;
	struct list waits;

	d->operation = d->sub_state = "";
	d->run = NULL;
	d->cancelled = d->recovering = d->keep = false;
	watch_end(d);
	if (failure_is_set(&f))
		log_full(d->stop.quiet && f.kind == FAILURE_DEVICE_BUSY ? LOG_DEBUG : LOG_ERR,
			 f.error, device_get_name(d), NULL, 0, "%s", f.text);
	d->last_error = f;
	d->failure = (struct failure){0};
	/* Settings read meanwhile count from here on. */
	if (d->changed && state != DEVICE_RUNNING && state != DEVICE_QUIESCED) {
		(void) device_config_free(d->config);
		d->config = TAKE_PTR(d->changed);
	}
	device_enter(d, state);

	/* The callers' answer comes after the news of the change, and the device may go with it. */
	list_init(&waits);
	while (!list_empty(&d->waits)) {
		struct list *w = d->waits.next;

		list_remove(w);
		list_append(&waits, w);
	}
	device_arm_wait_timer(d);
	manager_device_idle(d->manager, d);
	while (!list_empty(&waits))
		device_tell(container_of(waits.next, struct device_wait, link),
			    failure_is_set(&f) ? &f : NULL);
}

/* ---- operations */

bool device_is_up(const struct device *d)
{
	return d->run || d->state == DEVICE_RUNNING || d->state == DEVICE_QUIESCED;
}

void device_cancel(struct device *d)
{
	d->cancelled = true;
	atomic_store(&d->dev.give_up, true);
}

void device_begin(struct device *d, const char *operation, void (*run)(struct device *d),
		  enum device_state state)
{
	d->operation = operation;
	d->failure = (struct failure){0};
	d->cancelled = false;
	if (strcmp(operation, "stop") != 0)
		d->stop = (struct device_stop_options){.force = false};
	d->run = run;
	d->co = d->down_co = (struct co){0};
	device_enter(d, state);
	run(d);
}

static int device_refuse_if_at_work(const struct device *d, struct failure *f)
{
	if (!d->run)
		return 0;
	if (d->state == DEVICE_STUCK) {
		watch_explain(d, f);
		return -EBUSY;
	}
	return failure_set(f, FAILURE_OPERATION_IN_PROGRESS, EBUSY,
			   "device '%s' is %s already: wait for it to end", device_get_name(d),
			   device_state_name(d->state));
}

int device_start(struct device *d, uint64_t timeout_usec, struct device_wait *w, struct failure *f)
{
	int r = device_refuse_if_at_work(d, f);

	if (r < 0)
		return r;
	if (d->state == DEVICE_RUNNING)
		return failure_set(f, FAILURE_DEVICE_RUNNING, EALREADY,
				   "device '%s' is running already", device_get_name(d));
	if (d->state == DEVICE_QUIESCED) {
		manager_forgive(d->manager, d);
		return device_recover(d, w, f);
	}
	r = manager_can_start(d->manager, f);
	if (r == 0)
		r = recovery_check_start(d, f);
	if (r < 0)
		return r;
	if (!timeout_usec)
		timeout_usec = manager_get_config(d->manager)->start_timeout_usec;
	manager_forgive(d->manager, d);
	device_add_wait(d, w, timeout_usec);
	d->start_order = manager_next_start(d->manager);
	device_begin(d, "start", device_run_start, DEVICE_STARTING);
	return 0;
}

int device_recover(struct device *d, struct device_wait *w, struct failure *f)
{
	int r = device_refuse_if_at_work(d, f);

	if (r == 0)
		r = manager_can_start(d->manager, f);
	if (r < 0)
		return r;
	if (d->kernel.path.copy == DATA_COPY_AUTO)
		return failure_set(
			f, FAILURE_NOT_RECOVERABLE, ENOTSUP,
			"the data of device '%s' cannot be moved the way they were by the "
			"ublkd before this one: stop it with mode 'force'",
			device_get_name(d));
	assert(d->state == DEVICE_QUIESCED && d->kernel.dev_id >= 0);
	device_add_wait(d, w, manager_get_config(d->manager)->start_timeout_usec);
	d->start_order = manager_next_start(d->manager);
	d->recovering = true;
	device_begin(d, "recover", device_run_recover, DEVICE_STARTING);
	return 0;
}

/* A recovery that waits has no end of its own. */
static int give_up_recovery(struct device *d, struct failure *f)
{
	device_cancel(d);
	return failure_set(f, FAILURE_OPERATION_IN_PROGRESS, EBUSY,
			   "the recovery of device '%s' is given up: stop it when it is quiesced",
			   device_get_name(d));
}

int device_stop(struct device *d, const struct device_stop_options *o, struct device_wait *w,
		struct failure *f)
{
	uint64_t timeout_usec = o->timeout_usec;
	bool join = o->force && device_is_stopping(d) &&
		    (!d->stop.force || d->state == DEVICE_STUCK);
	int r;

	if (o->force && d->recovering && d->run)
		return give_up_recovery(d, f);
	r = join ? 0 : device_refuse_if_at_work(d, f);
	if (r < 0)
		return r;
	if (d->state == DEVICE_QUIESCED && !o->force)
		return failure_set(
			f, FAILURE_DEVICE_BUSY, EBUSY,
			"device '%s' is quiesced, and stopping it loses what is not written "
			"yet: start it, which recovers it, or stop it with mode 'force'",
			device_get_name(d));
	if (!join && d->state != DEVICE_RUNNING && d->state != DEVICE_QUIESCED)
		return failure_set(f, FAILURE_DEVICE_NOT_RUNNING, EALREADY,
				   "device '%s' is not running", device_get_name(d));
	if (!timeout_usec)
		timeout_usec = manager_get_config(d->manager)->stop_timeout_usec;
	device_add_wait(d, w, timeout_usec);
	if (join) {
		watch_force(d, timeout_usec);
		return 0;
	}
	d->stop = *o;
	watch_begin(d, timeout_usec);
	device_begin(d, "stop", d->state == DEVICE_QUIESCED ? device_run_remove : device_run_stop,
		     DEVICE_STOPPING);
	return 0;
}

bool device_in_use(const struct device *d)
{
	return d->kernel.dev_id >= 0 && holders_exist(d->kernel.dev_id);
}

/* ---- awaiting */

void device_resume(struct device *d, int res)
{
	d->res = res;
	if (d->down)
		device_teardown(d, d->down);
	else
		d->run(d);
}

static void on_cmd(struct ctrl_cmd *cmd, int res)
{
	device_resume(container_of(cmd, struct device, cmd), res);
}

struct ctrl_cmd *device_cmd(struct device *d)
{
	d->cmd.done = on_cmd;
	return &d->cmd;
}

static void on_job(struct job *j)
{
	struct device *d = container_of(j, struct device, job);

	device_resume(d, d->res);
}

static void on_job_refused(struct mail *m)
{
	struct device *d = container_of(container_of(m, struct job, mail), struct device, job);

	device_resume(d, d->res);
}

void device_run_job(struct device *d, void (*work)(struct job *j))
{
	int r;

	d->job = (struct job){.work = work, .done = on_job};
	r = job_start(&d->job, manager_mailbox(d->manager));
	if (r == 0)
		return;
	/* No thread: told by the same way, so that an await never finishes inside itself. */
	d->res = r;
	d->job.mail.deliver = on_job_refused;
	mailbox_post(manager_mailbox(d->manager), &d->job.mail);
}

static int on_pause(sd_event_source *s, uint64_t usec, void *arg)
{
	struct device *d = arg;

	sd_event_source_disable_unref(TAKE_PTR(d->pause_timer));
	device_resume(d, 0);
	return 0;
}

void device_pause(struct device *d, uint64_t usec)
{
	int r = sd_event_add_time_relative(manager_event(d->manager), &d->pause_timer,
					   CLOCK_MONOTONIC, usec, 1000, on_pause, d);

	if (r < 0)
		device_resume(d, r);
}

/* ---- what can be seen */

const char *device_get_name(const struct device *d)
{
	return d->config->name;
}

const struct device_config *device_get_config(const struct device *d)
{
	return d->config;
}

static void status_of_kernel(const struct device *d, struct device_status *s)
{
	const struct device_kernel *k = &d->kernel;

	s->dev_id = k->dev_id;
	if (k->dev_id < 0)
		return;
	s->queues = k->info.nr_hw_queues;
	s->queue_depth = k->info.queue_depth;
	s->max_io_bytes = k->info.max_io_buf_bytes;
	(void) snprintf(s->char_device, sizeof(s->char_device), "/dev/ublkc%d", k->dev_id);
	if (!k->stopped &&
	    (d->state == DEVICE_RUNNING || d->state == DEVICE_STOPPING ||
	     d->state == DEVICE_QUIESCED || d->state == DEVICE_STUCK || d->recovering)) {
		(void) snprintf(s->block_device, sizeof(s->block_device), "/dev/ublkb%d",
				k->dev_id);
		(void) data_path_format(s->data_path, &k->path);
	}
	s->size = k->params.basic.dev_sectors << 9;
	s->logical_block_size = UINT32_C(1) << k->params.basic.logical_bs_shift;
	s->physical_block_size = UINT32_C(1) << k->params.basic.physical_bs_shift;
	s->read_only = k->params.basic.attrs & UBLK_ATTR_READ_ONLY;
}

void device_get_status(const struct device *d, struct device_status *ret)
{
	const struct device_config *c = d->config;
	const struct daemon_config *dc = manager_get_config(d->manager);
	const char *backing = c->target->backing ? c->target->backing(c->target_state) : NULL;
	const struct failure *last = &d->last_error;

	if (!failure_is_set(last) && d->kernel.dev_id >= 0)
		last = &d->kernel.writes_lost;
	*ret = (struct device_status){
		.name = c->name,
		.state = d->state,
		.sub_state = d->sub_state,
		.operation = d->operation,
		.last_error = last,
		.size = c->size,
		.read_only = c->read_only,
		.autostart = c->autostart == AUTOSTART_YES,
		.needs_restart = d->changed && d->kernel.dev_id >= 0,
		.queues = c->queues ? c->queues : dc->default_queues,
		.queue_depth = c->depth ? c->depth : dc->default_queue_depth,
		.logical_block_size = (uint32_t) c->logical_block_size,
		.physical_block_size = (uint32_t) c->physical_block_size,
		.max_io_bytes = (uint32_t) c->max_io_size,
		.target = c->target->name,
		.backing = backing ? backing : "",
		.description = c->description ? c->description : "",
		.fragment_path = c->fragment_path ? c->fragment_path : "",
		.dropin_paths = c->dropin_paths,
		.state_change_usec = d->state_change_usec,
		.active_usec = d->active_usec,
	};
	status_of_kernel(d, ret);
}

static uint64_t counted(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

void device_get_counters(const struct device *d, struct device_counters *ret)
{
	*ret = (struct device_counters){0};
	for (unsigned int i = 0; i < d->kernel.n_threads; i++) {
		const struct queue *q = d->kernel.threads[i].queue;
		const struct queue_counters *c;

		if (!q)
			continue;
		c = &q->counters;
		ret->read_ops += counted(&c->ops[UB_READ]);
		ret->write_ops += counted(&c->ops[UB_WRITE]);
		ret->flush_ops += counted(&c->ops[UB_FLUSH]);
		ret->discard_ops += counted(&c->ops[UB_DISCARD]);
		ret->write_zeroes_ops += counted(&c->ops[UB_WRITE_ZEROES]);
		ret->read_bytes += counted(&c->read_bytes);
		ret->write_bytes += counted(&c->write_bytes);
		ret->errors += counted(&c->errors);
		ret->shared_ops += counted(&c->shared);
		ret->fallback_ops += counted(&c->fallbacks);
	}
}

/* What the kernel counts for the disk: reads and writes, flushes among them. */
static uint64_t disk_in_flight(int dev_id)
{
	uint64_t reads = 0, writes = 0;
	char path[64];
	FILE *f;

	(void) snprintf(path, sizeof(path), "/sys/block/ublkb%d/inflight", dev_id);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%" SCNu64 " %" SCNu64, &reads, &writes) != 2)
		reads = writes = 0;
	(void) fclose(f);
	return reads + writes;
}

uint64_t device_in_queues(const struct device *d)
{
	uint64_t ours = 0;

	for (unsigned int i = 0; i < d->kernel.n_threads; i++) {
		const struct queue *q = d->kernel.threads[i].queue;
		uint64_t done;

		if (!q)
			continue;
		/* Done first: a request that ends in between then counts, never -1. */
		done = counted(&q->counters.done);
		ours += counted(&q->counters.arrived) - done;
	}
	return ours;
}

uint64_t device_in_flight(const struct device *d)
{
	uint64_t ours = device_in_queues(d), disk;

	/* A linked request is done to its queue before it is to the backing; without iostats the
	 * kernel counts none. */
	disk = d->kernel.n_threads ? disk_in_flight(d->kernel.dev_id) : 0;
	return disk > ours ? disk : ours;
}

unsigned int device_get_threads(const struct device *d, pid_t *ret, unsigned int max)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < d->kernel.n_threads && n < max; i++)
		ret[n++] = atomic_load_explicit(&d->kernel.threads[i].tid, memory_order_relaxed);
	return n;
}
