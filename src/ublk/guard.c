/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/guard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uring/ring.h"
#include "util/cleanup.h"
#include "util/list.h"

/* Commands wait in the kernel's workers; with fewer workers than waiting STARTs the STOP that would
 * free them is never executed. Threads come on demand, so a large number costs nothing. */
enum { GUARD_MAX_WORKERS = 4096 };

struct command {
	struct ur_op op;
	struct guard *guard;
	struct list link; /* guard->commands */
	struct guard_request req;
	int fd; /* SYNC: the open block device, or -1; with a hold it is the hold's */
	int res; /* SYNC: what is reported once it is closed */
	void *map; /* REG_BUF: the file that came along, or NULL */
	size_t map_len;
};

/* A block device that stays open from one command to another. */
struct hold {
	struct list link; /* guard->holds */
	uint32_t dev_id;
	int fd;
};

static void command_reply(struct command *c, int res)
{
	struct guard_reply r = {
		.id = c->req.id,
		.op = c->req.op,
		.res = res,
		.dev_id = c->req.dev_id,
		.len = c->req.len,
		.path_len = c->req.path_len,
	};

	memcpy(r.payload, c->req.payload, c->req.len);
	if (c->map)
		(void) munmap(c->map, c->map_len);
	/* Blocking on purpose: the parent always reads, and an answer must not get lost. */
	if (send(c->guard->sock, &r, GUARD_REPLY_SIZE(r.len), MSG_NOSIGNAL) < 0)
		c->guard->ended = true;
	list_remove(&c->link);
	free(c);
}

static void command_done(struct ur_op *op, int res)
{
	command_reply(container_of(op, struct command, op), res);
}

/* The kernel's answer goes where the request's payload was: `addr` is the payload itself. */
static void command_issue(struct command *c)
{
	struct guard_request *q = &c->req;
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = q->dev_id,
		.queue_id = 0xffff,
		.len = q->len,
		.addr = q->len ? (uintptr_t) q->payload : 0,
		.data = {q->data},
		.dev_path_len = q->path_len,
	};
	struct io_uring_sqe *sqe;

	c->op.done = command_done;
	sqe = ring_sqe(&c->guard->ring, &c->op);
	if (!sqe)
		return command_reply(c, -EAGAIN);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = c->guard->control;
	sqe->cmd_op = q->op;
	memcpy((char *) sqe + UBLK_ABI_SQE_CMD_OFFSET, &cmd, sizeof(cmd));
}

/* ---- REG_BUF: of pages, and they are pinned; so the mapping is needed for the command only */

static int register_map(struct command *c, int fd)
{
	struct ublk_shmem_buf_reg reg;
	void *map;
	int prot;

	if (c->req.len != sizeof(reg))
		return -EINVAL;
	memcpy(&reg, c->req.payload, sizeof(reg));
	prot = PROT_READ | (reg.flags & UBLK_SHMEM_BUF_READ_ONLY ? 0 : PROT_WRITE);
	map = mmap(NULL, reg.len, prot, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	c->map = map;
	c->map_len = reg.len;
	reg.addr = (uintptr_t) map;
	memcpy(c->req.payload, &reg, sizeof(reg));
	return 0;
}

static void register_issue(struct command *c, int fd)
{
	int r = register_map(c, fd);

	if (r < 0)
		return command_reply(c, r);
	command_issue(c);
}

/* ---- SYNC: open, fsync, close, each on a worker, since each of them can block */

static bool sync_holds(const struct command *c)
{
	return c->req.data & GUARD_SYNC_HOLD;
}

static struct hold *hold_find(const struct guard *g, uint32_t dev_id)
{
	struct hold *h, *tmp;

	list_for_each (h, tmp, &g->holds, link)
		if (h->dev_id == dev_id)
			return h;
	return NULL;
}

/* Return: 0; or -ENOMEM, and @fd is still the caller's */
static int hold_new(struct guard *g, uint32_t dev_id, int fd)
{
	struct hold *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->dev_id = dev_id;
	h->fd = fd;
	list_append(&g->holds, &h->link);
	return 0;
}

static struct io_uring_sqe *sync_step(struct command *c, void (*done)(struct ur_op *, int))
{
	struct io_uring_sqe *sqe;

	c->op.done = done;
	sqe = ring_sqe(&c->guard->ring, &c->op);
	if (!sqe) {
		if (c->fd >= 0 && !sync_holds(c))
			(void) close(c->fd);
		command_reply(c, -EAGAIN);
	}
	return sqe;
}

static void sync_close(struct command *c);

static void sync_closed(struct ur_op *op, int res)
{
	struct command *c = container_of(op, struct command, op);

	/* Its time was over before it had begun. Not closed here: that may write back. */
	if (res == -ECANCELED)
		return sync_close(c);
	command_reply(c, c->res);
}

static void sync_close(struct command *c)
{
	struct io_uring_sqe *sqe = sync_step(c, sync_closed);

	if (!sqe)
		return;
	io_uring_prep_close(sqe, c->fd);
	sqe->user_data = (uintptr_t) &c->op;
	sqe->flags |= IOSQE_ASYNC;
}

static void sync_flushed(struct ur_op *op, int res)
{
	struct command *c = container_of(op, struct command, op);

	if (sync_holds(c))
		return command_reply(c, res);
	c->res = res;
	sync_close(c);
}

static void sync_flush(struct command *c)
{
	struct io_uring_sqe *sqe = sync_step(c, sync_flushed);

	if (!sqe)
		return;
	io_uring_prep_fsync(sqe, c->fd, 0);
	sqe->user_data = (uintptr_t) &c->op;
}

static void sync_opened(struct ur_op *op, int res)
{
	struct command *c = container_of(op, struct command, op);

	if (res < 0)
		return command_reply(c, res);
	c->fd = res;
	if (sync_holds(c) && hold_new(c->guard, c->req.dev_id, c->fd) < 0) {
		(void) close(c->fd);
		return command_reply(c, -ENOMEM);
	}
	sync_flush(c);
}

static void sync_issue(struct command *c)
{
	int flags = O_RDONLY | O_CLOEXEC | (c->req.data & GUARD_SYNC_EXCLUSIVE ? O_EXCL : 0);
	const struct hold *h = hold_find(c->guard, c->req.dev_id);
	struct io_uring_sqe *sqe;

	c->req.len = 0;
	if (h && sync_holds(c)) {
		c->fd = h->fd;
		return sync_flush(c);
	}
	sqe = sync_step(c, sync_opened);
	if (!sqe)
		return;
	(void) snprintf((char *) c->req.payload, sizeof(c->req.payload), "/dev/ublkb%u",
			c->req.dev_id);
	io_uring_prep_openat(sqe, AT_FDCWD, (const char *) c->req.payload, flags, 0);
	sqe->user_data = (uintptr_t) &c->op;
	sqe->flags |= IOSQE_ASYNC;
}

/* To close it can block as well, when nobody else has it open: the kernel writes back then. */
static void release_issue(struct command *c)
{
	struct hold *h = hold_find(c->guard, c->req.dev_id);

	if (!h)
		return command_reply(c, 0);
	c->fd = h->fd;
	c->res = 0;
	list_remove(&h->link);
	free(h);
	sync_close(c);
}

/* ---- requests */

static void guard_cancel(struct guard *g, uint64_t id)
{
	struct command *c, *tmp;
	struct io_uring_sqe *sqe;

	list_for_each (c, tmp, &g->commands, link) {
		if (c->req.id != id)
			continue;
		sqe = ring_sqe(&g->ring, &g->cancelled);
		if (!sqe)
			return;
		sqe->opcode = IORING_OP_ASYNC_CANCEL;
		sqe->fd = -1;
		sqe->addr = (uintptr_t) &c->op;
		return;
	}
}

/* @fd: came along, -1: none; the caller's */
static void guard_request(struct guard *g, const struct guard_request *q, int fd)
{
	struct command *c;

	if (q->op == GUARD_OP_CANCEL)
		return guard_cancel(g, q->data);

	c = calloc(1, sizeof(*c));
	if (!c) {
		struct guard_reply r = {.id = q->id, .op = q->op, .res = -ENOMEM};

		(void) send(g->sock, &r, GUARD_REPLY_SIZE(0), MSG_NOSIGNAL);
		return;
	}
	c->guard = g;
	c->fd = -1;
	g->worked = true;
	memcpy(&c->req, q, GUARD_REQUEST_SIZE(q->len));
	list_append(&g->commands, &c->link);
	if (q->op == GUARD_OP_SYNC)
		sync_issue(c);
	else if (q->op == GUARD_OP_RELEASE)
		release_issue(c);
	else if (q->op == UBLK_U_CMD_REG_BUF)
		register_issue(c, fd);
	else
		command_issue(c);
}

static void guard_watch(struct guard *g)
{
	struct io_uring_sqe *sqe = ring_sqe(&g->ring, &g->readable);

	if (!sqe) {
		g->ended = true;
		return;
	}
	io_uring_prep_poll_add(sqe, g->sock, POLLIN);
	sqe->user_data = (uintptr_t) &g->readable;
	g->watching = true;
}

/* As recv(); @ret_fd: what came along, or -1 */
static ssize_t guard_receive(const struct guard *g, struct guard_request *q, int *ret_fd)
{
	union {
		struct cmsghdr header; /* for its alignment */
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = q, .iov_len = sizeof(*q)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(g->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&m);

	*ret_fd = -1;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(h), sizeof(*ret_fd));
	return n;
}

static void guard_readable(struct ur_op *op, int res)
{
	struct guard *g = container_of(op, struct guard, readable);
	struct guard_request q;
	ssize_t n;

	g->watching = false;
	for (;;) {
		_cleanup_close_ int fd = -1;

		n = guard_receive(g, &q, &fd);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			g->ended = true;
			return;
		}
		/* The parent is our own code: a malformed message is a bug, not input. */
		assert((size_t) n >= GUARD_REQUEST_SIZE(0) && q.len <= GUARD_PAYLOAD_MAX &&
		       (size_t) n == GUARD_REQUEST_SIZE(q.len));
		guard_request(g, &q, fd);
	}
	if (!g->resting)
		guard_watch(g);
}

static void guard_ignore(struct ur_op *op, int res)
{
}

/* ---- sessions */

/* The kernel keeps one io-wq worker of a thread that has had any for as long as the thread lives,
 * and it wakes up every 5 s to look for work. So commands are issued by a thread that ends when
 * there has been none for a while; then the guard just waits for its socket. The ring stays: there
 * may be no other to be had when it is needed. */
static const struct __kernel_timespec idle_after = {.tv_sec = 2};

static void guard_idle(struct ur_op *op, int res)
{
	container_of(op, struct guard, idle)->timer_armed = false;
}

/* Nothing in the ring may belong to a thread that is gone.
 * Return: 1; 0: something came, the session goes on; -errno */
static int guard_rest(struct guard *g)
{
	struct io_uring_sqe *sqe = ring_sqe(&g->ring, &g->cancelled);
	int r = 0;

	if (!sqe)
		return -EAGAIN;
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = (uintptr_t) &g->readable;
	g->resting = true;
	while (r >= 0 && g->watching && !g->ended)
		r = ring_turn(&g->ring, 1);
	g->resting = false;
	if (r < 0)
		return r;
	if (!g->worked && !g->ended)
		return 1;
	guard_watch(g);
	return 0;
}

static void guard_arm_idle(struct guard *g)
{
	struct io_uring_sqe *sqe = ring_sqe(&g->ring, &g->idle);

	if (!sqe)
		return;
	io_uring_prep_timeout(sqe, (struct __kernel_timespec *) (uintptr_t) &idle_after, 0, 0);
	sqe->user_data = (uintptr_t) &g->idle;
	g->timer_armed = true;
	g->worked = false;
}

int guard_init(struct guard *g, int sock, int control)
{
	struct guard_reply ready = {.op = GUARD_OP_READY};
	unsigned int workers[2] = {GUARD_MAX_WORKERS, 0};

	*g = (struct guard){
		.sock = sock,
		.control = control,
		.readable.done = guard_readable,
		.cancelled.done = guard_ignore,
		.idle.done = guard_idle,
	};
	list_init(&g->commands);
	list_init(&g->holds);
	ready.res = ring_init(&g->ring, 64, 1024, IORING_SETUP_SQE128 | RING_MOVES);
	if (ready.res == 0)
		(void) io_uring_register_iowq_max_workers(&g->ring.uring, workers);
	if (send(sock, &ready, GUARD_REPLY_SIZE(0), MSG_NOSIGNAL) < 0)
		return -errno;
	return ready.res;
}

int guard_serve(struct guard *g)
{
	int r = 0;

	g->worked = true;
	guard_watch(g);
	while (r >= 0 && !g->ended) {
		if (!g->timer_armed && list_empty(&g->commands)) {
			/* Was there anything since the timer was armed? */
			r = g->worked ? 0 : guard_rest(g);
			if (r > 0)
				return 1;
			guard_arm_idle(g);
		}
		if (r >= 0)
			r = ring_turn(&g->ring, 1);
	}
	return r < 0 ? r : 0;
}

static void *session_main(void *arg)
{
	int r = guard_serve(arg);

	/* The process's exit, which closes the ring and lets commands in flight end by themselves;
	 * a thread's would wait for them. */
	if (r <= 0)
		_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
	return NULL;
}

static void session_run(struct guard *g)
{
	pthread_t thread;

	/* Without a thread to be had a worker that wakes up now and then is the lesser evil. */
	if (pthread_create(&thread, NULL, session_main, g) != 0)
		(void) session_main(g);
	else
		(void) pthread_join(thread, NULL);
}

int guard_main(int sock, int control)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	pid_t parent = getppid();
	struct guard g;

	/* A terminal's ^C and the service manager's signals are for the parent. */
	(void) signal(SIGINT, SIG_IGN);
	(void) signal(SIGTERM, SIG_IGN);
	(void) signal(SIGHUP, SIG_IGN);
	(void) signal(SIGUSR2, SIG_IGN);
	(void) prctl(PR_SET_NAME, "ublkd-guard");
	(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || guard_init(&g, sock, control) < 0)
		return EXIT_FAILURE;
	while (poll(&p, 1, -1) > 0 || errno == EINTR)
		session_run(&g);
	return EXIT_FAILURE;
}

/* ---- the parent's side */

int guard_spawn(const char *program, int control, int *ret_sock)
{
	static char *const argv[] = {(char *) "ublkd", (char *) "--guard", NULL};
	_cleanup_close_ int ours = -1, theirs = -1, control_high = -1, theirs_high = -1;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int pair[2], err;
	sigset_t none;
	pid_t pid = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
		return -errno;

	/* Above 4, so that neither dup2 hits the other's source. */
	theirs_high = fcntl(theirs, F_DUPFD_CLOEXEC, GUARD_CONTROL_FD + 1);
	control_high = fcntl(control, F_DUPFD_CLOEXEC, GUARD_CONTROL_FD + 1);
	if (theirs_high < 0 || control_high < 0)
		return -errno;

	(void) sigemptyset(&none);
	err = posix_spawn_file_actions_init(&actions);
	if (err)
		return -err;
	err = posix_spawnattr_init(&attr);
	if (err) {
		(void) posix_spawn_file_actions_destroy(&actions);
		return -err;
	}
	err = posix_spawn_file_actions_adddup2(&actions, theirs_high, GUARD_SOCK_FD);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, control_high, GUARD_CONTROL_FD);
	if (!err)
		err = posix_spawnattr_setsigmask(&attr, &none);
	if (!err)
		err = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	if (!err)
		err = posix_spawn(&pid, program, &actions, &attr, argv, environ);
	(void) posix_spawnattr_destroy(&attr);
	(void) posix_spawn_file_actions_destroy(&actions);
	if (err)
		return -err;
	*ret_sock = TAKE_FD(ours);
	return pid;
}
