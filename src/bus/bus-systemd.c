/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/bus-systemd.h"

#include <string.h>
#include <systemd/sd-bus.h>

#include "util/cleanup.h"
#include "util/log.h"

/* Root talks to process 1 itself there. */
#define SYSTEMD_SOCKET "unix:path=/run/systemd/private"
#define ANSWER_USEC (1 * UINT64_C(1000000))

static struct {
	sd_bus *bus;
	void (*told)(void *arg, bool stopping);
	void *arg;
} question;

static void answer(bool stopping)
{
	question.bus = sd_bus_close_unref(question.bus);
	question.told(question.arg, stopping);
}

static int on_answer(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	const char *state = "";

	if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "v", "s", &state) < 0)
		log_debug("systemd does not tell whether the system is stopping");
	answer(strcmp(state, "stopping") == 0);
	return 0;
}

static int ask(sd_event *event)
{
	sd_bus *bus;
	int r = sd_bus_new(&bus);

	if (r < 0)
		return r;
	question.bus = bus;
	r = sd_bus_set_address(bus, SYSTEMD_SOCKET);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(bus, ANSWER_USEC);
	if (r >= 0)
		r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_call_method_async(bus, NULL, NULL, "/org/freedesktop/systemd1",
					     "org.freedesktop.DBus.Properties", "Get", on_answer,
					     NULL, "ss", "org.freedesktop.systemd1.Manager",
					     "SystemState");
	return r;
}

void systemd_ask_stopping(sd_event *event, void (*told)(void *arg, bool stopping), void *arg)
{
	question.told = told;
	question.arg = arg;
	if (ask(event) < 0)
		answer(false);
}
