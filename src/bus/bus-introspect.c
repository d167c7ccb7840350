/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-introspect - what `busctl introspect` would be told of an object, without bus or daemon: two
 * connections over a socket pair, our objects at one end, a call of Introspect at the other. There
 * is no manager; a well-formed device path exists, whatever the device.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-id128.h>

#include "bus/bus-internal.h"

struct answer {
	char *xml;
	int error; /* 0 or -errno */
	bool done;
};

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct answer *a = userdata;
	const char *xml;

	a->done = true;
	if (sd_bus_message_is_method_error(m, NULL)) {
		a->error = -ENOENT;
		return 0;
	}
	a->error = sd_bus_message_read_basic(m, 's', &xml);
	if (a->error <= 0)
		return 0;
	a->error = 0;
	a->xml = strdup(xml);
	if (!a->xml)
		a->error = -ENOMEM;
	return 0;
}

static int connect_end(int fd, bool server, sd_bus **ret)
{
	_cleanup_(sd_bus_unrefp) sd_bus *sd = NULL;
	_cleanup_close_ int owned = fd;
	sd_id128_t id;
	int r;

	r = sd_bus_new(&sd);
	if (r < 0)
		return r;
	r = sd_bus_set_fd(sd, owned, owned);
	if (r < 0)
		return r;
	TAKE_FD(owned); /* of the connection now */
	if (server) {
		r = sd_id128_randomize(&id);
		if (r < 0)
			return r;
		r = sd_bus_set_server(sd, 1, id);
		if (r < 0)
			return r;
	}
	r = sd_bus_set_anonymous(sd, 1);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(sd);
	return 0;
}

static int exchange(sd_bus *server, sd_bus *client, const char *path, struct answer *a)
{
	int r, progress;

	r = sd_bus_call_method_async(client, NULL, NULL, path,
				     "org.freedesktop.DBus.Introspectable", "Introspect", on_answer,
				     a, NULL);
	if (r < 0)
		return r;
	while (!a->done) {
		progress = sd_bus_process(server, NULL);
		if (progress < 0)
			return progress;
		r = sd_bus_process(client, NULL);
		if (r < 0)
			return r;
		if (r == 0 && progress == 0) {
			r = sd_bus_wait(server, 10 * 1000);
			if (r < 0)
				return r;
		}
	}
	return a->error;
}

/* Only what is ours, and no names of children: those are the devices there happen to be. */
static void print_own(char *xml)
{
	static const char standard[] = "<interface name=\"org.freedesktop.DBus.";
	bool skip = false;
	char *save, *line;

	for (line = strtok_r(xml, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *tag = line + strspn(line, " ");

		if (strncmp(tag, standard, strlen(standard)) == 0)
			skip = true;
		if (!skip && strncmp(tag, "<node name=", strlen("<node name=")) != 0)
			(void) printf("%s\n", line);
		if (strncmp(tag, "</interface>", strlen("</interface>")) == 0)
			skip = false;
	}
}

static bool has_own(const char *xml)
{
	return strstr(xml, "<interface name=\"org.ublkd1.") ||
	       strstr(xml, "<interface name=\"org.freedesktop.LogControl1\"");
}

int bus_introspect(const char *path)
{
	_cleanup_(sd_bus_unrefp) sd_bus *server = NULL, *client = NULL;
	_cleanup_close_ int server_fd = -1, client_fd = -1;
	_cleanup_free_ char *xml = NULL;
	struct answer a = {};
	struct bus b = {};
	int fds[2], r;

	if (!sd_bus_object_path_is_valid(path))
		return -ENOENT;
	list_init(&b.device_list);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	server_fd = fds[0];
	client_fd = fds[1];
	r = connect_end(TAKE_FD(server_fd), true, &server);
	if (r < 0)
		return r;
	r = connect_end(TAKE_FD(client_fd), false, &client);
	if (r < 0)
		return r;
	r = bus_export(&b, server);
	if (r < 0)
		return r;
	r = sd_bus_start(server);
	if (r < 0)
		return r;
	r = sd_bus_start(client);
	if (r < 0)
		return r;

	r = exchange(server, client, path, &a);
	xml = a.xml;
	if (r < 0)
		return r;
	if (!xml || !has_own(xml))
		return -ENOENT;
	print_own(xml);
	return fflush(stdout) == 0 ? 0 : -errno;
}
