/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * holders-proc - the part of holders that walks /proc. To look at the descriptors of somebody
 * else's process is a matter of ptrace access: without CAP_SYS_PTRACE only those are seen that may
 * do less than we.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/holders.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* However many processes there are. */
#define LOOK_USEC (2 * UINT64_C(1000000))
enum { NAMESPACES_MAX = 64 };

/* ---- mounts */

/* The kernel writes white space and the backslash as three octal digits. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		*to = *s;
		/* It may have been cut. */
		if (*s != '\\' || strspn(s + 1, "01234567") < 3)
			continue;
		*to = (char) ((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
		s += 3;
	}
	*to = '\0';
}

/* By number; a file system of several disks (btrfs) has one of its own, and names its source. */
static bool line_has_disk(const struct disk_nodes *d, const char *line, char where[static 128])
{
	unsigned int major_no, minor_no;
	const char *rest;
	char source[64];

	if (sscanf(line, "%*d %*d %u:%u %*s %127s", &major_no, &minor_no, where) != 3)
		return false;
	if (disk_has_number(d, makedev(major_no, minor_no)))
		return true;
	rest = strstr(line, " - ");
	return rest && sscanf(rest, " - %*s %63s", source) == 1 && disk_has_node(d, source);
}

void holders_in_mounts(const struct disk_nodes *d, const char *mountinfo, const char *whose,
		       struct holders *h)
{
	_cleanup_fclose_ FILE *f = fopen(mountinfo, "re");
	_cleanup_free_ char *line = NULL;
	char where[128];
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		char host[160];

		if (!line_has_disk(d, line, where))
			continue;
		unescape(where);
		(void) snprintf(host, sizeof(host), "mounted on '%s'", where);
		/* Most namespaces have a copy of the host's mounts, which goes with them. */
		if (!strstr(h->text, host))
			holders_add(h, "%s%s", host, whose);
	}
}

/* ---- processes */

struct namespaces {
	ino_t v[NAMESPACES_MAX];
	unsigned int n;
};

/* Return: true if this process is the first one seen in its mount namespace */
static bool is_new_namespace(struct namespaces *seen, int proc)
{
	struct stat st;

	if (fstatat(proc, "ns/mnt", &st, 0) < 0)
		return false;
	for (unsigned int i = 0; i < seen->n; i++)
		if (seen->v[i] == st.st_ino)
			return false;
	if (seen->n >= NAMESPACES_MAX)
		return false;
	seen->v[seen->n++] = st.st_ino;
	return true;
}

static void read_comm(int proc, char ret[static 32])
{
	_cleanup_close_ int fd = openat(proc, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, 31);

	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* It looks at every disk that is new or was written to, and lets go of it by itself. */
static bool is_udev(int proc, const char *comm)
{
	struct stat st;

	return (strcmp(comm, "systemd-udevd") == 0 || strcmp(comm, "(udev-worker)") == 0) &&
	       fstat(proc, &st) == 0 && st.st_uid == 0;
}

/* A hung file system must not have us wait for its files' sizes. */
static bool fd_is_of_disk(const struct disk_nodes *d, int fds, const char *name)
{
	struct statx st;

	return statx(fds, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) == 0 &&
	       S_ISBLK(st.stx_mode) &&
	       disk_has_number(d, makedev(st.stx_rdev_major, st.stx_rdev_minor));
}

static bool has_open(const struct disk_nodes *d, int proc)
{
	int fds = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = fds < 0 ? NULL : fdopendir(fds);
	struct dirent *e;

	if (fds >= 0 && !dir)
		(void) close(fds);
	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.' && fd_is_of_disk(d, fds, e->d_name))
			return true;
	return false;
}

static void look_at_process(const struct disk_nodes *d, const char *pid, struct namespaces *seen,
			    struct holders *h)
{
	_cleanup_close_ int proc = -1;
	char path[64], comm[32], whose[80];

	(void) snprintf(path, sizeof(path), "/proc/%.10s", pid);
	proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return;
	if (is_new_namespace(seen, proc)) {
		read_comm(proc, comm);
		(void) snprintf(whose, sizeof(whose), " in the mount namespace of '%s' (pid %.10s)",
				comm, pid);
		(void) snprintf(path, sizeof(path), "/proc/%.10s/mountinfo", pid);
		holders_in_mounts(d, path, whose, h);
	}
	if (!has_open(d, proc))
		return;
	read_comm(proc, comm);
	if (strtol(pid, NULL, 10) == getpid())
		holders_add(h, "the backing of another device of ublkd");
	else if (!is_udev(proc, comm))
		holders_add(h, "open by '%s' (pid %.10s)", comm, pid);
}

void holders_in_processes(const struct disk_nodes *d, pid_t self, struct holders *h)
{
	uint64_t end = clock_usec(CLOCK_MONOTONIC) + LOOK_USEC;
	_cleanup_closedir_ DIR *dir = opendir("/proc");
	struct namespaces seen = {.n = 0};
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (!isdigit((unsigned char) e->d_name[0]) || strtol(e->d_name, NULL, 10) == self)
			continue;
		if (clock_usec(CLOCK_MONOTONIC) > end) {
			h->more = true;
			return;
		}
		look_at_process(d, e->d_name, &seen, h);
	}
}
