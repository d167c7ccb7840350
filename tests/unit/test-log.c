/* SPDX-License-Identifier: GPL-2.0-or-later */
/* util/log: nobody waits for a reader who does not read, and what is lost is counted. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"
#include "util/log.h"

enum { SIZE = 1 << 20 };
static char said[SIZE];

/* Our stderr, which nobody reads; its other end is returned. */
static int as_stderr(int *ret_saved)
{
	int ends[2];

	*ret_saved = dup(STDERR_FILENO);
	if (pipe(ends) < 0 || dup2(ends[1], STDERR_FILENO) < 0)
		abort();
	(void) close(ends[1]);
	return ends[0];
}

/* What was said up to now. */
static char *hear(int fd)
{
	size_t used = 0;
	ssize_t n;

	(void) fcntl(fd, F_SETFL, O_NONBLOCK);
	while ((n = read(fd, said + used, SIZE - 1 - used)) > 0)
		used += (size_t) n;
	said[used] = '\0';
	return said;
}

static void does_not_wait(void)
{
	int saved, fd = as_stderr(&saved);
	const char *heard;
	int n = 0;

	log_init();
	for (int i = 0; i < 2000; i++)
		log_info("message %d of a daemon that has much to say, and nobody reads it", i);
	heard = hear(fd);
	for (const char *p = heard; (p = strstr(p, "ublkd: message ")); p++)
		n++;
	CHECK(n > 0 && n < 2000);
	log_info("the reader is back");
	heard = hear(fd);
	(void) dup2(saved, STDERR_FILENO);
	CHECK_EQ(atoi(heard + strlen("ublkd: ")), 2000 - n);
	CHECK_CONTAINS(heard, " messages before this one are lost\nublkd: the reader is back\n");
	CHECK_EQ(close(fd), 0);
}

static void without_a_reader(void)
{
	int saved, fd = as_stderr(&saved);

	(void) close(fd);
	(void) signal(SIGPIPE, SIG_IGN); /* as main() does */
	log_info("into the void");
	errno = 7;
	log_info("errno is the caller's");
	CHECK_EQ(errno, 7);
	(void) dup2(saved, STDERR_FILENO);
}

static void by_level(void)
{
	int saved, fd = as_stderr(&saved);

	log_set_level(LOG_WARNING);
	log_full(LOG_WARNING, 0, "disk0", NULL, 0, "seen");
	log_info("not seen");
	log_set_level(LOG_INFO);
	(void) dup2(saved, STDERR_FILENO);
	(void) hear(fd);
	CHECK(strstr(said, "ublkd: disk0: seen\n"));
	CHECK(!strstr(said, "not seen"));
	(void) close(fd);
}

TEST_MAIN(CASE(does_not_wait), CASE(by_level), CASE(without_a_reader))
