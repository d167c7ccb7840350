/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * try-io WHAT DEVICE [OFFSET LENGTH BYTE] - one request past the page cache, and what became of it:
 * "ok", the name of the error, or what is wrong with the bytes.
 *
 *	read	must bring BYTE everywhere. If it fails, what is in the reader's memory is what was
 *		there before, or bytes of this place: never those of another request.
 *	write, dsync	all bytes are BYTE; dsync: durable (FUA)
 *	sync	fdatasync of the device
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { POISON = 0xa5 };

static uint8_t *buf;
static size_t len;
static uint8_t byte;

static const char *name_of(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "unknown";
}

/* Return: what is in the memory that may not be; -1: nothing */
static int find_strange(int failed)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != byte && !(failed && (buf[i] == POISON || buf[i] == 0)))
			return buf[i];
	return -1;
}

static ssize_t request(int fd, const char *what, off_t off)
{
	struct iovec v = {.iov_base = buf, .iov_len = len};

	if (strcmp(what, "sync") == 0)
		return fdatasync(fd);
	if (strcmp(what, "read") == 0)
		return preadv(fd, &v, 1, off);
	memset(buf, byte, len);
	return pwritev2(fd, &v, 1, off, strcmp(what, "dsync") == 0 ? RWF_DSYNC : 0);
}

int main(int argc, char **argv)
{
	int is_read = argc == 6 && strcmp(argv[1], "read") == 0;
	int strange = -1;
	ssize_t n;
	int fd, error;

	if (argc != 3 && argc != 6)
		return 2;
	if (argc == 6) {
		len = strtoul(argv[4], NULL, 0);
		byte = (uint8_t) argv[5][0];
		if (strcmp(argv[5], "0") == 0)
			byte = 0;
	}
	fd = open(argv[2], (is_read ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || posix_memalign((void **) &buf, 4096, len ? len : 4096)) {
		printf("open: %s\n", name_of(errno));
		return 1;
	}
	memset(buf, POISON, len);
	n = request(fd, argv[1], argc == 6 ? strtoll(argv[3], NULL, 0) : 0);
	error = n < 0 ? errno : 0;
	if (is_read)
		strange = find_strange(error || (size_t) n != len);
	if (strange >= 0)
		printf("0x%02x instead of 0x%02x%s\n", strange, byte,
		       error ? ", and an error" : "");
	else if (error)
		printf("%s\n", name_of(error));
	else if ((size_t) n != (argc == 6 ? len : 0))
		printf("%zd bytes\n", n);
	else
		printf("ok\n");
	return 0;
}
