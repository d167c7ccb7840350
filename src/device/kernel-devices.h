/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kernel-devices - the ublk devices that the kernel has, whoever made them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "device/state.h"
#include "ublk/abi.h"

/** kernel_devices_list - their numbers, in no order
 *  @ret: array to be freed; NULL if there is none
 *  Return: 0, or -errno: it cannot be known */
int kernel_devices_list(int **ret, size_t *ret_n);

/** kernel_device_find_saved - the state file of a device, found by its cookie
 *  Return: the place in @v, or NULL. If the caller holds the lock of the runtime directory, the one
 *  that is there is a device whose server is over or will be in a moment. */
struct saved_device **kernel_device_find_saved(const struct ublksrv_ctrl_dev_info *info,
					       struct saved_device **v, size_t n);

/** kernel_device_has_server - the process that made or serves the device may be alive. Numbers of
 *  processes are used again: "no" is certain, "yes" is not. */
bool kernel_device_has_server(const struct ublksrv_ctrl_dev_info *info);
