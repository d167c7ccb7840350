/* SPDX-License-Identifier: GPL-2.0-or-later */
/* features - the driver's feature bits and their names. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** features_name - "UPDATE_SIZE" for bit 10; NULL for a bit this program does not know
 *  @bit: 0 .. 63 */
const char *features_name(unsigned int bit);

/** features_usable - the driver is new enough for ublkd: it has the encoded commands (Linux 6.4) */
bool features_usable(uint64_t mask);

/** features_has_try_stop - TRY_STOP_DEV exists (Linux 7.0) */
bool features_has_try_stop(uint64_t mask);

/* Who made a device: ADD_DEV stores this and hands it back, the driver does not look at it. The low
 * 24 bits differ from device to device of one daemon. */
#define COOKIE_MAGIC (UINT64_C(0x75626c6b64) << 24)
#define COOKIE_MASK (~UINT64_C(0) << 24)

static inline bool cookie_is_ours(uint64_t ublksrv_flags)
{
	return (ublksrv_flags & COOKIE_MASK) == COOKIE_MAGIC;
}
