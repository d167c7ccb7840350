/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device-pools: memory that clients share with a device, on a fake driver. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device-bed.h"
#include "device/device-internal.h"
#include "device/manager-internal.h"
#include "test.h"

enum { MEMORY = 1 << 16 };

static void on_ready(void *arg)
{
	bed.n_ready++;
}

static bool is_ready(void *arg)
{
	return bed.n_ready > 0;
}

/* Known drivers can share memory here. */
#define BEGIN()                                                                                    \
	do {                                                                                       \
		CHECK_EQ(bed_begin(), 0);                                                          \
		driver.features |= UBLK_F_SHMEM_ZC;                                                \
		CHECK_EQ(manager_start(bed.manager, on_ready, NULL), 0);                           \
		CHECK(bed_until(is_ready, NULL));                                                  \
	} while (0)
#define END()                                                                                      \
	do {                                                                                       \
		CHECK_STR(bed_end(), NULL);                                                        \
		CHECK_EQ(n_mappings(), 0);                                                         \
	} while (0)

static unsigned int n_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:pool") != NULL;
	if (f)
		(void) fclose(f);
	return n;
}

/* ---- memory; what is written to it can be read there */

static int memory(off_t size, unsigned int seals)
{
	int fd = memfd_create("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, size), 0);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void fill(int fd, off_t off, char c)
{
	char buf[4096];

	memset(buf, c, sizeof(buf));
	CHECK_EQ(pwrite(fd, buf, sizeof(buf), off), sizeof(buf));
}

static bool holds(int fd, off_t off, char c)
{
	char buf[4096];

	CHECK_EQ(pread(fd, buf, sizeof(buf), off), sizeof(buf));
	for (unsigned int i = 0; i < sizeof(buf); i++)
		if (buf[i] != c)
			return false;
	return true;
}

/* ---- calls */

struct asked {
	struct device_pool_call call;
	bool done;
	struct failure failure;
};

static unsigned int n_told;

static void on_told(struct device_pool_call *c, const struct failure *f)
{
	struct asked *a = container_of(c, struct asked, call);

	if (a->done)
		fake_broken("told twice");
	a->done = true;
	if (f)
		a->failure = *f;
	n_told++;
}

static bool is_told(void *arg)
{
	return ((struct asked *) arg)->done;
}

static struct device_pool_call *asked_new(struct asked *a)
{
	*a = (struct asked){.call.done = on_told};
	return &a->call;
}

static void ask_to_add(struct device *d, struct asked *a, int fd, bool read_only)
{
	struct failure f = {0};

	CHECK_EQ(device_add_pool(d, fd, read_only, asked_new(a), &f), 0);
	CHECK(!a->done);
}

static void ask_to_remove(struct device *d, struct asked *a, unsigned int index)
{
	struct failure f = {0};

	CHECK_EQ(device_remove_pool(d, index, asked_new(a), &f), 0);
	CHECK(!a->done);
}

static struct failure told(struct asked *a)
{
	CHECK(bed_until(is_told, a));
	return a->failure;
}

static unsigned int add(struct device *d, int fd, bool read_only)
{
	struct asked a;

	ask_to_add(d, &a, fd, read_only);
	CHECK_STR(told(&a).text, "");
	return a.call.index;
}

static struct failure add_fails(struct device *d, int fd)
{
	struct asked a;

	ask_to_add(d, &a, fd, false);
	CHECK(failure_is_set((struct failure[]){told(&a)}));
	return a.failure;
}

static void remove_ok(struct device *d, unsigned int index)
{
	struct asked a;

	ask_to_remove(d, &a, index);
	CHECK_STR(told(&a).text, "");
}

static struct failure refused(struct device *d, int fd, bool read_only)
{
	struct failure f = {0};
	struct asked a;
	int r = device_add_pool(d, fd, read_only, asked_new(&a), &f);

	CHECK(r < 0);
	CHECK(failure_is_set(&f));
	return f;
}

static unsigned int n_pools(const struct device *d)
{
	struct device_pool pools[DEVICE_POOLS_MAX];

	return device_get_pools(d, pools);
}

/* ---- devices */

static struct device *loop_device(const char *shared_memory)
{
	char path[300];

	(void) snprintf(path, sizeof(path), "%s/backing", bed_root);
	bed_put("/backing", "");
	CHECK_EQ(truncate(path, 1 << 20), 0);
	return bed_add("l", "Target", "loop", "File", path, "SharedMemory", shared_memory, NULL);
}

static struct failure start(struct device *d)
{
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_start(d, 0, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	return w.failure;
}

static bool is_idle(void *arg)
{
	return !((struct device *) arg)->run;
}

static struct device *started(const char *shared_memory)
{
	struct device *d = loop_device(shared_memory);

	CHECK_STR(start(d).text, "");
	return d;
}

static void stop(struct device *d, bool force)
{
	struct device_stop_options o = {.force = force};
	struct failure f = {0};
	struct waiter w;

	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	CHECK(w.ok);
}

static void send_shared(const struct device *d, struct fake_request *r, uint32_t op,
			unsigned int index, uint64_t off)
{
	*r = (struct fake_request){.op_flags = op | UBLK_IO_F_SHMEM_ZC,
				   .sector = 16,
				   .n_sectors = 8,
				   .shared = (uint64_t) index << UBLK_SHMEM_ZC_IDX_OFF | off};
	if (!fake_send_any(bed_kernel(d)->ublk, 0, r))
		fake_broken("no free tag");
}

static int io(const struct device *d, uint32_t op, unsigned int index, uint64_t off)
{
	struct fake_request r;

	send_shared(d, &r, op, index, off);
	if (!fake_wait(&r))
		fake_broken("a request is not answered");
	return r.result;
}

static enum fake_verdict hold(struct fake_op *op)
{
	return FAKE_HOLD;
}

static bool one_is_held(void *arg)
{
	return fake_n_held() > 0;
}

static struct fake_request hanging;

static void io_that_hangs(const struct device *d, unsigned int index)
{
	driver.on_backing = hold;
	send_shared(d, &hanging, UBLK_IO_OP_WRITE, index, 0);
	CHECK(fake_wait_for(one_is_held, NULL));
}

static void release_held(void)
{
	struct fake_op *op;

	driver.on_backing = NULL;
	fake_lock();
	for (unsigned int i = 0; (op = fake_held(i));) {
		if (op->sqe.flags & IOSQE_FIXED_FILE)
			fake_finish(op, FAKE_DO);
		else
			i++;
	}
	fake_unlock();
}

/* ---- the cases */

static void requests_are_served_from_it(void)
{
	struct device_pool pools[DEVICE_POOLS_MAX];
	struct device_counters c;
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = started("yes");
	CHECK(driver.devs[0].info.flags & UBLK_F_SHMEM_ZC);
	CHECK_EQ(n_pools(d), 0);
	fill(fd, 0, 'f');
	CHECK_EQ(add(d, fd, false), 0);
	CHECK_EQ(device_get_pools(d, pools), 1);
	CHECK_EQ(pools[0].index, 0);
	CHECK_EQ(pools[0].bytes, MEMORY);
	CHECK(!pools[0].read_only);
	CHECK_EQ(driver.devs[0].memory[0].len, MEMORY);
	CHECK_EQ(driver.devs[0].memory[0].first, 'f');
	CHECK_EQ(n_mappings(), 1); /* the guard's is gone */

	fill(fd, 8192, 'x');
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE, 0, 8192), 4096);
	CHECK_EQ(io(d, UBLK_IO_OP_READ, 0, MEMORY - 4096), 4096);
	CHECK(holds(fd, MEMORY - 4096, 'x'));
	device_get_counters(d, &c);
	CHECK_EQ(c.shared_ops, 2);
	CHECK_EQ(c.fallback_ops, 0);
	/* Not all of it is in there; there is no such memory. */
	CHECK_EQ(io(d, UBLK_IO_OP_READ, 0, MEMORY - 2048), -EIO);
	CHECK_EQ(io(d, UBLK_IO_OP_READ, 0, MEMORY), -EIO);
	CHECK_EQ(io(d, UBLK_IO_OP_READ, 1, 0), -EIO);
	CHECK_EQ(io(d, UBLK_IO_OP_READ, DEVICE_POOLS_MAX, 0), -EIO);

	remove_ok(d, 0);
	CHECK_EQ(n_pools(d), 0);
	CHECK_EQ(n_mappings(), 0);
	CHECK(!driver.devs[0].memory[0].registered);
	CHECK_EQ(io(d, UBLK_IO_OP_READ, 0, 0), -EIO);
	(void) close(fd);
	END();
}

static void what_is_only_read(void)
{
	char path[40];
	struct device *d;
	int fd, half;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	(void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	half = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(half >= 0);
	d = started("yes");
	CHECK_CONTAINS(refused(d, half, false).text, "not open for reading and writing");
	CHECK_EQ(add(d, half, true), 0);
	CHECK_EQ(driver.devs[0].memory[0].flags, UBLK_SHMEM_BUF_READ_ONLY);
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE, 0, 0), 4096);
	(void) close(half);
	half = open(path, O_WRONLY | O_CLOEXEC);
	CHECK_CONTAINS(refused(d, half, true).text, "not open for reading");
	(void) close(half);
	(void) close(fd);
	END();
}

static void what_is_no_memory(void)
{
	static const struct {
		off_t size;
		unsigned int seals;
		const char *says;
	} cases[] = {
		{0, F_SEAL_SHRINK, "has 0 bytes"},
		{5000, F_SEAL_SHRINK, "5000 bytes: it must be a multiple of its page size, 4K"},
		{(4LL << 30) + 4096, F_SEAL_SHRINK, "larger than 4G"},
		{MEMORY, 0, "F_SEAL_SHRINK"},
		{MEMORY, F_SEAL_GROW, "F_SEAL_SHRINK"},
		{MEMORY, F_SEAL_SHRINK | F_SEAL_WRITE, "cannot map the memory"},
	};
	struct failure f;
	struct device *d;
	int fd;

	BEGIN();
	d = started("yes");
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fd = memory(cases[i].size, cases[i].seals);
		f = refused(d, fd, false);
		CHECK_EQ(f.kind, FAILURE_INVALID_MEMORY);
		CHECK_CONTAINS(f.text, cases[i].says);
		(void) close(fd);
	}
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	f = refused(d, fd, true);
	CHECK_EQ(f.kind, FAILURE_INVALID_MEMORY);
	CHECK_CONTAINS(f.text, "this is no memory");
	(void) close(fd);
	CHECK_EQ(driver_count(UBLK_U_CMD_REG_BUF), 0);
	END();
}

static void devices_that_share_nothing(void)
{
	struct failure f = {0};
	struct asked a;
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = loop_device("no");
	f = refused(d, fd, false);
	CHECK_EQ(f.kind, FAILURE_DEVICE_NOT_RUNNING);
	CHECK_STR(start(d).text, "");
	f = refused(d, fd, false);
	CHECK_EQ(f.kind, FAILURE_INVALID_CONFIGURATION);
	CHECK_CONTAINS(f.text, "SharedMemory=");
	f.kind = FAILURE_NONE;
	CHECK(device_remove_pool(d, 0, asked_new(&a), &f) < 0);
	CHECK_EQ(f.kind, FAILURE_INVALID_CONFIGURATION);
	stop(d, false);
	(void) close(fd);
	END();
}

static void as_many_as_there_may_be(void)
{
	struct failure f = {0};
	struct asked a, b;
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = started("yes");
	for (unsigned int i = 0; i < DEVICE_POOLS_MAX - 1; i++)
		CHECK_EQ(add(d, fd, false), i);
	/* One place, and two who were told that there is. */
	ask_to_add(d, &a, fd, false);
	CHECK(device_remove_pool(d, 8, asked_new(&b), &f) < 0);
	CHECK_EQ(f.kind, FAILURE_NO_SUCH_MEMORY);
	CHECK_CONTAINS(f.text, "of number 8");
	CHECK_STR(told(&a).text, "");
	f = refused(d, fd, false);
	CHECK_EQ(f.kind, FAILURE_LIMITS_EXCEEDED);
	CHECK_CONTAINS(f.text, "remove one");
	remove_ok(d, 3);
	CHECK_EQ(add(d, fd, false), 3);
	stop(d, false);
	CHECK_EQ(n_mappings(), 0);
	CHECK_STR(start(d).text, "");
	CHECK_EQ(n_pools(d), 0);
	CHECK_EQ(add(d, fd, false), 0);
	(void) close(fd);
	END();
}

/* They are served in turn, and each as things are then. */
static void many_at_once(void)
{
	struct asked a[DEVICE_POOLS_MAX + 1], twice[2];
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = started("yes");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_REG_BUF, .late = true, .times = 1};
	for (unsigned int i = 0; i <= DEVICE_POOLS_MAX; i++)
		ask_to_add(d, &a[i], fd, false);
	bed_turn_ms(20);
	CHECK_EQ(driver_count(UBLK_U_CMD_REG_BUF), 1);
	CHECK_EQ(n_pools(d), 0);
	driver_release();
	for (unsigned int i = 0; i < DEVICE_POOLS_MAX; i++) {
		CHECK_STR(told(&a[i]).text, "");
		CHECK_EQ(a[i].call.index, i);
	}
	CHECK_EQ(told(&a[DEVICE_POOLS_MAX]).kind, FAILURE_LIMITS_EXCEEDED);

	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_UNREG_BUF, .late = true, .times = 1};
	ask_to_remove(d, &a[0], 0);
	ask_to_remove(d, &twice[0], 2);
	ask_to_remove(d, &twice[1], 2);
	driver_release();
	CHECK_EQ(told(&twice[1]).kind, FAILURE_NO_SUCH_MEMORY);
	CHECK_EQ(told(&twice[0]).kind, FAILURE_NONE);
	CHECK_EQ(told(&a[0]).kind, FAILURE_NONE);
	CHECK_EQ(n_pools(d), DEVICE_POOLS_MAX - 2);
	(void) close(fd);
	END();
}

static void it_goes_when_requests_are_over(void)
{
	struct device *d;
	struct asked a;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = started("yes");
	CHECK_EQ(add(d, fd, false), 0);
	io_that_hangs(d, 0);
	ask_to_remove(d, &a, 0);
	bed_turn_ms(20);
	CHECK(!a.done);
	CHECK_EQ(n_mappings(), 1);
	release_held();
	CHECK_STR(told(&a).text, "");
	CHECK_EQ(hanging.result, 4096);
	CHECK_EQ(n_mappings(), 0);
	(void) close(fd);
	END();
}

static void the_kernel_refuses(void)
{
	struct device *d;
	struct failure f;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = started("yes");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_REG_BUF, .res = -ENOMEM, .times = 1};
	f = add_fails(d, fd);
	CHECK_EQ(f.kind, FAILURE_KERNEL_FAILED);
	CHECK_CONTAINS(f.text, "cannot register the memory: Cannot allocate");
	CHECK_EQ(driver_count(UBLK_U_CMD_UNREG_BUF), 0);
	/* Another number than the one that was published. */
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_REG_BUF, .res = 5, .times = 1};
	CHECK_CONTAINS(add_fails(d, fd).text, "another number");
	CHECK_EQ(driver_count(UBLK_U_CMD_UNREG_BUF), 1);
	/* Nobody knows whether it is registered. */
	driver.fault =
		(struct fake_fault){.op = UBLK_U_CMD_REG_BUF, .res = -EOWNERDEAD, .times = 1};
	CHECK_CONTAINS(add_fails(d, fd).text, "guard process died");
	CHECK_EQ(driver_count(UBLK_U_CMD_UNREG_BUF), 2);
	CHECK_EQ(n_mappings(), 0);
	CHECK_EQ(add(d, fd, false), 0);
	/* It does not let go. */
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_UNREG_BUF, .res = -EIO, .times = 1};
	{
		struct asked a;

		ask_to_remove(d, &a, 0);
		CHECK_CONTAINS(told(&a).text, "cannot let go");
	}
	CHECK_EQ(n_pools(d), 1);
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE, 0, 0), 4096);
	remove_ok(d, 0);
	(void) close(fd);
	END();
}

static void a_stop_takes_all(void)
{
	struct device_stop_options o = {.force = true};
	struct asked going, waiting, gone;
	struct failure f = {0};
	struct waiter w;
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = started("yes");
	CHECK_EQ(add(d, fd, false), 0);
	CHECK_EQ(add(d, fd, false), 1);
	io_that_hangs(d, 0);
	ask_to_remove(d, &going, 0);
	ask_to_remove(d, &gone, 1);
	ask_to_add(d, &waiting, fd, false);
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK(device_add_pool(d, fd, false, asked_new(&(struct asked){}), &f) < 0);
	CHECK_EQ(f.kind, FAILURE_DEVICE_NOT_RUNNING);
	/* The request is failed, its operation goes on in the memory. */
	CHECK_STR(told(&going).text, "");
	CHECK(!w.done);
	CHECK(n_mappings() >= 1);
	release_held();
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	CHECK_EQ(hanging.result, -EIO);
	CHECK(gone.done && waiting.done);
	CHECK_EQ(n_mappings(), 0);
	(void) close(fd);
	END();
}

/* A command that is under way is waited for, those behind it are not begun. */
static void a_stop_waits_for_a_command(void)
{
	struct device_stop_options o = {0};
	struct asked a, b;
	struct waiter w;
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, F_SEAL_SHRINK);
	d = started("yes");
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_REG_BUF, .late = true, .times = 1};
	ask_to_add(d, &a, fd, false);
	ask_to_add(d, &b, fd, false);
	CHECK_EQ(device_stop(d, &o, &waiter_new(&w)->wait, NULL), 0);
	CHECK_EQ(told(&b).kind, FAILURE_DEVICE_NOT_RUNNING);
	CHECK(!a.done && !w.done);
	CHECK_STR(d->sub_state, "shared-memory");
	driver_release();
	CHECK_STR(told(&a).text, "");
	CHECK(bed_wait(&w));
	CHECK(w.ok);
	CHECK_EQ(driver_count(UBLK_U_CMD_REG_BUF), 1);
	CHECK_EQ(n_mappings(), 0);
	(void) close(fd);
	END();
}

/* ---- the file of SharedMemory= */

static void a_file_is_there_from_the_start(void)
{
	struct device_pool pools[DEVICE_POOLS_MAX];
	char path[40];
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, 0);
	(void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	d = started(path);
	CHECK_EQ(device_get_pools(d, pools), 1);
	CHECK_EQ(pools[0].bytes, MEMORY);
	fill(fd, 0, 'q');
	CHECK_EQ(io(d, UBLK_IO_OP_WRITE, 0, 0), 4096);
	CHECK_EQ(io(d, UBLK_IO_OP_READ, 0, 4096), 4096);
	CHECK(holds(fd, 4096, 'q'));
	stop(d, false);
	CHECK_EQ(n_mappings(), 0);
	(void) close(fd);
	END();
}

static void files_that_do_not_do(void)
{
	char path[300];
	struct failure f;
	struct device *d;
	int fd;

	BEGIN();
	d = loop_device("/nonexistent/memory");
	f = start(d);
	CHECK_EQ(f.kind, FAILURE_BACKING_UNAVAILABLE);
	CHECK_STR(f.text,
		  "SharedMemory=/nonexistent/memory: cannot open it: No such file or directory");
	CHECK_EQ(manager_delete(bed.manager, d, &f), 0);
	fd = memory(5000, 0);
	(void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	d = loop_device(path);
	f = start(d);
	CHECK_EQ(f.kind, FAILURE_INVALID_MEMORY);
	CHECK_CONTAINS(f.text, path);
	CHECK_CONTAINS(f.text, "has 5000 bytes");
	/* The kernel's turn. */
	CHECK_EQ(ftruncate(fd, 8192), 0);
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_REG_BUF, .res = -EFAULT, .times = 1};
	f = start(d);
	CHECK_EQ(f.kind, FAILURE_KERNEL_FAILED);
	CHECK_CONTAINS(f.text, path);
	CHECK_EQ(n_mappings(), 0);
	CHECK(driver_is_empty());
	CHECK_STR(start(d).text, "");
	(void) close(fd);
	END();
}

static void a_start_that_is_cancelled_there(void)
{
	struct failure f = {0};
	char path[300];
	struct waiter w;
	struct device *d;
	int fd;

	BEGIN();
	fd = memory(MEMORY, 0);
	(void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	d = loop_device(path);
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_REG_BUF, .late = true, .times = 1};
	CHECK_EQ(device_start(d, 50000, &waiter_new(&w)->wait, &f), 0);
	CHECK(bed_wait(&w));
	CHECK_EQ(w.failure.kind, FAILURE_TIMEOUT);
	CHECK_CONTAINS(w.failure.text, "'shared-memory'");
	driver_release();
	CHECK(bed_until(is_idle, d));
	(void) close(fd);
	END();
}

static void the_driver_is_too_old(void)
{
	struct failure f;

	BEGIN();
	bed.manager->features &= ~UBLK_F_SHMEM_ZC;
	f = start(loop_device("yes"));
	CHECK_EQ(f.kind, FAILURE_KERNEL_UNSUPPORTED);
	CHECK_CONTAINS(f.text, "SharedMemory=");
	END();
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(requests_are_served_from_it),
		CASE(what_is_only_read),
		CASE(what_is_no_memory),
		CASE(devices_that_share_nothing),
		CASE(as_many_as_there_may_be),
		CASE(many_at_once),
		CASE(it_goes_when_requests_are_over),
		CASE(the_kernel_refuses),
		CASE(a_stop_takes_all),
		CASE(a_stop_waits_for_a_command),
		CASE(a_file_is_there_from_the_start),
		CASE(files_that_do_not_do),
		CASE(a_start_that_is_cancelled_there),
		CASE(the_driver_is_too_old),
	};
	return bed_run_cases(cases, sizeof(cases) / sizeof(cases[0]), test_passes);
}
