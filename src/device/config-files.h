/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config-files - which files a configuration is made of. Four roots in order of precedence; a file
 * hides its namesakes in the later roots, and an empty file or a link to /dev/null ("mask") hides
 * them and is not read itself. Reads folders, never files.
 */
#pragma once

#include <stddef.h>

#include "device/problems.h"

struct config_paths {
	char *roots[4]; /* in order of precedence */
};

/** config_paths_init - the four roots, each below @prefix ("" normally; tests use a folder)
 *  Return: 0 or -ENOMEM */
int config_paths_init(struct config_paths *paths, const char *prefix);
void config_paths_release(struct config_paths *paths);

/** config_files_find - the path of the one file @name ("ublkd.conf", "devices/disk0.conf")
 *  Return: 0, -ENOENT if there is none or it is masked, -ENOMEM */
int config_files_find(const struct config_paths *paths, const char *name, char **ret);

/**
 * config_files_list - paths of all files of a folder, sorted by name regardless of root
 * @folder: "devices", "ublkd.conf.d"
 * @ret: NULL-terminated array; masked files, hidden files and names without ".conf" are left out
 * @p: gets a fatal problem for every root whose folder is there and cannot be read
 *
 * Return: 0, -ENOMEM, or -errno of a folder that cannot be read.
 */
int config_files_list(const struct config_paths *paths, const char *folder, char ***ret,
		      struct problems *p);

/** path_name - the part behind the last slash */
const char *path_name(const char *path);

/** strv_append - add a string to a NULL-terminated array; takes @s, also on failure
 *  @v: *v may be NULL; Return: 0 or -ENOMEM */
int strv_append(char ***v, char *s);
size_t strv_length(char *const *v);
void strv_sort(char **v);
char **strv_free(char **v);
