/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-systemd - what we ask of systemd, without the message bus, which may be gone before us.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

/**
 * systemd_ask_stopping - is the whole system going down, or only this service?
 * @told: called once, from the event loop or before this returns; false also if systemd does not
 *        answer within a second. Main thread; one question at a time.
 */
void systemd_ask_stopping(sd_event *event, void (*told)(void *arg, bool stopping), void *arg);
