/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ublk/features.h"

#include "ublk/abi.h"

/* By bit number. */
static const char *const names[] = {
	"SUPPORT_ZERO_COPY",
	"URING_CMD_COMP_IN_TASK",
	"NEED_GET_DATA",
	"USER_RECOVERY",
	"USER_RECOVERY_REISSUE",
	"UNPRIVILEGED_DEV",
	"CMD_IOCTL_ENCODE",
	"USER_COPY",
	"ZONED",
	"USER_RECOVERY_FAIL_IO",
	"UPDATE_SIZE",
	"AUTO_BUF_REG",
	"QUIESCE",
	"PER_IO_DAEMON",
	"BUF_REG_OFF_DAEMON",
	"BATCH_IO",
	"INTEGRITY",
	"SAFE_STOP_DEV",
	"NO_AUTO_PART_SCAN",
	"SHMEM_ZC",
	"IO_DESC_SIZE",
};

const char *features_name(unsigned int bit)
{
	return bit < sizeof(names) / sizeof(names[0]) ? names[bit] : NULL;
}

bool features_usable(uint64_t mask)
{
	return mask & UBLK_F_CMD_IOCTL_ENCODE;
}

bool features_has_try_stop(uint64_t mask)
{
	return mask & UBLK_F_SAFE_STOP_DEV;
}
