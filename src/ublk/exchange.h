/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exchange - how requests come from the driver and results go back: with a command per request
 * (exchange-tag.c) or with one for many (exchange-batch.c, BATCH_IO). Queue thread.
 *
 * News goes to the queue by slot_arrived() and queue_ended().
 */
#pragma once

#include <stdint.h>

struct queue;
struct slot;

struct exchange {
	/* Memory and registrations, before the first command; Return: 0 or -errno. May be NULL. */
	int (*init)(struct queue *q);
	/* Offer every tag to the driver. Return: 0, or -errno when it refused; runs turns of the
	 * ring if need be. */
	int (*arm)(struct queue *q);
	/* The slot's request is over: @result as the driver takes it */
	void (*commit)(struct slot *s, int32_t result);
	/* The same, if the SQE before succeeds, to which this one is linked; there is room for it.
	 * NULL: it has no such thing. */
	void (*commit_linked)(struct slot *s, int32_t result);
	/* What was committed since the last turn becomes commands. May be NULL.
	 * Return: how many completions their submission brings by itself, which are no news */
	unsigned int (*flush)(struct queue *q);
	void (*done)(struct queue *q); /* the ring is closed. May be NULL. */
};

extern const struct exchange exchange_tag, exchange_batch;

/* CQEs to reserve for an exchange's own commands, beside one for each tag. */
#define EXCHANGE_EXTRA_CQES 32U
