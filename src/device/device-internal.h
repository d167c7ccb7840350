/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-internal - struct device, for device.c, device-start.c, device-stop.c and manager.c only.
 * Main thread, but for the members a running job or queue thread was handed.
 */
#pragma once

#include <systemd/sd-event.h>

#include "device/device.h"
#include "device/flight-book.h"
#include "device/holders.h"
#include "device/job.h"
#include "device/queue-thread.h"
#include "device/state.h"
#include "target/dev.h"
#include "ublk/ctrl.h"
#include "ublk/data-path.h"
#include "uring/co.h"

/* How long the kernel may take for a command that has no reason to wait. */
#define DEVICE_CTRL_TIMEOUT_USEC (10 * UINT64_C(1000000))
/* How often a device that is being taken down is looked at: does it get on? */
#define DEVICE_TICK_USEC UINT64_C(1000000)
/* A forced stop fails the requests when none has ended for so many ticks. */
#define DEVICE_IDLE_TICKS 2
/* ... or when the write-back in front of it has taken so many. */
#define DEVICE_SYNC_TICKS 10
/* udev looks at every new or changed disk for a moment: that is no reason to call it busy. */
#define DEVICE_BUSY_TRIES 20
#define DEVICE_BUSY_PAUSE_USEC (50 * UINT64_C(1000))
/* Others look at it as well; each of these tries is a walk through /proc. */
#define DEVICE_OPEN_TRIES 2
#define DEVICE_OPEN_PAUSE_USEC (250 * UINT64_C(1000))

/* What the kernel has of the device; undone in the opposite order. */
struct device_kernel {
	int dev_id; /* -1: not added */
	bool stopped; /* STOP_DEV returned: there is no disk (any more) */
	uint64_t cookie;
	uint64_t recovery_flags; /* UBLK_F_USER_RECOVERY..., 0: it ends with us */
	struct ublksrv_ctrl_dev_info info;
	struct ublk_params params;
	struct data_path path; /* in force while the device is added */
	unsigned int threads_per_queue;
	int char_fd; /* -1: not open */
	struct queue_thread *threads;
	unsigned int n_threads; /* started, not yet done */
	unsigned int n_armed, n_exited;
	int arm_error, exit_error; /* of a queue, 0: none */
	_Atomic int
		sync_error; /* the queues': why the backing lost writes, -errno; 0: it did not */
	struct failure writes_lost; /* the same in words */
	bool saved; /* there is a state file: it can be recovered */
	bool fell_back; /* said so */
	bool quitting; /* the queues were told to end */
	bool aborting; /* ... and before that, to fail what they hold */
};

enum pool_state {
	POOL_FREE,
	POOL_ADDING,
	POOL_SERVING,
	POOL_REMOVING,
	POOL_KEPT, /* of no more use, but something may still look at it: until the queues are over
		    */
};

/* Memory of clients. One command at a time: then the number that the driver will give to a new
 * pool is known before, and it can be published before requests name it. */
struct device_pools {
	struct shared_pool shared[DEVICE_POOLS_MAX]; /* what the queues look at */
	struct {
		enum pool_state state;
		bool read_only;
	} slots[DEVICE_POOLS_MAX]; /* the others' base is NULL */
	struct list calls; /* device_pool_call->link; the first is at work if `busy` */
	struct ctrl_cmd cmd;
	struct failure failure; /* why what is being undone failed */
	bool busy;
	bool awaited; /* the teardown waits for the command */
	struct device_pool_call own; /* for the file of SharedMemory= */
	int file; /* that, opened by a job; -1: not open */
};

/* While a device is being taken down: does it get on? Times are of CLOCK_MONOTONIC. */
struct device_watch {
	sd_event_source *timer;
	uint64_t begin_usec;
	uint64_t deadline_usec; /* then it is stuck, unless it gets on */
	uint64_t done; /* requests completed at the last tick */
	unsigned int idle_ticks; /* in a row in which nothing happened */
	unsigned int sync_ticks;
	uint64_t errors_before; /* when the requests were failed ... */
	uint64_t failed; /* ... and how many that were, once the queues are gone */
	bool aborted;
};

struct device {
	struct manager *manager;
	struct list link; /* manager->devices, sorted by name */
	struct device_config *config; /* in force */
	struct device_config *changed; /* read since, for the next start; NULL: none */
	struct device_config *updated; /* config with what was set live; NULL: nothing was */
	bool orphaned; /* its file is gone: forgotten when it stops */
	bool autostart_due; /* to be started when fewer others are being started */
	bool doomed; /* to be deleted when the running operation ends */

	enum device_state state;
	const char *sub_state, *operation;
	struct failure failure; /* of the running operation */
	struct failure last_error; /* of the last finished one */
	uint64_t state_change_usec, active_usec;
	uint64_t start_order; /* grows with every start */
	struct list waits; /* struct device_wait */
	sd_event_source *wait_timer;

	/* the running sequence */
	struct co co, down_co;
	void (*run)(struct device *d); /* start or stop; called again after every await */
	void (*down)(struct device *d); /* what follows the teardown */
	int res; /* of the awaited step */
	unsigned int i; /* loop counter that survives awaits */
	bool recovering; /* the start is one of a device that the kernel kept */
	bool keep; /* the teardown leaves it to the kernel, to be recovered */
	unsigned int n_recoveries; /* in a row, each soon after the one before */
	uint64_t recovered_usec; /* CLOCK_MONOTONIC */
	char backing[STATE_BACKING_MAX]; /* which files it is backed by, as in its state file */
	bool cancelled; /* the start's time is up, or the daemon stops */
	struct device_stop_options stop;
	struct ctrl_cmd cmd;
	struct job job;
	struct job join; /* of queues that all failed while something else is under way */
	sd_event_source *pause_timer, *stall_timer;
	struct device_watch watch;
	struct holders holders; /* found by the job */
	pid_t guard; /* for the job, which must not ask who it is: not one of them */
	bool left_behind; /* DEL_DEV did not end in time */
	bool held; /* the guard keeps the disk claimed: a release is due */
	int refusal; /* -errno: why the device is not stopped */

	/* the open device; job threads and queue threads look at these while they run */
	struct ub_dev dev;
	void *target_state; /* live; NULL when closed */
	bool target_opened; /* open() was called, close() is due */
	struct device_kernel kernel;
	struct device_pools pools;
	bool queue_failed; /* a queue thread ended although nobody stopped the device */
	bool awaiting_exits; /* the teardown waits for the queue threads */
	bool joining, awaiting_join; /* @join is at work; the teardown waits for it */
};

/* ---- device.c */

/** device_new - a defined device that is in no list yet; @config is taken over on success
 *  Return: 0 or -ENOMEM */
int device_new(struct manager *m, struct device_config *config, struct device **ret);
struct device *device_free(struct device *d);

/** device_enter - a new state; tells the listener */
void device_enter(struct device *d, enum device_state state);

/** device_step - the running sequence is at this step now */
void device_step(struct device *d, const char *sub_state);

/** device_finish - the running operation is over: new state, waiting callers told. The device may
 * be gone when it returns. */
void device_finish(struct device *d, enum device_state state);

/** device_is_up - the kernel has it, or an operation is under way */
bool device_is_up(const struct device *d);

/** device_cancel - the start under way is to be given up */
void device_cancel(struct device *d);

/** device_add_wait - @w is told when the operation that begins is over, or the time is up; may be
 * NULL */
void device_add_wait(struct device *d, struct device_wait *w, uint64_t timeout_usec);

/** device_begin - start a sequence; the caller has checked that none runs */
void device_begin(struct device *d, const char *operation, void (*run)(struct device *d),
		  enum device_state state);

/*
 * Awaitables: each resumes the sequence (d->run, or the teardown) with d->res set.
 * device_cmd - the device's command, its done() set; device_run_job - @work on a job thread, it
 * sets d->res; device_pause - so many microseconds.
 */
/** device_cmd, device_run_job, device_pause - see above */
struct ctrl_cmd *device_cmd(struct device *d);
void device_run_job(struct device *d, void (*work)(struct job *j));
void device_pause(struct device *d, uint64_t usec);
/** device_resume - go on after an await with @res */
void device_resume(struct device *d, int res);

/* ---- device-start.c, device-stop.c */

/** device_run_start, device_run_recover, device_run_quiesce, device_run_stop, device_run_remove -
 * the sequences, for device_begin(); the last is the stop of a device that nobody serves */
void device_run_start(struct device *d);
void device_run_recover(struct device *d);
void device_run_quiesce(struct device *d);
void device_run_stop(struct device *d);
void device_run_remove(struct device *d);

/** device_open_target - awaitable: the target's open(), on a job thread */
void device_open_target(struct device *d);

/** device_raise - go on with the part of the sequence that starts and recoveries share: the queues,
 * and the command that lets requests in; device_start_undo - go back instead */
void device_raise(struct device *d);
void device_start_undo(struct device *d);

/** device_fail_from_target, device_fail_from_kernel - d->failure from what the last step said
 *  Return: -errno */
int device_fail_from_target(struct device *d);
int device_fail_from_kernel(struct device *d, const char *command);

/** device_teardown - undo whatever of d->kernel and the open target there is, then call @after */
void device_teardown(struct device *d, void (*after)(struct device *d));

/** device_is_stopping - by device_stop(), not because it failed */
bool device_is_stopping(const struct device *d);

/** queues_abort - fail what the queues hold, and from now on everything */
void queues_abort(struct device *d);

/** device_on_queue_armed, device_on_queue_exited - news of the queue threads */
void device_on_queue_armed(struct queue_thread *t);
void device_on_queue_exited(struct queue_thread *t);

/* ---- device-watch.c */

/** watch_begin - the device is being taken down from now on; once per operation
 *  @timeout_usec: how long that may take before a device that does not get on is called stuck; 0:
 *  the daemon's StopTimeoutSec */
void watch_begin(struct device *d, uint64_t timeout_usec);
void watch_end(struct device *d);

/** watch_step - something happened */
void watch_step(struct device *d);

/** watch_force - the stop under way is a forced one now, with a new limit of time */
void watch_force(struct device *d, uint64_t timeout_usec);

/** watch_count - the queues are about to go: what they failed is counted now or never */
void watch_count(struct device *d);

/** watch_is_late - time is up: makes the device stuck if it does not get on
 *  Return: true if it is, with @f set */
bool watch_is_late(struct device *d, struct failure *f);

/** watch_explain - what the device is waiting for, as a failure DeviceStuck */
void watch_explain(const struct device *d, struct failure *f);

/** device_is_given_up - stuck, its requests failed, and still nothing happens: no use to wait */
bool device_is_given_up(const struct device *d);

/* ---- device-recover.c */

/** recovery_flags - what of UBLK_F_* to add the device with; Return: 0, or -errno with @f set */
int recovery_flags(const struct device *d, uint64_t *ret, struct failure *f);

/** recovery_check_start - the kernel may have the device still, from a server whose state file
 * nobody could use: it is not to be started beside that. Return: 0, or -errno with @f set */
int recovery_check_start(const struct device *d, struct failure *f);

/** device_quiesce - before this process ends: have the driver take every tag back, so that it has
 * no request it would fail. For devices for which that matters. Return: true if that has begun;
 * false if there is nothing to do */
bool device_quiesce(struct device *d);

/** recovery_save, recovery_forget - its state file, anew if there is one; the target is open.
 * Return: 0 or -errno, which is logged */
int recovery_save(struct device *d);
void recovery_forget(struct device *d);

/** recovery_identify - after GET_DEV_INFO: is this still the device that the kernel kept for us?
 *  Return: 0; -errno if not, with d->kernel.stopped set, and dev_id -1 if it is gone; the command's
 *  own -errno, and @f unset, if the kernel did not say */
int recovery_identify(struct device *d, struct failure *f);
/** device_hold - a device that the kernel kept is not served again: its I/O fails from here on. By
 * ending it, unless the kernel fails it anyway.
 *  @f: why; Return: 0 (accepted), or -errno if there is nothing to do and @w is unused */
int device_hold(struct device *d, struct device_wait *w, const struct failure *f);

/** recovery_after_failure - for device_teardown(): a queue failed, the kernel has the device */
void recovery_after_failure(struct device *d);

/* ---- device-sync.c */

/** device_lost_writes - from now on flushes fail, because a sync of the backing said @error
 * (-errno)
 */
void device_lost_writes(struct device *d, int error);

/** device_on_sync_failed - news of a queue thread */
void device_on_sync_failed(struct queue_thread *t);

/** device_fail_lost_writes - d->failure of a stop that cannot flush; Return: -errno */
int device_fail_lost_writes(struct device *d);
/* ---- device-flight.c */

/** device_flight_begin, device_flight_end - a queue's flight record, before its thread is started
 * and after its queue is released; device_flight_stop - no queue is left to look at */
void device_flight_begin(struct device *d, struct queue_thread *t, struct queue_config *c);
void device_flight_end(struct device *d, struct queue_thread *t);
void device_flight_stop(struct device *d);
void device_on_queue_called(struct queue_thread *t);

/** device_in_queues - requests that the queues hold; of device_in_flight() */
uint64_t device_in_queues(const struct device *d);

/* ---- device-pools.c */

/** device_pools_init, device_pools_add_file - the second is an awaitable: the file of
 * SharedMemory=, already open, becomes a pool; res -errno, with d->failure set */
void device_pools_init(struct device *d);
void device_pools_add_file(struct device *d);

/** device_pools_quit - the teardown's: whose turn has not come yet is told no
 *  Return: a command is under way; device_resume() follows */
bool device_pools_quit(struct device *d);

/** device_pools_release - unmap all of it; no queue and no command is left */
void device_pools_release(struct device *d);

/* ---- manager.c */

/** manager_ctrl, manager_mailbox, manager_event, manager_features - what the devices share */
struct ctrl *manager_ctrl(const struct manager *m);
struct mailbox *manager_mailbox(struct manager *m);
sd_event *manager_event(const struct manager *m);
uint64_t manager_features(const struct manager *m);
/** manager_state_dir - where state files are, -1: nowhere */
int manager_state_dir(const struct manager *m);
/** manager_book - where flight records are kept, NULL: nowhere */
struct flight_book *manager_book(const struct manager *m);
/** manager_next_cookie - differs from device to device */
uint64_t manager_next_cookie(struct manager *m);
uint64_t manager_next_start(struct manager *m);
/** manager_forgive - somebody starts it by hand: what it did to daemons before is forgotten */
void manager_forgive(struct manager *m, const struct device *d);
/** manager_can_start - the kernel side is there; Return: 0, or -errno with @f set */
int manager_can_start(struct manager *m, struct failure *f);
/** manager_fail_no_ring - the guard could not make its ring; Return: -errno with @f set */
int manager_fail_no_ring(const struct manager *m, struct failure *f);
/** manager_look_for_left_overs - a device of ours may be in the kernel and in no list */
void manager_look_for_left_overs(struct manager *m);
/** manager_device_changed - tell the listener of a change of the device */
void manager_device_changed(struct manager *m, struct device *d);
/** manager_device_idle - an operation ended: forget it if it is doomed or orphaned */
void manager_device_idle(struct manager *m, struct device *d);
