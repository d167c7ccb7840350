/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state - what the next daemon needs to go on with the devices of this one, a file for each in
 * RUNTIME/state. Written before the device is added to the kernel, removed after it is deleted.
 *
 * The kernel's own answer wins over the file: what it has of a device (queues, depth, size, flags)
 * is not in there. Files are read as if somebody hostile had written them. Main thread; the folder
 * is in memory (tmpfs).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "device/device-config.h"

#define STATE_BACKING_MAX 512

struct saved_device {
	struct device_config *config; /* in force */
	uint64_t cookie; /* what the kernel knows the device by */
	int copy, batch; /* of its data path: enum data_copy, enum data_batch; never auto */
	uint32_t threads_per_queue;
	int sync_error; /* why the backing lost writes, -errno; 0: it did not */
	char backing[STATE_BACKING_MAX]; /* which files it is backed by: "MAJOR:MINOR:INODE ..." */
};

/** state_open - the folder, made if there is none
 *  @runtime_dir: "/run/ublkd"
 *  Return: descriptor, or -errno; -EPERM if it is not ours alone */
int state_open(const char *runtime_dir);

/** state_save - write or replace a device's file, by rename
 *  Return: 0 or -errno */
int state_save(int dir, const struct saved_device *s);

/** state_exists - there is a file of that name, usable or not */
bool state_exists(int dir, const char *name);

/** state_remove - of the device of that name; nothing if there is none */
void state_remove(int dir, const char *name);

/** state_load - all of them. What cannot be used is logged and left where it is.
 *  @ret: array, each element and itself to be freed by state_free(); NULL if there is none
 *  Return: how many */
size_t state_load(int dir, struct saved_device ***ret);

/** saved_device_free, state_free */
struct saved_device *saved_device_free(struct saved_device *s);
void state_free(struct saved_device **v, size_t n);
