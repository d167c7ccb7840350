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
/* auto: as the backing has it */
enum choice { CHOICE_AUTO, CHOICE_NO, CHOICE_YES };

/* What the kernel does with requests while nobody serves the device. auto: reissue or requeue, as
 * the target can bear it */
enum recovery {
	RECOVERY_AUTO,
	RECOVERY_NO, /* the device ends with its server */
	RECOVERY_REISSUE, /* all wait, those that the server had are given to the next one */
	RECOVERY_REQUEUE, /* those that the server had fail, others wait */
	RECOVERY_FAIL_IO, /* all fail */
};

extern const char *const recovery_names[]; /* as in Recovery=, by enum, NULL-terminated */

enum cpu_policy { CPU_POLICY_BATCH, CPU_POLICY_OTHER };

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
	uint64_t io_min, io_opt; /* bytes; 0: from the backing, as all that follows */
	uint64_t chunk_size;
	int rotational; /* enum choice, as the next four */
	int write_cache, fua;
	int discard, write_zeroes;
	uint64_t discard_granularity, discard_alignment;
	uint64_t max_discard, max_write_zeroes;
	bool partition_scan;
	int recovery; /* enum recovery */
	uint64_t stall_usec; /* a request that takes longer is told of; 0: none is */
	/* [Queue] */
	uint32_t queues; /* 0: the daemon's default */
	uint32_t depth; /* 0: the daemon's default */
	uint32_t threads_per_queue;
	uint64_t max_io_size; /* bytes, 4096 .. 32 MiB, multiple of 4096; 0: as fits the backing */
	uint32_t max_segments; /* 0: from the backing, as all that follows */
	uint64_t max_segment_size, segment_boundary, virt_boundary;
	uint64_t dma_alignment;
	int cpu_policy; /* enum cpu_policy */
	char *cpu_affinity; /* CPU list; NULL: as the kernel says */
	int copy; /* enum data_copy; DATA_COPY_AUTO: the daemon's default */
	int batch; /* enum data_batch; DATA_BATCH_AUTO: the daemon's default */
	char *shared_memory; /* "no", "yes", or a file on hugetlbfs or tmpfs */
	/* [Integrity] */
	uint32_t metadata_size; /* bytes per protection interval; 0: no metadata */
	uint64_t protection_interval; /* bytes; 0: the logical block size */
	uint32_t pi_offset, tag_size;
	int checksum; /* enum ub_checksum */
	bool reference_tag;
};

extern const struct ub_opt device_options[]; /* sections "Device", "Queue" and "Integrity" */

/** device_config_new - all defaults; NULL if out of memory */
struct device_config *device_config_new(const char *name);
struct device_config *device_config_free(struct device_config *c);

/** device_config_id - the wanted id, -1 for auto; only for a checked configuration */
int device_config_id(const struct device_config *c);

/** device_config_recovery - what Recovery= comes to, never RECOVERY_AUTO */
enum recovery device_config_recovery(const struct device_config *c);

/** device_config_is_forgotten - what the device holds is gone with its server */
bool device_config_is_forgotten(const struct device_config *c);

/** device_config_shares_memory - SharedMemory= is not no
 *  device_config_memory_file - the file it names; NULL: none */
bool device_config_shares_memory(const struct device_config *c);
const char *device_config_memory_file(const struct device_config *c);

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

/** device_config_copy - the same settings once more; NULL if out of memory */
struct device_config *device_config_copy(const struct device_config *c);

/**
 * device_config_update - one setting of a device that runs, as device_config_set()
 * Only the target's options that are live can be set then.
 * Return: 0, -EINVAL (a problem was added), -ENOMEM.
 */
int device_config_update(struct device_config *c, const char *key, const char *value,
			 struct problems *p);

/**
 * device_config_check_written, device_config_check - what a single key cannot tell: required
 * options, sizes that fit each other, settings that rule each other out. In device-rules.c
 * @written: the settings as they stand in files, for problems with file and line; NULL: by D-Bus
 * Return: 0, -EINVAL (problems were added) or -ENOMEM.
 */
int device_config_check_written(const struct device_config *c, const struct settings *written,
				struct problems *p);
int device_config_check(const struct device_config *c, struct problems *p);

/** device_config_foreach - every setting as text, in table order: [Device], [Queue], [Integrity],
 * the target's.
 *  @section, @value (canonical; "" if unset) are valid during the call only.
 *  Stops at the first non-zero return of @fn and returns it; -ENOMEM. */
int device_config_foreach(const struct device_config *c,
			  int (*fn)(void *arg, const char *section, const struct ub_opt *opt,
				    const char *value),
			  void *arg);
