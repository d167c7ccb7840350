/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault-laws - chance and time of the fault target, as plain functions: what they return depends on
 * their arguments only, so that a run can be repeated from its seed, and the laws can be tested. No
 * floating point. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum fault_law {
	FAULT_FIXED, /* always the same */
	FAULT_UNIFORM, /* evenly from time - spread to time + spread */
	FAULT_NORMAL, /* a bell around time, spread is the standard deviation; never below 0 */
	FAULT_LONG_TAIL, /* Pareto, shape 2: k times as long or longer in 1 of k * k cases; at least
			    time, at most 1024 times that */
};

/* What is drawn by chance; draws for one thing do not change those for another. */
enum fault_draw {
	FAULT_DRAW_ERROR,
	FAULT_DRAW_BAD,
	FAULT_DRAW_FATE,
	FAULT_DRAW_SECTOR,
	FAULT_DRAW_LATENCY, /* and the next two */
};

/** fault_random - draw number @n of kind @draw: 64 even bits, the same for the same arguments */
uint64_t fault_random(uint64_t seed, unsigned int draw, uint64_t n);

/** fault_happens - whether @random is among the @per_million of a million that are meant */
bool fault_happens(uint32_t per_million, uint64_t random);

/** fault_latency - how long request number @n takes, in the unit of @time
 *  @time, @spread: at most a year in microseconds; uniform: @spread <= @time */
uint64_t fault_latency(enum fault_law law, uint64_t time, uint64_t spread, uint64_t seed,
		       uint64_t n);

/**
 * fault_transfer - the next turn on a line that takes so many bytes per second
 * @free_at: when the line is free, in ns; 0 at first; shared by all that use it
 * @bytes: below 2^34
 * @rate: bytes per second, > 0
 * Return: ns from @now until the last byte is through.
 */
uint64_t fault_transfer(_Atomic uint64_t *free_at, uint64_t now, uint64_t bytes, uint64_t rate);
