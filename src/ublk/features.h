/* SPDX-License-Identifier: GPL-2.0-or-later */
/* features - the driver's feature bits and their names. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** features_name - "UPDATE_SIZE" for bit 10; NULL for a bit this program does not know
 *  @bit: 0 .. 63 */
const char *features_name(unsigned int bit);

/** features_usable - the driver is new enough for ublkd: it has the encoded commands (Linux 6.4) */
bool features_usable(uint64_t mask);

/** features_has_try_stop - TRY_STOP_DEV exists (Linux 7.0) */
bool features_has_try_stop(uint64_t mask);

/*
 * Who made a device: ADD_DEV stores this and hands it back, the driver does not look at it. 24 bits
 * of magic, 22 bits of the server's process id, 18 bits that differ from device to device.
 */
#define COOKIE_MAGIC (UINT64_C(0x75626c) << 40)
#define COOKIE_MAGIC_MASK (~UINT64_C(0) << 40)

static inline uint64_t cookie_make(pid_t server, uint64_t n)
{
	return COOKIE_MAGIC | ((uint64_t) server & 0x3fffff) << 18 | (n & 0x3ffff);
}

static inline bool cookie_is_ours(uint64_t cookie)
{
	return (cookie & COOKIE_MAGIC_MASK) == COOKIE_MAGIC;
}

static inline pid_t cookie_server(uint64_t cookie)
{
	return (pid_t) (cookie >> 18 & 0x3fffff);
}
