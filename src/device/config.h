/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config - INI files to structs. Pure but for reading the files; main thread (or any one thread).
 *
 * Files are looked for below four roots, first wins: /etc/ublkd, /run/ublkd, /usr/local/lib/ublkd,
 * /usr/lib/ublkd. Main file ublkd.conf with drop-ins ublkd.conf.d/; a device NAME is
 * devices/NAME.conf with drop-ins devices/device.conf.d/ (all devices) and devices/NAME.conf.d/. An
 * empty file or a link to /dev/null masks its namesakes in the later roots.
 *
 * Drop-ins of all devices are read before those of the one device; in each folder they are sorted
 * by name regardless of root. The last assignment of a key wins.
 *
 * Every problem of a load is reported, not just the first: `file:line: [Section] Key=value: rule`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ublkd/target.h>

#include "device/config-files.h"
#include "device/device-config.h"
#include "device/problems.h"
#include "ublk/data-path.h"

/* ---- the daemon: ublkd.conf */

struct daemon_config {
	int log_level; /* index = syslog level, 0 emerg .. 7 debug */
	uint32_t default_queues; /* 1 .. 4096 */
	uint32_t default_queue_depth; /* 1 .. 4096 */
	int default_copy; /* enum data_copy */
	int default_batch; /* enum data_batch */
	uint32_t max_devices; /* 1 .. 65536 */
	uint64_t start_timeout_usec, stop_timeout_usec;
	bool lock_memory;
	bool io_flusher;
	int abandon; /* enum abandon */
};

/* What becomes of devices whose ublkd is not started again; see device/abandon.h. */
enum abandon { ABANDON_FAIL, ABANDON_WAIT };

extern const struct ub_opt daemon_options[]; /* section "Manager" */

/* ---- loading */

/** config_load_daemon - defaults, then ublkd.conf and its drop-ins. Unknown keys are warnings.
 *  Return: 0, -EINVAL (fatal problems in @p; @ret holds defaults where they were), -ENOMEM */
int config_load_daemon(const struct config_paths *paths, struct daemon_config *ret,
		       struct problems *p);

/** config_device_names - names of all devices/NAME.conf not masked, sorted; a file whose name is no
 *  valid device name becomes a warning in @p.
 *  Return: 0 and a NULL-terminated array (free with strv_free), -ENOMEM, or -errno of a folder */
int config_device_names(const struct config_paths *paths, char ***ret, struct problems *p);

/** config_load_device - one device with its drop-ins, checked.
 *  Return: 0; -ENOENT (no such file, or masked); -EINVAL (problems in @p); -ENOMEM */
int config_load_device(const struct config_paths *paths, const char *name,
		       struct device_config **ret, struct problems *p);

/** config_check_file - one file by its path, for `ublkd --check`: a main file if its name is
 *  ublkd.conf, a device's otherwise (drop-ins are not read).
 *  @ret: a good device's configuration, untouched otherwise; may be NULL
 *  Return: 0, -EINVAL, -ENOMEM */
int config_check_file(const char *path, struct device_config **ret, struct problems *p);

/** config_check_devices - across devices: duplicate ids. Adds problems; Return: 0 or -EINVAL */
int config_check_devices(struct device_config *const *v, size_t n, struct problems *p);

/** config_wish - what a device wants of its data path, for data_path_choose() on this kernel
 *  @daemon: for what @device leaves to it; NULL: it leaves nothing
 *  @features: of the driver */
void config_wish(const struct daemon_config *daemon, const struct device_config *device,
		 uint64_t features, struct data_path_wish *ret);
