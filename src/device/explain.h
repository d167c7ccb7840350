/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain - what the daemon would make of a device's configuration on this kernel, for a person:
 * `ublkd --explain NAME`. Starts nothing. For a program that does nothing else: it waits.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "device/config.h"
#include "util/failure.h"

struct ctrl;

/** explain_ask_features - of the driver, by a control plane that nobody else uses
 *  Return: 0, or -errno with @f set */
int explain_ask_features(struct ctrl *ctrl, uint64_t *ret, struct failure *f);

/**
 * explain_device - target, kernel, settings in force, and the table of data paths
 * @features: of the driver, or what is to be assumed of it
 * @unknown: a sentence why @features are assumed; NULL: they are the driver's
 *
 * Return: 0; -ENOENT (no such device); -EINVAL (problems in @p); -ENOMEM; or what
 * data_path_choose() says, after all is written
 */
int explain_device(const struct config_paths *paths, const char *name, uint64_t features,
		   const char *unknown, FILE *to, struct problems *p);
