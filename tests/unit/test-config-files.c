/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files in the tree: tests/config/good is read without a word, tests/config/bad says exactly
 * what stands in *.err beside it (UPDATE_GOLDEN=1 writes that), and the samples in conf/ show every
 * option there is.
 *
 * $UBLKD_SOURCE_DIR: the top of the source tree.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "device/config.h"
#include "target/registry.h"
#include "test.h"
#include "util/cleanup.h"

static const char *in_tree(const char *folder, const char *name)
{
	static char path[4200];
	const char *top = getenv("UBLKD_SOURCE_DIR");

	(void) snprintf(path, sizeof(path), "%s/%s/%s", top ? top : ".", folder, name);
	return path;
}

/* The file's text, allocated; NULL if there is none. */
static char *slurp(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;

	if (!f)
		return NULL;
	if (getdelim(&text, &size, '\0', f) < 0) {
		free(text);
		return strdup("");
	}
	return text;
}

/* What `ublkd --check` says of a file, folder left out; allocated. */
static char *check_file(const char *path)
{
	struct problems problems = {0};
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	int r;

	CHECK(f);
	r = config_check_file(path, NULL, &problems);
	CHECK_EQ(r, problems.n_fatal ? -EINVAL : 0);
	for (size_t i = 0; i < problems.n; i++) {
		_cleanup_free_ char *line = problems_format(&problems.v[i]);

		CHECK(line);
		CHECK(strncmp(line, path, strlen(path)) == 0);
		(void) fprintf(f, "%s%s%s\n",
			       problems.v[i].fatal ? "" : "warning: ", path_name(path),
			       line + strlen(path));
	}
	(void) fclose(f);
	problems_release(&problems);
	return text;
}

/* Calls @check with the name of every *.conf of a folder of the tree. */
static void for_each_conf(const char *folder, void (*check)(const char *path))
{
	DIR *dir = opendir(in_tree(folder, ""));
	unsigned int n = 0;
	struct dirent *e;

	CHECK(dir);
	while ((e = readdir(dir))) {
		size_t len = strlen(e->d_name);

		if (len < 5 || strcmp(e->d_name + len - 5, ".conf") != 0)
			continue;
		check(in_tree(folder, e->d_name));
		n++;
	}
	(void) closedir(dir);
	CHECK(n > 0);
}

static void check_good(const char *path)
{
	_cleanup_free_ char *said = check_file(path);

	CHECK_STR(said, "");
}

static void good_files_are_good(void)
{
	for_each_conf("tests/config/good", check_good);
}

static void check_golden(const char *path)
{
	_cleanup_free_ char *said = check_file(path), *golden = NULL, *expected = NULL;

	CHECK(asprintf(&golden, "%.*s.err", (int) (strlen(path) - strlen(".conf")), path) > 0);
	if (getenv("UPDATE_GOLDEN")) {
		_cleanup_fclose_ FILE *f = fopen(golden, "we");

		CHECK(f && fputs(said, f) >= 0);
		return;
	}
	expected = slurp(golden);
	CHECK_STR(said, expected);
	CHECK(*said);
}

static void bad_files_say_why(void)
{
	for_each_conf("tests/config/bad", check_golden);
}

/* ---- samples */

static void samples_are_good(void)
{
	for_each_conf("conf", check_good);
}

/* The sample with every setting that is commented out (";Key=value") brought to life. */
static char *uncommented(const char *sample)
{
	char *text = slurp(in_tree("conf", sample));

	CHECK(text);
	for (char *s = text; s; s = strchr(s, '\n')) {
		s += *s == '\n';
		if (s[0] == ';' && s[1] >= 'A' && s[1] <= 'Z')
			*s = ' ';
		if (!*s)
			break;
	}
	return text;
}

static bool has_setting(const struct settings *all, const char *section, const char *key)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].key && strcmp(all->v[i].key, key) == 0 &&
		    strcmp(all->v[i].section, section) == 0)
			return true;
	return false;
}

/* Of no use where the target has no place for metadata. */
static bool is_for(const struct ub_opt *o, const struct ub_target *target)
{
	return !target || target->integrity || !o->section || strcmp(o->section, "Integrity") != 0;
}

static void check_rows(const struct settings *all, const struct ub_opt *opts,
		       const struct ub_target *target)
{
	const char *section = target ? target->section : NULL;

	for (const struct ub_opt *o = opts; o && o->key; o++)
		if (is_for(o, target) &&
		    !has_setting(all, o->section ? o->section : section, o->key))
			TEST_FAIL("the sample does not show %s=", o->key);
}

/* Every row of the tables is in the sample, and the values it shows are good. */
static void check_sample(const char *sample, const struct ub_opt *opts,
			 const struct ub_target *target)
{
	_cleanup_free_ char *text = uncommented(sample), *said = NULL;
	char folder[] = "/tmp/ublkd-test-XXXXXX", path[64];
	struct problems problems = {0};
	struct settings all = {0};
	FILE *f;

	CHECK(mkdtemp(folder));
	(void) snprintf(path, sizeof(path), "%s/%s", folder, sample);
	f = fopen(path, "we");
	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
	said = check_file(path);
	CHECK_EQ(ini_read_file(path, &all, &problems), 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(rmdir(folder), 0);
	CHECK_STR(said, "");
	check_rows(&all, opts, target);
	if (target)
		check_rows(&all, target->options, target);
	settings_release(&all);
	problems_release(&problems);
}

static void daemon_sample_shows_every_option(void)
{
	check_sample("ublkd.conf", daemon_options, NULL);
}

static void target_samples_show_every_option(void)
{
	const struct ub_target *t;
	char sample[64];

	for (unsigned int i = 0; (t = registry_at(i)); i++) {
		(void) snprintf(sample, sizeof(sample), "%s.conf", t->name);
		check_sample(sample, device_options, t);
	}
}

/* No key of a target hides behind a device's key on D-Bus. */
static void bus_keys_are_unique(void)
{
	const struct ub_target *t;

	for (unsigned int i = 0; (t = registry_at(i)); i++)
		for (const struct ub_opt *o = t->options; o && o->key; o++)
			for (const struct ub_opt *d = device_options; d->key; d++)
				CHECK(strcmp(o->bus_key ? o->bus_key : o->key,
					     d->bus_key ? d->bus_key : d->key) != 0);
}

TEST_MAIN(CASE(good_files_are_good), CASE(bad_files_say_why), CASE(samples_are_good),
	  CASE(daemon_sample_shows_every_option), CASE(target_samples_show_every_option),
	  CASE(bus_keys_are_unique))
