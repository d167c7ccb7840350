/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus - the connection, the name org.ublkd1, and the news of the manager as signals.
 *
 * 1. Nothing here fails the daemon after bus_new(): without bus or name a timer tries again.
 * 2. The objects are there before the name is asked for: who sees the name sees all of them.
 * 3. Nothing is sent while there is no connection; sd-bus would queue it for the next one.
 *
 * sd-bus watches for the socket to be bound, which covers a broker that starts later. It does not
 * cover one that refuses us, or is bound and does not listen yet; hence the timer runs whenever we
 * are without the name. A new try drops the old connection with all of its slots.
 */
#include <assert.h>
#include <errno.h>
#include <search.h>
#include <string.h>
#include <time.h>

#include "bus/bus-internal.h"
#include "device/manager.h"
#include "util/log.h"

#define ADDRESS_DEFAULT "unix:path=/run/dbus/system_bus_socket"
#define BROKER_TIMEOUT_USEC (5 * UINT64_C(1000000))
#define RETRY_MIN_USEC (500 * 1000ULL)
#define RETRY_MAX_USEC (30 * 1000 * 1000ULL)

/* Replies to our request for the name, of the D-Bus specification. */
enum {
	NAME_PRIMARY_OWNER = 1,
	NAME_ALREADY_OWNER = 4,
};

bool bus_is_connected(const struct bus *b)
{
	return b->sd && sd_bus_is_ready(b->sd) > 0;
}

/* ---- devices as the bus knows them */

static int compare_names(const void *a, const void *b)
{
	const struct bus_device *x = a, *y = b;

	return strcmp(x->name, y->name);
}

struct bus_device *bus_find(struct bus *b, const char *name)
{
	const struct bus_device key = {.name = (char *) name};
	struct bus_device **found = tfind(&key, &b->devices, compare_names);

	return found ? *found : NULL;
}

static struct bus_device *bus_device_free(struct bus_device *bd)
{
	if (!bd)
		return NULL;
	if (list_linked(&bd->link)) {
		list_remove(&bd->link);
		(void) tdelete(bd, &bd->bus->devices, compare_names);
	}
	bus_shown_free(bus_device_vtable, bd->shown);
	free(bd->name);
	free(bd->path);
	free(bd);
	return NULL;
}

DEFINE_CLEANUP(struct bus_device *, bus_device_free);

static int bus_device_new(struct bus *b, struct device *d, struct bus_device **ret)
{
	_cleanup_(bus_device_freep) struct bus_device *bd = calloc(1, sizeof(*bd));
	int r;

	if (!bd)
		return -ENOMEM;
	bd->bus = b;
	bd->device = d;
	bd->name = strdup(device_get_name(d));
	if (!bd->name)
		return -ENOMEM;
	r = bus_device_path(bd->name, &bd->path);
	if (r < 0)
		return r;
	if (!tsearch(bd, &b->devices, compare_names))
		return -ENOMEM;
	list_append(&b->device_list, &bd->link);
	*ret = TAKE_PTR(bd);
	return 0;
}

/* ---- news of the manager */

static void announce(struct bus *b, const struct bus_device *bd, const char *signal,
		     int (*emit_object)(sd_bus *sd, const char *path))
{
	int r;

	if (!bus_is_connected(b))
		return;
	r = emit_object(b->sd, bd->path);
	if (r >= 0)
		r = sd_bus_emit_signal(b->sd, BUS_MANAGER_PATH, BUS_MANAGER_INTERFACE, signal, "so",
				       bd->name, bd->path);
	if (r < 0)
		log_debug("D-Bus: cannot send %s for %s: %s", signal, bd->name, strerror(-r));
}

static void on_device_new(void *arg, struct device *d)
{
	struct bus_device *bd;
	struct bus *b = arg;
	int r;

	r = bus_device_new(b, d, &bd);
	if (r < 0) {
		log_full(LOG_WARNING, r, device_get_name(d), NULL, 0, "not visible on D-Bus: %s",
			 strerror(-r));
		return;
	}
	announce(b, bd, "DeviceNew", sd_bus_emit_object_added);
	/* What InterfacesAdded told is not to be told again: remember it, in silence. */
	bus_properties_remember(b, bd->path, BUS_DEVICE_INTERFACE, bus_device_vtable, bd,
				&bd->shown);
}

static void on_device_changed(void *arg, struct device *d)
{
	struct bus_device *bd = bus_find(arg, device_get_name(d));

	if (bd)
		bus_properties_changed(arg, bd->path, BUS_DEVICE_INTERFACE, bus_device_vtable, bd,
				       &bd->shown);
}

static void on_device_removed(void *arg, const char *name)
{
	_cleanup_(bus_device_freep) struct bus_device *bd = bus_find(arg, name);

	/* The object must still be found to list its interfaces; its properties are not read. */
	if (bd)
		announce(arg, bd, "DeviceRemoved", sd_bus_emit_object_removed);
}

static void on_manager_changed(void *arg)
{
	struct bus *b = arg;

	bus_properties_changed(b, BUS_MANAGER_PATH, BUS_MANAGER_INTERFACE, bus_manager_vtable, b,
			       &b->shown);
}

static const struct manager_listener listener = {
	.device_new = on_device_new,
	.device_changed = on_device_changed,
	.device_removed = on_device_removed,
	.manager_changed = on_manager_changed,
};

/* ---- the name */

static void retry_later(struct bus *b)
{
	int r;

	r = sd_event_source_set_time_relative(b->retry, b->retry_usec);
	if (r >= 0)
		r = sd_event_source_set_enabled(b->retry, SD_EVENT_ONESHOT);
	if (r < 0)
		log_warning("D-Bus: cannot set the timer of the next try: %s", strerror(-r));
	b->retry_usec *= 2;
	if (b->retry_usec > RETRY_MAX_USEC)
		b->retry_usec = RETRY_MAX_USEC;
}

static void complain(struct bus *b, const char *why)
{
	if (!b->complained)
		log_warning("D-Bus: the name " BUS_NAME " is not ours, trying on: %s", why);
	b->complained = true;
}

static void name_acquired(struct bus *b)
{
	b->has_name = true;
	b->retry_usec = RETRY_MIN_USEC;
	(void) sd_event_source_set_enabled(b->retry, SD_EVENT_OFF);
	if (b->complained)
		log_info("D-Bus: the name " BUS_NAME " is ours now");
	b->complained = false;
}

static int on_name_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus *b = userdata;
	uint32_t answer;

	b->name_call = sd_bus_slot_unref(b->name_call);
	if (sd_bus_message_is_method_error(m, NULL)) {
		/* Of a connection that ended: on_disconnected() has its own words for that. */
		if (bus_is_connected(b))
			complain(b, sd_bus_message_get_error(m)->message);
		return 0;
	}
	if (sd_bus_message_read_basic(m, 'u', &answer) < 0)
		complain(b, "the broker's answer makes no sense");
	else if (answer == NAME_PRIMARY_OWNER || answer == NAME_ALREADY_OWNER)
		name_acquired(b);
	else
		complain(b, "another program has it");
	return 0;
}

static int request_name(struct bus *b)
{
	return sd_bus_request_name_async(b->sd, &b->name_call, BUS_NAME, 0, on_name_reply, b);
}

static int on_name_lost(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus *b = userdata;
	const char *name;

	if (sd_bus_message_read_basic(m, 's', &name) < 0 || strcmp(name, BUS_NAME) != 0)
		return 0;
	b->has_name = false;
	complain(b, "it was taken from us");
	retry_later(b);
	return 0;
}

/* ---- the connection */

static int on_match_installed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	if (sd_bus_message_is_method_error(m, NULL))
		log_debug("D-Bus: loss of the name will not be noticed: %s",
			  sd_bus_message_get_error(m)->message);
	return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus *b = userdata;

	if (sd_bus_message_get_bus(m) != b->sd)
		return 0;
	complain(b, b->has_name ? "the bus is gone" : "the bus closed the connection");
	b->has_name = false;
	retry_later(b);
	return 0;
}

int bus_export(struct bus *b, sd_bus *sd)
{
	int r;

	r = sd_bus_add_object_manager(sd, NULL, BUS_MANAGER_PATH);
	if (r < 0)
		return r;
	r = sd_bus_add_object_vtable(sd, NULL, BUS_MANAGER_PATH, BUS_MANAGER_INTERFACE,
				     bus_manager_vtable, b);
	if (r < 0)
		return r;
	r = sd_bus_add_fallback_vtable(sd, NULL, BUS_DEVICE_PREFIX, BUS_DEVICE_INTERFACE,
				       bus_device_vtable, bus_device_find, b);
	if (r < 0)
		return r;
	r = sd_bus_add_node_enumerator(sd, NULL, BUS_DEVICE_PREFIX, bus_device_enumerate, b);
	if (r < 0)
		return r;
	return sd_bus_add_object_vtable(sd, NULL, "/org/freedesktop/LogControl1",
					"org.freedesktop.LogControl1", bus_logcontrol_vtable, b);
}

static int configure(sd_bus *sd)
{
	const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
	int r;

	r = sd_bus_set_address(sd, address && *address ? address : ADDRESS_DEFAULT);
	if (r < 0)
		return r;
	r = sd_bus_set_bus_client(sd, true);
	if (r < 0)
		return r;
	r = sd_bus_negotiate_creds(
		sd, true, SD_BUS_CREDS_UID | SD_BUS_CREDS_EUID | SD_BUS_CREDS_EFFECTIVE_CAPS);
	if (r < 0)
		return r;
	/* sd-bus asks the broker who a caller is, and waits: not so long that the service manager's
	 * watchdog takes us for hanging when it is the broker that hangs. */
	r = sd_bus_set_method_call_timeout(sd, BROKER_TIMEOUT_USEC);
	if (r < 0)
		return r;
	return sd_bus_set_watch_bind(sd, true);
}

static int watch(struct bus *b, sd_bus *sd)
{
	int r;

	r = sd_bus_match_signal(sd, NULL, "org.freedesktop.DBus.Local",
				"/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
				"Disconnected", on_disconnected, b);
	if (r < 0)
		return r;
	return sd_bus_match_signal_async(sd, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
					 "org.freedesktop.DBus", "NameLost", on_name_lost,
					 on_match_installed, b);
}

static void disconnect(struct bus *b)
{
	b->has_name = false;
	b->name_call = sd_bus_slot_unref(b->name_call);
	if (b->sd)
		(void) sd_bus_detach_event(b->sd);
	b->sd = sd_bus_close_unref(b->sd);
}

static int try_connect(struct bus *b)
{
	int r;

	disconnect(b);
	r = sd_bus_new(&b->sd);
	if (r < 0)
		return r;
	r = configure(b->sd);
	if (r < 0)
		return r;
	r = sd_bus_start(b->sd);
	if (r < 0)
		return r;
	r = bus_export(b, b->sd);
	if (r < 0)
		return r;
	r = watch(b, b->sd);
	if (r < 0)
		return r;
	r = request_name(b);
	if (r < 0)
		return r;
	return sd_bus_attach_event(b->sd, b->event, SD_EVENT_PRIORITY_NORMAL);
}

static void connect_or_retry(struct bus *b)
{
	int r;

	r = try_connect(b);
	if (r < 0) {
		disconnect(b);
		complain(b, strerror(-r));
	}
	retry_later(b);
}

/* Still no name. A working connection only has to ask again, anything else is begun anew. */
static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct bus *b = userdata;
	int r;

	if (!bus_is_connected(b)) {
		connect_or_retry(b);
		return 0;
	}
	if (!b->name_call) {
		r = request_name(b);
		if (r < 0)
			complain(b, strerror(-r));
	}
	retry_later(b);
	return 0;
}

/* ---- life */

struct bus *bus_free(struct bus *b)
{
	struct bus_device *bd, *next;

	if (!b)
		return NULL;
	if (b->manager)
		manager_set_listener(b->manager, NULL, NULL);
	bus_calls_abandon(b);
	sd_event_source_disable_unref(b->retry);
	disconnect(b);
	list_for_each (bd, next, &b->device_list, link)
		bus_device_free(bd);
	bus_shown_free(bus_manager_vtable, b->shown);
	sd_event_unref(b->event);
	free(b);
	return NULL;
}

DEFINE_CLEANUP(struct bus *, bus_free);

int bus_new(sd_event *event, struct manager *manager, struct bus **ret)
{
	_cleanup_(bus_freep) struct bus *b = calloc(1, sizeof(*b));
	int r;

	assert(event && manager);
	if (!b)
		return -ENOMEM;
	list_init(&b->device_list);
	list_init(&b->calls);
	b->event = sd_event_ref(event);
	b->retry_usec = RETRY_MIN_USEC;
	r = sd_event_add_time_relative(event, &b->retry, CLOCK_MONOTONIC, RETRY_MIN_USEC, 0,
				       on_retry, b);
	if (r < 0)
		return r;
	b->manager = manager;
	connect_or_retry(b);
	manager_set_listener(manager, &listener, b);
	for (struct device *d = manager_next(manager, NULL); d; d = manager_next(manager, d))
		on_device_new(b, d);
	bus_properties_remember(b, BUS_MANAGER_PATH, BUS_MANAGER_INTERFACE, bus_manager_vtable, b,
				&b->shown);
	*ret = TAKE_PTR(b);
	return 0;
}
