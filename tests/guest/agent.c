// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * agent - runs commands inside the test guest for the host
 *
 * A static program, started by systemd (or by an init script), that speaks frames over the
 * virtio-serial port PORT_NAME. The other end is bed/agent.py. One thread, one poll loop.
 *
 * Frame: struct frame_header, then `len` bytes of payload. Little endian, as both ends are.
 *   to the agent    RUN     u32 time-out in ms (0: none), then NUL-terminated argument strings
 *                   RESUME  i64 wall clock in ns, then entropy for the kernel's RNG
 *                   MOUNT   NUL-terminated 9p tag and mount point (made if absent)
 *                   UMOUNT  NUL-terminated mount point
 *                   DMESG   nothing: asks for the kernel messages that came since the last DMESG
 *                   SYSRQ   one letter for /proc/sysrq-trigger
 *   from the agent  HELLO   nothing: the agent has started
 *                   OUT ERR what the command wrote
 *                   EXIT    i32 outcome: 0..255 exit status, 256 + signal, -1 time-out, or for
 *                           the built-in requests 0 or -errno - 1000
 *
 * Invariants:
 * 1. Every request is answered by exactly one EXIT with its job id, after all of its output.
 * 2. One RUN at a time; a RUN that comes while one runs kills the older one first.
 * 3. A command is the leader of its own session and is killed as a process group. What it left
 *    running in the background keeps running, but nobody reads its output any more.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT_NAME "org.ublkd.ctl"
#define PAYLOAD_MAX (256 * 1024)
#define ARGS_MAX 1024
#define CHUNK 16384

enum frame_type {
	FRAME_RUN = 1,
	FRAME_RESUME,
	FRAME_MOUNT,
	FRAME_UMOUNT,
	FRAME_DMESG,
	FRAME_SYSRQ,
	FRAME_HELLO = 64,
	FRAME_OUT,
	FRAME_ERR,
	FRAME_EXIT,
};

struct frame_header {
	uint32_t len;
	uint32_t job;
	uint32_t type;
};

struct job {
	pid_t pid; /* 0: none */
	uint32_t id;
	int out;
	int err;
	int64_t deadline_ms; /* CLOCK_MONOTONIC; 0: none */
	bool timed_out;
};

static int port = -1;
static int kmsg = -1;
static struct job job = {.out = -1, .err = -1};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The port blocks, or reads as end of file, while no host is connected: wait for the next one. */
static void port_write(const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(port, p, len);

		if (n > 0) {
			p += n;
			len -= n;
		} else if (n < 0 && errno != EINTR) {
			usleep(20000);
		}
	}
}

static void port_read(void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = read(port, p, len);

		if (n > 0) {
			p += n;
			len -= n;
		} else if (n == 0 || errno != EINTR) {
			usleep(20000);
		}
	}
}

static void send_frame(uint32_t id, enum frame_type type, const void *data, size_t len)
{
	struct frame_header h = {.len = len, .job = id, .type = type};

	port_write(&h, sizeof(h));
	port_write(data, len);
}

static void send_exit(uint32_t id, int32_t outcome)
{
	send_frame(id, FRAME_EXIT, &outcome, sizeof(outcome));
}

static void send_result(uint32_t id, int r)
{
	send_exit(id, r < 0 ? -errno - 1000 : 0);
}

/* Find the port by its name; it may appear a little after us. */
static int port_open(void)
{
	for (;;) {
		DIR *d = opendir("/sys/class/virtio-ports");

		for (struct dirent *e; d && (e = readdir(d));) {
			char path[512], name[64] = "";
			FILE *f;

			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
			f = fopen(path, "re");
			if (!f)
				continue;
			if (!fgets(name, sizeof(name), f))
				name[0] = 0;
			fclose(f);
			name[strcspn(name, "\n")] = 0;
			if (strcmp(name, PORT_NAME) != 0)
				continue;
			closedir(d);
			snprintf(path, sizeof(path), "/dev/%s", e->d_name);
			return open(path, O_RDWR | O_CLOEXEC);
		}
		if (d)
			closedir(d);
		usleep(50000);
	}
}

/* Send what is in a pipe now; bounded, as a background process may go on writing. */
static void drain(int fd, enum frame_type type)
{
	char buf[CHUNK];
	ssize_t n;

	for (int i = 0; i < 64 && (n = read(fd, buf, sizeof(buf))) > 0; i++)
		send_frame(job.id, type, buf, n);
}

static void job_close(void)
{
	if (job.out >= 0)
		close(job.out);
	if (job.err >= 0)
		close(job.err);
	job = (struct job){.out = -1, .err = -1};
}

/* Called when SIGCHLD was seen. As PID 1's stand-in in a bare guest we also reap orphans. */
static void job_reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		int32_t outcome;

		if (pid != job.pid)
			continue;
		if (job.out >= 0)
			drain(job.out, FRAME_OUT);
		if (job.err >= 0)
			drain(job.err, FRAME_ERR);
		if (job.timed_out)
			outcome = -1;
		else if (WIFSIGNALED(status))
			outcome = 256 + WTERMSIG(status);
		else
			outcome = WEXITSTATUS(status);
		send_exit(job.id, outcome);
		job_close();
	}
}

/* A process in uninterruptible sleep survives SIGKILL: answer the host all the same. */
static void job_abandon(void)
{
	if (job.out >= 0)
		drain(job.out, FRAME_OUT);
	if (job.err >= 0)
		drain(job.err, FRAME_ERR);
	send_exit(job.id, -1);
	job_close();
}

static void job_start(uint32_t id, const char *data, size_t len)
{
	char *argv[ARGS_MAX + 1];
	int out[2], err[2], argc = 0;
	uint32_t timeout_ms;
	pid_t pid;

	if (job.pid) {
		kill(-job.pid, SIGKILL);
		job_abandon();
	}

	memcpy(&timeout_ms, data, sizeof(timeout_ms));
	for (size_t i = sizeof(timeout_ms); i < len && argc < ARGS_MAX; i += strlen(data + i) + 1)
		argv[argc++] = (char *) data + i;
	argv[argc] = NULL;

	if (argc == 0) {
		errno = EINVAL;
		send_result(id, -1);
		return;
	}
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
		send_result(id, -1);
		return;
	}

	pid = fork();
	if (pid == 0) {
		sigset_t none;
		int null = open("/dev/null", O_RDONLY);

		setsid();
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (null > 2)
			close(null);
		execvp(argv[0], argv);
		dprintf(2, "agent: %s: %s\n", argv[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	close(out[1]);
	close(err[1]);
	if (pid < 0) {
		send_result(id, -1);
		close(out[0]);
		close(err[0]);
		return;
	}
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	job = (struct job){
		.pid = pid,
		.id = id,
		.out = out[0],
		.err = err[0],
		.deadline_ms = timeout_ms ? now_ms() + timeout_ms : 0,
	};
}

/* A restored guest lives in the past and shares its random numbers with its siblings. */
static int resume(const char *data, size_t len)
{
	struct {
		int entropy_count, buf_size;
		char buf[512];
	} pool = {0};
	struct timespec t;
	int64_t ns;
	int fd;

	if (len < sizeof(ns)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&ns, data, sizeof(ns));
	t = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	if (clock_settime(CLOCK_REALTIME, &t) < 0)
		return -1;

	pool.buf_size = len - sizeof(ns);
	if (pool.buf_size > (int) sizeof(pool.buf))
		pool.buf_size = sizeof(pool.buf);
	pool.entropy_count = pool.buf_size * 8;
	memcpy(pool.buf, data + sizeof(ns), pool.buf_size);
	fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (pool.buf_size > 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0)
		ioctl(fd, RNDRESEEDCRNG);
	close(fd);
	return 0;
}

/* cache=none: what a command wrote is with the host when the command has ended. */
static int mount_share(const char *tag, size_t len)
{
	size_t tag_len = strnlen(tag, len) + 1;

	if (tag_len >= len) {
		errno = EINVAL;
		return -1;
	}
	mkdir(tag + tag_len, 0755);
	return mount(tag, tag + tag_len, "9p", 0,
		     "trans=virtio,version=9p2000.L,msize=262144,cache=none,access=client");
}

static void send_dmesg(uint32_t id)
{
	char record[8192];

	for (;;) {
		ssize_t n = read(kmsg, record, sizeof(record));

		if (n > 0)
			send_frame(id, FRAME_OUT, record, n);
		else if (n == 0 || (errno != EINTR && errno != EPIPE))
			break;
	}
	send_exit(id, 0);
}

static int sysrq(char letter)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, &letter, 1);
	close(fd);
	return n < 0 ? -1 : 0;
}

static void handle_frame(char *data)
{
	struct frame_header h;

	port_read(&h, sizeof(h));
	if (h.len > PAYLOAD_MAX) {
		fprintf(stderr, "agent: frame of %u bytes, lost the track\n", h.len);
		exit(1);
	}
	port_read(data, h.len);
	memset(data + h.len, 0, sizeof(uint64_t)); /* terminates strings, pads short payloads */

	switch (h.type) {
	case FRAME_RUN:
		job_start(h.job, data, h.len);
		break;
	case FRAME_RESUME:
		send_result(h.job, resume(data, h.len));
		break;
	case FRAME_MOUNT:
		send_result(h.job, mount_share(data, h.len));
		break;
	case FRAME_UMOUNT:
		send_result(h.job, umount2(data, 0));
		break;
	case FRAME_DMESG:
		send_dmesg(h.job);
		break;
	case FRAME_SYSRQ:
		send_result(h.job, sysrq(data[0]));
		break;
	default:
		errno = ENOSYS;
		send_result(h.job, -1);
	}
}

static void pump(int *fd, enum frame_type type)
{
	char buf[CHUNK];
	ssize_t n = read(*fd, buf, sizeof(buf));

	if (n > 0) {
		send_frame(job.id, type, buf, n);
	} else if (n == 0) {
		close(*fd);
		*fd = -1;
	}
}

static void job_check_deadline(void)
{
	int64_t late;

	if (!job.pid || !job.deadline_ms)
		return;
	late = now_ms() - job.deadline_ms;
	if (late < 0)
		return;
	if (!job.timed_out) {
		job.timed_out = true;
		kill(-job.pid, SIGKILL);
	} else if (late > 2000) {
		job_abandon();
	}
}

int main(void)
{
	static char payload[PAYLOAD_MAX + sizeof(uint64_t)];
	sigset_t children;
	int child_fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	child_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);

	port = port_open();
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (port < 0 || kmsg < 0 || child_fd < 0) {
		perror("agent");
		return 1;
	}
	send_frame(0, FRAME_HELLO, NULL, 0);

	for (;;) {
		struct pollfd p[] = {
			{.fd = port, .events = POLLIN},
			{.fd = child_fd, .events = POLLIN},
			{.fd = job.out, .events = POLLIN},
			{.fd = job.err, .events = POLLIN},
		};

		if (poll(p, 4, job.deadline_ms ? 100 : -1) < 0)
			continue;
		if (p[2].revents)
			pump(&job.out, FRAME_OUT);
		if (p[3].revents)
			pump(&job.err, FRAME_ERR);
		if (p[1].revents) {
			struct signalfd_siginfo info;

			(void) !read(child_fd, &info, sizeof(info));
			job_reap();
		}
		job_check_deadline();
		if (p[0].revents & POLLIN)
			handle_frame(payload);
		else if (p[0].revents & POLLHUP)
			usleep(20000);
	}
}
