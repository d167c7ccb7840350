/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-manager - the object /org/ublkd1 with the interface org.ublkd1.Manager. The userdata is the
 * struct bus. Handlers read the arguments, call the manager, translate its answer; they keep
 * nothing.
 */
#include <errno.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "device/manager.h"
#include "target/registry.h"
#include "ublk/features.h"
#include "util/parse.h"
#include "version.h"

#define ADD_START (UINT64_C(1) << 0)

/* ---- properties */

static int get_version(sd_bus *sd, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return bus_append_string(reply, UBLKD_VERSION);
}

static int get_targets(sd_bus *sd, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct ub_target *t;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "s");
	if (r < 0)
		return r;
	for (unsigned int i = 0; (t = registry_at(i)); i++) {
		r = bus_append_string(reply, t->name);
		if (r < 0)
			return r;
	}
	return sd_bus_message_close_container(reply);
}

static int get_features(sd_bus *sd, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct manager_status st = {};
	struct bus *b = userdata;
	int r;

	manager_get_status(b->manager, &st);
	r = sd_bus_message_open_container(reply, 'a', "s");
	if (r < 0)
		return r;
	for (unsigned int bit = 0; bit < 64; bit++) {
		if (!(st.kernel_features & (UINT64_C(1) << bit)) || !features_name(bit))
			continue;
		r = bus_append_string(reply, features_name(bit));
		if (r < 0)
			return r;
	}
	return sd_bus_message_close_container(reply);
}

static int get_status(sd_bus *sd, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	static const struct bus_field fields[] = {
		{"KernelProblem", 's', offsetof(struct manager_status, kernel_problem)},
		{"NDevices", 'u', offsetof(struct manager_status, n_devices)},
		{"NRunning", 'u', offsetof(struct manager_status, n_running)},
		{"NFailed", 'u', offsetof(struct manager_status, n_failed)},
		{},
	};
	struct manager_status st = {};
	struct bus *b = userdata;

	manager_get_status(b->manager, &st);
	return bus_append_field(reply, fields, property, &st);
}

static int get_state(sd_bus *sd, const char *path, const char *interface, const char *property,
		     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct manager_status st = {};
	struct bus *b = userdata;

	manager_get_status(b->manager, &st);
	return bus_append_string(reply, manager_state_name(st.state));
}

static int get_last_reload(sd_bus *sd, const char *path, const char *interface,
			   const char *property, sd_bus_message *reply, void *userdata,
			   sd_bus_error *error)
{
	struct manager_status st = {};
	struct bus *b = userdata;

	manager_get_status(b->manager, &st);
	return sd_bus_message_append(reply, "(tu)", st.last_reload_usec, st.last_reload_failed);
}

/* ---- methods */

static int no_such_device(sd_bus_error *error, const char *name)
{
	return bus_set_errorf(error, FAILURE_NO_SUCH_DEVICE, "there is no device '%.64s'", name);
}

static int add_device(struct bus *b, sd_bus_message *m, struct device_config *config,
		      struct device **ret, sd_bus_error *error)
{
	_cleanup_(device_config_freep) struct device_config *c = config;
	struct failure f = {};
	int r;

	r = manager_add(b->manager, c, ret, &f);
	if (r < 0)
		return bus_set_failure(error, c->name, &f);
	TAKE_PTR(c);
	return 0;
}

static int method_add_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_(device_config_freep) struct device_config *c = NULL;
	static const struct bus_options options = {};
	_cleanup_free_ char *path = NULL;
	struct bus *b = userdata;
	struct failure f = {};
	struct device *d;
	const char *name;
	uint64_t flags;
	int r;

	r = sd_bus_message_read_basic(m, 's', &name);
	if (r < 0)
		return r;
	if (!device_name_is_valid(name))
		return bus_set_errorf(error, FAILURE_INVALID_NAME,
				      "'%.64s' cannot name a device: " DEVICE_NAME_RULE, name);
	r = bus_read_settings(m, name, &c, error);
	if (r < 0)
		return r;
	r = sd_bus_message_read_basic(m, 't', &flags);
	if (r < 0)
		return r;
	if (flags & ~ADD_START)
		return bus_set_argsf(error, "%s: flags 0x%llx are unknown", name,
				     (unsigned long long) (flags & ~ADD_START));
	r = bus_device_path(name, &path);
	if (r < 0)
		return r;
	if (flags & ADD_START) {
		r = bus_call_check_room(b, error);
		if (r < 0)
			return r;
	}

	r = add_device(b, m, TAKE_PTR(c), &d, error);
	if (r < 0)
		return r;
	if (!(flags & ADD_START))
		return sd_bus_reply_method_return(m, "o", path);
	r = bus_call_run(b, m, BUS_ADD, d, &options, error);
	if (r < 0)
		(void) manager_delete(b->manager, d, &f);
	return r;
}

static int run(struct bus *b, sd_bus_message *m, enum bus_verb verb, unsigned int allowed,
	       sd_bus_error *error)
{
	struct bus_options o;
	struct device *d;
	const char *name;
	int r;

	r = sd_bus_message_read_basic(m, 's', &name);
	if (r < 0)
		return r;
	r = bus_read_options(m, allowed, &o, error);
	if (r < 0)
		return r;
	d = manager_find(b->manager, name);
	if (!d)
		return no_such_device(error, name);
	return bus_call_run(b, m, verb, d, &o, error);
}

static int method_start_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return run(userdata, m, BUS_START, BUS_OPTIONS_START, error);
}

static int method_stop_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return run(userdata, m, BUS_STOP, BUS_OPTIONS_STOP, error);
}

static int method_delete_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return run(userdata, m, BUS_DELETE, BUS_OPTIONS_STOP, error);
}

static int append_device(sd_bus_message *reply, const struct device *d)
{
	_cleanup_free_ char *path = NULL;
	struct device_status st = {};
	int r;

	device_get_status(d, &st);
	r = bus_device_path(st.name, &path);
	if (r < 0)
		return r;
	return sd_bus_message_append(reply, "(sssto)", st.name, device_state_name(st.state),
				     st.block_device, st.size, path);
}

static int method_list_devices(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	struct bus *b = userdata;
	int r;

	r = sd_bus_message_new_method_return(m, &reply);
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(reply, 'a', "(sssto)");
	if (r < 0)
		return r;
	for (struct device *d = manager_next(b->manager, NULL); d;
	     d = manager_next(b->manager, d)) {
		r = append_device(reply, d);
		if (r < 0)
			return r;
	}
	r = sd_bus_message_close_container(reply);
	if (r < 0)
		return r;
	return sd_bus_send(NULL, reply, NULL);
}

static int reply_path(sd_bus_message *m, const struct device *d)
{
	_cleanup_free_ char *path = NULL;
	int r;

	r = bus_device_path(device_get_name(d), &path);
	if (r < 0)
		return r;
	return sd_bus_reply_method_return(m, "o", path);
}

static int method_get_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus *b = userdata;
	const struct device *d;
	const char *name;
	int r;

	r = sd_bus_message_read_basic(m, 's', &name);
	if (r < 0)
		return r;
	d = manager_find(b->manager, name);
	return d ? reply_path(m, d) : no_such_device(error, name);
}

static int method_get_device_by_node(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus *b = userdata;
	const struct device *d;
	const char *node;
	int r;

	r = sd_bus_message_read_basic(m, 's', &node);
	if (r < 0)
		return r;
	d = manager_find_node(b->manager, node);
	if (!d)
		return bus_set_errorf(error, FAILURE_NO_SUCH_DEVICE,
				      "no device of ublkd has the block device '%.64s'", node);
	return reply_path(m, d);
}

static int append_changes(sd_bus_message *reply, const struct reload_result *result)
{
	int r;

	r = sd_bus_message_open_container(reply, 'a', "(sss)");
	if (r < 0)
		return r;
	for (size_t i = 0; i < result->n; i++) {
		r = sd_bus_message_open_container(reply, 'r', "sss");
		if (r < 0)
			return r;
		r = bus_append_string(reply, result->v[i].device);
		if (r < 0)
			return r;
		r = bus_append_string(reply, result->v[i].change);
		if (r < 0)
			return r;
		r = bus_append_string(reply, result->v[i].detail);
		if (r < 0)
			return r;
		r = sd_bus_message_close_container(reply);
		if (r < 0)
			return r;
	}
	return sd_bus_message_close_container(reply);
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_(reload_result_release) struct reload_result result = {};
	_cleanup_message_ sd_bus_message *reply = NULL;
	struct bus *b = userdata;
	struct bus_options o;
	struct failure f = {};
	int r;

	r = bus_read_options(m, 0, &o, error);
	if (r < 0)
		return r;
	r = manager_reload(b->manager, &result, &f);
	if (r < 0)
		return bus_set_failure(error, NULL, &f);
	r = sd_bus_message_new_method_return(m, &reply);
	if (r < 0)
		return r;
	r = append_changes(reply, &result);
	if (r < 0)
		return r;
	return sd_bus_send(NULL, reply, NULL);
}

static int write_description(void *bus, sd_bus *sd, FILE *f)
{
	struct bus *b = bus;
	struct bus_device *bd, *next;
	bool first = true;
	int r;

	(void) fputc('{', f);
	r = bus_properties_json(sd, BUS_MANAGER_PATH, BUS_MANAGER_INTERFACE, bus_manager_vtable, b,
				f);
	if (r < 0)
		return r;
	(void) fputs(",\"Devices\":[", f);
	list_for_each (bd, next, &b->device_list, link) {
		if (!first)
			(void) fputc(',', f);
		first = false;
		r = bus_device_json(bd, sd, f);
		if (r < 0)
			return r;
	}
	(void) fputs("]}", f);
	return 0;
}

static int method_describe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return bus_reply_written(m, write_description, userdata);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

const sd_bus_vtable bus_manager_vtable[] = {
	SD_BUS_VTABLE_START(0),

	SD_BUS_METHOD_WITH_ARGS("AddDevice", SD_BUS_ARGS("s", name, "a{sv}", settings, "t", flags),
				SD_BUS_RESULT("o", device), method_add_device, 0),
	SD_BUS_METHOD_WITH_ARGS("StartDevice", SD_BUS_ARGS("s", name, "a{sv}", options),
				SD_BUS_NO_RESULT, method_start_device, 0),
	SD_BUS_METHOD_WITH_ARGS("StopDevice", SD_BUS_ARGS("s", name, "a{sv}", options),
				SD_BUS_NO_RESULT, method_stop_device, 0),
	SD_BUS_METHOD_WITH_ARGS("DeleteDevice", SD_BUS_ARGS("s", name, "a{sv}", options),
				SD_BUS_NO_RESULT, method_delete_device, 0),
	SD_BUS_METHOD_WITH_ARGS("ListDevices", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sssto)", devices),
				method_list_devices, 0),
	SD_BUS_METHOD_WITH_ARGS("GetDevice", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device),
				method_get_device, 0),
	SD_BUS_METHOD_WITH_ARGS("GetDeviceByNode", SD_BUS_ARGS("s", node),
				SD_BUS_RESULT("o", device), method_get_device_by_node, 0),
	SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_ARGS("a{sv}", options),
				SD_BUS_RESULT("a(sss)", changes), method_reload, 0),
	SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json),
				method_describe, 0),

	SD_BUS_SIGNAL_WITH_ARGS("DeviceNew", SD_BUS_ARGS("s", name, "o", device), 0),
	SD_BUS_SIGNAL_WITH_ARGS("DeviceRemoved", SD_BUS_ARGS("s", name, "o", device), 0),
	SD_BUS_SIGNAL_WITH_ARGS(
		"OperationFinished",
		SD_BUS_ARGS("o", device, "s", operation, "s", error_name, "s", error_message), 0),

	SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Targets", "as", get_targets, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	/* Not constant: unknown while the module is not loaded. */
	SD_BUS_PROPERTY("KernelFeatures", "as", get_features, 0, CHANGES),
	SD_BUS_PROPERTY("KernelProblem", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("State", "s", get_state, 0, CHANGES),
	SD_BUS_PROPERTY("NDevices", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("NRunning", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("NFailed", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("LastReload", "(tu)", get_last_reload, 0, CHANGES),

	SD_BUS_VTABLE_END,
};
