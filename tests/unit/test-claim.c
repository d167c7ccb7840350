/* SPDX-License-Identifier: GPL-2.0-or-later */
/* target/claim: who may serve which range of a file. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target/claim.h"
#include "target/dev.h"
#include "test.h"

enum { KB = 1024 };

static char path[] = "/tmp/ublkd-claim-XXXXXX";
static struct ub_dev devices[4];
static const char *const names[4] = {"a", "b", "c", "d"};

/* Waiting for a lock takes five seconds; not here. */
int __wrap_nanosleep(const struct timespec *t, struct timespec *left);

static unsigned int n_sleeps;
static void (*on_sleep)(void);

int __wrap_nanosleep(const struct timespec *t, struct timespec *left)
{
	n_sleeps++;
	if (on_sleep)
		on_sleep();
	return 0;
}

static void end(void)
{
	for (int i = 0; i < 4; i++)
		dev_release(&devices[i]);
}

static void begin(void)
{
	end();
	for (int i = 0; i < 4; i++)
		dev_init(&devices[i], names[i]);
	n_sleeps = 0;
	on_sleep = NULL;
}

static int claim_at(struct ub_dev *d, const char *where, uint64_t off, uint64_t len, bool writable)
{
	int fd = open(where, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	d->failure = (struct failure){0};
	CHECK(ub_dev_file(d, fd) != NULL); /* closed with the device */
	return ub_dev_claim(d, fd, where, off, len, writable);
}

static int claim(unsigned int i, uint64_t off, uint64_t len, bool writable)
{
	return claim_at(&devices[i], path, off, len, writable);
}

static void ranges_apart(void)
{
	begin();
	CHECK_EQ(claim(0, 0, 4 * KB, true), 0);
	CHECK_EQ(claim(1, 4 * KB, 4 * KB, true), 0);
	CHECK_EQ(claim(2, 12 * KB, 4 * KB, false), 0);
	CHECK_EQ(claim(3, 8 * KB, 4 * KB, true), 0);
}

static void ranges_that_overlap(void)
{
	static const uint64_t bad[][2] = {
		{0, 4 * KB + 1}, {4 * KB, 4 * KB}, {8 * KB - 1, 1}, {0, 64 * KB}, {5 * KB, 512}};

	begin();
	CHECK_EQ(claim(0, 4 * KB, 4 * KB, true), 0);
	for (unsigned int i = 0; i < 5; i++) {
		CHECK_EQ(claim(1, bad[i][0], bad[i][1], true), -EBUSY);
		CHECK_EQ(devices[1].failure.kind, FAILURE_BACKING_IN_USE);
		CHECK_CONTAINS(devices[1].failure.text, "already served read-write by device 'a'");
	}
}

static void many_readers(void)
{
	begin();
	CHECK_EQ(claim(0, 0, 4 * KB, false), 0);
	CHECK_EQ(claim(1, 0, 4 * KB, false), 0);
	CHECK_EQ(claim(2, 0, 4 * KB, true), -EBUSY);
	CHECK_CONTAINS(devices[2].failure.text, "already served read-only by device '");
	CHECK_EQ(claim(3, 2 * KB, 8 * KB, false), 0);
}

static void no_reader_beside_a_writer(void)
{
	begin();
	CHECK_EQ(claim(0, 0, 4 * KB, true), 0);
	CHECK_EQ(claim(1, 0, 4 * KB, false), -EBUSY);
}

static void given_back(void)
{
	begin();
	CHECK_EQ(claim(0, 0, 4 * KB, true), 0);
	CHECK_EQ(claim(0, 8 * KB, 4 * KB, true), 0);
	dev_release(&devices[0]);
	CHECK_EQ(claim(1, 0, 64 * KB, true), 0);
	CHECK_EQ(n_sleeps, 0);
	dev_release(&devices[0]); /* twice is fine */
}

static void another_name_of_the_file(void)
{
	char other[64];
	int r;

	begin();
	(void) snprintf(other, sizeof(other), "%s.link", path);
	CHECK_EQ(link(path, other), 0);
	CHECK_EQ(claim(0, 0, 4 * KB, true), 0);
	r = claim_at(&devices[1], other, 0, 4 * KB, true);
	(void) unlink(other);
	CHECK_EQ(r, -EBUSY);
	CHECK_CONTAINS(devices[1].failure.text, ".link' is already served");
}

/* ---- other processes */

static pid_t child;
static int child_pipe[2];

/* A process that holds a lock until it is told to go. */
static void lock_elsewhere(short type, off_t off, off_t len)
{
	int ready[2];
	char c;

	CHECK_EQ(pipe(child_pipe), 0);
	CHECK_EQ(pipe(ready), 0);
	(void) fflush(stdout);
	child = fork();
	if (child == 0) {
		struct flock fl = {
			.l_type = type, .l_whence = SEEK_SET, .l_start = off, .l_len = len};
		int fd = open(path, O_RDWR | O_CLOEXEC);

		(void) close(child_pipe[1]);
		if (fcntl(fd, F_OFD_SETLK, &fl) < 0)
			_exit(1);
		(void) !write(ready[1], "x", 1);
		(void) !read(child_pipe[0], &c, 1);
		_exit(0);
	}
	(void) close(child_pipe[0]);
	(void) close(ready[1]);
	CHECK_EQ(read(ready[0], &c, 1), 1);
	(void) close(ready[0]);
}

static void unlock_elsewhere(void)
{
	if (child <= 0)
		return;
	(void) close(child_pipe[1]);
	(void) waitpid(child, NULL, 0);
	child = 0;
}

static void locked_by_another_process(void)
{
	begin();
	lock_elsewhere(F_WRLCK, 4 * KB, 4 * KB);
	CHECK_EQ(claim(0, 0, 4 * KB, true), 0);
	CHECK_EQ(claim(1, 4 * KB, 4 * KB, false), -EBUSY);
	CHECK_EQ(devices[1].failure.kind, FAILURE_BACKING_IN_USE);
	CHECK_CONTAINS(devices[1].failure.text, "is locked by another process");
	CHECK_EQ(n_sleeps, 100);
	unlock_elsewhere();
	dev_release(&devices[1]);
	CHECK_EQ(claim(1, 4 * KB, 4 * KB, false), 0);
}

static void readers_share_with_other_processes(void)
{
	begin();
	lock_elsewhere(F_RDLCK, 0, 0);
	CHECK_EQ(claim(0, 0, 4 * KB, false), 0);
	CHECK_EQ(claim(1, 8 * KB, 4 * KB, true), -EBUSY);
	unlock_elsewhere();
}

static void release_in_the_middle(void)
{
	if (n_sleeps == 10)
		unlock_elsewhere();
}

/* A server that was killed keeps its lock until its last write has ended. */
static void a_dying_process_is_waited_for(void)
{
	begin();
	lock_elsewhere(F_WRLCK, 0, 0);
	on_sleep = release_in_the_middle;
	CHECK_EQ(claim(0, 0, 4 * KB, true), 0);
	CHECK_EQ(n_sleeps, 10);
}

static void other_processes_are_kept_out(void)
{
	int status;

	begin();
	CHECK_EQ(claim(0, 4 * KB, 4 * KB, true), 0);
	(void) fflush(stdout);
	child = fork();
	if (child == 0) {
		struct flock fl = {.l_type = F_RDLCK, .l_start = 4 * KB, .l_len = 1};
		int fd = open(path, O_RDWR | O_CLOEXEC);

		_exit(fcntl(fd, F_OFD_SETLK, &fl) < 0 && errno == EAGAIN ? 0 : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	child = 0;
}

/* ---- threads: the table is everybody's */

static void *claim_and_release(void *arg)
{
	struct ub_dev *d = arg;
	unsigned long got = 0;

	/* Whoever is put to sleep with the claim keeps the others from it for all of their turn. */
	for (int i = 0; i < 300 || !got; i++) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		dev_init(d, d->name);
		(void) ub_dev_file(d, fd);
		got += ub_dev_claim(d, fd, path, 0, 4 * KB, i & 1) == 0;
		dev_release(d);
		(void) sched_yield();
	}
	return (void *) got;
}

static void many_threads(void)
{
	pthread_t t[4];
	void *got;

	begin();
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, claim_and_release, &devices[i]), 0);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(pthread_join(t[i], &got), 0);
		CHECK((unsigned long) got > 0);
	}
	CHECK_EQ(claim(0, 0, 64 * KB, true), 0); /* nothing is left in it */
}

static void not_a_descriptor(void)
{
	begin();
	CHECK_EQ(ub_dev_claim(&devices[0], -1, "/x", 0, 1, true), -EBADF);
	CHECK_EQ(devices[0].failure.kind, FAILURE_BACKING_UNAVAILABLE);
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(ranges_apart),
		CASE(ranges_that_overlap),
		CASE(many_readers),
		CASE(no_reader_beside_a_writer),
		CASE(given_back),
		CASE(another_name_of_the_file),
		CASE(locked_by_another_process),
		CASE(readers_share_with_other_processes),
		CASE(a_dying_process_is_waited_for),
		CASE(other_processes_are_kept_out),
		CASE(many_threads),
		CASE(not_a_descriptor),
	};
	int fd = mkstemp(path), r;

	if (fd < 0 || ftruncate(fd, 64 * KB) < 0)
		return 1;
	(void) close(fd);
	r = test_run(cases, sizeof(cases) / sizeof(cases[0]));
	end();
	(void) unlink(path);
	return r;
}
