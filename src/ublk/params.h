/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * params - a device's limits as SET_PARAMS takes them, refusing in words what the kernel would
 * refuse with EINVAL (and what it would take although it makes no sense). Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <ublkd/target.h>

#include "ublk/abi.h"
#include "util/failure.h"

/** params_defaults - replace what nobody fixed by the usual: 512-byte blocks, physical = logical */
void params_defaults(struct ub_limits *l);

/**
 * params_from_limits - build the parameters
 * @l: after params_defaults()
 * @max_io_bytes: of the device's buffers, a multiple of 4096
 * Return: 0, or -EINVAL with @f set (InvalidConfiguration)
 */
int params_from_limits(const struct ub_limits *l, uint32_t max_io_bytes, struct ublk_params *ret,
		       struct failure *f);

/** params_same - what GET_PARAMS returned is what SET_PARAMS was given, but for the shape of
 *  requests on a kernel that does not know it */
bool params_same(const struct ublk_params *set, const struct ublk_params *got);

/** params_lack_shape - alignment and segments were set, and the kernel (before 6.15) passed over
 *  them */
bool params_lack_shape(const struct ublk_params *set, const struct ublk_params *got);
