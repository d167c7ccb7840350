/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-logcontrol - org.freedesktop.LogControl1, which `systemctl service-log-level` speaks. The
 * level is that of the whole daemon, until the next change or the next reload. Where messages go
 * cannot be changed: setting LogTarget to what it is already is accepted, anything else is not.
 */
#include <errno.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "util/log.h"

static int get_level(sd_bus *sd, const char *path, const char *interface, const char *property,
		     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return bus_append_string(reply, log_level_to_string(log_get_level()));
}

static int set_level(sd_bus *sd, const char *path, const char *interface, const char *property,
		     sd_bus_message *value, void *userdata, sd_bus_error *error)
{
	const char *s;
	int level, r;

	r = sd_bus_message_read_basic(value, 's', &s);
	if (r < 0)
		return r;
	level = log_level_from_string(s);
	if (level < 0)
		return bus_set_argsf(error,
				     "'%.64s' is no log level; they are emerg, alert, crit, "
				     "err, warning, notice, info and debug",
				     s);
	log_set_level(level);
	log_info("log level set to %s", log_level_to_string(level));
	return 0;
}

static const char *target(void)
{
	return log_is_journal() ? "journal" : "console";
}

static int get_target(sd_bus *sd, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return bus_append_string(reply, target());
}

static int set_target(sd_bus *sd, const char *path, const char *interface, const char *property,
		      sd_bus_message *value, void *userdata, sd_bus_error *error)
{
	const char *s;
	int r;

	r = sd_bus_message_read_basic(value, 's', &s);
	if (r < 0)
		return r;
	if (strcmp(s, target()) != 0)
		return bus_set_argsf(error,
				     "ublkd logs to the %s, which cannot be changed while it "
				     "runs",
				     target());
	return 0;
}

static int get_identifier(sd_bus *sd, const char *path, const char *interface, const char *property,
			  sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return bus_append_string(reply, "ublkd");
}

const sd_bus_vtable bus_logcontrol_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_level, set_level, 0, 0),
	SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_target, set_target, 0, 0),
	SD_BUS_PROPERTY("SyslogIdentifier", "s", get_identifier, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};
