/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ublk/ctrl against a guard that the test plays, and ublk/guard against a fake kernel. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake-driver.h"
#include "test.h"
#include "ublk/ctrl.h"
#include "ublk/guard.h"

enum { MANY = 200 };

static struct ctrl *ctrl;
static int guard = -1; /* the other end */

/* ---- commands */

struct command {
	struct ctrl_cmd cmd;
	unsigned int n_done;
	int res;
	bool inside; /* told from within the function that took it */
};

static struct command commands[MANY];
static bool issuing;
static unsigned int n_done;

static void on_done(struct ctrl_cmd *cmd, int res)
{
	struct command *c = container_of(cmd, struct command, cmd);

	c->n_done++;
	c->res = res;
	c->inside = issuing;
	n_done++;
}

static struct ctrl_cmd *cmd(unsigned int i)
{
	commands[i].cmd.done = on_done;
	return &commands[i].cmd;
}

#define ISSUE(call)                                                                                \
	do {                                                                                       \
		issuing = true;                                                                    \
		call;                                                                              \
		issuing = false;                                                                   \
	} while (0)

/* ---- the bed */

static void end(void)
{
	ctrl = ctrl_free(ctrl);
	if (guard >= 0)
		(void) close(guard);
	guard = -1;
	memset(commands, 0, sizeof(commands));
	n_done = 0;
}

static void begin(void)
{
	int pair[2];

	end();
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	guard = pair[1];
	CHECK_EQ(ctrl_new_connected(pair[0], &ctrl), 0);
}

/* Let it work until so many commands were done. */
static void dispatch_until(unsigned int n)
{
	struct pollfd p = {.fd = ctrl_get_fd(ctrl), .events = POLLIN};

	while (n_done < n) {
		if (poll(&p, 1, 5000) != 1)
			TEST_FAIL("%u of %u commands done", n_done, n);
		ctrl_dispatch(ctrl);
	}
	CHECK_EQ(n_done, n);
}

static struct guard_request *request(void)
{
	static struct guard_request q;
	struct pollfd p = {.fd = guard, .events = POLLIN};

	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK(recv(guard, &q, sizeof(q), MSG_DONTWAIT) >= (ssize_t) GUARD_REQUEST_SIZE(0));
	return &q;
}

static bool no_request(void)
{
	struct pollfd p = {.fd = guard, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

static bool try_reply(const struct guard_request *q, int res, const void *payload, uint16_t len)
{
	struct guard_reply r = {.id = q->id,
				.op = q->op,
				.res = res,
				.dev_id = q->dev_id,
				.len = q->len,
				.path_len = q->path_len};

	memcpy(r.payload, q->payload, q->len);
	if (payload)
		memcpy(r.payload + q->path_len, payload, len);
	return send(guard, &r, GUARD_REPLY_SIZE(r.len), MSG_NOSIGNAL) ==
	       (ssize_t) GUARD_REPLY_SIZE(r.len);
}

static void reply(const struct guard_request *q, int res, const void *payload, uint16_t len)
{
	CHECK(try_reply(q, res, payload, len));
}

static void check_done(unsigned int i, int res)
{
	CHECK_EQ(commands[i].n_done, 1);
	CHECK_EQ(commands[i].res, res);
	CHECK(!commands[i].inside);
}

/* ---- each command */

static void features(void)
{
	uint64_t mask = 0x1234567890;
	struct guard_request *q;

	begin();
	ISSUE(ctrl_get_features(ctrl, cmd(0), 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_GET_FEATURES);
	CHECK_EQ(q->len, 8);
	reply(q, 0, &mask, sizeof(mask));
	dispatch_until(1);
	check_done(0, 0);
	CHECK_EQ(commands[0].cmd.features, mask);
}

static void add(void)
{
	struct ublksrv_ctrl_dev_info info;
	struct guard_request *q;

	begin();
	cmd(0)->info = (struct ublksrv_ctrl_dev_info){
		.nr_hw_queues = 9, .queue_depth = 64, .dev_id = UINT32_MAX, .ublksrv_flags = 5};
	ISSUE(ctrl_add_dev(ctrl, cmd(0), 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_ADD_DEV);
	CHECK_EQ(q->dev_id, UINT32_MAX);
	CHECK_EQ(q->len, sizeof(info));
	memcpy(&info, q->payload, sizeof(info));
	CHECK_EQ(info.nr_hw_queues, 9);
	CHECK_EQ(info.ublksrv_flags, 5);
	info.nr_hw_queues = 4;
	info.dev_id = 3;
	reply(q, 0, &info, sizeof(info));
	dispatch_until(1);
	check_done(0, 0);
	CHECK_EQ(commands[0].cmd.info.nr_hw_queues, 4);
	CHECK_EQ(commands[0].cmd.info.dev_id, 3);
}

static void parameters(void)
{
	struct ublk_params p = {.len = sizeof(p), .types = 1, .basic.dev_sectors = 77};
	struct guard_request *q;

	begin();
	cmd(0)->params = p;
	ISSUE(ctrl_set_params(ctrl, cmd(0), 7, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_SET_PARAMS);
	CHECK_EQ(q->dev_id, 7);
	CHECK_EQ(memcmp(q->payload, &p, sizeof(p)), 0);
	reply(q, -EINVAL, NULL, 0);
	dispatch_until(1);
	check_done(0, -EINVAL);
	CHECK_EQ(commands[0].cmd.params.basic.dev_sectors, 77);

	ISSUE(ctrl_get_params(ctrl, cmd(1), 7, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_GET_PARAMS);
	CHECK_EQ(((struct ublk_params *) (void *) q->payload)->len, sizeof(p));
	p.types = 5;
	reply(q, 0, &p, sizeof(p));
	dispatch_until(2);
	CHECK_EQ(commands[1].cmd.params.types, 5);
}

static void the_rest(void)
{
	struct guard_request *q;

	begin();
	ISSUE(ctrl_get_queue_affinity(ctrl, cmd(0), 2, 5, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_GET_QUEUE_AFFINITY);
	CHECK_EQ(q->data, 5);
	CHECK_EQ(q->len, CTRL_AFFINITY_BYTES);
	reply(q, 0, "\x07", 1);
	ISSUE(ctrl_start_dev(ctrl, cmd(1), 2, 4711, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_START_DEV);
	CHECK_EQ(q->data, 4711);
	CHECK_EQ(q->len, 0);
	reply(q, -EINTR, NULL, 0);
	ISSUE(ctrl_stop_dev(ctrl, cmd(2), 2, true, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_TRY_STOP_DEV);
	reply(q, -EBUSY, NULL, 0);
	ISSUE(ctrl_stop_dev(ctrl, cmd(3), 2, false, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_STOP_DEV);
	reply(q, 0, NULL, 0);
	ISSUE(ctrl_del_dev(ctrl, cmd(4), 2, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_DEL_DEV);
	reply(q, 0, NULL, 0);
	ISSUE(ctrl_sync_dev(ctrl, cmd(5), 2, CTRL_SYNC_EXCLUSIVE, 0));
	q = request();
	CHECK_EQ(q->op, GUARD_OP_SYNC);
	CHECK_EQ(q->data, GUARD_SYNC_EXCLUSIVE);
	reply(q, -ENOENT, NULL, 0);
	dispatch_until(6);
	check_done(0, 0);
	CHECK_EQ(commands[0].cmd.affinity[0], 7);
	check_done(1, -EINTR);
	check_done(2, -EBUSY);
	check_done(3, 0);
	check_done(4, 0);
	check_done(5, -ENOENT);
}

/* The next request, with what came along: -1 is nothing. */
static struct guard_request *request_with(int *ret_fd)
{
	static struct guard_request q;
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = &q, .iov_len = sizeof(q)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};

	CHECK(recvmsg(guard, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) >=
	      (ssize_t) GUARD_REQUEST_SIZE(0));
	*ret_fd = -1;
	if (CMSG_FIRSTHDR(&m))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(*ret_fd));
	return &q;
}

static void memory(void)
{
	struct ublk_shmem_buf_reg reg;
	struct guard_request *q;
	struct stat a, b;
	int fd, came;

	begin();
	fd = memfd_create("memory", MFD_CLOEXEC);
	CHECK(fd >= 0);
	ISSUE(ctrl_reg_buf(ctrl, cmd(0), 3, fd, 8192, true));
	q = request_with(&came);
	CHECK_EQ(q->op, UBLK_U_CMD_REG_BUF);
	CHECK_EQ(q->dev_id, 3);
	CHECK_EQ(q->len, sizeof(reg));
	memcpy(&reg, q->payload, sizeof(reg));
	CHECK_EQ(reg.addr, 0);
	CHECK_EQ(reg.len, 8192);
	CHECK_EQ(reg.flags, UBLK_SHMEM_BUF_READ_ONLY);
	CHECK_EQ(fstat(fd, &a), 0);
	CHECK_EQ(fstat(came, &b), 0);
	CHECK(came != fd && a.st_ino == b.st_ino);
	(void) close(came);
	reply(q, 6, NULL, 0);

	ISSUE(ctrl_unreg_buf(ctrl, cmd(1), 3, 6));
	q = request_with(&came);
	CHECK_EQ(q->op, UBLK_U_CMD_UNREG_BUF);
	CHECK_EQ(q->data, 6);
	CHECK_EQ(came, -1);
	reply(q, -ENOENT, NULL, 0);
	dispatch_until(2);
	check_done(0, 6);
	check_done(1, -ENOENT);
	(void) close(fd);
}

static void answers_in_another_order(void)
{
	struct guard_request q[3];

	begin();
	for (unsigned int i = 0; i < 3; i++)
		ISSUE(ctrl_del_dev(ctrl, cmd(i), (int) i, 0));
	for (unsigned int i = 0; i < 3; i++)
		q[i] = *request();
	for (unsigned int i = 3; i-- > 0;)
		reply(&q[i], (int) i, NULL, 0);
	dispatch_until(3);
	for (unsigned int i = 0; i < 3; i++)
		check_done(i, (int) i);
}

static void info_by_the_older_form(void)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = 4, .queue_depth = 33};
	struct guard_request *q;

	begin();
	ISSUE(ctrl_get_dev_info(ctrl, cmd(0), 4, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_GET_DEV_INFO2);
	CHECK_STR((char *) q->payload, "/dev/ublkc4");
	CHECK_EQ(q->path_len, 12);
	CHECK_EQ(q->len, 12 + sizeof(info));
	reply(q, 0, &info, sizeof(info));
	dispatch_until(1);
	CHECK_EQ(commands[0].cmd.info.queue_depth, 33);

	ISSUE(ctrl_get_dev_info(ctrl, cmd(1), 4, 0));
	reply(request(), -EOPNOTSUPP, NULL, 0);
	ctrl_dispatch(ctrl);
	CHECK_EQ(n_done, 1);
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_GET_DEV_INFO);
	CHECK_EQ(q->path_len, 0);
	CHECK_EQ(q->len, sizeof(info));
	reply(q, 0, &info, sizeof(info));
	dispatch_until(2);
	check_done(1, 0);
	CHECK_EQ(commands[1].cmd.info.queue_depth, 33);
	/* Asked once. */
	ISSUE(ctrl_get_dev_info(ctrl, cmd(2), 4, 0));
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_GET_DEV_INFO);
	reply(q, -ENODEV, NULL, 0);
	dispatch_until(3);
	check_done(2, -ENODEV);
}

/* ---- time */

static void deadline(void)
{
	struct guard_request first;
	struct guard_request *q;

	begin();
	ISSUE(ctrl_start_dev(ctrl, cmd(0), 1, 1, 20000));
	ISSUE(ctrl_stop_dev(ctrl, cmd(1), 1, false, 0)); /* for ever */
	first = *request();
	(void) request();
	dispatch_until(1);
	check_done(0, -ETIMEDOUT);
	q = request();
	CHECK_EQ(q->op, GUARD_OP_CANCEL);
	CHECK_EQ(q->data, first.id);
	/* Its answer comes all the same: nobody's. */
	reply(&first, -EINTR, NULL, 0);
	ctrl_dispatch(ctrl);
	CHECK_EQ(n_done, 1);
	CHECK(no_request());
}

static void deadlines_in_any_order(void)
{
	begin();
	ISSUE(ctrl_del_dev(ctrl, cmd(0), 0, 60000));
	ISSUE(ctrl_del_dev(ctrl, cmd(1), 1, 20000));
	ISSUE(ctrl_del_dev(ctrl, cmd(2), 2, 40000));
	dispatch_until(1);
	check_done(1, -ETIMEDOUT);
	dispatch_until(2);
	check_done(2, -ETIMEDOUT);
	dispatch_until(3);
}

static void late_device_is_deleted(void)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = 6};
	struct guard_request first;
	struct guard_request *q;

	begin();
	ISSUE(ctrl_add_dev(ctrl, cmd(0), 10000));
	first = *request();
	dispatch_until(1);
	check_done(0, -ETIMEDOUT);
	CHECK_EQ(request()->op, GUARD_OP_CANCEL);
	reply(&first, 0, &info, sizeof(info));
	ctrl_dispatch(ctrl);
	q = request();
	CHECK_EQ(q->op, UBLK_U_CMD_DEL_DEV);
	CHECK_EQ(q->dev_id, 6);
	CHECK(q->id != 0 && q->id != first.id);
	reply(q, 0, NULL, 0);
	ctrl_dispatch(ctrl);
	CHECK(no_request());
	CHECK_EQ(n_done, 1);
}

static void late_refusal_is_nothing(void)
{
	struct guard_request first;

	begin();
	ISSUE(ctrl_add_dev(ctrl, cmd(0), 10000));
	first = *request();
	dispatch_until(1);
	(void) request();
	reply(&first, -EINTR, NULL, 0);
	ctrl_dispatch(ctrl);
	CHECK(no_request());
}

/* ---- many */

static void more_than_the_socket_takes(void)
{
	struct guard_request *q;
	int size = 4096;

	begin();
	CHECK_EQ(setsockopt(guard, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	for (unsigned int i = 0; i < MANY; i++)
		ISSUE(ctrl_get_queue_affinity(ctrl, cmd(i), (int) i, i, 0));
	for (unsigned int i = 0; i < MANY; i++) {
		uint8_t mark = (uint8_t) i;

		for (int j = 0; no_request() && j < 100; j++)
			ctrl_dispatch(ctrl);
		q = request();
		CHECK_EQ(q->data, i); /* in order, none twice */
		reply(q, 0, &mark, 1);
		ctrl_dispatch(ctrl);
	}
	dispatch_until(MANY);
	for (unsigned int i = 0; i < MANY; i++) {
		check_done(i, 0);
		CHECK_EQ(commands[i].cmd.affinity[0], (uint8_t) i);
	}
	CHECK(no_request());
}

static void waiting_for_the_socket_times_out(void)
{
	begin();
	for (unsigned int i = 0; i < MANY; i++)
		ISSUE(ctrl_get_queue_affinity(ctrl, cmd(i), (int) i, i, 20000));
	dispatch_until(MANY);
	for (unsigned int i = 0; i < MANY; i++)
		check_done(i, -ETIMEDOUT);
}

static void on_done_again(struct ctrl_cmd *c, int res)
{
	n_done++;
	c->done = on_done;
	ctrl_del_dev(ctrl, c, 9, 0);
}

static void done_may_issue_the_next(void)
{
	begin();
	cmd(0)->done = on_done_again;
	ISSUE(ctrl_stop_dev(ctrl, &commands[0].cmd, 9, false, 0));
	reply(request(), 0, NULL, 0);
	dispatch_until(1);
	reply(request(), -EBUSY, NULL, 0);
	dispatch_until(2);
	CHECK_EQ(commands[0].res, -EBUSY);
}

/* ---- the guard goes */

static void guard_that_is_gone(void)
{
	begin();
	ISSUE(ctrl_add_dev(ctrl, cmd(0), 0));
	ISSUE(ctrl_del_dev(ctrl, cmd(1), 1, 0));
	(void) close(guard);
	guard = -1;
	dispatch_until(2);
	check_done(0, -EOWNERDEAD);
	check_done(1, -EOWNERDEAD);
	/* And what comes after that: told later, too. */
	ISSUE(ctrl_del_dev(ctrl, cmd(2), 1, 0));
	CHECK_EQ(n_done, 2);
	dispatch_until(3);
	check_done(2, -ETIMEDOUT);
}

static void guard_without_a_ring(void)
{
	struct guard_request ready = {.op = GUARD_OP_READY};

	begin();
	ISSUE(ctrl_get_features(ctrl, cmd(0), 0));
	reply(&ready, -EPERM, NULL, 0);
	(void) close(guard);
	guard = -1;
	dispatch_until(1);
	check_done(0, -EPERM);
	CHECK_EQ(ctrl_ring_error(ctrl), -EPERM);
}

static void guard_that_talks_nonsense(void)
{
	static const struct guard_reply r = {.id = 1, .len = 100};

	begin();
	ISSUE(ctrl_get_features(ctrl, cmd(0), 0));
	CHECK_EQ(send(guard, &r, GUARD_REPLY_SIZE(0), 0), GUARD_REPLY_SIZE(0));
	dispatch_until(1);
	check_done(0, -EOWNERDEAD);
}

static void node_is_missing(void)
{
	struct failure f = {0};

	end();
	CHECK_EQ(ctrl_new("/nonexistent/ublk-control", "/bin/false", &ctrl), 0);
	CHECK_EQ(ctrl_open(ctrl, &f), -ENOENT);
	CHECK_EQ(f.kind, FAILURE_MODULE_MISSING);
	CHECK_CONTAINS(f.text, "modprobe ublk_drv");
	CHECK_EQ(ctrl_guard_pid(ctrl), 0);
	ISSUE(ctrl_get_features(ctrl, cmd(0), 0));
	dispatch_until(1);
	check_done(0, -ETIMEDOUT);
}

static void program_is_missing(void)
{
	struct failure f = {0};

	end();
	CHECK_EQ(ctrl_new("/dev/null", "/nonexistent/ublkd", &ctrl), 0);
	CHECK_EQ(ctrl_open(ctrl, &f), -ENOENT);
	CHECK_EQ(f.kind, FAILURE_KERNEL_FAILED);
	CHECK_CONTAINS(f.text, "'/nonexistent/ublkd'");
	CHECK(!ctrl_free(NULL));
}

/* ---- guards that die and are replaced: this program is the guard, too */

#define LIVES "UBLKD_TEST_LIVES" /* file with a byte per guard that was started */
#define DEADLY "UBLKD_TEST_DEADLY" /* guards below this number die of any request */

static char lives[] = "/tmp/ublkd-lives-XXXXXX";

static int be_a_guard(void)
{
	unsigned int deadly = (unsigned int) atoi(getenv(DEADLY));
	int fd = open(getenv(LIVES), O_WRONLY | O_APPEND | O_CLOEXEC);
	struct guard_reply ready = {.op = GUARD_OP_READY};
	struct guard_request q;
	unsigned int number;

	if (fd < 0 || write(fd, "x", 1) != 1)
		return 1;
	number = (unsigned int) lseek(fd, 0, SEEK_CUR);
	guard = GUARD_SOCK_FD;
	/* 100 and more: not even that it is ready is told. */
	if (deadly < 100 && send(guard, &ready, GUARD_REPLY_SIZE(0), 0) < 0)
		return 1;
	while (recv(guard, &q, sizeof(q), 0) > 0) {
		if (number <= deadly)
			return 1;
		if (q.op == UBLK_U_CMD_STOP_DEV)
			continue; /* answered by the next one, or never */
		if (!try_reply(&q, (int) q.op & 0xff, NULL, 0))
			return 1;
	}
	return 0;
}

static unsigned int n_lives(void)
{
	int fd = open(lives, O_RDONLY | O_CLOEXEC);
	unsigned int n = (unsigned int) lseek(fd, 0, SEEK_END);

	(void) close(fd);
	return n;
}

/* A guard that was started may need a while to say so. */
static bool has_lived(unsigned int n)
{
	for (int i = 0; i < 5000 && n_lives() < n; i++)
		(void) usleep(1000);
	return n_lives() == n;
}

static unsigned int n_deaths;

static void on_death(void *arg)
{
	n_deaths++;
}

static void begin_with_guards(const char *deadly)
{
	struct failure f = {0};

	end();
	n_deaths = 0;
	CHECK_EQ(truncate(lives, 0), 0);
	CHECK_EQ(setenv(LIVES, lives, 1), 0);
	CHECK_EQ(setenv(DEADLY, deadly, 1), 0);
	CHECK_EQ(ctrl_new("/dev/null", "/proc/self/exe", &ctrl), 0);
	ctrl_on_guard_death(ctrl, on_death, NULL);
	CHECK_EQ(ctrl_open(ctrl, &f), 0);
	CHECK(ctrl_guard_pid(ctrl) > 0);
	CHECK_EQ(ctrl_open(ctrl, &f), 0); /* is open already */
}

static void spawned_guard_answers(void)
{
	begin_with_guards("0");
	ISSUE(ctrl_del_dev(ctrl, cmd(0), 0, 0));
	dispatch_until(1);
	check_done(0, 5);
	CHECK_EQ(n_deaths, 0);
	CHECK_EQ(ctrl_ring_error(ctrl), 0);
}

static void commands_survive_the_guard(void)
{
	begin_with_guards("1");
	ISSUE(ctrl_del_dev(ctrl, cmd(0), 0, 0));
	ISSUE(ctrl_add_dev(ctrl, cmd(1), 0));
	ISSUE(ctrl_start_dev(ctrl, cmd(2), 0, 1, 0));
	ISSUE(ctrl_get_params(ctrl, cmd(3), 0, 0));
	ISSUE(ctrl_sync_dev(ctrl, cmd(4), 0, CTRL_SYNC_ONLY, 0));
	ISSUE(ctrl_reg_buf(ctrl, cmd(5), 0, STDERR_FILENO, 4096, false));
	ISSUE(ctrl_unreg_buf(ctrl, cmd(6), 0, 0));
	dispatch_until(7);
	check_done(0, 5);
	check_done(1, -EOWNERDEAD);
	check_done(2, -EOWNERDEAD);
	check_done(3, 9);
	check_done(4, GUARD_OP_SYNC);
	check_done(5, -EOWNERDEAD);
	check_done(6, UBLK_U_CMD_UNREG_BUF & 0xff);
	CHECK_EQ(n_deaths, 1);
	CHECK(has_lived(2));
}

static void guard_is_killed(void)
{
	begin_with_guards("0");
	ISSUE(ctrl_stop_dev(ctrl, cmd(0), 0, false, 100000));
	ISSUE(ctrl_del_dev(ctrl, cmd(1), 0, 0));
	dispatch_until(1);
	CHECK_EQ(kill(ctrl_guard_pid(ctrl), SIGKILL), 0);
	dispatch_until(2);
	check_done(0, -ETIMEDOUT); /* the second one did not answer it either */
	CHECK_EQ(n_deaths, 1);
	CHECK(has_lived(2));
}

static void guards_that_never_get_ready(void)
{
	struct failure f = {0};

	begin_with_guards("100");
	ISSUE(ctrl_del_dev(ctrl, cmd(0), 0, 0));
	dispatch_until(1);
	check_done(0, -EOWNERDEAD);
	CHECK(has_lived(6));
	CHECK_EQ(ctrl_guard_pid(ctrl), 0);
	/* The next start tries again. */
	CHECK_EQ(setenv(DEADLY, "0", 1), 0);
	CHECK_EQ(ctrl_open(ctrl, &f), 0);
	ISSUE(ctrl_del_dev(ctrl, cmd(1), 0, 0));
	dispatch_until(2);
	check_done(1, 5);
}

/* ---- the guard itself, on a fake kernel */

static void begin_driver(void)
{
	int pair[2];

	end();
	driver_reset();
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	guard = -1;
	CHECK_EQ(ctrl_new_connected(pair[0], &ctrl), 0);
	driver_guard_start(pair[1]);
}

static void end_driver(void)
{
	driver_release();
	end();
	driver_guard_join();
	driver_reset();
}

static void real_guard_executes(void)
{
	begin_driver();
	ISSUE(ctrl_get_features(ctrl, cmd(0), 0));
	cmd(1)->info = (struct ublksrv_ctrl_dev_info){.nr_hw_queues = 2,
						      .queue_depth = 4,
						      .max_io_buf_bytes = 4096,
						      .dev_id = UINT32_MAX};
	ISSUE(ctrl_add_dev(ctrl, cmd(1), 0));
	dispatch_until(2);
	check_done(0, 0);
	check_done(1, 0);
	CHECK_EQ(commands[0].cmd.features, driver.features);
	CHECK_EQ(commands[1].cmd.info.dev_id, 0);
	ISSUE(ctrl_get_dev_info(ctrl, cmd(2), 0, 0));
	ISSUE(ctrl_get_queue_affinity(ctrl, cmd(3), 0, 1, 0));
	ISSUE(ctrl_sync_dev(ctrl, cmd(4), 0, CTRL_SYNC_ONLY, 0));
	ISSUE(ctrl_get_dev_info(ctrl, cmd(5), 1, 0));
	ISSUE(ctrl_del_dev(ctrl, cmd(6), 0, 0));
	dispatch_until(7);
	CHECK_EQ(commands[2].cmd.info.queue_depth, 4);
	CHECK_EQ(commands[3].cmd.affinity[0], 1);
	check_done(4, -ENOENT); /* no disk */
	check_done(5, -ENODEV);
	check_done(6, 0);
	CHECK_EQ(fake.params.flags & IORING_SETUP_SQE128, IORING_SETUP_SQE128);
	end_driver();
}

static void pass_time(void)
{
	fake_timeout();
	(void) poll(NULL, 0, 2);
}

static void real_guard_rests(void)
{
	begin_driver();
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int before = atomic_load(&driver_guard_rests);

		/* One that takes its time keeps it up. */
		driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_FEATURES, .late = true};
		ISSUE(ctrl_get_features(ctrl, cmd(i), 0));
		for (unsigned int j = 0; j < 4; j++)
			pass_time();
		CHECK_EQ(atomic_load(&driver_guard_rests), before);
		driver_release();
		dispatch_until(i + 1);
		check_done(i, 0);
		for (unsigned int j = 0; atomic_load(&driver_guard_rests) == before; j++) {
			CHECK(j < 2000);
			pass_time();
		}
	}
	end_driver();
}

/* The command comes in the very turn in which the time is over. */
static void real_guard_is_asked_as_it_rests(void)
{
	for (unsigned int i = 0; i < 20; i++) {
		begin_driver();
		ISSUE(ctrl_get_features(ctrl, cmd(0), 0));
		dispatch_until(1);
		pass_time();
		fake_lock();
		ISSUE(ctrl_get_features(ctrl, cmd(1), 0));
		fake_timeout();
		fake_unlock();
		dispatch_until(2);
		check_done(1, 0);
		end_driver();
	}
}

static void real_guard_maps_memory(void)
{
	int fd, lost;

	begin_driver();
	driver.features |= UBLK_F_SHMEM_ZC;
	cmd(0)->info = (struct ublksrv_ctrl_dev_info){.nr_hw_queues = 1,
						      .queue_depth = 4,
						      .max_io_buf_bytes = 4096,
						      .dev_id = UINT32_MAX,
						      .flags = UBLK_F_SHMEM_ZC};
	ISSUE(ctrl_add_dev(ctrl, cmd(0), 0));
	dispatch_until(1);
	fd = memfd_create("memory", MFD_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 8192), 0);
	CHECK_EQ(pwrite(fd, "m", 1, 0), 1);
	ISSUE(ctrl_reg_buf(ctrl, cmd(1), 0, fd, 8192, false));
	ISSUE(ctrl_reg_buf(ctrl, cmd(2), 0, fd, 4096, true));
	dispatch_until(3);
	check_done(1, 0);
	check_done(2, 1);
	CHECK_EQ(driver.devs[0].memory[0].first, 'm');
	CHECK_EQ(driver.devs[0].memory[1].flags, UBLK_SHMEM_BUF_READ_ONLY);
	ISSUE(ctrl_unreg_buf(ctrl, cmd(3), 0, 0));
	ISSUE(ctrl_unreg_buf(ctrl, cmd(4), 0, 5));
	/* What cannot be mapped. */
	lost = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ISSUE(ctrl_reg_buf(ctrl, cmd(5), 0, lost, 4096, false));
	dispatch_until(6);
	check_done(3, 0);
	check_done(4, -ENOENT);
	CHECK(commands[5].res < 0);
	ISSUE(ctrl_del_dev(ctrl, cmd(6), 0, 0));
	dispatch_until(7);
	check_done(6, 0);
	(void) close(lost);
	(void) close(fd);
	end_driver();
}

static void real_guard_cancels(void)
{
	begin_driver();
	driver.fault = (struct fake_fault){.op = UBLK_U_CMD_GET_FEATURES, .silent = true};
	ISSUE(ctrl_get_features(ctrl, cmd(0), 20000));
	dispatch_until(1);
	check_done(0, -ETIMEDOUT);
	for (int i = 0; i < 1000 && fake_n_held(); i++)
		(void) usleep(1000);
	CHECK_EQ(fake_n_held(), 0);
	CHECK_EQ(driver.n_cancelled, 1);
	end_driver();
}

static void real_guard_many_commands(void)
{
	begin_driver();
	for (unsigned int i = 0; i < MANY; i++)
		ISSUE(ctrl_get_queue_affinity(ctrl, cmd(i), (int) i, i, 0));
	dispatch_until(MANY);
	for (unsigned int i = 0; i < MANY; i++)
		check_done(i, -ENODEV);
	end_driver();
}

static unsigned int starve_opcode;

static enum fake_verdict starving(struct fake_op *op)
{
	op->res = 0;
	if (op->sqe.opcode == IORING_OP_OPENAT)
		op->res = fcntl(0, F_DUPFD_CLOEXEC, 0);
	if (op->sqe.opcode == starve_opcode)
		fake_starve(op);
	return FAKE_ANSWER;
}

static void real_guard_without_sqes(void)
{
	static const unsigned int opcodes[] = {IORING_OP_OPENAT, IORING_OP_FSYNC};

	for (unsigned int i = 0; i < 2; i++) {
		begin_driver();
		starve_opcode = opcodes[i];
		fake.on_op = starving;
		ISSUE(ctrl_sync_dev(ctrl, cmd(0), 0, CTRL_SYNC_ONLY, 0));
		dispatch_until(1);
		check_done(0, -EAGAIN);
		end_driver();
	}
}

static int fail_init(const char *call)
{
	return strcmp(call, "init") == 0 ? -EPERM : 0;
}

static void real_guard_without_a_ring(void)
{
	int pair[2];

	end();
	driver_reset();
	fake.fail = fail_init;
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	CHECK_EQ(ctrl_new_connected(pair[0], &ctrl), 0);
	ISSUE(ctrl_get_features(ctrl, cmd(0), 200000));
	driver_guard_start(pair[1]);
	driver_guard_join();
	dispatch_until(1);
	check_done(0, -EPERM);
	CHECK_EQ(ctrl_ring_error(ctrl), -EPERM);
	end_driver();
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		CASE(features),
		CASE(add),
		CASE(parameters),
		CASE(the_rest),
		CASE(memory),
		CASE(answers_in_another_order),
		CASE(info_by_the_older_form),
		CASE(deadline),
		CASE(deadlines_in_any_order),
		CASE(late_device_is_deleted),
		CASE(late_refusal_is_nothing),
		CASE(more_than_the_socket_takes),
		CASE(waiting_for_the_socket_times_out),
		CASE(done_may_issue_the_next),
		CASE(guard_that_is_gone),
		CASE(guard_without_a_ring),
		CASE(guard_that_talks_nonsense),
		CASE(node_is_missing),
		CASE(program_is_missing),
		CASE(spawned_guard_answers),
		CASE(commands_survive_the_guard),
		CASE(guard_is_killed),
		CASE(guards_that_never_get_ready),
		CASE(real_guard_executes),
		CASE(real_guard_rests),
		CASE(real_guard_is_asked_as_it_rests),
		CASE(real_guard_maps_memory),
		CASE(real_guard_cancels),
		CASE(real_guard_many_commands),
		CASE(real_guard_without_sqes),
		CASE(real_guard_without_a_ring),
	};
	int fd, r;

	if (argc > 1 && strcmp(argv[1], "--guard") == 0)
		return be_a_guard();
	(void) signal(SIGPIPE, SIG_IGN);
	fd = mkstemp(lives);
	if (fd < 0)
		return 1;
	(void) close(fd);
	r = test_run(cases, sizeof(cases) / sizeof(cases[0]));
	end();
	(void) unlink(lives);
	return r;
}
