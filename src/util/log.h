/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log - the only writer to stderr and the journal. Main thread and short-lived helper threads only:
 * a queue thread never logs (the journal may live on a device it serves), it counts and reports by
 * mailbox.
 *
 * Under systemd ($JOURNAL_STREAM names our stderr) messages go to the journal with fields;
 * otherwise to stderr as `ublkd: text`. Nobody waits for whoever reads them: what is not taken at
 * once is lost, and the next message that is taken comes with their number.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <syslog.h>

/** log_init - pick the journal or stderr; call once, before any thread exists */
void log_init(void);

/** log_is_journal - messages go to the journal, not to stderr */
bool log_is_journal(void);

/** log_set_level, log_get_level - highest syslog level that is written, LOG_EMERG .. LOG_DEBUG */
void log_set_level(int level);
int log_get_level(void);

/** log_level_names - names by level, NULL-terminated: the values of an option */
extern const char *const log_level_names[LOG_DEBUG + 2];

/** log_level_from_string - "debug" .. "emerg" or "0" .. "7"; Return: level, or -EINVAL */
int log_level_from_string(const char *s);

/** log_level_to_string - the name of a level 0 .. 7 */
const char *log_level_to_string(int level);

/**
 * log_full - write one message
 * @level: syslog level
 * @error: errno to add as journal field ERRNO, 0 for none; never added to the text
 * @device: name of the device it is about (journal field UBLKD_DEVICE and text prefix), or NULL
 * @config_file: configuration file it is about (CONFIG_FILE), or NULL
 * @config_line: line in it (CONFIG_LINE), 0 for none
 */
void log_full(int level, int error, const char *device, const char *config_file,
	      unsigned int config_line, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#define log_debug(...) log_full(LOG_DEBUG, 0, NULL, NULL, 0, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, 0, NULL, NULL, 0, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, 0, NULL, NULL, 0, __VA_ARGS__)
#define log_error(...) log_full(LOG_ERR, 0, NULL, NULL, 0, __VA_ARGS__)
