/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/holders.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "util/cleanup.h"

/* ---- what there is of the disk */

bool disk_has_number(const struct disk_nodes *d, dev_t number)
{
	for (unsigned int i = 0; i < d->n; i++)
		if (d->v[i].number == number)
			return true;
	return false;
}

bool disk_has_node(const struct disk_nodes *d, const char *path)
{
	if (strncmp(path, "/dev/", 5) != 0)
		return false;
	for (unsigned int i = 0; i < d->n; i++)
		if (strcmp(path + 5, d->v[i].name) == 0)
			return true;
	return false;
}

/* One line of a small file; "" if there is none. */
static void read_line(const char *path, char *ret, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	if (!f || !fgets(ret, (int) size, f))
		ret[0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

static void disk_add(struct disk_nodes *d, const char *name, dev_t number)
{
	if (d->n >= DISK_NODES_MAX)
		return;
	(void) snprintf(d->v[d->n].name, sizeof(d->v[d->n].name), "%s", name);
	d->v[d->n++].number = number;
}

static void disk_add_from(struct disk_nodes *d, const char *dir, const char *name)
{
	unsigned int major_no, minor_no;
	char path[600], line[32];

	(void) snprintf(path, sizeof(path), "%s/dev", dir);
	read_line(path, line, sizeof(line));
	if (sscanf(line, "%u:%u", &major_no, &minor_no) == 2)
		disk_add(d, name, makedev(major_no, minor_no));
}

static void disk_look_up(struct disk_nodes *d, int dev_id, dev_t number)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char disk[24], path[48], part[400];
	struct dirent *e;

	d->n = 0;
	(void) snprintf(disk, sizeof(disk), "ublkb%d", dev_id);
	if (number)
		return disk_add(d, disk, number);
	(void) snprintf(path, sizeof(path), "/sys/block/%s", disk);
	disk_add_from(d, path, disk);
	dir = d->n ? opendir(path) : NULL;
	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, disk, strlen(disk)) != 0)
			continue;
		(void) snprintf(part, sizeof(part), "%s/%s", path, e->d_name);
		disk_add_from(d, part, e->d_name);
	}
}

/* ---- the list */

void holders_add(struct holders *h, const char *fmt, ...)
{
	size_t len = strlen(h->text);
	char one[200];
	va_list ap;

	va_start(ap, fmt);
	(void) vsnprintf(one, sizeof(one), fmt, ap);
	va_end(ap);
	if (strstr(h->text, one))
		return;
	if (h->n > 0 && len + strlen(one) + sizeof(", and others") + 2 > sizeof(h->text)) {
		h->more = true;
		return;
	}
	(void) snprintf(h->text + len, sizeof(h->text) - len, "%s%s", h->n ? ", " : "", one);
	h->n++;
}

/* ---- sysfs and swap */

static void add_mapped(const char *name, struct holders *h)
{
	static const struct {
		const char *prefix, *what;
	} kinds[] = {
		{"LVM-", "the logical volume"},	  {"CRYPT-LUKS", "the LUKS volume"},
		{"CRYPT-", "the encrypted disk"}, {"mpath-", "the multipath disk"},
		{"", "the device-mapper disk"},
	};
	char path[80], label[130], uuid[160];
	size_t i = 0;

	(void) snprintf(path, sizeof(path), "/sys/block/%.40s/dm/name", name);
	read_line(path, label, sizeof(label));
	(void) snprintf(path, sizeof(path), "/sys/block/%.40s/dm/uuid", name);
	read_line(path, uuid, sizeof(uuid));
	while (strncmp(uuid, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
		i++;
	holders_add(h, "part of %s '%s' (%.40s)", kinds[i].what, label, name);
}

static void find_stacked(const struct disk_nodes *d, struct holders *h)
{
	for (unsigned int i = 0; i < d->n; i++) {
		_cleanup_closedir_ DIR *dir = NULL;
		struct dirent *e;
		char path[80];

		(void) snprintf(path, sizeof(path), "/sys/class/block/%s/holders", d->v[i].name);
		dir = opendir(path);
		while (dir && (e = readdir(dir))) {
			if (e->d_name[0] == '.')
				continue;
			if (strncmp(e->d_name, "dm-", 3) == 0)
				add_mapped(e->d_name, h);
			else
				holders_add(h, "part of '%.60s'", e->d_name);
		}
	}
}

/* The kernel's loop driver does not register as a holder. */
static void find_loops(const struct disk_nodes *d, struct holders *h)
{
	_cleanup_closedir_ DIR *dir = opendir("/sys/block");
	char path[80], file[300];
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, "loop", 4) != 0)
			continue;
		(void) snprintf(path, sizeof(path), "/sys/block/%.30s/loop/backing_file",
				e->d_name);
		read_line(path, file, sizeof(file));
		if (disk_has_node(d, file))
			holders_add(h, "backing of /dev/%.30s", e->d_name);
	}
}

static void find_swap(const struct disk_nodes *d, struct holders *h)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/swaps", "re");
	char what[128];

	while (f && fscanf(f, "%127s%*[^\n]", what) == 1)
		if (disk_has_node(d, what))
			holders_add(h, "swap on %s", what);
}

/* ---- all of it */

bool holders_exist(int dev_id)
{
	struct holders h = {.n = 0};
	struct disk_nodes d;

	disk_look_up(&d, dev_id, 0);
	if (d.n == 0)
		return false;
	find_stacked(&d, &h);
	find_loops(&d, &h);
	find_swap(&d, &h);
	holders_in_mounts(&d, "/proc/self/mountinfo", "", &h);
	return h.n > 0;
}

void holders_find(int dev_id, dev_t number, pid_t self, struct holders *ret)
{
	struct disk_nodes d;
	size_t len;

	*ret = (struct holders){.n = 0};
	disk_look_up(&d, dev_id, number);
	if (d.n == 0)
		return;
	holders_in_mounts(&d, "/proc/1/mountinfo", "", ret);
	holders_in_mounts(&d, "/proc/self/mountinfo", "", ret);
	find_stacked(&d, ret);
	find_swap(&d, ret);
	find_loops(&d, ret);
	holders_in_processes(&d, self, ret);
	len = strlen(ret->text);
	if (ret->more && ret->n > 0)
		(void) snprintf(ret->text + len, sizeof(ret->text) - len, ", and others");
}
