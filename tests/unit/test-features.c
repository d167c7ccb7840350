/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ublk/features: names by bit, and whose a device is. */
#include "test.h"
#include "ublk/abi.h"
#include "ublk/features.h"

#define NAMED(f)                                                                                   \
	{                                                                                          \
		UBLK_F_##f, #f                                                                     \
	}

static void names(void)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} all[] = {
		NAMED(SUPPORT_ZERO_COPY),
		NAMED(URING_CMD_COMP_IN_TASK),
		NAMED(NEED_GET_DATA),
		NAMED(USER_RECOVERY),
		NAMED(USER_RECOVERY_REISSUE),
		NAMED(UNPRIVILEGED_DEV),
		NAMED(CMD_IOCTL_ENCODE),
		NAMED(USER_COPY),
		NAMED(ZONED),
		NAMED(USER_RECOVERY_FAIL_IO),
		NAMED(UPDATE_SIZE),
		NAMED(AUTO_BUF_REG),
		NAMED(QUIESCE),
		NAMED(PER_IO_DAEMON),
		NAMED(BUF_REG_OFF_DAEMON),
		NAMED(BATCH_IO),
		NAMED(INTEGRITY),
		NAMED(SAFE_STOP_DEV),
		NAMED(NO_AUTO_PART_SCAN),
		NAMED(SHMEM_ZC),
		NAMED(IO_DESC_SIZE),
	};
	unsigned int n = sizeof(all) / sizeof(all[0]);

	for (unsigned int i = 0; i < n; i++)
		CHECK_STR(features_name((unsigned int) __builtin_ctzll(all[i].bit)), all[i].name);
	for (unsigned int i = n; i < 64; i++)
		CHECK_STR(features_name(i), NULL);
	CHECK_STR(features_name(0xffffffff), NULL);
}

static void what_is_needed(void)
{
	CHECK(!features_usable(0));
	CHECK(!features_usable(~UBLK_F_CMD_IOCTL_ENCODE));
	CHECK(features_usable(UBLK_F_CMD_IOCTL_ENCODE));
	CHECK(!features_has_try_stop(~UBLK_F_SAFE_STOP_DEV));
	CHECK(features_has_try_stop(UBLK_F_SAFE_STOP_DEV));
}

static void cookies(void)
{
	uint64_t c = cookie_make(4194303, 7);

	CHECK(cookie_is_ours(c));
	CHECK_EQ(cookie_server(c), 4194303);
	CHECK_EQ(cookie_server(cookie_make(1, 0x3ffff)), 1);
	CHECK(cookie_make(1, 1) != cookie_make(1, 2));
	CHECK(cookie_make(1, 1) != cookie_make(2, 1));
	CHECK(!cookie_is_ours(0));
	CHECK(!cookie_is_ours(c ^ (UINT64_C(1) << 40)));
	CHECK(!cookie_is_ours(c ^ (UINT64_C(1) << 63)));
}

TEST_MAIN(CASE(names), CASE(what_is_needed), CASE(cookies))
