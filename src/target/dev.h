/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dev - what is behind struct ub_dev: a device while its target opens and closes it. Set-up thread
 * of that device (one at a time); the main thread before and after.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ublkd/target.h>

#include "util/failure.h"

struct claim;

struct ub_file {
	int fd; /* owned by the ub_dev */
	unsigned int slot; /* in the registered files of every queue's ring */
};

struct ub_dev {
	const char *name; /* borrowed */
	struct ub_limits limits;
	bool block_size_fixed;
	/* A server that died may still write: open() waits for the locks it left, however long that
	 * takes, until somebody sets give_up. */
	bool recovering;
	atomic_bool give_up;
	struct ub_file files[UB_FILES_MAX];
	unsigned int n_files;
	struct claim *claims; /* what this device holds; released by dev_release */
	struct failure failure;
};

/** dev_init - nothing opened, nothing fixed. @name must outlive it. */
void dev_init(struct ub_dev *dev, const char *name);

/** dev_release - close the files, give the claims back; may block */
void dev_release(struct ub_dev *dev);
