/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-config - the settings of one device, from wherever they come: an INI file or D-Bus. Knows
 * the tables of options and the rules between them; reads no files. Pure; any one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ublkd/target.h>

#include "device/ini-reader.h"
#include "device/problems.h"

enum autostart { AUTOSTART_NO, AUTOSTART_YES };
enum rotational { ROTATIONAL_AUTO, ROTATIONAL_NO, ROTATIONAL_YES };

#define DEVICE_ID_MAX 1048575
/* CPUAffinity= names CPUs below this; the size of the mask for parse_cpus() */
#define DEVICE_CPUS_MAX 8192

struct device_config {
	char *name;
	const struct ub_target *target;
	void *target_state; /* target->state_size bytes, options parsed; never used as live state */
	char *fragment_path; /* the device's file; NULL if it came by D-Bus */
	char **dropin_paths; /* NULL-terminated, in the order they were read; may be NULL */
	/* [Device] */
	char *description;
	char *target_name;
	int autostart; /* enum autostart */
	bool read_only;
	char *id; /* "auto", or a number 0 .. DEVICE_ID_MAX */
	uint64_t size; /* bytes; 0: from the backing */
	uint64_t logical_block_size, physical_block_size; /* 0: from the backing */
	int rotational; /* enum rotational */
	/* [Queue] */
	uint32_t queues; /* 0: the daemon's default */
	uint32_t depth; /* 0: the daemon's default */
	uint64_t max_io_size; /* bytes, 4096 .. 32 MiB, multiple of 4096 */
	char *cpu_affinity; /* CPU list; NULL: as the kernel says */
};

extern const struct ub_opt device_options[]; /* sections "Device" and "Queue" */

/** device_config_new - all defaults; NULL if out of memory */
struct device_config *device_config_new(const char *name);
struct device_config *device_config_free(struct device_config *c);

/** device_config_id - the wanted id, -1 for auto; only for a checked configuration */
int device_config_id(const struct device_config *c);

/** device_config_equal - same settings (names of files do not count) */
bool device_config_equal(const struct device_config *a, const struct device_config *b);

/**
 * device_config_parse - set one field by its row, from device_options or from the target's options
 * @why: on -EINVAL, the rule that was broken; as options_parse()
 *
 * Setting the target gives the target's options their defaults again.
 * Return: 0, -EINVAL, -ENOMEM. Unchanged on failure.
 */
int device_config_parse(struct device_config *c, const struct ub_opt *opt, const char *value,
			char *why, size_t why_size);

/**
 * device_config_set - one setting by its D-Bus key ("Target", "Queues", "File" ...), as text
 * The target's options can be set only after "Target". Problems go to @p without a file.
 * Return: 0, -EINVAL (a problem was added), -ENOMEM.
 */
int device_config_set(struct device_config *c, const char *key, const char *value,
		      struct problems *p);

/**
 * device_config_check_written, device_config_check - what a single key cannot tell: required
 * options, block sizes that fit each other, size a multiple of the block size
 * @written: the settings as they stand in files, for problems with file and line; NULL: by D-Bus
 * Return: 0, -EINVAL (problems were added) or -ENOMEM.
 */
int device_config_check_written(const struct device_config *c, const struct settings *written,
				struct problems *p);
int device_config_check(const struct device_config *c, struct problems *p);

/** device_config_foreach - every setting as text, in table order: [Device], [Queue], the target's.
 *  @section, @value (canonical; "" if unset) are valid during the call only.
 *  Stops at the first non-zero return of @fn and returns it; -ENOMEM. */
int device_config_foreach(const struct device_config *c,
			  int (*fn)(void *arg, const char *section, const struct ub_opt *opt,
				    const char *value),
			  void *arg);
