/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const failure_names[FAILURE_KIND_MAX] = {
	[FAILURE_NONE] = "Failed",
	[FAILURE_NO_SUCH_DEVICE] = "NoSuchDevice",
	[FAILURE_DEVICE_EXISTS] = "DeviceExists",
	[FAILURE_DEVICE_BUSY] = "DeviceBusy",
	[FAILURE_DEVICE_NOT_RUNNING] = "DeviceNotRunning",
	[FAILURE_DEVICE_RUNNING] = "DeviceRunning",
	[FAILURE_OPERATION_IN_PROGRESS] = "OperationInProgress",
	[FAILURE_INVALID_NAME] = "InvalidName",
	[FAILURE_INVALID_CONFIGURATION] = "InvalidConfiguration",
	[FAILURE_UNKNOWN_TARGET] = "UnknownTarget",
	[FAILURE_BACKING_UNAVAILABLE] = "BackingUnavailable",
	[FAILURE_BACKING_IN_USE] = "BackingInUse",
	[FAILURE_KERNEL_UNSUPPORTED] = "KernelUnsupported",
	[FAILURE_KERNEL_FAILED] = "KernelFailed",
	[FAILURE_MODULE_MISSING] = "ModuleMissing",
	[FAILURE_LIMITS_EXCEEDED] = "LimitsExceeded",
	[FAILURE_TIMEOUT] = "Timeout",
	[FAILURE_CANCELLED] = "Cancelled",
	[FAILURE_SHUTTING_DOWN] = "ShuttingDown",
	[FAILURE_NO_MEMORY] = "NoMemory",
	[FAILURE_INVALID_MEMORY] = "InvalidMemory",
	[FAILURE_NO_SUCH_MEMORY] = "NoSuchMemory",
	[FAILURE_NOT_RECOVERABLE] = "NotRecoverable",
	[FAILURE_WRITES_LOST] = "WritesLost",
	[FAILURE_DEVICE_STUCK] = "DeviceStuck",
};

int failure_set(struct failure *f, enum failure_kind kind, int error, const char *fmt, ...)
{
	va_list ap;

	error = abs(error);
	if (f && !failure_is_set(f)) {
		f->kind = kind;
		f->error = error;
		va_start(ap, fmt);
		(void) vsnprintf(f->text, sizeof(f->text), fmt, ap);
		va_end(ap);
	}
	return error ? -error : -EIO;
}

const char *failure_name(enum failure_kind kind)
{
	if ((unsigned int) kind >= FAILURE_KIND_MAX || !failure_names[kind])
		return failure_names[FAILURE_NONE];
	return failure_names[kind];
}
