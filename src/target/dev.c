/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/dev.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "target/claim.h"
#include "util/log.h"

/* How long, and how often, a start asks for what a dying process may still have; 5 s in all. */
enum { PAUSE_MS = 50, PAUSES_MAX = 100 };

void dev_init(struct ub_dev *dev, const char *name)
{
	*dev = (struct ub_dev){.name = name, .limits.rotational = -1};
}

void dev_release(struct ub_dev *dev)
{
	for (unsigned int i = 0; i < dev->n_files; i++)
		(void) close(dev->files[i].fd);
	dev->n_files = 0;
	/* After the files: a lock goes with its descriptor. */
	claims_release(&dev->claims);
}

struct ub_limits *ub_dev_limits(struct ub_dev *dev)
{
	return &dev->limits;
}

const char *ub_dev_name(const struct ub_dev *dev)
{
	return dev->name;
}

bool ub_dev_block_size_fixed(const struct ub_dev *dev)
{
	return dev->block_size_fixed;
}

bool ub_dev_pause(struct ub_dev *dev, const char *path, unsigned int tries)
{
	static const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

	if (atomic_load(&dev->give_up) || (tries >= PAUSES_MAX && !dev->recovering))
		return false;
	if (dev->recovering && tries % PAUSES_MAX == PAUSES_MAX - 1)
		log_full(LOG_WARNING, 0, dev->name, NULL, 0,
			 "waiting for '%s': the ublkd before this one, or another process, still "
			 "has it",
			 path);
	(void) nanosleep(&pause, NULL);
	return true;
}

struct ub_file *ub_dev_file(struct ub_dev *dev, int fd)
{
	struct ub_file *f;

	if (dev->n_files == UB_FILES_MAX) {
		(void) close(fd);
		return NULL;
	}
	f = &dev->files[dev->n_files++];
	f->fd = fd;
	f->slot = dev->n_files; /* slot 0 is the char device */
	return f;
}

int ub_dev_fail(struct ub_dev *dev, enum ub_failure what, int error, const char *fmt, ...)
{
	static const enum failure_kind kinds[] = {
		[UB_E_CONFIG] = FAILURE_INVALID_CONFIGURATION,
		[UB_E_BACKING] = FAILURE_BACKING_UNAVAILABLE,
		[UB_E_IN_USE] = FAILURE_BACKING_IN_USE,
		[UB_E_UNSUPPORTED] = FAILURE_KERNEL_UNSUPPORTED,
	};
	char text[sizeof(dev->failure.text)];
	va_list ap;

	va_start(ap, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return failure_set(&dev->failure, kinds[what], error ? error : EINVAL, "%s", text);
}
