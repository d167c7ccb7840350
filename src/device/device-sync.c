/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-sync - a device whose backing failed to make writes durable. The kernel tells that once,
 * and which writes it dropped nobody knows; so the queues fail every later flush and durable write
 * (op_synced()), until the device is stopped and started anew. Recovery does not end it:
 * the error goes to the state file as soon as the main thread hears of it.
 */
#include <string.h>

#include "device/device-internal.h"
#include "device/manager.h"
#include "util/log.h"

void device_lost_writes(struct device *d, int error)
{
	struct device_kernel *k = &d->kernel;

	atomic_store(&k->sync_error, error);
	(void) failure_set(&k->writes_lost, FAILURE_WRITES_LOST, error,
			   "the backing may have lost writes (fdatasync: %s): flushes fail until "
			   "the device is stopped and started again",
			   strerror(-error));
	log_full(LOG_ERR, k->writes_lost.error, device_get_name(d), NULL, 0, "%s",
		 k->writes_lost.text);
}

void device_on_sync_failed(struct queue_thread *t)
{
	struct device *d = t->owner;

	device_lost_writes(d, atomic_load(&d->kernel.sync_error));
	if (d->kernel.saved)
		(void) recovery_save(d);
	manager_device_changed(d->manager, d);
}

int device_fail_lost_writes(struct device *d)
{
	return failure_set(&d->failure, FAILURE_WRITES_LOST, d->kernel.sync_error,
			   "the backing of device '%s' may have lost writes (fdatasync: %s), and "
			   "stopping it does not bring them back; mode 'force' stops it all the "
			   "same",
			   device_get_name(d), strerror(-d->kernel.sync_error));
}
