/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limits - a device's limits around its target's open(): what the administrator fixed goes in, what
 * came out is brought in line with what was asked for. Pure.
 */
#pragma once

#include <stdbool.h>

#include <ublkd/target.h>

#include "device/device-config.h"
#include "util/failure.h"

/* The largest request where neither the administrator nor the backing wants another one. With zero
 * copy its size costs no memory. */
#define LIMITS_MAX_IO_DEFAULT (UINT32_C(512) << 10)
#define LIMITS_MAX_IO_ZERO_COPY (UINT32_C(1) << 20)

/** limits_before_open - what @c fixes, 0 (rotational: -1) for all else */
void limits_before_open(struct ub_limits *l, const struct device_config *c);

/**
 * limits_after_open - caches, discards and zeroing as @c has them, the rest as open() left it
 * Return: 0, or -EINVAL with @f set (InvalidConfiguration) when the target cannot do what @c
 * insists on
 */
int limits_after_open(struct ub_limits *l, const struct device_config *c, struct failure *f);

/** limits_fix_shape - @c fixes how the memory of requests is cut, which old kernels pass over */
bool limits_fix_shape(const struct device_config *c);
