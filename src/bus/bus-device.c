/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-device - the objects /org/ublkd1/device/NAME with the interface org.ublkd1.Device: its
 * methods are those of the manager for this one device, its properties what device_status tells.
 *
 * The userdata is a struct bus_device. While the bus is only introspected there is none, and
 * nothing here is called but the two functions that sd-bus walks the tree with.
 */
#include <errno.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "device/manager.h"
#include "util/parse.h"

#define THREADS_MAX 4096 /* as many as a device can have queues */

int bus_device_path(const char *name, char **ret)
{
	return sd_bus_path_encode(BUS_DEVICE_PREFIX, name, ret);
}

int bus_device_find(sd_bus *sd, const char *path, const char *interface, void *userdata,
		    void **ret_found, sd_bus_error *error)
{
	_cleanup_free_ char *name = NULL;
	struct bus_device *bd;
	struct bus *b = userdata;
	int r;

	r = sd_bus_path_decode(path, BUS_DEVICE_PREFIX, &name);
	if (r <= 0)
		return r;
	if (!device_name_is_valid(name))
		return 0;
	if (!b->manager) {
		*ret_found = b;
		return 1;
	}
	bd = bus_find(b, name);
	if (!bd)
		return 0;
	*ret_found = bd;
	return 1;
}

int bus_device_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret_nodes,
			 sd_bus_error *error)
{
	struct bus_device *bd, *next;
	struct bus *b = userdata;
	size_t n = 0, i = 0;
	char **nodes;

	list_for_each (bd, next, &b->device_list, link)
		n++;
	nodes = calloc(n + 1, sizeof(char *));
	if (!nodes)
		return -ENOMEM;
	list_for_each (bd, next, &b->device_list, link) {
		nodes[i] = strdup(bd->path);
		if (!nodes[i]) {
			while (i > 0)
				free(nodes[--i]);
			free(nodes);
			return -ENOMEM;
		}
		i++;
	}
	*ret_nodes = nodes;
	return 0;
}

/* ---- properties */

static int get_status(sd_bus *sd, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	static const struct bus_field fields[] = {
		{"Name", 's', offsetof(struct device_status, name)},
		{"Target", 's', offsetof(struct device_status, target)},
		{"SubState", 's', offsetof(struct device_status, sub_state)},
		{"Operation", 's', offsetof(struct device_status, operation)},
		{"DeviceId", 'i', offsetof(struct device_status, dev_id)},
		{"BlockDevice", 'a', offsetof(struct device_status, block_device)},
		{"CharDevice", 'a', offsetof(struct device_status, char_device)},
		{"Size", 't', offsetof(struct device_status, size)},
		{"ReadOnly", 'b', offsetof(struct device_status, read_only)},
		{"Autostart", 'b', offsetof(struct device_status, autostart)},
		{"NeedsRestart", 'b', offsetof(struct device_status, needs_restart)},
		{"Queues", 'u', offsetof(struct device_status, queues)},
		{"QueueDepth", 'u', offsetof(struct device_status, queue_depth)},
		{"LogicalBlockSize", 'u', offsetof(struct device_status, logical_block_size)},
		{"PhysicalBlockSize", 'u', offsetof(struct device_status, physical_block_size)},
		{"MaxIOBytes", 'u', offsetof(struct device_status, max_io_bytes)},
		{"DataPath", 'a', offsetof(struct device_status, data_path)},
		{"Backing", 's', offsetof(struct device_status, backing)},
		{"Description", 's', offsetof(struct device_status, description)},
		{"FragmentPath", 's', offsetof(struct device_status, fragment_path)},
		{"StateChangeTimestamp", 't', offsetof(struct device_status, state_change_usec)},
		{"ActiveTimestamp", 't', offsetof(struct device_status, active_usec)},
		{},
	};
	const struct bus_device *bd = userdata;
	struct device_status st = {};

	device_get_status(bd->device, &st);
	return bus_append_field(reply, fields, property, &st);
}

static int get_counter(sd_bus *sd, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	static const struct bus_field fields[] = {
		{"ReadBytes", 't', offsetof(struct device_counters, read_bytes)},
		{"WriteBytes", 't', offsetof(struct device_counters, write_bytes)},
		{"ReadOps", 't', offsetof(struct device_counters, read_ops)},
		{"WriteOps", 't', offsetof(struct device_counters, write_ops)},
		{"FlushOps", 't', offsetof(struct device_counters, flush_ops)},
		{"DiscardOps", 't', offsetof(struct device_counters, discard_ops)},
		{"WriteZeroesOps", 't', offsetof(struct device_counters, write_zeroes_ops)},
		{"Errors", 't', offsetof(struct device_counters, errors)},
		{"SharedOps", 't', offsetof(struct device_counters, shared_ops)},
		{"FallbackOps", 't', offsetof(struct device_counters, fallback_ops)},
		{},
	};
	const struct bus_device *bd = userdata;
	struct device_counters counters = {};

	device_get_counters(bd->device, &counters);
	return bus_append_field(reply, fields, property, &counters);
}

static int get_in_flight(sd_bus *sd, const char *path, const char *interface, const char *property,
			 sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct bus_device *bd = userdata;

	return sd_bus_message_append(reply, "t", device_in_flight(bd->device));
}

static int get_stalled(sd_bus *sd, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct bus_device *bd = userdata;

	return sd_bus_message_append(reply, "t", (uint64_t) device_count_stalled(bd->device));
}

static int get_state(sd_bus *sd, const char *path, const char *interface, const char *property,
		     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct bus_device *bd = userdata;
	struct device_status st = {};

	device_get_status(bd->device, &st);
	return bus_append_string(reply, device_state_name(st.state));
}

static int get_last_error(sd_bus *sd, const char *path, const char *interface, const char *property,
			  sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	char name[BUS_ERROR_NAME_MAX], text[sizeof(((struct failure *) NULL)->text)];
	const struct bus_device *bd = userdata;
	struct device_status st = {};

	device_get_status(bd->device, &st);
	if (!st.last_error || !failure_is_set(st.last_error))
		return sd_bus_message_append(reply, "(ss)", "", "");
	bus_failure_text(st.last_error, NULL, text, sizeof(text));
	return sd_bus_message_append(reply, "(ss)", bus_failure_name(st.last_error->kind, name),
				     text);
}

static int get_dropin_paths(sd_bus *sd, const char *path, const char *interface,
			    const char *property, sd_bus_message *reply, void *userdata,
			    sd_bus_error *error)
{
	const struct bus_device *bd = userdata;
	struct device_status st = {};
	int r;

	device_get_status(bd->device, &st);
	r = sd_bus_message_open_container(reply, 'a', "s");
	if (r < 0)
		return r;
	for (char *const *p = st.dropin_paths; p && *p; p++) {
		r = bus_append_string(reply, *p);
		if (r < 0)
			return r;
	}
	return sd_bus_message_close_container(reply);
}

static int append_setting(void *arg, const char *section, const struct ub_opt *opt,
			  const char *value)
{
	sd_bus_message *reply = arg;
	int r;

	r = sd_bus_message_open_container(reply, 'e', "ss");
	if (r < 0)
		return r;
	r = bus_append_string(reply, opt->bus_key ? opt->bus_key : opt->key);
	if (r < 0)
		return r;
	r = bus_append_string(reply, value);
	if (r < 0)
		return r;
	return sd_bus_message_close_container(reply);
}

static int get_settings(sd_bus *sd, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct bus_device *bd = userdata;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "{ss}");
	if (r < 0)
		return r;
	r = device_config_foreach(device_get_settings(bd->device), append_setting, reply);
	if (r < 0)
		return r;
	return sd_bus_message_close_container(reply);
}

static int get_in_use(sd_bus *sd, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct bus_device *bd = userdata;
	int in_use = device_in_use(bd->device);

	return sd_bus_message_append_basic(reply, 'b', &in_use);
}

static int get_queue_threads(sd_bus *sd, const char *path, const char *interface,
			     const char *property, sd_bus_message *reply, void *userdata,
			     sd_bus_error *error)
{
	const struct bus_device *bd = userdata;
	_cleanup_free_ pid_t *threads = NULL;
	unsigned int n;

	_Static_assert(sizeof(pid_t) == sizeof(uint32_t), "thread ids are sent as u");
	threads = calloc(THREADS_MAX, sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	n = device_get_threads(bd->device, threads, THREADS_MAX);
	return sd_bus_message_append_array(reply, 'u', threads, n * sizeof(*threads));
}

static int get_shared_memory(sd_bus *sd, const char *path, const char *interface,
			     const char *property, sd_bus_message *reply, void *userdata,
			     sd_bus_error *error)
{
	struct device_pool pools[DEVICE_POOLS_MAX];
	const struct bus_device *bd = userdata;
	unsigned int n = device_get_pools(bd->device, pools);
	int r;

	r = sd_bus_message_open_container(reply, 'a', "(utb)");
	for (unsigned int i = 0; r >= 0 && i < n; i++)
		r = sd_bus_message_append(reply, "(utb)", pools[i].index, pools[i].bytes,
					  (int) pools[i].read_only);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- methods */

static int run(sd_bus_message *m, struct bus_device *bd, enum bus_verb verb, unsigned int allowed,
	       sd_bus_error *error)
{
	struct bus_options o;
	int r;

	r = bus_read_options(m, allowed, &o, error);
	if (r < 0)
		return r;
	return bus_call_run(bd->bus, m, verb, bd->device, &o, error);
}

static int method_start(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return run(m, userdata, BUS_START, BUS_OPTIONS_START, error);
}

static int method_stop(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return run(m, userdata, BUS_STOP, BUS_OPTIONS_STOP, error);
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return run(m, userdata, BUS_DELETE, BUS_OPTIONS_STOP, error);
}

static int method_set_target_options(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus_device *bd = userdata;
	int r = bus_update_settings(m, bd->device, error);

	return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_add_memory(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus_device *bd = userdata;
	struct bus_options o = {};
	int r, read_only;

	/* The descriptor stays the message's. */
	r = sd_bus_message_read(m, "hb", &o.memory, &read_only);
	if (r < 0)
		return r;
	o.read_only = read_only;
	return bus_call_run(bd->bus, m, BUS_ADD_MEMORY, bd->device, &o, error);
}

static int method_remove_memory(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus_device *bd = userdata;
	struct bus_options o = {};
	int r;

	r = sd_bus_message_read(m, "u", &o.index);
	if (r < 0)
		return r;
	return bus_call_run(bd->bus, m, BUS_REMOVE_MEMORY, bd->device, &o, error);
}

int bus_device_json(void *device, sd_bus *sd, FILE *f)
{
	struct bus_device *bd = device;
	int r;

	(void) fputc('{', f);
	r = bus_properties_json(sd, bd->path, BUS_DEVICE_INTERFACE, bus_device_vtable, bd, f);
	(void) fputc('}', f);
	return r;
}

static int method_describe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return bus_reply_written(m, bus_device_json, userdata);
}

static int print_requests(void *device, sd_bus *sd, FILE *f)
{
	const struct bus_device *bd = device;

	device_print_requests(bd->device, f);
	return 0;
}

static int method_dump_requests(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return bus_reply_written(m, print_requests, userdata);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

const sd_bus_vtable bus_device_vtable[] = {
	SD_BUS_VTABLE_START(0),

	SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT,
				method_start, 0),
	SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT,
				method_stop, 0),
	SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT,
				method_delete, 0),
	SD_BUS_METHOD_WITH_ARGS("SetTargetOptions", SD_BUS_ARGS("a{sv}", settings),
				SD_BUS_NO_RESULT, method_set_target_options, 0),
	SD_BUS_METHOD_WITH_ARGS("AddSharedMemory", SD_BUS_ARGS("h", fd, "b", read_only),
				SD_BUS_RESULT("u", index), method_add_memory, 0),
	SD_BUS_METHOD_WITH_ARGS("RemoveSharedMemory", SD_BUS_ARGS("u", index), SD_BUS_NO_RESULT,
				method_remove_memory, 0),
	SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json),
				method_describe, 0),

	SD_BUS_METHOD_WITH_ARGS("DumpRequests", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", lines),
				method_dump_requests, 0),

	SD_BUS_PROPERTY("Name", "s", get_status, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Target", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("State", "s", get_state, 0, CHANGES),
	SD_BUS_PROPERTY("SubState", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("Operation", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("LastError", "(ss)", get_last_error, 0, CHANGES),
	SD_BUS_PROPERTY("StateChangeTimestamp", "t", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("ActiveTimestamp", "t", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("DeviceId", "i", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("BlockDevice", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("CharDevice", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("Size", "t", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("ReadOnly", "b", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("Autostart", "b", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("NeedsRestart", "b", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("Queues", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("QueueDepth", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("LogicalBlockSize", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("PhysicalBlockSize", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("MaxIOBytes", "u", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("DataPath", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("SharedMemory", "a(utb)", get_shared_memory, 0, CHANGES),
	SD_BUS_PROPERTY("Backing", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("Description", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("FragmentPath", "s", get_status, 0, CHANGES),
	SD_BUS_PROPERTY("DropInPaths", "as", get_dropin_paths, 0, CHANGES),
	SD_BUS_PROPERTY("Settings", "a{ss}", get_settings, 0, CHANGES),

	/* Read when asked for, never announced. */
	SD_BUS_PROPERTY("InUse", "b", get_in_use, 0, 0),
	SD_BUS_PROPERTY("ReadBytes", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("WriteBytes", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("ReadOps", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("WriteOps", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("FlushOps", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("DiscardOps", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("WriteZeroesOps", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("Errors", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("InFlight", "t", get_in_flight, 0, 0),
	SD_BUS_PROPERTY("StalledRequests", "t", get_stalled, 0, 0),
	SD_BUS_PROPERTY("SharedOps", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("FallbackOps", "t", get_counter, 0, 0),
	SD_BUS_PROPERTY("QueueThreads", "au", get_queue_threads, 0,
			SD_BUS_VTABLE_PROPERTY_EXPLICIT),

	SD_BUS_VTABLE_END,
};
