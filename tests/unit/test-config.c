/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device/config: which files count, which assignment wins. */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>

#include "device/config.h"
#include "device/explain.h"
#include "target/options.h"
#include "test.h"
#include "util/cleanup.h"

#define ETC "/etc/ublkd/"
#define RUN "/run/ublkd/"
#define LOCAL "/usr/local/lib/ublkd/"
#define LIB "/usr/lib/ublkd/"
#define LOOP "[Device]\nTarget=loop\n[Loop]\nFile=/x\n"

static char root[] = "/tmp/ublkd-test-XXXXXX"; /* the prefix of all roots */
static struct config_paths paths;
static struct problems problems;
static struct device_config *device;

static const char *in_root(const char *name)
{
	static char path[300];

	(void) snprintf(path, sizeof(path), "%s%s", root, name);
	return path;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return ftw->level ? remove(path) : 0;
}

/* Every case begins with no files. */
static void begin(void)
{
	problems_release(&problems);
	device = device_config_free(device);
	CHECK_EQ(nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void make_folders(const char *name)
{
	char path[300];

	(void) snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *s = path + strlen(root) + 1; (s = strchr(s, '/')); s++) {
		*s = '\0';
		(void) mkdir(path, 0755);
		*s = '/';
	}
}

static void put(const char *name, const char *text)
{
	_cleanup_fclose_ FILE *f = NULL;

	make_folders(name);
	f = fopen(in_root(name), "we");
	CHECK(f);
	CHECK(fputs(text, f) >= 0);
}

static void mask(const char *name)
{
	make_folders(name);
	CHECK_EQ(symlink("/dev/null", in_root(name)), 0);
}

/* All problems, without the prefix of the roots. */
static const char *said(void)
{
	static char buf[8192];
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < problems.n && used < sizeof(buf); i++) {
		const struct problem *p = &problems.v[i];
		_cleanup_free_ char *text = problems_format(p);

		CHECK(text);
		used += (size_t) snprintf(
			buf + used, sizeof(buf) - used, "%s%s\n",
			p->fatal ? "" : "warning: ", text + (p->file ? strlen(root) : 0));
	}
	return buf;
}

static int load(const char *name)
{
	problems_release(&problems);
	device = device_config_free(device);
	return config_load_device(&paths, name, &device, &problems);
}

static void check_loads(const char *name)
{
	int r = load(name);

	CHECK_STR(said(), "");
	CHECK_EQ(r, 0);
}

static void check_refused(const char *name, const char *expected)
{
	CHECK_EQ(load(name), -EINVAL);
	CHECK(!device);
	CHECK_STR(said(), expected);
}

static struct daemon_config check_daemon(void)
{
	struct daemon_config d;
	int r;

	problems_release(&problems);
	r = config_load_daemon(&paths, &d, &problems);
	CHECK_STR(said(), "");
	CHECK_EQ(r, 0);
	return d;
}

/* ---- the daemon */

static void no_file_is_all_defaults(void)
{
	struct daemon_config d;

	begin();
	d = check_daemon();
	CHECK_EQ(d.log_level, LOG_INFO);
	CHECK_EQ(d.default_queues, 1);
	CHECK_EQ(d.default_queue_depth, 128);
	CHECK_EQ(d.default_copy, DATA_COPY_AUTO);
	CHECK_EQ(d.default_batch, DATA_BATCH_AUTO);
	CHECK_EQ(d.max_devices, 64);
	CHECK_EQ(d.start_timeout_usec, 30000000);
	CHECK_EQ(d.stop_timeout_usec, 60000000);
	CHECK(d.lock_memory);
	CHECK(d.io_flusher);
}

static void first_root_has_the_main_file(void)
{
	static const char *const roots[] = {LIB, LOCAL, RUN, ETC};
	char name[64], text[64];

	begin();
	for (unsigned int i = 0; i < 4; i++) {
		(void) snprintf(name, sizeof(name), "%sublkd.conf", roots[i]);
		(void) snprintf(text, sizeof(text), "[Manager]\nMaxDevices=%u\n", i + 1);
		put(name, text);
		CHECK_EQ(check_daemon().max_devices, i + 1);
	}
	/* Only that one is read: DefaultQueues= of another root does not shine through. */
	put(LIB "ublkd.conf", "[Manager]\nDefaultQueues=7\n");
	CHECK_EQ(check_daemon().default_queues, 1);
}

static void masked_main_file_keeps_its_dropins(void)
{
	begin();
	put(LIB "ublkd.conf", "[Manager]\nMaxDevices=5\n");
	put(LIB "ublkd.conf.d/10.conf", "[Manager]\nDefaultQueues=3\n");
	mask(ETC "ublkd.conf");
	CHECK_EQ(check_daemon().max_devices, 64);
	CHECK_EQ(check_daemon().default_queues, 3);
	CHECK_EQ(unlink(in_root(ETC "ublkd.conf")), 0);
	put(ETC "ublkd.conf", "");
	CHECK_EQ(check_daemon().max_devices, 64);
}

static void dropins_go_by_name_and_last_wins(void)
{
	begin();
	put(ETC "ublkd.conf", "[Manager]\nMaxDevices=1\nDefaultQueues=1\nLockMemory=no\n");
	put(LIB "ublkd.conf.d/90-z.conf", "[Manager]\nMaxDevices=90\n");
	put(ETC "ublkd.conf.d/10-a.conf", "[Manager]\nMaxDevices=10\nDefaultQueues=10\n");
	put(RUN "ublkd.conf.d/50-m.conf", "[Manager]\nDefaultQueues=50\n");
	CHECK_EQ(check_daemon().max_devices, 90);
	CHECK_EQ(check_daemon().default_queues, 50);
	CHECK(!check_daemon().lock_memory);
}

static void higher_root_hides_a_dropin(void)
{
	begin();
	put(LIB "ublkd.conf.d/50.conf", "[Manager]\nMaxDevices=50\nDefaultQueues=5\n");
	put(RUN "ublkd.conf.d/50.conf", "[Manager]\nMaxDevices=51\n");
	CHECK_EQ(check_daemon().max_devices, 51);
	CHECK_EQ(check_daemon().default_queues, 1);
	mask(ETC "ublkd.conf.d/50.conf");
	CHECK_EQ(check_daemon().max_devices, 64);
	CHECK_EQ(unlink(in_root(ETC "ublkd.conf.d/50.conf")), 0);
	put(ETC "ublkd.conf.d/50.conf", "");
	CHECK_EQ(check_daemon().max_devices, 64);
	put(LIB "ublkd.conf.d/60.conf", "[Manager]\nMaxDevices=60\n");
	CHECK_EQ(check_daemon().max_devices, 60);
}

static void only_conf_files_count(void)
{
	static const char *const names[] = {"a.conf.backup", "b.conf~", ".c.conf", "conf",
					    "d.CONF",	     ".conf",	"README"};
	char name[64];

	begin();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void) snprintf(name, sizeof(name), ETC "ublkd.conf.d/%s", names[i]);
		put(name, "[Manager]\nMaxDevices=7\n");
	}
	CHECK_EQ(check_daemon().max_devices, 64);
}

static void empty_assignment_is_the_default(void)
{
	begin();
	put(ETC "ublkd.conf", "[Manager]\nMaxDevices=7\nLogLevel=debug\n");
	put(ETC "ublkd.conf.d/1.conf", "[Manager]\nMaxDevices=\n");
	CHECK_EQ(check_daemon().max_devices, 64);
	CHECK_EQ(check_daemon().log_level, LOG_DEBUG);
}

static void unknown_is_a_warning_in_the_main_file(void)
{
	struct daemon_config d;

	begin();
	put(ETC "ublkd.conf", "[Manager]\nMaxDevice=7\nColour=red\n[Managr]\nA=1\n[Other]\nB=2\n");
	CHECK_EQ(config_load_daemon(&paths, &d, &problems), 0);
	CHECK_STR(said(),
		  "warning: " ETC "ublkd.conf:2: [Manager] MaxDevice=7: unknown key, did you mean "
		  "'MaxDevices'?\n"
		  "warning: " ETC "ublkd.conf:3: [Manager] Colour=red: unknown key\n"
		  "warning: " ETC
		  "ublkd.conf:4: [Managr]: unknown section, did you mean [Manager]?\n"
		  "warning: " ETC "ublkd.conf:6: [Other]: unknown section\n");
}

static void bad_value_is_fatal_in_the_main_file(void)
{
	struct daemon_config d;

	begin();
	put(ETC "ublkd.conf.d/1.conf", "[Manager]\nMaxDevices=0\nLogLevel=loud\nIOFlusher=1\n");
	CHECK_EQ(config_load_daemon(&paths, &d, &problems), -EINVAL);
	CHECK_STR(said(),
		  ETC "ublkd.conf.d/1.conf:2: [Manager] MaxDevices=0: must be 1 .. 65536\n" ETC
		      "ublkd.conf.d/1.conf:3: [Manager] LogLevel=loud: must be emerg, alert, "
		      "crit, err, warning, notice, info or debug\n");
	CHECK_EQ(d.max_devices, 64);
	CHECK_EQ(d.log_level, LOG_INFO);
}

/* ---- devices */

static void device_has_defaults(void)
{
	begin();
	put(ETC "devices/d.conf", LOOP);
	check_loads("d");
	CHECK_STR(device->name, "d");
	CHECK_STR(device->fragment_path, in_root(ETC "devices/d.conf"));
	CHECK_STR(device->target->name, "loop");
	CHECK_STR(device->description, NULL);
	CHECK_EQ(device->autostart, AUTOSTART_YES);
	CHECK(!device->read_only);
	CHECK_EQ(device_config_id(device), -1);
	CHECK_EQ(device->size, 0);
	CHECK_EQ(device->logical_block_size, 0);
	CHECK_EQ(device->rotational, CHOICE_AUTO);
	CHECK_EQ(device->queues, 0);
	CHECK_EQ(device->depth, 0);
	CHECK_EQ(device->max_io_size, 0);
	CHECK_EQ(device->threads_per_queue, 1);
	CHECK_EQ(device->copy, DATA_COPY_AUTO);
	CHECK_EQ(device->batch, DATA_BATCH_AUTO);
	CHECK_STR(device->shared_memory, "no");
	CHECK(device->partition_scan);
	CHECK_EQ(device->write_cache, CHOICE_AUTO);
	CHECK_EQ(device->metadata_size, 0);
	CHECK_STR(device->cpu_affinity, NULL);
}

static void wish_comes_from_device_and_daemon(void)
{
	struct daemon_config d;
	struct data_path_wish w;

	begin();
	put(ETC "ublkd.conf", "[Manager]\nDefaultCopy=user\nDefaultBatch=no\n");
	put(ETC "devices/d.conf", LOOP);
	check_loads("d");
	d = check_daemon();
	config_wish(&d, device, 77, &w);
	CHECK_EQ(w.features, 77);
	CHECK(w.kernel > 0x500);
	CHECK_EQ(w.needs, UB_DATA_FILES);
	CHECK_EQ(w.copy, DATA_COPY_USER);
	CHECK_EQ(w.batch, DATA_BATCH_NO);
	CHECK(w.copy_is_default && w.batch_is_default);
	CHECK_EQ(w.threads_per_queue, 1);
	CHECK(!w.integrity && !w.shared_memory);

	put(ETC "devices/d.conf.d/1.conf",
	    "[Queue]\nCopy=driver\nBatch=yes\nSharedMemory=/dev/shm/x\n");
	check_loads("d");
	config_wish(&d, device, 0, &w);
	CHECK_EQ(w.copy, DATA_COPY_DRIVER);
	CHECK_EQ(w.batch, DATA_BATCH_YES);
	CHECK(!w.copy_is_default && !w.batch_is_default);
	CHECK(w.shared_memory);
	config_wish(NULL, device, 0, &w);
	CHECK_EQ(w.copy, DATA_COPY_DRIVER);
}

/* ---- explanations */

static int explain(const char *name, uint64_t features, const char *unknown, char **ret)
{
	size_t size;
	FILE *f = open_memstream(ret, &size);
	int r;

	CHECK(f);
	problems_release(&problems);
	r = explain_device(&paths, name, features, unknown, f, &problems);
	CHECK_EQ(fclose(f), 0);
	return r;
}

static void device_is_explained(void)
{
	_cleanup_free_ char *text = NULL;

	begin();
	put(ETC "ublkd.conf", "[Manager]\nDefaultQueueDepth=32\nDefaultCopy=driver\n");
	put(ETC "devices/d.conf", LOOP "[Queue]\nCount=2\n");
	CHECK_EQ(explain("d", 0x1fe, NULL, &text), 0);
	CHECK_CONTAINS(text, "Device\n  d, target 'loop': a regular file or a block device\n");
	CHECK_CONTAINS(text, "  driver features: URING_CMD_COMP_IN_TASK NEED_GET_DATA");
	CHECK_CONTAINS(text, "  [Queue]\n  Count=2\n  Depth=32 (default)\n");
	CHECK_CONTAINS(text, "  Copy=driver (default)\n  Batch=auto (default)\n");
	CHECK_CONTAINS(text, "  [Loop]\n  File=/x\n");
	CHECK(!strstr(text, "Integrity]"));
	CHECK_CONTAINS(text, "\n  driver           chosen\n");
	CHECK_CONTAINS(text, "\nDataPath: driver\n");
}

static void what_cannot_be_is_explained(void)
{
	_cleanup_free_ char *text = NULL, *unknown = NULL, *none = NULL, *bad = NULL;

	begin();
	put(ETC "devices/d.conf", LOOP "[Queue]\nCopy=zero\n");
	CHECK_EQ(explain("d", 0x1fe, NULL, &text), -EOPNOTSUPP);
	CHECK_CONTAINS(text, "\nNone: Copy=zero: the driver has no SUPPORT_ZERO_COPY");
	CHECK(!strstr(text, "DataPath"));
	CHECK_EQ(explain("d", ~UINT64_C(0), "it is not to be had", &unknown), 0);
	CHECK_CONTAINS(unknown, "  it is not to be had.\n");
	CHECK_CONTAINS(unknown, "\nDataPath: zero\n");
	CHECK_EQ(explain("e", 0, NULL, &none), -ENOENT);
	put(ETC "devices/e.conf", LOOP "[Queue]\nCopy=fast\n");
	CHECK_EQ(explain("e", 0, NULL, &bad), -EINVAL);
	CHECK_STR(bad, "");
	CHECK_CONTAINS(said(), "[Queue] Copy=fast: must be auto, none,");
}

static void missing_or_masked_device_is_not_there(void)
{
	begin();
	CHECK_EQ(load("d"), -ENOENT);
	put(LIB "devices/d.conf", LOOP);
	check_loads("d");
	mask(RUN "devices/d.conf");
	CHECK_EQ(load("d"), -ENOENT);
	put(ETC "devices/d.conf", LOOP);
	check_loads("d");
	CHECK_EQ(problems.n, 0);
}

static void bad_name_is_refused_by_its_rule(void)
{
	begin();
	CHECK_EQ(load("../x"), -EINVAL);
	CHECK_CONTAINS(problems.v[0].text, "'../x': a device name is 1 .. 48 letters");
}

static void own_dropins_follow_those_of_all(void)
{
	begin();
	put(ETC "devices/d.conf", LOOP "[Queue]\nDepth=1\nCount=1\n");
	put(LIB "devices/device.conf.d/90.conf", "[Queue]\nDepth=2\nCount=2\n[Device]\nSize=4K\n");
	put(LIB "devices/d.conf.d/10.conf", "[Queue]\nDepth=3\n");
	check_loads("d");
	CHECK_EQ(device->depth, 3);
	CHECK_EQ(device->queues, 2);
	CHECK_EQ(device->size, 4096);
	CHECK_EQ(strv_length(device->dropin_paths), 2);
	CHECK_STR(device->dropin_paths[0], in_root(LIB "devices/device.conf.d/90.conf"));
	CHECK_STR(device->dropin_paths[1], in_root(LIB "devices/d.conf.d/10.conf"));
}

static void device_called_device_reads_dropins_once(void)
{
	begin();
	put(ETC "devices/device.conf", LOOP);
	put(ETC "devices/device.conf.d/1.conf", "[Queue]\nDepth=2\n");
	check_loads("device");
	CHECK_EQ(strv_length(device->dropin_paths), 1);
}

static void target_may_come_late(void)
{
	begin();
	put(ETC "devices/d.conf", "[Loop]\nFile=/x\n");
	put(ETC "devices/d.conf.d/1.conf", "[Device]\nTarget=loop\n");
	check_loads("d");
	CHECK_STR(device->target->name, "loop");
	CHECK(options_is_set(options_find(device->target->options, NULL, "File"),
			     device->target_state));
}

static void last_target_wins(void)
{
	begin();
	put(ETC "devices/d.conf", "[Device]\nTarget=null\n");
	put(ETC "devices/d.conf.d/1.conf", "[Device]\nTarget=loop\n[Loop]\nFile=/x\n");
	check_loads("d");
	CHECK_STR(device->target->name, "loop");
	put(ETC "devices/d.conf.d/2.conf", "[Device]\nTarget=null\n");
	check_refused("d", ETC "devices/d.conf.d/1.conf:3: [Loop]: is for target 'loop', and this "
			       "device has Target=null\n");
}

static void problems_of_all_files_are_sorted(void)
{
	begin();
	put(ETC "devices/d.conf", LOOP "[Queue]\nDepth=9000\nCount=0\nJunk\n");
	put(ETC "devices/d.conf.d/2.conf", "[Device]\nSize=1000\n");
	put(ETC "devices/d.conf.d/1.conf", "[Device]\nId=x\n");
	check_refused("d", ETC
		      "devices/d.conf:6: [Queue] Depth=9000: must be 1 .. 4096\n" ETC
		      "devices/d.conf:7: [Queue] Count=0: must be 1 .. 4096\n" ETC
		      "devices/d.conf:8: 'Junk' is no [Section], no Key=value and no comment\n" ETC
		      "devices/d.conf.d/1.conf:2: [Device] Id=x: must be auto or 0 .. 1048575\n" ETC
		      "devices/d.conf.d/2.conf:2: [Device] Size=1000: must be a multiple of "
		      "the logical block size, 512\n");
}

static void duplicates_count_within_a_file(void)
{
	begin();
	put(ETC "devices/d.conf", LOOP "[Queue]\nDepth=1\n[Device]\n[Queue]\nDepth=1\n");
	put(ETC "devices/d.conf.d/1.conf", "[Queue]\nDepth=2\n");
	check_refused("d", ETC "devices/d.conf:9: [Queue] Depth=1: is set in line 6 already\n");
}

static void names_are_listed_and_sorted(void)
{
	_cleanup_free_ char *joined = NULL;
	char **names = NULL;

	begin();
	put(ETC "devices/b.conf", LOOP);
	put(LIB "devices/a.conf", LOOP);
	put(LIB "devices/a-b.conf", LOOP);
	put(LIB "devices/b.conf", LOOP);
	put(LIB "devices/gone.conf", LOOP);
	mask(RUN "devices/gone.conf");
	put(ETC "devices/control.conf", LOOP);
	put(ETC "devices/b.conf.d/x.conf", "");
	CHECK_EQ(config_device_names(&paths, &names, &problems), 0);
	CHECK(asprintf(&joined, "%s %s %s %s", names[0], names[1], names[2],
		       names[3] ? names[3] : "end") > 0);
	(void) strv_free(names);
	CHECK_STR(joined, "a a-b b end");
	CHECK_EQ(problems.n_fatal, 0);
	CHECK_CONTAINS(said(),
		       "warning: " ETC "devices/control.conf: is passed over: a device name");
}

static void folder_that_is_a_link_loop_is_an_error(void)
{
	char **names = NULL;

	begin();
	make_folders(ETC "devices");
	CHECK_EQ(symlink("devices", in_root(ETC "devices")), 0);
	CHECK_EQ(config_device_names(&paths, &names, &problems), -ELOOP);
	CHECK_EQ(problems.n_fatal, 1);
}

static void end(void)
{
	begin();
	CHECK_EQ(rmdir(root), 0);
	config_paths_release(&paths);
}

static void start(void)
{
	CHECK(mkdtemp(root));
	CHECK_EQ(config_paths_init(&paths, root), 0);
}

TEST_MAIN(CASE(start), CASE(no_file_is_all_defaults), CASE(first_root_has_the_main_file),
	  CASE(masked_main_file_keeps_its_dropins), CASE(dropins_go_by_name_and_last_wins),
	  CASE(higher_root_hides_a_dropin), CASE(only_conf_files_count),
	  CASE(empty_assignment_is_the_default), CASE(unknown_is_a_warning_in_the_main_file),
	  CASE(bad_value_is_fatal_in_the_main_file), CASE(device_has_defaults),
	  CASE(wish_comes_from_device_and_daemon), CASE(device_is_explained),
	  CASE(what_cannot_be_is_explained), CASE(missing_or_masked_device_is_not_there),
	  CASE(bad_name_is_refused_by_its_rule), CASE(own_dropins_follow_those_of_all),
	  CASE(device_called_device_reads_dropins_once), CASE(target_may_come_late),
	  CASE(last_target_wins), CASE(problems_of_all_files_are_sorted),
	  CASE(duplicates_count_within_a_file), CASE(names_are_listed_and_sorted),
	  CASE(folder_that_is_a_link_loop_is_an_error), CASE(end))
