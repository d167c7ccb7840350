/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/flight-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/flight-book.h"
#include "util/cleanup.h"
#include "util/parse.h"

/* One seat of the file and what belongs to it. */
struct page {
	struct flight_seat seat;
	struct flight_record ring[FLIGHT_RECORDS];
	struct flight_entry entries[FLIGHT_ENTRIES_MAX];
};

static bool is_name(const char name[static FLIGHT_NAME_MAX])
{
	return memchr(name, '\0', FLIGHT_NAME_MAX) && device_name_is_valid(name);
}

static int read_at(int fd, void *to, size_t len, off_t at)
{
	ssize_t n = pread(fd, to, len, at);

	if (n < 0)
		return -errno;
	return (size_t) n == len ? 0 : -EINVAL;
}

/* Return: descriptor or -errno */
static int open_checked(int dir, const char *name, struct flight_file_header *h)
{
	_cleanup_close_ int fd =
		openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) ||
	    st.st_nlink != 1)
		return -EPERM;
	r = read_at(fd, h, sizeof(*h), 0);
	if (r < 0)
		return r;
	if (h->magic != FLIGHT_FILE_MAGIC || h->version != FLIGHT_FILE_VERSION ||
	    h->n_seats > FLIGHT_FILE_SEATS || (uint64_t) st.st_size != FLIGHT_FILE_BYTES)
		return -EINVAL;
	if (h->death.signal > 64 || !is_name(h->death.device))
		h->death.device[0] = '\0';
	for (unsigned int i = 0; i < FLIGHT_FILE_DEATHS; i++)
		if (!is_name(h->deaths[i].device))
			h->deaths[i].count = 0;
	return TAKE_FD(fd);
}

/* Return: how many entries the seat has; 0, too, if it is nobody's or cannot be read */
static size_t read_seat(int fd, unsigned int i, struct page *p)
{
	if (read_at(fd, &p->seat, sizeof(p->seat), flight_seat_offset(i)) < 0 ||
	    !is_name(p->seat.name) ||
	    read_at(fd, p->ring, sizeof(p->ring), flight_ring_offset(i)) < 0)
		return 0;
	return flight_collect(&p->seat, p->ring, p->entries);
}

static int read_seats(int fd, struct flight_crash *c)
{
	_cleanup_free_ struct page *p = malloc(sizeof(*p));
	unsigned int n = c->header.n_seats;

	c->v = calloc(n ? n : 1, sizeof(*c->v));
	if (!p || !c->v)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		size_t found = read_seat(fd, i, p);

		for (size_t j = 0; j < found; j++)
			c->v[i].in_flight += p->entries[j].result == FLIGHT_PENDING;
		if (found)
			memcpy(c->v[i].device, p->seat.name, FLIGHT_NAME_MAX);
	}
	c->n = n;
	return 0;
}

int flight_crash_read(int dir, const char *name, struct flight_crash *ret)
{
	_cleanup_close_ int fd = -1;
	int r;

	*ret = (struct flight_crash){0};
	fd = open_checked(dir, name, &ret->header);
	r = fd < 0 ? fd : read_seats(fd, ret);
	if (r < 0)
		flight_crash_release(ret);
	return r;
}

void flight_crash_release(struct flight_crash *c)
{
	free(c->v);
	*c = (struct flight_crash){0};
}

int flight_book_show(const char *path, FILE *to)
{
	_cleanup_free_ struct page *p = malloc(sizeof(*p));
	struct flight_file_header h = {0};
	_cleanup_close_ int fd = open_checked(AT_FDCWD, path, &h);

	if (fd < 0)
		return fd;
	if (!p)
		return -ENOMEM;
	for (unsigned int i = 0; i < h.n_seats; i++) {
		size_t n = read_seat(fd, i, p);

		flight_print(to, p->seat.name, &p->seat, p->entries, n, NULL);
	}
	return 0;
}
