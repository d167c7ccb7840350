/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-bed - a whole daemon without bus and kernel: manager, real queue threads, real guard (on a
 * thread), fake driver, an event loop that the test turns. For test-device, test-recover and those
 * that fail calls.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "device/manager.h"
#include "fake-driver.h"
#include "ublk/ctrl.h"

struct flight_book;

struct bed {
	sd_event *event;
	struct ctrl *ctrl;
	struct manager *manager;
	struct config_paths paths;
	struct daemon_config config;
	struct flight_book *book; /* of a case that opens it; closed at the end, as the next */
	int state_dir; /* below the root, "/state" */
	unsigned int n_fds, n_threads; /* before it all began */
	unsigned int n_guards; /* so far: each leaves the descriptor of its ring */
	unsigned int n_ready, n_down;
	bool fast_commands; /* 200 ms for a command of the kernel instead of 10 s */
};

extern struct bed bed;
extern char bed_root[];

/* What device_start() and device_stop() tell. */
struct waiter {
	struct device_wait wait;
	bool done, ok;
	struct failure failure;
};

void bed_init(void); /* once */
void bed_exit(void);

/* Called when all is prepared but the daemon itself; may be NULL. */
extern void (*bed_before_build)(void);
/* Return: 0, or -errno (nothing is left) */
int bed_begin(void);
/* End the daemon as kill -9 does: nobody tells the kernel, the state files stay. No device may be
 * at work with a job. */
void bed_kill(void);
/* The daemon after it: a new guard, manager and loop, on the same kernel and files.
 * Return: as bed_begin() */
int bed_next(void);
/* Stop everything, look for what is left. Return: NULL, or what is wrong */
const char *bed_end(void);
/* Look only. */
const char *bed_left(void);

/* Turn the loop until @what is true, or 18 seconds are over: fewer than a ring may sleep. */
bool bed_until(bool (*what)(void *arg), void *arg);
bool bed_wait(struct waiter *w);
void bed_turn_ms(unsigned int ms);

struct waiter *waiter_new(struct waiter *w);
unsigned int bed_count_fds(void);
unsigned int bed_count_threads(void);

/* As test_run(), each case in a process of its own: one that fails leaves threads behind.
 * @passes: test_passes() of the file the cases are in. */
struct test_case;
int bed_run_cases(const struct test_case *cases, unsigned int n, bool (*passes)(void (*run)(void)));

/* Files below the root, by path: "/etc/ublkd/devices/a.conf" */
void bed_put(const char *path, const char *text);
void bed_remove(const char *path);

/* Define a device by D-Bus settings: key, value, ..., NULL. NULL if it cannot be. */
struct device *bed_add(const char *name, ...) __attribute__((sentinel));
struct fake_dev *bed_kernel(const struct device *d);
