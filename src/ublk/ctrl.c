/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/ctrl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ublk/guard.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* A guard that dies this often without ever answering is not started again. */
enum { CTRL_MAX_GUARD_DEATHS = 5 };

struct ctrl {
	const char *node, *program;
	int epoll, timer;
	int sock; /* to the guard, -1: none */
	int control; /* the node, -1: not open; kept to start another guard */
	pid_t guard;
	int ring_error;
	unsigned int deaths; /* since the last answer */
	uint64_t last_id;
	bool no_get_dev_info2;
	bool want_write;
	struct list commands; /* oldest first */
	void (*on_death)(void *arg);
	void *on_death_arg;
};

/* ---- the socket and the clock, both behind one epoll descriptor */

static int ctrl_watch(struct ctrl *c, int op, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	return epoll_ctl(c->epoll, op, fd, &e) < 0 ? -errno : 0;
}

static void ctrl_set_timer(struct ctrl *c)
{
	struct itimerspec spec = {0};
	struct ctrl_cmd *cmd, *tmp;
	uint64_t first = 0;

	list_for_each (cmd, tmp, &c->commands, link)
		if (cmd->deadline_usec && (!first || cmd->deadline_usec < first))
			first = cmd->deadline_usec;
	spec.it_value.tv_sec = (time_t) (first / 1000000);
	spec.it_value.tv_nsec = (long) (first % 1000000) * 1000;
	(void) timerfd_settime(c->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Return: as send() */
static ssize_t ctrl_send_one(const struct ctrl *c, const struct ctrl_cmd *cmd,
			     struct guard_request *q)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {.iov_base = q, .iov_len = GUARD_REQUEST_SIZE(q->len)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (cmd->op == UBLK_U_CMD_REG_BUF) {
		memcpy(CMSG_DATA(&control.header), &cmd->fd, sizeof(cmd->fd));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	return sendmsg(c->sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void ctrl_send(struct ctrl *c)
{
	struct ctrl_cmd *cmd, *tmp;
	bool full = false;

	if (c->sock < 0)
		return;
	list_for_each (cmd, tmp, &c->commands, link) {
		struct guard_request q = {.id = cmd->id,
					  .op = cmd->op,
					  .dev_id = cmd->dev_id,
					  .data = cmd->data,
					  .len = cmd->len};

		if (cmd->sent)
			continue;
		if (cmd->op == UBLK_U_CMD_GET_DEV_INFO2) {
			(void) snprintf((char *) q.payload, sizeof(q.payload), "/dev/ublkc%u",
					cmd->dev_id);
			q.path_len = (uint16_t) (strlen((char *) q.payload) + 1);
			q.len = (uint16_t) (q.path_len + sizeof(cmd->info));
		} else {
			memcpy(q.payload, cmd->affinity, cmd->len);
		}
		if (ctrl_send_one(c, cmd, &q) < 0) {
			/* Full: when it is writable again. Anything else: the read side sees it. */
			full = true;
			break;
		}
		cmd->sent = true;
	}
	if (full != c->want_write) {
		(void) ctrl_watch(c, EPOLL_CTL_MOD, c->sock, EPOLLIN | (full ? EPOLLOUT : 0));
		c->want_write = full;
	}
}

static void ctrl_tell_guard(struct ctrl *c, uint32_t op, uint32_t dev_id, uint64_t data)
{
	struct guard_request q = {.id = ++c->last_id, .op = op, .dev_id = dev_id, .data = data};

	if (c->sock >= 0)
		(void) send(c->sock, &q, GUARD_REQUEST_SIZE(0), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- life */

static int ctrl_make(struct ctrl **ret)
{
	struct ctrl *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->sock = c->control = c->timer = -1;
	list_init(&c->commands);
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll >= 0)
		c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	r = c->timer < 0 ? -errno : ctrl_watch(c, EPOLL_CTL_ADD, c->timer, EPOLLIN);
	if (r < 0) {
		(void) ctrl_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int ctrl_new(const char *node, const char *program, struct ctrl **ret)
{
	int r = ctrl_make(ret);

	if (r < 0)
		return r;
	(*ret)->node = node;
	(*ret)->program = program;
	return 0;
}

int ctrl_new_connected(int sock, struct ctrl **ret)
{
	struct ctrl *c;
	int r = ctrl_make(&c);

	if (r < 0)
		return r;
	r = ctrl_watch(c, EPOLL_CTL_ADD, sock, EPOLLIN);
	if (r < 0) {
		(void) ctrl_free(c);
		return r;
	}
	c->sock = sock;
	*ret = c;
	return 0;
}

static void ctrl_close_guard(struct ctrl *c)
{
	if (c->sock >= 0)
		(void) close(c->sock); /* leaves the epoll set by itself; the guard ends */
	c->sock = -1;
	c->want_write = false;
	if (c->guard > 0)
		(void) waitpid(c->guard, NULL, WNOHANG);
	c->guard = 0;
}

struct ctrl *ctrl_free(struct ctrl *c)
{
	if (!c)
		return NULL;
	ctrl_close_guard(c);
	if (c->control >= 0)
		(void) close(c->control);
	if (c->timer >= 0)
		(void) close(c->timer);
	if (c->epoll >= 0)
		(void) close(c->epoll);
	free(c);
	return NULL;
}

static int ctrl_start_guard(struct ctrl *c)
{
	int sock, r;
	pid_t pid;

	pid = guard_spawn(c->program, c->control, &sock);
	if (pid < 0)
		return pid;
	r = ctrl_watch(c, EPOLL_CTL_ADD, sock, EPOLLIN);
	if (r < 0) {
		(void) close(sock);
		return r;
	}
	c->guard = pid;
	c->sock = sock;
	c->ring_error = 0;
	return 0;
}

int ctrl_open(struct ctrl *c, struct failure *f)
{
	int r;

	if (c->sock >= 0)
		return 0;
	if (c->control < 0)
		c->control = open(c->node, O_RDWR | O_CLOEXEC);
	if (c->control < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		return failure_set(f, FAILURE_MODULE_MISSING, errno,
				   "%s does not exist: load the driver with 'modprobe ublk_drv' "
				   "(Linux 6.5 or later, built with CONFIG_BLK_DEV_UBLK), "
				   "then restart ublkd",
				   c->node);
	if (c->control < 0)
		return failure_set(f, FAILURE_MODULE_MISSING, errno,
				   "cannot open %s: %s (a driver loaded after ublkd was started "
				   "needs a restart of ublkd)",
				   c->node, strerror(errno));
	c->deaths = 0;
	r = ctrl_start_guard(c);
	if (r < 0)
		return failure_set(f, FAILURE_KERNEL_FAILED, r,
				   "cannot start the control guard process '%s': %s", c->program,
				   strerror(-r));
	ctrl_send(c);
	return 0;
}

int ctrl_get_fd(const struct ctrl *c)
{
	return c->epoll;
}

int ctrl_ring_error(const struct ctrl *c)
{
	return c->ring_error;
}

pid_t ctrl_guard_pid(const struct ctrl *c)
{
	return c->guard;
}

void ctrl_on_guard_death(struct ctrl *c, void (*fn)(void *arg), void *arg)
{
	c->on_death = fn;
	c->on_death_arg = arg;
}

/* ---- answers */

static void cmd_finish(struct ctrl_cmd *cmd, int res)
{
	list_remove(&cmd->link);
	cmd->done(cmd, res);
}

static struct ctrl_cmd *ctrl_find(struct ctrl *c, uint64_t id)
{
	struct ctrl_cmd *cmd, *tmp;

	list_for_each (cmd, tmp, &c->commands, link)
		if (cmd->id == id)
			return cmd;
	return NULL;
}

/* An answer nobody waits for any more. A device nobody knows of must not stay. */
static void ctrl_late_reply(struct ctrl *c, const struct guard_reply *r)
{
	struct ublksrv_ctrl_dev_info info;

	if (r->op != UBLK_U_CMD_ADD_DEV || r->res < 0)
		return;
	memcpy(&info, r->payload, sizeof(info));
	ctrl_tell_guard(c, UBLK_U_CMD_DEL_DEV, info.dev_id, 0);
}

static void ctrl_reply(struct ctrl *c, const struct guard_reply *r)
{
	struct ctrl_cmd *cmd;

	if (r->op == GUARD_OP_READY) {
		c->ring_error = r->res;
		return;
	}
	c->deaths = 0;
	cmd = ctrl_find(c, r->id);
	if (!cmd)
		return ctrl_late_reply(c, r);

	/* Linux before 6.3 does not know the number: go on with the older form. */
	if (r->op == UBLK_U_CMD_GET_DEV_INFO2 && r->res == -EOPNOTSUPP) {
		c->no_get_dev_info2 = true;
		cmd->op = UBLK_U_CMD_GET_DEV_INFO;
		cmd->sent = false;
		return ctrl_send(c);
	}
	if (r->res >= 0 && cmd->len)
		memcpy(cmd->affinity, r->payload + r->path_len, cmd->len);
	cmd_finish(cmd, r->res);
}

static bool cmd_is_repeatable(const struct ctrl_cmd *cmd)
{
	return cmd->op != UBLK_U_CMD_ADD_DEV && cmd->op != UBLK_U_CMD_START_DEV &&
	       cmd->op != UBLK_U_CMD_END_USER_RECOVERY && cmd->op != UBLK_U_CMD_REG_BUF;
}

/* Fails what cannot be issued again, and everything if there is to be no other guard. */
static void ctrl_fail_commands(struct ctrl *c, bool all, int error)
{
	struct ctrl_cmd *cmd, *tmp;
	struct list failed;

	list_init(&failed);
	list_for_each (cmd, tmp, &c->commands, link) {
		bool was_sent = cmd->sent;

		cmd->sent = false;
		if (!all && (!was_sent || cmd_is_repeatable(cmd)))
			continue;
		list_remove(&cmd->link);
		list_append(&failed, &cmd->link);
	}
	/* done() may add commands: only to c->commands. */
	while (!list_empty(&failed))
		cmd_finish(container_of(failed.next, struct ctrl_cmd, link), error);
}

static void ctrl_guard_died(struct ctrl *c)
{
	int ring_error = c->ring_error;
	bool again;

	ctrl_close_guard(c);
	again = ring_error == 0 && c->program && ++c->deaths <= CTRL_MAX_GUARD_DEATHS &&
		ctrl_start_guard(c) == 0;
	c->ring_error = ring_error;
	ctrl_fail_commands(c, !again, ring_error ? ring_error : -EOWNERDEAD);
	ctrl_send(c);
	if (again && c->on_death)
		c->on_death(c->on_death_arg);
}

static void ctrl_expire(struct ctrl *c)
{
	uint64_t now = clock_usec(CLOCK_MONOTONIC);
	struct ctrl_cmd *cmd, *tmp;
	struct list late;

	list_init(&late);
	list_for_each (cmd, tmp, &c->commands, link) {
		if (!cmd->deadline_usec || cmd->deadline_usec > now)
			continue;
		list_remove(&cmd->link);
		list_append(&late, &cmd->link);
		if (cmd->sent)
			ctrl_tell_guard(c, GUARD_OP_CANCEL, cmd->dev_id, cmd->id);
	}
	while (!list_empty(&late))
		cmd_finish(container_of(late.next, struct ctrl_cmd, link), -ETIMEDOUT);
}

void ctrl_hurry(struct ctrl *c, struct ctrl_cmd *cmd)
{
	cmd->deadline_usec = 1;
	ctrl_set_timer(c);
}

void ctrl_dispatch(struct ctrl *c)
{
	struct guard_reply r;
	uint64_t ticks;
	ssize_t n;

	while (c->sock >= 0) {
		n = recv(c->sock, &r, sizeof(r), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		/* It ended with requests unread; what it said before is still to be read. */
		if (n < 0 && errno == ECONNRESET)
			continue;
		if (n < (ssize_t) GUARD_REPLY_SIZE(0) || n != (ssize_t) GUARD_REPLY_SIZE(r.len)) {
			ctrl_guard_died(c);
			continue;
		}
		ctrl_reply(c, &r);
	}
	if (c->want_write)
		ctrl_send(c);
	if (read(c->timer, &ticks, sizeof(ticks)) == sizeof(ticks))
		ctrl_expire(c);
	ctrl_set_timer(c);
}

/* ---- commands */

static void ctrl_issue(struct ctrl *c, struct ctrl_cmd *cmd, uint32_t op, int dev_id, uint64_t data,
		       size_t len, uint64_t timeout_usec)
{
	assert(cmd->done && !list_linked(&cmd->link) && len <= CTRL_AFFINITY_BYTES);

	cmd->id = ++c->last_id;
	cmd->op = op;
	cmd->dev_id = (uint32_t) dev_id;
	cmd->data = data;
	cmd->len = (uint16_t) len;
	cmd->sent = false;
	/* Without a guard there is nobody to answer: the deadline is now. */
	cmd->deadline_usec = c->sock < 0    ? 1
			     : timeout_usec ? clock_usec(CLOCK_MONOTONIC) + timeout_usec
					    : 0;
	list_append(&c->commands, &cmd->link);
	ctrl_send(c);
	ctrl_set_timer(c);
}

void ctrl_get_features(struct ctrl *c, struct ctrl_cmd *cmd, uint64_t timeout_usec)
{
	cmd->features = 0;
	ctrl_issue(c, cmd, UBLK_U_CMD_GET_FEATURES, -1, 0, UBLK_FEATURES_LEN, timeout_usec);
}

void ctrl_add_dev(struct ctrl *c, struct ctrl_cmd *cmd, uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, UBLK_U_CMD_ADD_DEV, (int) cmd->info.dev_id, 0, sizeof(cmd->info),
		   timeout_usec);
}

void ctrl_set_params(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, UBLK_U_CMD_SET_PARAMS, dev_id, 0, sizeof(cmd->params), timeout_usec);
}

void ctrl_get_params(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec)
{
	cmd->params = (struct ublk_params){.len = sizeof(cmd->params)};
	ctrl_issue(c, cmd, UBLK_U_CMD_GET_PARAMS, dev_id, 0, sizeof(cmd->params), timeout_usec);
}

void ctrl_get_dev_info(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec)
{
	memset(&cmd->info, 0, sizeof(cmd->info));
	ctrl_issue(c, cmd, c->no_get_dev_info2 ? UBLK_U_CMD_GET_DEV_INFO : UBLK_U_CMD_GET_DEV_INFO2,
		   dev_id, 0, sizeof(cmd->info), timeout_usec);
}

void ctrl_get_queue_affinity(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, unsigned int queue,
			     uint64_t timeout_usec)
{
	memset(cmd->affinity, 0, sizeof(cmd->affinity));
	ctrl_issue(c, cmd, UBLK_U_CMD_GET_QUEUE_AFFINITY, dev_id, queue, sizeof(cmd->affinity),
		   timeout_usec);
}

void ctrl_start_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, pid_t server,
		    uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, UBLK_U_CMD_START_DEV, dev_id, (uint64_t) server, 0, timeout_usec);
}

void ctrl_start_recovery(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, UBLK_U_CMD_START_USER_RECOVERY, dev_id, 0, 0, timeout_usec);
}

void ctrl_end_recovery(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, pid_t server,
		       uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, UBLK_U_CMD_END_USER_RECOVERY, dev_id, (uint64_t) server, 0,
		   timeout_usec);
}

void ctrl_quiesce_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec)
{
	/* The driver is meant to wait for so many ms, and does not. */
	ctrl_issue(c, cmd, UBLK_U_CMD_QUIESCE_DEV, dev_id, timeout_usec / 1000, 0, timeout_usec);
}

void ctrl_stop_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, bool only_unused,
		   uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, only_unused ? UBLK_U_CMD_TRY_STOP_DEV : UBLK_U_CMD_STOP_DEV, dev_id, 0,
		   0, timeout_usec);
}

void ctrl_del_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, UBLK_U_CMD_DEL_DEV, dev_id, 0, 0, timeout_usec);
}

void ctrl_sync_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, enum ctrl_sync how,
		   uint64_t timeout_usec)
{
	static const uint64_t flags[] = {
		[CTRL_SYNC_EXCLUSIVE] = GUARD_SYNC_EXCLUSIVE,
		[CTRL_SYNC_HOLD] = GUARD_SYNC_EXCLUSIVE | GUARD_SYNC_HOLD,
	};

	ctrl_issue(c, cmd, GUARD_OP_SYNC, dev_id, flags[how], 0, timeout_usec);
}

void ctrl_release_dev(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, uint64_t timeout_usec)
{
	ctrl_issue(c, cmd, GUARD_OP_RELEASE, dev_id, 0, 0, timeout_usec);
}

void ctrl_reg_buf(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, int fd, uint64_t len,
		  bool read_only)
{
	assert(fd >= 0);

	cmd->fd = fd;
	cmd->memory = (struct ublk_shmem_buf_reg){
		.len = len,
		.flags = read_only ? UBLK_SHMEM_BUF_READ_ONLY : 0,
	};
	ctrl_issue(c, cmd, UBLK_U_CMD_REG_BUF, dev_id, 0, sizeof(cmd->memory), 0);
}

void ctrl_unreg_buf(struct ctrl *c, struct ctrl_cmd *cmd, int dev_id, unsigned int index)
{
	ctrl_issue(c, cmd, UBLK_U_CMD_UNREG_BUF, dev_id, index, 0, 0);
}
