/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hand-over - a client of AddSharedMemory: no program of the guest can send a file descriptor.
 *
 *	hand-over DEVICE BYTES [huge] [unsealed] [read-only] [file=PATH]
 *
 * Makes a memfd of that size (or opens PATH), hands it over, prints the number that it got and the
 * path by which others can map the same memory, and stays until it is killed. If it is refused, the
 * error's name and text go to stderr, and it exits with 1.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CALL = 1, RETURN = 2, ERROR = 3 };
enum { PATH = 1, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, FDS };

struct message {
	uint8_t data[4096];
	uint32_t len;
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- writing */

static void align(struct message *m, uint32_t n)
{
	while (m->len % n)
		m->data[m->len++] = 0;
}

static void put_u32(struct message *m, uint32_t v)
{
	align(m, 4);
	memcpy(m->data + m->len, &v, sizeof(v));
	m->len += sizeof(v);
}

static void put_bytes(struct message *m, const char *s)
{
	uint32_t n = (uint32_t) strlen(s) + 1;

	memcpy(m->data + m->len, s, n);
	m->len += n;
}

static void put_field(struct message *m, uint8_t code, char type, const char *text, uint32_t number)
{
	const char signature[2] = {type, '\0'};

	align(m, 8);
	m->data[m->len++] = code;
	m->data[m->len++] = 1;
	put_bytes(m, signature);
	if (type == 'u')
		return put_u32(m, number);
	if (type == 'g')
		m->data[m->len++] = (uint8_t) strlen(text);
	else
		put_u32(m, (uint32_t) strlen(text));
	put_bytes(m, text);
}

struct call {
	const char *destination, *path, *interface, *member;
	const char *signature; /* "" or "hb" */
	bool flag;
	int fd; /* -1: none */
};

static void build(struct message *m, const struct call *c, uint32_t serial)
{
	uint32_t body = *c->signature ? 8 : 0, at, len;

	*m = (struct message){.data = {'l', CALL, 0, 1}, .len = 4};
	put_u32(m, body);
	put_u32(m, serial);
	at = m->len;
	put_u32(m, 0);
	put_field(m, PATH, 'o', c->path, 0);
	put_field(m, INTERFACE, 's', c->interface, 0);
	put_field(m, MEMBER, 's', c->member, 0);
	put_field(m, DESTINATION, 's', c->destination, 0);
	if (*c->signature)
		put_field(m, SIGNATURE, 'g', c->signature, 0);
	if (c->fd >= 0)
		put_field(m, FDS, 'u', NULL, 1);
	len = m->len - at - 4;
	memcpy(m->data + at, &len, sizeof(len));
	align(m, 8);
	if (*c->signature) {
		put_u32(m, 0); /* the descriptor's place */
		put_u32(m, c->flag);
	}
}

static void send_message(int sock, const struct message *m, int fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {.iov_base = (void *) (uintptr_t) m->data, .iov_len = m->len};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		h.msg_control = &control;
		h.msg_controllen = sizeof(control);
	}
	if (sendmsg(sock, &h, 0) != (ssize_t) m->len)
		die("sendmsg");
}

/* ---- reading */

static void receive(int sock, void *to, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = read(sock, (char *) to + got, n - got);

		if (r <= 0)
			die("the bus");
		got += (size_t) r;
	}
}

static uint32_t u32_at(const struct message *m, uint32_t at)
{
	uint32_t v;

	memcpy(&v, m->data + at, sizeof(v));
	return v;
}

/* The text or number of a header field; 0: there is none. */
static uint32_t find_field(const struct message *m, uint8_t code)
{
	uint32_t end = 16 + u32_at(m, 12);

	for (uint32_t at = 16; at < end;) {
		char type = (char) m->data[at + 2];
		uint32_t value = at + 4;

		if (m->data[at] == code)
			return value + (type == 's' || type == 'o' ? 4 : 0);
		if (type == 'u')
			at = value + 4;
		else if (type == 'g')
			at = value + 1 + m->data[value] + 1;
		else
			at = value + 4 + u32_at(m, value) + 1;
		at = (at + 7) & ~7U;
	}
	return 0;
}

/* Return: where the body of the answer begins */
static uint32_t wait_answer(int sock, uint32_t serial, struct message *m)
{
	for (;;) {
		uint32_t body, field;

		receive(sock, m->data, 16);
		body = (16 + u32_at(m, 12) + 7) & ~7U;
		if (body + u32_at(m, 4) > sizeof(m->data))
			die("a long message");
		receive(sock, m->data + 16, body - 16 + u32_at(m, 4));
		field = find_field(m, REPLY_SERIAL);
		if (field && u32_at(m, field) == serial)
			return body;
	}
}

static uint32_t call(int sock, uint32_t serial, const struct call *c, struct message *m)
{
	uint32_t body;

	build(m, c, serial);
	send_message(sock, m, c->fd);
	body = wait_answer(sock, serial, m);
	if (m->data[1] == RETURN)
		return body;
	fprintf(stderr, "%s: %s\n", m->data + find_field(m, ERROR_NAME), m->data + body + 4);
	exit(1);
}

static void say(int sock, const char *line, const char *answer)
{
	char buf[256] = "";

	if (write(sock, line, strlen(line)) != (ssize_t) strlen(line))
		die("the bus");
	if (answer &&
	    (read(sock, buf, sizeof(buf) - 1) <= 0 || strncmp(buf, answer, strlen(answer))))
		die("not welcome on the bus");
}

static int connect_bus(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX,
				      .sun_path = "/run/dbus/system_bus_socket"};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || connect(sock, (struct sockaddr *) &address, sizeof(address)) < 0)
		die("the bus");
	if (write(sock, "", 1) != 1)
		die("the bus");
	say(sock, "AUTH EXTERNAL 30\r\n", "OK");
	say(sock, "NEGOTIATE_UNIX_FD\r\n", "AGREE_UNIX_FD");
	say(sock, "BEGIN\r\n", NULL);
	return sock;
}

/* ---- the memory */

static int make_memory(char **options, off_t bytes)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	const char *path = NULL;
	bool sealed = true;
	int fd;

	for (char **o = options; *o; o++) {
		if (strcmp(*o, "huge") == 0)
			flags |= MFD_HUGETLB;
		else if (strcmp(*o, "unsealed") == 0)
			sealed = false;
		else if (strncmp(*o, "file=", 5) == 0)
			path = *o + 5;
	}
	fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : memfd_create("pool", flags);
	if (fd < 0 || ftruncate(fd, bytes) < 0)
		die("the memory");
	if (!path && sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		die("seal");
	return fd;
}

int main(int argc, char **argv)
{
	struct call hello = {.destination = "org.freedesktop.DBus",
			     .path = "/org/freedesktop/DBus",
			     .interface = "org.freedesktop.DBus",
			     .member = "Hello",
			     .signature = "",
			     .fd = -1};
	struct call add = {.destination = "org.ublkd1",
			   .interface = "org.ublkd1.Device",
			   .member = "AddSharedMemory",
			   .signature = "hb"};
	struct message m;
	char path[256];
	int sock;

	if (argc < 3)
		return 2;
	(void) snprintf(path, sizeof(path), "/org/ublkd1/device/%s", argv[1]);
	add.path = path;
	add.fd = make_memory(argv + 3, (off_t) strtoll(argv[2], NULL, 0));
	for (int i = 3; i < argc; i++)
		add.flag |= strcmp(argv[i], "read-only") == 0;
	sock = connect_bus();
	(void) call(sock, 1, &hello, &m);
	printf("%u /proc/%d/fd/%d\n", (unsigned int) u32_at(&m, call(sock, 2, &add, &m)),
	       (int) getpid(), add.fd);
	(void) fflush(stdout);
	(void) pause();
	return 0;
}
