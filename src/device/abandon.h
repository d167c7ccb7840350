/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abandon - `ublkd --abandon`: what becomes of the devices when there is no ublkd any more. The
 * kernel holds their I/O until somebody serves them again, and nobody will: so the disks are taken
 * away, and those who wait get errors.
 *
 * A device is one of ours if the runtime directory, whose lock the caller holds, has its state
 * file; or if it has our cookie and the process that made it is gone. Main thread, before there is
 * a manager.
 */
#pragma once

#include <stdbool.h>

#include "ublk/ctrl.h"

/** abandon_devices - take the disks away whose server is gone, and say of each what was done. A
 *  device of which that fails or lasts too long is named and does not keep the others.
 *  @ctrl: opened
 *  @state_dir: of state_open(), or -1
 *  @why_wait: one clause; only say that their I/O waits, and why. NULL: take them away
 *  Return: 0; -EBUSY if a device is left that should not be; -ENOMEM */
int abandon_devices(struct ctrl *ctrl, int state_dir, const char *why_wait);

/** abandon_why_wait - a reason to wait in how the last ublkd ended, as the service manager tells it
 *  who starts a unit by OnFailure=; NULL if there is none */
const char *abandon_why_wait(void);
