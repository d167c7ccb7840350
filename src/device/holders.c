/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * holders - who has a device, as far as the kernel tells: mounts, swap, disks stacked upon it.
 */
#include <stdio.h>
#include <string.h>

#include "device/device-internal.h"
#include "util/cleanup.h"

/* The disk's own number and those of its partitions. */
struct disk_numbers {
	char v[17][16];
	unsigned int n;
};

static void read_number(struct disk_numbers *d, const char *dir)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[500];

	if (d->n >= sizeof(d->v) / sizeof(d->v[0]))
		return;
	(void) snprintf(path, sizeof(path), "%s/dev", dir);
	f = fopen(path, "re");
	if (f && fscanf(f, "%15s", d->v[d->n]) == 1)
		d->n++;
}

static bool is_mounted(const struct disk_numbers *d, char *ret_who, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	char number[16], where[200];

	while (f && fscanf(f, "%*d %*d %15s %*s %199s%*[^\n]", number, where) == 2)
		for (unsigned int i = 0; i < d->n; i++)
			if (strcmp(number, d->v[i]) == 0) {
				(void) snprintf(ret_who, size, "mounted on '%s'", where);
				return true;
			}
	return false;
}

static bool is_swap(const char *disk, char *ret_who, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/swaps", "re");
	char what[128], node[40];
	size_t n;

	(void) snprintf(node, sizeof(node), "/dev/%s", disk);
	n = strlen(node);
	while (f && fscanf(f, "%127s%*[^\n]", what) == 1)
		if (strncmp(what, node, n) == 0 && (what[n] == '\0' || what[n] == 'p')) {
			(void) snprintf(ret_who, size, "in use as swap");
			return true;
		}
	return false;
}

static bool has_holder(const char *dir, char *ret_who, size_t size)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	char path[500];

	(void) snprintf(path, sizeof(path), "%s/holders", dir);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.') {
			(void) snprintf(ret_who, size, "part of %s", e->d_name);
			return true;
		}
	return false;
}

bool device_in_use(const struct device *d, char *ret_who, size_t who_size)
{
	struct disk_numbers numbers = {.n = 0};
	_cleanup_closedir_ DIR *dir = NULL;
	char disk[24], path[64], part[400], unused[256];
	struct dirent *e;

	if (!ret_who) {
		ret_who = unused;
		who_size = sizeof(unused);
	}
	if (d->kernel.dev_id < 0)
		return false;
	(void) snprintf(disk, sizeof(disk), "ublkb%d", d->kernel.dev_id);
	(void) snprintf(path, sizeof(path), "/sys/block/%s", disk);
	read_number(&numbers, path);
	if (has_holder(path, ret_who, who_size))
		return true;
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, disk, strlen(disk)) != 0)
			continue;
		(void) snprintf(part, sizeof(part), "%s/%s", path, e->d_name);
		read_number(&numbers, part);
		if (has_holder(part, ret_who, who_size))
			return true;
	}
	return is_swap(disk, ret_who, who_size) || is_mounted(&numbers, ret_who, who_size);
}
