/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-call - method calls that are answered when the work is done. A struct bus_call keeps the
 * message until then.
 *
 * 1. Every accepted call is answered once. What it started may go on after that.
 * 2. A call lives until its device_wait or device_pool_call was told, even if the bus is gone by
 * then.
 * 3. The manager's listeners hear of a change before the waits do, so that the properties are on
 * the bus before the reply is.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "device/manager.h"
#include "util/log.h"

struct bus_call {
	struct bus *bus; /* NULL: the bus is gone, nobody is told */
	struct list link; /* bus->calls */
	struct device_wait wait;
	struct device_pool_call pool; /* instead of it, where memory is handed over */
	enum bus_verb verb;
	bool no_block; /* answered at the beginning; tell by signal */
	char *name, *path; /* of the device */
	sd_bus_message *message; /* a reference; NULL once it is answered */
};

static struct bus_call *call_free(struct bus_call *c)
{
	if (!c)
		return NULL;
	assert(!list_linked(&c->wait.link));
	if (list_linked(&c->link)) {
		list_remove(&c->link);
		c->bus->n_calls--;
	}
	sd_bus_message_unref(c->message);
	free(c->name);
	free(c->path);
	free(c);
	return NULL;
}

DEFINE_CLEANUP(struct bus_call *, call_free);

static const char *verb_name(enum bus_verb verb)
{
	static const char *const names[] = {
		[BUS_ADD] = "add",
		[BUS_START] = "start",
		[BUS_STOP] = "stop",
		[BUS_DELETE] = "delete",
		[BUS_ADD_MEMORY] = "add memory",
		[BUS_REMOVE_MEMORY] = "remove memory",
	};

	return names[verb];
}

/* @r: of the reply. Who called must not wait for one that could not be made. */
static void call_replied(struct bus_call *c, int r)
{
	if (r < 0)
		(void) sd_bus_reply_method_errno(c->message, r, NULL);
}

/* @f: NULL on success */
static void call_answer(struct bus_call *c, const struct failure *f)
{
	char name[BUS_ERROR_NAME_MAX], text[sizeof(f->text) + 64] = "";
	const char *error_name = "";
	int r = 0;

	if (f) {
		error_name = bus_failure_name(f->kind, name);
		bus_failure_text(f, c->name, text, sizeof(text));
	}
	if (c->message) {
		if (f)
			r = sd_bus_reply_method_errorf(c->message, error_name, "%s", text);
		else if (c->verb == BUS_ADD)
			r = sd_bus_reply_method_return(c->message, "o", c->path);
		else if (c->verb == BUS_ADD_MEMORY)
			r = sd_bus_reply_method_return(c->message, "u", c->pool.index);
		else
			r = sd_bus_reply_method_return(c->message, NULL);
		call_replied(c, r);
		c->message = sd_bus_message_unref(c->message);
	}
	if (c->no_block && bus_is_connected(c->bus))
		r = sd_bus_emit_signal(c->bus->sd, BUS_MANAGER_PATH, BUS_MANAGER_INTERFACE,
				       "OperationFinished", "osss", c->path, verb_name(c->verb),
				       error_name, text);
	if (r < 0)
		log_debug("D-Bus: nobody heard that %s of %s %s%s: %s", verb_name(c->verb), c->name,
			  f ? "failed, " : "succeeded", text, strerror(-r));
}

static void call_done(struct device_wait *w, const struct failure *f)
{
	_cleanup_(call_freep) struct bus_call *c = container_of(w, struct bus_call, wait);
	struct failure failure = {}, ignored = {};
	struct device *d;
	int r;

	if (!c->bus)
		return;
	if (f)
		failure = *f; /* it may be part of the device, which may go away now */

	/* Gone already if its file is, too: the manager forgets such a device when it stops. */
	d = manager_find(c->bus->manager, c->name);
	if (d && f && c->verb == BUS_ADD) {
		/* Still at work after a timeout: forgotten as soon as that ends. */
		(void) manager_delete(c->bus->manager, d, &ignored);
	} else if (d && !f && c->verb == BUS_DELETE) {
		r = manager_delete(c->bus->manager, d, &failure);
		if (r < 0)
			(void) failure_set(&failure, FAILURE_NO_MEMORY, r, "cannot be deleted");
	}
	call_answer(c, failure_is_set(&failure) ? &failure : NULL);
}

static void call_pool_done(struct device_pool_call *pool, const struct failure *f)
{
	_cleanup_(call_freep) struct bus_call *c = container_of(pool, struct bus_call, pool);

	if (c->bus)
		call_answer(c, f);
}

static int call_new(struct bus *b, sd_bus_message *m, enum bus_verb verb, struct device *d,
		    bool no_block, struct bus_call **ret)
{
	_cleanup_(call_freep) struct bus_call *c = NULL;
	int r;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->wait.done = call_done;
	c->pool.done = call_pool_done;
	c->verb = verb;
	c->no_block = no_block;
	c->name = strdup(device_get_name(d));
	if (!c->name)
		return -ENOMEM;
	r = bus_device_path(c->name, &c->path);
	if (r < 0)
		return r;
	c->message = sd_bus_message_ref(m);
	c->bus = b;
	list_append(&b->calls, &c->link);
	b->n_calls++;
	*ret = TAKE_PTR(c);
	return 0;
}

int bus_call_check_room(struct bus *b, sd_bus_error *error)
{
	if (b->n_calls < BUS_CALLS_MAX)
		return 0;
	return bus_set_errorf(error, FAILURE_LIMITS_EXCEEDED,
			      "%d operations are under way; wait for one of them", BUS_CALLS_MAX);
}

/* Return: 1 if the call waits now, 0 if it is done, negative if it was refused. */
static int call_begin(struct bus_call *c, struct device *d, const struct bus_options *o,
		      struct failure *f)
{
	const struct device_stop_options stop = {.force = o->force,
						 .timeout_usec = o->timeout_usec};
	struct device_status st = {};
	int r = -EINVAL;

	switch (c->verb) {
	case BUS_ADD:
	case BUS_START:
		r = device_start(d, o->timeout_usec, &c->wait, f);
		break;
	case BUS_DELETE:
		device_get_status(d, &st);
		if (st.state == DEVICE_DEFINED || st.state == DEVICE_FAILED)
			return manager_delete(c->bus->manager, d, f);
		r = device_stop(d, &stop, &c->wait, f);
		break;
	case BUS_STOP:
		r = device_stop(d, &stop, &c->wait, f);
		break;
	case BUS_ADD_MEMORY:
		r = device_add_pool(d, o->memory, o->read_only, &c->pool, f);
		break;
	case BUS_REMOVE_MEMORY:
		r = device_remove_pool(d, o->index, &c->pool, f);
		break;
	}
	return r < 0 ? r : 1;
}

int bus_call_run(struct bus *b, sd_bus_message *m, enum bus_verb verb, struct device *d,
		 const struct bus_options *o, sd_bus_error *error)
{
	_cleanup_(call_freep) struct bus_call *c = NULL;
	struct failure f = {};
	int r;

	r = bus_call_check_room(b, error);
	if (r < 0)
		return r;
	r = call_new(b, m, verb, d, o->no_block, &c);
	if (r < 0)
		return r;

	r = call_begin(c, d, o, &f);
	if (r < 0)
		return bus_set_failure(error, c->name, &f);
	if (c->no_block) {
		call_replied(c, sd_bus_reply_method_return(c->message, NULL));
		c->message = sd_bus_message_unref(c->message);
	}
	if (r == 0)
		call_answer(c, NULL);
	else
		TAKE_PTR(c); /* call_done() frees it */
	return 1;
}

void bus_calls_abandon(struct bus *b)
{
	struct failure f = {};
	struct bus_call *c, *next;

	(void) failure_set(&f, FAILURE_SHUTTING_DOWN, ESHUTDOWN, "ublkd is shutting down");
	list_for_each (c, next, &b->calls, link) {
		call_answer(c, &f);
		list_remove(&c->link);
		c->bus = NULL;
	}
	b->n_calls = 0;
}

/* ---- options */

/* Longer than any wait; leaves room to add the clock to it. */
#define FOREVER_USEC (100ULL * 365 * 24 * 3600 * 1000 * 1000)

static int read_option(sd_bus_message *m, unsigned int allowed, struct bus_options *o,
		       sd_bus_error *error)
{
	static const struct {
		const char *key;
		unsigned int bit;
		const char *type;
	} known[] = {
		{"no-block", BUS_OPTION_NO_BLOCK, "b"},
		{"timeout-usec", BUS_OPTION_TIMEOUT, "t"},
		{"wait-udev", BUS_OPTION_WAIT_UDEV, "b"},
		{"mode", BUS_OPTION_MODE, "s"},
	};
	const char *key, *type, *s;
	unsigned int bit = 0;
	uint64_t t;
	int r, b;

	r = sd_bus_message_read_basic(m, 's', &key);
	if (r < 0)
		return r;
	r = sd_bus_message_peek_type(m, NULL, &type);
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!(known[i].bit & allowed) || strcmp(known[i].key, key) != 0)
			continue;
		if (strcmp(known[i].type, type) != 0)
			return bus_set_argsf(error, "option '%s' is of type %s, not %.16s", key,
					     known[i].type, type);
		bit = known[i].bit;
	}

	switch (bit) {
	case BUS_OPTION_NO_BLOCK:
		r = sd_bus_message_read(m, "v", "b", &b);
		o->no_block = b;
		return r;
	case BUS_OPTION_TIMEOUT:
		r = sd_bus_message_read(m, "v", "t", &t);
		if (r < 0)
			return r;
		o->timeout_usec = t < FOREVER_USEC ? t : FOREVER_USEC;
		return r;
	case BUS_OPTION_WAIT_UDEV: /* reserved: a started device is not waited for in udev yet */
		return sd_bus_message_skip(m, "v");
	case BUS_OPTION_MODE:
		r = sd_bus_message_read(m, "v", "s", &s);
		if (r < 0)
			return r;
		o->force = strcmp(s, "force") == 0;
		if (!o->force && strcmp(s, "safe") != 0)
			return bus_set_argsf(error, "mode '%.64s' is neither safe nor force", s);
		return r;
	default:
		return bus_set_argsf(error, "this method has no option '%.64s'", key);
	}
}

int bus_read_options(sd_bus_message *m, unsigned int allowed, struct bus_options *ret,
		     sd_bus_error *error)
{
	struct bus_options o = {};
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = read_option(m, allowed, &o, error);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret = o;
	return sd_bus_message_exit_container(m);
}
