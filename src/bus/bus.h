/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus - org.ublkd1 on the system bus (or the bus $DBUS_SYSTEM_BUS_ADDRESS names). Main thread only.
 * The daemon serves I/O without a bus: connect when there is one, come back when it comes back.
 */
#pragma once

#include <systemd/sd-event.h>

struct bus;
struct manager;

/** bus_new - connect (now or as soon as the broker is there), export the objects, ask for the name.
 *  Registers itself as the manager's listener.
 *  Return: 0 or -errno; an absent broker is no error. */
int bus_new(sd_event *event, struct manager *manager, struct bus **ret);
struct bus *bus_free(struct bus *b);

/** bus_introspect - print the interfaces of the object at @path as XML, for `--bus-introspect`.
 *  Return: 0, -ENOENT (no such path) or -errno */
int bus_introspect(const char *path);
