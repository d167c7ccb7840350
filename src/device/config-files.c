/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/config-files.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"

DEFINE_CLEANUP(char **, strv_free);

static const char suffix[] = ".conf";

int config_paths_init(struct config_paths *paths, const char *prefix)
{
	static const char *const roots[] = {"/etc/ublkd", "/run/ublkd", "/usr/local/lib/ublkd",
					    "/usr/lib/ublkd"};
	struct config_paths new = {0};

	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++)
		if (asprintf(&new.roots[i], "%s%s", prefix, roots[i]) < 0) {
			new.roots[i] = NULL;
			config_paths_release(&new);
			return -ENOMEM;
		}
	*paths = new;
	return 0;
}

void config_paths_release(struct config_paths *paths)
{
	for (size_t i = 0; i < sizeof(paths->roots) / sizeof(paths->roots[0]); i++)
		free(paths->roots[i]);
	*paths = (struct config_paths){0};
}

const char *path_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What cannot be looked at is no mask: reading it will say why. */
static bool is_mask(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	return S_ISCHR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_size == 0);
}

int config_files_find(const struct config_paths *paths, const char *name, char **ret)
{
	for (size_t i = 0; i < sizeof(paths->roots) / sizeof(paths->roots[0]); i++) {
		_cleanup_free_ char *path = NULL;
		struct stat st;

		if (asprintf(&path, "%s/%s", paths->roots[i], name) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		if (lstat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
			continue;
		if (is_mask(path))
			return -ENOENT;
		*ret = TAKE_PTR(path);
		return 0;
	}
	return -ENOENT;
}

static bool is_config_name(const char *name)
{
	size_t len = strlen(name);

	return name[0] != '.' && len >= sizeof(suffix) &&
	       strcmp(name + len - (sizeof(suffix) - 1), suffix) == 0;
}

/* @n: how many there are, of the roots before */
static bool is_hidden(char *const *found, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(path_name(found[i]), name) == 0)
			return true;
	return false;
}

static int list_folder(const char *folder, char ***found)
{
	_cleanup_closedir_ DIR *dir = opendir(folder);
	size_t n = strv_length(*found);

	if (!dir)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	for (;;) {
		struct dirent *entry;
		char *path;
		int r;

		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return -errno;
		if (!is_config_name(entry->d_name) || is_hidden(*found, n, entry->d_name))
			continue;
		if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0)
			return -ENOMEM;
		r = strv_append(found, path);
		if (r < 0)
			return r;
	}
}

static void drop_masks(char **found)
{
	char **to = found;

	for (char **from = found; *from; from++)
		if (is_mask(*from))
			free(*from);
		else
			*to++ = *from;
	*to = NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(path_name(*(char *const *) a), path_name(*(char *const *) b));
}

int config_files_list(const struct config_paths *paths, const char *folder, char ***ret,
		      struct problems *p)
{
	_cleanup_(strv_freep) char **found = calloc(1, sizeof(*found));
	int result = 0;

	if (!found)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(paths->roots) / sizeof(paths->roots[0]); i++) {
		_cleanup_free_ char *path = NULL;
		int r;

		if (asprintf(&path, "%s/%s", paths->roots[i], folder) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		r = list_folder(path, &found);
		if (r == -ENOMEM)
			return r;
		if (r < 0) {
			errno = -r;
			problems_add(p, path, 0, true, "cannot be read: %m");
			result = r;
		}
	}
	if (result < 0)
		return result;
	drop_masks(found);
	strv_sort(found);
	*ret = TAKE_PTR(found);
	return 0;
}

/* ---- NULL-terminated arrays of strings */

size_t strv_length(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

int strv_append(char ***v, char *s)
{
	_cleanup_free_ char *owned = s;
	size_t n = strv_length(*v);
	char **new;

	if (!s)
		return -ENOMEM;
	new = reallocarray(*v, n + 2, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new[n] = TAKE_PTR(owned);
	new[n + 1] = NULL;
	*v = new;
	return 0;
}

void strv_sort(char **v)
{
	qsort(v, strv_length(v), sizeof(*v), by_name);
}

char **strv_free(char **v)
{
	for (char **s = v; s && *s; s++)
		free(*s);
	free(v);
	return NULL;
}
