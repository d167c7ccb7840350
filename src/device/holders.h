/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * holders - who has a disk, or one of its partitions, in the words of the administrator: mounts
 * (those of other mount namespaces, too), swap, disks that stand upon it, processes that have it
 * open. holders.c reads sysfs and puts it together, holders-proc.c walks /proc.
 *
 * Nothing is opened but files of /proc and /sys, and no file system is asked. Not seen are
 * descriptors that no table has (on their way through a socket, or registered with an io_uring
 * only), mappings whose descriptor is closed, and what a container's kernel hides.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct holders {
	char text[320]; /* "mounted on '/mnt', open by 'fio' (pid 812)"; "" */
	unsigned int n; /* named; "and others" is not counted */
	bool more; /* there was no room for all, or no time to look everywhere */
};

/** holders_find - all of them, as far as they can be seen. Takes as long as /proc is large, two
 *  seconds at most: for a job thread.
 *  @dev_id: of /dev/ublkbN
 *  @number: of that disk, for one that is gone from sysfs and still open; 0: look it up
 *  @self: a process that is not to be named, beside udev's workers; 0: none */
void holders_find(int dev_id, dev_t number, pid_t self, struct holders *ret);

/** holders_exist - mounted here, swap, or stacked upon: the quick part, for any thread */
bool holders_exist(int dev_id);

/* ---- between the two files */

enum { DISK_NODES_MAX = 64 };

/* The disk first, then its partitions. */
struct disk_nodes {
	struct {
		char name[32]; /* "ublkb0p1" */
		dev_t number;
	} v[DISK_NODES_MAX];
	unsigned int n;
};

/** disk_has_number, disk_has_node - @path: "/dev/ublkb0p1" */
bool disk_has_number(const struct disk_nodes *d, dev_t number);
bool disk_has_node(const struct disk_nodes *d, const char *path);

/** holders_add - name one, in the manner of printf(); who is named already is not named again */
void holders_add(struct holders *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** holders_in_mounts - of a mountinfo file
 *  @whose: appended to what is found, "" for the host's own */
void holders_in_mounts(const struct disk_nodes *d, const char *mountinfo, const char *whose,
		       struct holders *h);

/** holders_in_processes - open files, and mounts in namespaces of their own */
void holders_in_processes(const struct disk_nodes *d, pid_t self, struct holders *h);
