/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * failure - why something did not work, as the administrator will read it: a stable kind (its name
 * is the D-Bus error name behind `org.ublkd1.Error.`) and one plain sentence. Travels by value from
 * the place that knows to the place that reports; the first failure wins.
 */
#pragma once

#include <stdbool.h>

enum failure_kind {
	FAILURE_NONE = 0,
	FAILURE_NO_SUCH_DEVICE,
	FAILURE_DEVICE_EXISTS,
	FAILURE_DEVICE_BUSY,
	FAILURE_DEVICE_NOT_RUNNING,
	FAILURE_DEVICE_RUNNING,
	FAILURE_OPERATION_IN_PROGRESS,
	FAILURE_INVALID_NAME,
	FAILURE_INVALID_CONFIGURATION,
	FAILURE_UNKNOWN_TARGET,
	FAILURE_BACKING_UNAVAILABLE,
	FAILURE_BACKING_IN_USE,
	FAILURE_KERNEL_UNSUPPORTED,
	FAILURE_KERNEL_FAILED,
	FAILURE_MODULE_MISSING,
	FAILURE_LIMITS_EXCEEDED,
	FAILURE_TIMEOUT,
	FAILURE_CANCELLED,
	FAILURE_SHUTTING_DOWN,
	FAILURE_NO_MEMORY,
	FAILURE_INVALID_MEMORY, /* of a client's */
	FAILURE_NO_SUCH_MEMORY,
	FAILURE_NOT_RECOVERABLE,
	FAILURE_WRITES_LOST,
	FAILURE_DEVICE_STUCK,
	FAILURE_KIND_MAX,
};

struct failure {
	enum failure_kind kind;
	int error; /* positive errno behind it, 0 if there is none */
	char text[480];
};

/**
 * failure_set - record a failure unless one is recorded already
 * @f: where to; may be NULL
 * @kind: what it is
 * @error: positive or negative errno, 0 if none; not added to the text
 * @fmt: the sentence, printf style, without a full stop
 *
 * Return: -error, or -EIO if @error is 0, so that `return failure_set(...)` reads well.
 */
int failure_set(struct failure *f, enum failure_kind kind, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/** failure_name - the stable name of a kind, as after `org.ublkd1.Error.`; "Failed" if unknown */
const char *failure_name(enum failure_kind kind);

static inline bool failure_is_set(const struct failure *f)
{
	return f->kind != FAILURE_NONE;
}
