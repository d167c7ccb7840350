/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-internal - what the files of bus/ share. Main thread only.
 *
 *   bus.c             the connection, the name, news from the manager
 *   bus-manager.c     the object /org/ublkd1
 *   bus-device.c      the objects /org/ublkd1/device/NAME
 *   bus-call.c        method calls that are answered late, and the options of methods
 *   bus-settings.c    AddDevice's settings to a device_config
 *   bus-property.c    property tables: to signals and to JSON
 *   bus-logcontrol.c  the object /org/freedesktop/LogControl1
 *   bus-error.c       failures to D-Bus errors, text that is safe to send
 *   bus-introspect.c  the XML of our objects, without a bus
 *   json.c            a message's body as JSON
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bus/bus.h"
#include "device/device-config.h"
#include "device/device.h"
#include "util/cleanup.h"
#include "util/failure.h"
#include "util/list.h"

#define BUS_NAME "org.ublkd1"
#define BUS_MANAGER_PATH "/org/ublkd1"
#define BUS_MANAGER_INTERFACE "org.ublkd1.Manager"
#define BUS_DEVICE_PREFIX "/org/ublkd1/device"
#define BUS_DEVICE_INTERFACE "org.ublkd1.Device"
#define BUS_ERROR_PREFIX "org.ublkd1.Error."

#define BUS_CALLS_MAX 64 /* operations that may wait at a time */

struct bus {
	sd_event *event; /* a reference */
	struct manager *manager; /* main's; NULL: only to be introspected */
	sd_bus *sd; /* a reference; NULL before the first try */
	sd_bus_slot *name_call; /* the request for the name that is under way, or NULL */
	sd_event_source *retry; /* goes off when there should be a name, and is none */
	uint64_t retry_usec; /* how long it waits the next time */
	bool has_name;
	bool complained; /* about the missing name, since we last had it */
	void *devices; /* tsearch() tree of struct bus_device by name */
	struct list device_list; /* bus_device->link, in the order they came */
	struct list calls; /* bus_call->link */
	unsigned int n_calls;
	char **shown; /* the manager's properties as last seen */
};

/* What the bus knows of a device; the userdata of its object. */
struct bus_device {
	char *name; /* first: the tree compares by it */
	char *path;
	struct bus *bus;
	struct device *device; /* the manager's; dangling while the removal is announced */
	struct list link; /* bus->device_list */
	char **shown; /* its properties as last seen */
};

DEFINE_CLEANUP(struct device_config *, device_config_free);

#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_error_ _cleanup_(sd_bus_error_free)

/* ---- bus.c */

/** bus_export - add the vtables of all our objects to a connection. Return: 0 or -errno */
int bus_export(struct bus *b, sd_bus *sd);

/** bus_is_connected - a signal sent now would be seen by somebody */
bool bus_is_connected(const struct bus *b);

/** bus_find - what the bus knows of the device @name, or NULL */
struct bus_device *bus_find(struct bus *b, const char *name);

/* ---- bus-manager.c, bus-device.c, bus-logcontrol.c */

extern const sd_bus_vtable bus_manager_vtable[];
extern const sd_bus_vtable bus_device_vtable[];
extern const sd_bus_vtable bus_logcontrol_vtable[];

/** bus_device_find - sd_bus_object_find_t: path to struct bus_device */
int bus_device_find(sd_bus *sd, const char *path, const char *interface, void *userdata,
		    void **ret_found, sd_bus_error *error);

/** bus_device_enumerate - sd_bus_node_enumerator_t: the paths of all devices */
int bus_device_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret_nodes,
			 sd_bus_error *error);

/** bus_device_json - all properties of a struct bus_device as a JSON object; Return: 0 or -errno */
int bus_device_json(void *device, sd_bus *sd, FILE *f);

/** bus_device_path - object path of a device's name; Return: 0 or -ENOMEM */
int bus_device_path(const char *name, char **ret);

/* ---- bus-call.c */

enum bus_verb {
	BUS_ADD, /* define, then start; undone if the start fails */
	BUS_START,
	BUS_STOP,
	BUS_DELETE, /* stop if it runs, then forget */
	BUS_ADD_MEMORY,
	BUS_REMOVE_MEMORY,
};

/* What a method's a{sv} may hold. */
#define BUS_OPTION_NO_BLOCK (1U << 0) /* "no-block" b: answer when it has begun */
#define BUS_OPTION_TIMEOUT (1U << 1) /* "timeout-usec" t: how long to wait, 0 the daemon's */
#define BUS_OPTION_WAIT_UDEV (1U << 2) /* "wait-udev" b: reserved */
#define BUS_OPTION_MODE (1U << 3) /* "mode" s: safe or force */
#define BUS_OPTIONS_START (BUS_OPTION_NO_BLOCK | BUS_OPTION_TIMEOUT | BUS_OPTION_WAIT_UDEV)
#define BUS_OPTIONS_STOP (BUS_OPTION_NO_BLOCK | BUS_OPTION_TIMEOUT | BUS_OPTION_MODE)

struct bus_options {
	bool no_block;
	bool force;
	uint64_t timeout_usec; /* 0: the daemon's */
	/* arguments of their own: */
	int memory; /* BUS_ADD_MEMORY: borrowed */
	bool read_only;
	uint32_t index; /* BUS_REMOVE_MEMORY */
};

/** bus_read_options - the a{sv} at the end of a method's arguments
 *  @allowed: BUS_OPTION_* bits
 *  Return: 0 or more, or a negative errno with @error set */
int bus_read_options(sd_bus_message *m, unsigned int allowed, struct bus_options *ret,
		     sd_bus_error *error);

/** bus_call_check_room - may one more operation wait?
 *  Return: 0, or a negative errno with @error set */
int bus_call_check_room(struct bus *b, sd_bus_error *error);

/**
 * bus_call_run - do @verb with a device and answer @m when it is done
 *
 * Return: as a method handler; when it is negative nothing has begun and @error is set.
 */
int bus_call_run(struct bus *b, sd_bus_message *m, enum bus_verb verb, struct device *d,
		 const struct bus_options *o, sd_bus_error *error);

/** bus_calls_abandon - answer every waiting call with ShuttingDown; the operations go on */
void bus_calls_abandon(struct bus *b);

/* ---- bus-settings.c */

/** bus_read_settings - the a{sv} of AddDevice, checked.
 *  Return: 0, or a negative errno with @error set */
int bus_read_settings(sd_bus_message *m, const char *name, struct device_config **ret,
		      sd_bus_error *error);

/** bus_update_settings - the a{sv} of SetTargetOptions, in force when it returns.
 *  Return: 0, or a negative errno with @error set */
int bus_update_settings(sd_bus_message *m, struct device *d, sd_bus_error *error);

/* ---- bus-property.c */

/* A property that is a plain member of a struct. */
struct bus_field {
	const char *name;
	char type; /* 's' const char *, 'a' char[], 'b' bool, 'i' int, 'u' uint32_t, 't' uint64_t */
	size_t offset;
};

/** bus_append_field - the member called @name of the struct at @base; the table ends with a NULL
 *  name. Return: 0 or -errno */
int bus_append_field(sd_bus_message *m, const struct bus_field *fields, const char *name,
		     const void *base);

/** bus_properties_changed - compare with what was @shown the last time, tell of the differences in
 *  one signal. @shown: owned by the caller, NULL the first time,
 *  freed by bus_shown_free() */
void bus_properties_changed(struct bus *b, const char *path, const char *interface,
			    const sd_bus_vtable *vtable, void *userdata, char ***shown);

/** bus_properties_remember - the same without telling anybody */
void bus_properties_remember(struct bus *b, const char *path, const char *interface,
			     const sd_bus_vtable *vtable, void *userdata, char ***shown);

/** bus_reply_written - answer @m with the string that @write makes of @object
 *  Return: as a method */
int bus_reply_written(sd_bus_message *m, int (*write)(void *object, sd_bus *sd, FILE *f),
		      void *object);

/** bus_properties_json - every property as `"Name":value`, comma between. Return: 0 or -errno */
int bus_properties_json(sd_bus *sd, const char *path, const char *interface,
			const sd_bus_vtable *vtable, void *userdata, FILE *f);

/** bus_shown_free - what bus_properties_changed() keeps for a table */
void bus_shown_free(const sd_bus_vtable *vtable, char **shown);

/* ---- bus-error.c */

/** bus_append_string - an s; if it is not UTF-8, then cleaned. Return: as sd_bus_message_append()
 */
int bus_append_string(sd_bus_message *m, const char *s);

/** bus_clean_text - replace control characters and what is not UTF-8, in place */
void bus_clean_text(char *s);

#define BUS_ERROR_NAME_MAX 64
/** bus_failure_name - the D-Bus error name of a failure */
const char *bus_failure_name(enum failure_kind kind, char buf[static BUS_ERROR_NAME_MAX]);

/** bus_failure_text - its sentence; names @device, unless that is NULL */
void bus_failure_text(const struct failure *f, const char *device, char *ret, size_t size);

/** bus_set_failure - a failure as D-Bus error; Return: a negative errno */
int bus_set_failure(sd_bus_error *error, const char *device, const struct failure *f);

/** bus_set_errorf - an error of our own making; Return: a negative errno */
int bus_set_errorf(sd_bus_error *error, enum failure_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** bus_set_argsf - org.freedesktop.DBus.Error.InvalidArgs; Return: -EINVAL */
int bus_set_argsf(sd_bus_error *error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- json.c */

/** json_string - @s quoted */
void json_string(FILE *f, const char *s);

/** json_value - the next complete value of a sealed message. Return: 0 or -errno */
int json_value(FILE *f, sd_bus_message *m);
