/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device/device-config: a device's settings by D-Bus, and the problems they make. */
#include <errno.h>
#include <stdlib.h>

#include "device/config.h"
#include "test.h"
#include "util/cleanup.h"

static struct problems problems;

/* All problems, one per line. */
static const char *said(void)
{
	static char buf[4096];
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < problems.n && used < sizeof(buf); i++) {
		_cleanup_free_ char *text = problems_format(&problems.v[i]);

		CHECK(text);
		used += (size_t) snprintf(buf + used, sizeof(buf) - used, "%s\n", text);
	}
	return buf;
}

static struct device_config *new_device(const char *name)
{
	struct device_config *c = device_config_new(name);

	problems_release(&problems);
	CHECK(c);
	return c;
}

static void same_id_is_found(void)
{
	struct device_config *v[3];

	for (int i = 0; i < 3; i++) {
		v[i] = new_device(i == 0 ? "a" : i == 1 ? "b" : "c");
		CHECK_EQ(device_config_set(v[i], "Id", i == 1 ? "auto" : "3", &problems), 0);
	}
	CHECK_EQ(config_check_devices(v, 2, &problems), 0);
	CHECK_EQ(config_check_devices(v, 3, &problems), -EINVAL);
	CHECK_STR(problems.v[0].text, "[Device] Id=3: device 'a' has this id already");
	for (int i = 0; i < 3; i++)
		(void) device_config_free(v[i]);
}

static void settings_go_by_bus_key(void)
{
	struct device_config *c = new_device("d");

	CHECK_EQ(device_config_set(c, "File", "/x", &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "Target", "lopp", &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "Target", "disk", &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "Depth", "1", &problems), -EINVAL);
	CHECK_EQ(device_config_check(c, &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "Target", "loop", &problems), 0);
	CHECK_EQ(device_config_set(c, "Fiel", "/x", &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "QueueDepth", "9000", &problems), -EINVAL);
	CHECK_EQ(device_config_check(c, &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "File", "/x", &problems), 0);
	CHECK_EQ(device_config_set(c, "QueueDepth", "16", &problems), 0);
	CHECK_EQ(device_config_set(c, "LogicalBlockSize", "4K", &problems), 0);
	CHECK_EQ(device_config_check(c, &problems), 0);
	CHECK_EQ(device_config_set(c, "PhysicalBlockSize", "512", &problems), 0);
	CHECK_EQ(device_config_check(c, &problems), -EINVAL);
	CHECK_EQ(c->depth, 16);
	(void) device_config_free(c);
	CHECK_STR(said(),
		  "File=/x: unknown setting while Target is not set\n"
		  "Target=lopp: unknown target, did you mean 'loop'?\n"
		  "Target=disk: unknown target, there are null, loop, fault\n"
		  "Depth=1: unknown setting while Target is not set\n"
		  "Target=: must be set\n"
		  "Fiel=/x: unknown setting, did you mean 'File'?\n"
		  "QueueDepth=9000: must be 1 .. 4096\n"
		  "File=: must be set\n"
		  "PhysicalBlockSize=512: must not be less than the logical block size, 4K\n");
}

static void problems_join_for_an_error(void)
{
	_cleanup_free_ char *joined = NULL;

	problems_release(&problems);
	problems_add(&problems, "/b", 2, true, "second");
	problems_add(&problems, "/b", 1, false, "a warning");
	problems_add(&problems, "/a", 0, true, "first");
	joined = problems_join(&problems);
	CHECK_STR(joined, "/a: first; /b:2: second");
}

static void long_value_is_shown_by_its_beginning(void)
{
	struct device_config *c = new_device("d");
	char value[302];

	value[0] = 'x';
	for (int i = 1; i < 301; i += 2)
		memcpy(value + i, "\xc3\xa4", 2);
	value[301] = '\0';
	CHECK_EQ(device_config_set(c, "Size", value, &problems), -EINVAL);
	(void) device_config_free(c);
	/* 100 bytes would end within a character. */
	CHECK(strncmp(problems.v[0].text + 5 + 99, "...: must be", 12) == 0);
}

static void set_all(struct device_config *c, const char *const (*rows)[2], size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(device_config_set(c, rows[i][0], rows[i][1], &problems), 0);
}

static int set_again(void *arg, const char *section, const struct ub_opt *opt, const char *value)
{
	CHECK(*section);
	return device_config_set(arg, opt->bus_key ? opt->bus_key : opt->key, value, &problems);
}

static void settings_go_round(void)
{
	static const char *const rows[][2] = {
		{"Target", "loop"},
		{"File", "/x"},
		{"Offset", "1M"},
		{"DirectIO", "off"},
		{"CPUAffinity", "0-3,8"},
		{"Queues", "2"},
		{"Description", "a ;b"},
		{"PhysicalBlockSize", "64K"},
		{"Id", "7"},
	};
	struct device_config *c = new_device("d"), *copy = new_device("copy");

	set_all(c, rows, sizeof(rows) / sizeof(rows[0]));
	CHECK(!device_config_equal(c, copy));
	CHECK_EQ(device_config_foreach(c, set_again, copy), 0);
	CHECK(device_config_equal(c, copy));
	CHECK_EQ(device_config_id(copy), 7);
	CHECK_EQ(device_config_set(copy, "Offset", "2M", &problems), 0);
	CHECK(!device_config_equal(c, copy));
	CHECK_STR(said(), "");
	(void) device_config_free(c);
	(void) device_config_free(copy);
}

/* The options of the old target do not outlive it. */
static void another_target_begins_anew(void)
{
	struct device_config *c = new_device("d");

	CHECK_EQ(device_config_set(c, "Target", "loop", &problems), 0);
	CHECK_EQ(device_config_set(c, "File", "/x", &problems), 0);
	CHECK_EQ(device_config_set(c, "Target", "null", &problems), 0);
	CHECK_EQ(device_config_set(c, "File", "/x", &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "Target", "loop", &problems), 0);
	CHECK_EQ(device_config_check(c, &problems), -EINVAL);
	CHECK_EQ(device_config_set(c, "Target", "", &problems), 0);
	CHECK(!c->target && !c->target_state);
	(void) device_config_free(c);
	CHECK_STR(said(), "File=/x: unknown setting\nFile=: must be set\n");
}

static void release(void)
{
	problems_release(&problems);
}

TEST_MAIN(CASE(same_id_is_found), CASE(settings_go_by_bus_key), CASE(problems_join_for_an_error),
	  CASE(long_value_is_shown_by_its_beginning), CASE(settings_go_round),
	  CASE(another_target_begins_anew), CASE(release))
