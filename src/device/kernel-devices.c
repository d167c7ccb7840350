/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/kernel-devices.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ublk/features.h"
#include "util/cleanup.h"
#include "util/parse.h"

#define CLASS_DIR "/sys/class/ublk-char"

int kernel_devices_list(int **ret, size_t *ret_n)
{
	_cleanup_closedir_ DIR *dir = opendir(CLASS_DIR);
	_cleanup_free_ int *ids = NULL;
	const struct dirent *e;
	size_t n = 0;
	uint64_t id;

	/* Without the driver there is none. */
	if (!dir && errno != ENOENT)
		return -errno;
	while (dir && (e = readdir(dir))) {
		int *more;

		if (strncmp(e->d_name, "ublkc", 5) != 0 || parse_uint(e->d_name + 5, &id) < 0 ||
		    id > UBLK_ABI_MAX_DEV_ID)
			continue;
		more = reallocarray(ids, n + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		ids = more;
		ids[n++] = (int) id;
	}
	*ret = TAKE_PTR(ids);
	*ret_n = n;
	return 0;
}

struct saved_device **kernel_device_find_saved(const struct ublksrv_ctrl_dev_info *info,
					       struct saved_device **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] && v[i]->cookie == info->ublksrv_flags)
			return &v[i];
	return NULL;
}

bool kernel_device_has_server(const struct ublksrv_ctrl_dev_info *info)
{
	pid_t server = info->ublksrv_pid > 0 ? info->ublksrv_pid
					     : cookie_server(info->ublksrv_flags);

	return server != getpid() && kill(server, 0) == 0;
}
