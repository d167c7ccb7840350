/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-time - how long calls to ublkd take, on one connection; runs in the guest of `memory`
 *
 * bus-time LABEL OBJECT INTERFACE METHOD [STRING]: prints "call LABEL BEST MEDIAN", microseconds.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <systemd/sd-bus.h>

enum { CALLS = 21 };

static long now_us(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static int ascending(const void *a, const void *b)
{
	long x = *(const long *) a, y = *(const long *) b;

	return (x > y) - (x < y);
}

static int call(sd_bus *bus, char *const *argv, int argc)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	int r;

	if (argc == 6)
		r = sd_bus_call_method(bus, "org.ublkd1", argv[2], argv[3], argv[4], &e, &reply,
				       "s", argv[5]);
	else
		r = sd_bus_call_method(bus, "org.ublkd1", argv[2], argv[3], argv[4], &e, &reply,
				       NULL);
	if (r < 0)
		(void) fprintf(stderr, "bus-time: %s: %s\n", argv[1],
			       e.message ? e.message : strerror(-r));
	sd_bus_message_unref(reply);
	sd_bus_error_free(&e);
	return r;
}

int main(int argc, char **argv)
{
	long took[CALLS];
	sd_bus *bus = NULL;

	if (argc < 5 || argc > 6 || sd_bus_open_system(&bus) < 0)
		return EXIT_FAILURE;
	for (int i = 0; i < CALLS; i++) {
		long begin = now_us();

		if (call(bus, argv, argc) < 0)
			return EXIT_FAILURE;
		took[i] = now_us() - begin;
	}
	qsort(took, CALLS, sizeof(took[0]), ascending);
	(void) printf("call %s %ld %ld\n", argv[1], took[0], took[CALLS / 2]);
	sd_bus_unref(bus);
	return EXIT_SUCCESS;
}
