/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device/state: what one daemon writes the next one reads, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/state.h"
#include "test.h"
#include "ublk/data-path.h"

static char dir_path[] = "/tmp/test-state-XXXXXX";
static int dir = -1;

static void begin(void)
{
	if (dir < 0) {
		CHECK(mkdtemp(dir_path));
		dir = state_open(dir_path);
		CHECK(dir >= 0);
	}
	state_remove(dir, "disk0");
}

static struct device_config *config(const char *file)
{
	struct device_config *c = device_config_new("disk0");
	struct problems p = {0};

	CHECK(c);
	CHECK_EQ(device_config_set(c, "Target", "loop", &p), 0);
	CHECK_EQ(device_config_set(c, "File", file, &p), 0);
	CHECK_EQ(device_config_set(c, "Queues", "3", &p), 0);
	CHECK_EQ(device_config_set(c, "Description", "100 % \"so\"; # \\ \xc3\xa4", &p), 0);
	problems_release(&p);
	return c;
}

static void save(struct device_config *c)
{
	struct saved_device s = {.config = c,
				 .cookie = UINT64_C(0x75626c0123456789),
				 .copy = DATA_COPY_ZERO_AUTO,
				 .batch = DATA_BATCH_YES,
				 .threads_per_queue = 2,
				 .sync_error = -5,
				 .backing = "8:1:4711 8:2:0"};

	CHECK_EQ(state_save(dir, &s), 0);
}

static size_t load(struct saved_device ***ret)
{
	return state_load(dir, ret);
}

static bool is_loaded(void)
{
	struct saved_device **v;
	size_t n = load(&v);

	state_free(v, n);
	CHECK(n <= 1);
	return n == 1;
}

static void what_is_saved_is_loaded(void)
{
	struct device_config *c;
	struct saved_device **v;

	begin();
	c = config("/srv/an image; with #\t\x01");
	c->fragment_path = strdup("/etc/ublkd/devices/disk 0.conf");
	save(c);
	CHECK_EQ(load(&v), 1);
	CHECK_STR(v[0]->config->name, "disk0");
	CHECK(device_config_equal(v[0]->config, c));
	CHECK_STR(v[0]->config->fragment_path, c->fragment_path);
	CHECK_EQ(v[0]->cookie, UINT64_C(0x75626c0123456789));
	CHECK_EQ(v[0]->copy, DATA_COPY_ZERO_AUTO);
	CHECK_EQ(v[0]->batch, DATA_BATCH_YES);
	CHECK_EQ(v[0]->threads_per_queue, 2);
	CHECK_EQ(v[0]->sync_error, -5);
	CHECK_STR(v[0]->backing, "8:1:4711 8:2:0");
	state_free(v, 1);
	/* Again, over the first. */
	save(c);
	CHECK(is_loaded());
	state_remove(dir, "disk0");
	CHECK(!is_loaded());
	(void) device_config_free(c);
}

static char text[65536];
static size_t text_len;

static void read_text(void)
{
	int fd = openat(dir, "disk0", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	CHECK(n > 0);
	text_len = (size_t) n;
	text[n] = '\0';
	(void) close(fd);
}

static void write_bytes(const char *s, size_t len)
{
	int fd = openat(dir, "disk0", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, s, len) == (ssize_t) len);
	(void) close(fd);
}

/* The file with one line replaced, or (no @with) left out. */
static void write_changed(const char *line, const char *with)
{
	static char changed[sizeof(text) + 200];
	const char *at = strstr(text, line);
	const char *end = at ? strchr(at, '\n') : NULL;

	CHECK(at && end);
	(void) snprintf(changed, sizeof(changed), "%.*s%s%s", (int) (at - text), text,
			with ? with : "", with ? end : end + 1);
	write_bytes(changed, strlen(changed));
}

static void begin_saved(void)
{
	struct device_config *c;

	begin();
	c = config("/srv/a.img");
	save(c);
	(void) device_config_free(c);
	read_text();
}

static void other_versions(void)
{
	begin_saved();
	/* A newer one whose files this one can read: with keys that it does not know. */
	write_changed("Version=1", "Version=7\nFlavour=sweet");
	CHECK(is_loaded());
	write_changed("Queues=3", "Queues=3\nFlavour=sweet");
	CHECK(is_loaded());
	/* One that had less to say. */
	write_changed("Fragment=", NULL);
	CHECK(is_loaded());
	write_changed("SyncError=", NULL);
	CHECK(is_loaded());
	write_changed("CPUSchedulingPolicy=", NULL);
	CHECK(is_loaded());
	write_changed("ReadableFrom=1", "ReadableFrom=2");
	CHECK(!is_loaded());
}

static void what_is_not_of_our_making(void)
{
	static const char *const bad[][2] = {
		{"Name=disk0", "Name=disk1"},
		{"Cookie=", "Cookie=12"},
		{"Cookie=", "Cookie=0000000000000000"},
		{"Cookie=", NULL},
		{"Copy=zero-auto", "Copy=sour"},
		{"Copy=zero-auto", NULL},
		{"Batch=yes", "Batch=maybe"},
		{"ThreadsPerQueue=2", "ThreadsPerQueue=0"},
		{"ThreadsPerQueue=2", "ThreadsPerQueue=99999999999999999999"},
		{"SyncError=5", "SyncError=-5"},
		{"SyncError=5", "SyncError=4096"},
		{"Backing=", "Backing=%0"},
		{"Backing=", "Backing=%00"},
		{"Target=loop", "Target=nothing"},
		{"File=", NULL},
		{"[Settings]", "[Settings"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin_saved();
		write_changed(bad[i][0], bad[i][1]);
		if (is_loaded())
			TEST_FAIL("%s as %s", bad[i][0], bad[i][1] ? bad[i][1] : "nothing");
	}
}

static void what_others_could_have_written(void)
{
	begin_saved();
	CHECK(is_loaded());
	CHECK_EQ(fchmodat(dir, "disk0", 0620, 0), 0);
	CHECK(!is_loaded());
	CHECK_EQ(fchmodat(dir, "disk0", 0600, 0), 0);
	CHECK_EQ(linkat(dir, "disk0", dir, ".hard", 0), 0);
	CHECK(!is_loaded());
	CHECK_EQ(unlinkat(dir, "disk0", 0), 0);
	CHECK_EQ(symlinkat(".hard", dir, "disk0"), 0);
	CHECK(!is_loaded());
	CHECK_EQ(unlinkat(dir, "disk0", 0), 0);
	CHECK_EQ(mkfifoat(dir, "disk0", 0600), 0);
	CHECK(!is_loaded());
	CHECK_EQ(unlinkat(dir, "disk0", 0), 0);
	CHECK_EQ(mkdirat(dir, "disk0", 0700), 0);
	CHECK(!is_loaded());
	CHECK_EQ(unlinkat(dir, "disk0", AT_REMOVEDIR), 0);
	CHECK_EQ(unlinkat(dir, ".hard", 0), 0);
	memset(text, '#', sizeof(text));
	write_bytes(text, sizeof(text));
	write_bytes("", 0);
	CHECK(!is_loaded());
}

static void folder_of_others(void)
{
	char path[64];

	begin();
	(void) snprintf(path, sizeof(path), "%s/state", dir_path);
	CHECK_EQ(chmod(path, 0777), 0);
	CHECK_EQ(state_open(dir_path), -EPERM);
	CHECK_EQ(chmod(path, 0700), 0);
	CHECK_EQ(state_open("/nonexistent"), -ENOENT);
}

static void mutations_do_no_harm(void)
{
	uint64_t random = 1;

	for (unsigned int i = 0; i < 3000; i++) {
		begin_saved();
		for (unsigned int n = 1 + i % 4; n; n--) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
			text[(random >> 33) % text_len] = (char) (random >> 20);
		}
		write_bytes(text, i % 3 ? text_len : (random >> 40) % text_len);
		(void) is_loaded();
	}
}

/* A file that cannot be written to its end leaves the one before as it is. */
static void half_a_file(void)
{
	struct rlimit before, small = {.rlim_cur = 40, .rlim_max = RLIM_INFINITY};
	struct saved_device s = {
		.config = config("/srv/a.img"), .cookie = 1, .threads_per_queue = 1};

	begin_saved();
	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	(void) signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
	CHECK(state_save(dir, &s) < 0);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
	CHECK(is_loaded());
	(void) device_config_free(s.config);
}

static void nowhere_to_write(void)
{
	struct device_config *c;
	struct saved_device s = {.threads_per_queue = 1};
	struct saved_device **v;

	begin();
	c = config("/srv/a.img");
	s.config = c;
	CHECK(state_save(-1, &s) < 0);
	CHECK_EQ(state_load(-1, &v), 0);
	CHECK(!v);
	state_remove(-1, "disk0");
	(void) device_config_free(c);
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(what_is_saved_is_loaded),
		CASE(other_versions),
		CASE(what_is_not_of_our_making),
		CASE(what_others_could_have_written),
		CASE(folder_of_others),
		CASE(mutations_do_no_harm),
		CASE(half_a_file),
		CASE(nowhere_to_write),
	};
	int r = test_run(cases, sizeof(cases) / sizeof(cases[0]));

	if (dir >= 0) {
		state_remove(dir, "disk0");
		(void) close(dir);
		(void) unlinkat(AT_FDCWD, strcat(strcpy(text, dir_path), "/state"), AT_REMOVEDIR);
		(void) rmdir(dir_path);
	}
	return r;
}
