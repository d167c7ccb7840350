/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * failing-bus - ublkd whose calls of sd-bus fail: linked with the program (meson.build), told by
 * the file that UBLKD_TEST_FAIL names, which the test has mapped, too. See fail-nth.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

enum { CALLS_MAX = 64 };

struct orders {
	_Atomic uint32_t at; /* this call fails; 0: none */
	_Atomic uint32_t for_ever; /* and all after it */
	_Atomic uint32_t n_failed;
	_Atomic uint32_t n; /* calls so far */
	char only[64]; /* those of this name count; "": all */
	struct {
		char name[60];
		_Atomic uint32_t n;
	} calls[CALLS_MAX]; /* the calls so far, by name */
};

static struct orders none, *orders = &none;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void map_orders(void)
{
	const char *path = getenv("UBLKD_TEST_FAIL");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		orders = p;
	(void) close(fd);
}

/* The main thread is the only one that calls. */
static void note(const char *call)
{
	unsigned int i = 0;

	while (i < CALLS_MAX - 1 && *orders->calls[i].name &&
	       strcmp(orders->calls[i].name, call) != 0)
		i++;
	(void) snprintf(orders->calls[i].name, sizeof(orders->calls[i].name), "%s", call);
	orders->calls[i].n++;
}

static int fails(const char *call)
{
	uint32_t n, at;

	(void) pthread_once(&once, map_orders);
	note(call);
	if (*orders->only && strcmp(orders->only, call) != 0)
		return 0;
	at = orders->at;
	n = ++orders->n;
	if (!at || n < at || (n > at && !orders->for_ever))
		return 0;
	orders->n_failed++;
	return 1;
}

#define WRAP(name, params, ...)                                                                    \
	int __real_##name params;                                                                  \
	int __wrap_##name params;                                                                  \
	int __wrap_##name params                                                                   \
	{                                                                                          \
		return fails(#name) ? -ENOMEM : __real_##name(__VA_ARGS__);                        \
	}                                                                                          \
	struct swallow_semicolon

typedef sd_bus_message message;

WRAP(sd_bus_new, (sd_bus * *ret), ret);
WRAP(sd_bus_set_address, (sd_bus * b, const char *a), b, a);
WRAP(sd_bus_set_bus_client, (sd_bus * b, int on), b, on);
WRAP(sd_bus_negotiate_creds, (sd_bus * b, int on, uint64_t mask), b, on, mask);
WRAP(sd_bus_set_watch_bind, (sd_bus * b, int on), b, on);
WRAP(sd_bus_start, (sd_bus * b), b);
WRAP(sd_bus_attach_event, (sd_bus * b, sd_event *e, int priority), b, e, priority);
WRAP(sd_bus_add_object_manager, (sd_bus * b, sd_bus_slot **s, const char *path), b, s, path);
WRAP(sd_bus_add_object_vtable,
     (sd_bus * b, sd_bus_slot **s, const char *path, const char *interface,
      const sd_bus_vtable *vtable, void *userdata),
     b, s, path, interface, vtable, userdata);
WRAP(sd_bus_add_fallback_vtable,
     (sd_bus * b, sd_bus_slot **s, const char *prefix, const char *interface,
      const sd_bus_vtable *vtable, sd_bus_object_find_t find, void *userdata),
     b, s, prefix, interface, vtable, find, userdata);
WRAP(sd_bus_add_node_enumerator,
     (sd_bus * b, sd_bus_slot **s, const char *path, sd_bus_node_enumerator_t callback,
      void *userdata),
     b, s, path, callback, userdata);
WRAP(sd_bus_match_signal,
     (sd_bus * b, sd_bus_slot **s, const char *sender, const char *path, const char *interface,
      const char *member, sd_bus_message_handler_t callback, void *userdata),
     b, s, sender, path, interface, member, callback, userdata);
WRAP(sd_bus_match_signal_async,
     (sd_bus * b, sd_bus_slot **s, const char *sender, const char *path, const char *interface,
      const char *member, sd_bus_message_handler_t callback, sd_bus_message_handler_t installed,
      void *userdata),
     b, s, sender, path, interface, member, callback, installed, userdata);
WRAP(sd_bus_request_name_async,
     (sd_bus * b, sd_bus_slot **s, const char *name, uint64_t flags,
      sd_bus_message_handler_t callback, void *userdata),
     b, s, name, flags, callback, userdata);
WRAP(sd_bus_emit_object_added, (sd_bus * b, const char *path), b, path);
WRAP(sd_bus_emit_object_removed, (sd_bus * b, const char *path), b, path);
WRAP(sd_bus_emit_properties_changed_strv,
     (sd_bus * b, const char *path, const char *interface, char **names), b, path, interface,
     names);
WRAP(sd_bus_send, (sd_bus * b, message *m, uint64_t *cookie), b, m, cookie);
WRAP(sd_bus_path_encode, (const char *prefix, const char *id, char **ret), prefix, id, ret);
WRAP(sd_bus_path_decode, (const char *path, const char *prefix, char **ret), path, prefix, ret);
WRAP(sd_bus_reply_method_errno, (message * m, int error, const sd_bus_error *e), m, error, e);
WRAP(sd_bus_message_new, (sd_bus * b, message **m, uint8_t type), b, m, type);
WRAP(sd_bus_message_new_method_return, (message * call, message **m), call, m);
WRAP(sd_bus_message_seal, (message * m, uint64_t cookie, uint64_t timeout), m, cookie, timeout);
WRAP(sd_bus_message_rewind, (message * m, int all), m, all);
WRAP(sd_bus_message_skip, (message * m, const char *types), m, types);
WRAP(sd_bus_message_peek_type, (message * m, char *type, const char **contents), m, type, contents);
WRAP(sd_bus_message_read_basic, (message * m, char type, void *p), m, type, p);
WRAP(sd_bus_message_append_basic, (message * m, char type, const void *p), m, type, p);
WRAP(sd_bus_message_append_array, (message * m, char type, const void *p, size_t n), m, type, p, n);
WRAP(sd_bus_message_open_container, (message * m, char type, const char *contents), m, type,
     contents);
WRAP(sd_bus_message_close_container, (message * m), m);
WRAP(sd_bus_message_enter_container, (message * m, char type, const char *contents), m, type,
     contents);
WRAP(sd_bus_message_exit_container, (message * m), m);

/* Those with any number of arguments: by their sisters that take a list. */
#define WRAP_LIST(name, params, last, sister, ...)                                                 \
	int __wrap_##name params;                                                                  \
	int __wrap_##name params                                                                   \
	{                                                                                          \
		va_list ap;                                                                        \
		int r;                                                                             \
                                                                                                   \
		if (fails(#name))                                                                  \
			return -ENOMEM;                                                            \
		va_start(ap, last);                                                                \
		r = sister(__VA_ARGS__, ap);                                                       \
		va_end(ap);                                                                        \
		return r;                                                                          \
	}                                                                                          \
	struct swallow_semicolon

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
WRAP_LIST(sd_bus_message_append, (message * m, const char *types, ...), types,
	  sd_bus_message_appendv, m, types);
WRAP_LIST(sd_bus_message_read, (message * m, const char *types, ...), types, sd_bus_message_readv,
	  m, types);
WRAP_LIST(sd_bus_reply_method_return, (message * m, const char *types, ...), types,
	  sd_bus_reply_method_returnv, m, types);
WRAP_LIST(sd_bus_reply_method_errorf, (message * m, const char *name, const char *fmt, ...), fmt,
	  sd_bus_reply_method_errorfv, m, name, fmt);
WRAP_LIST(sd_bus_emit_signal,
	  (sd_bus * b, const char *path, const char *interface, const char *member,
	   const char *types, ...),
	  types, sd_bus_emit_signalv, b, path, interface, member, types);
#pragma GCC diagnostic pop
