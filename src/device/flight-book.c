/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/flight-book.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/flight-file.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* Deaths of a device farther apart than this have nothing to do with each other. */
#define DEATHS_APART_USEC (60 * UINT64_C(1000000))

struct flight_book {
	char *path; /* of the folder */
	int dir, file;
	struct flight_file_header *header; /* mapped; after it the seats */
	uint8_t taken[FLIGHT_FILE_SEATS];
	struct flight_crash crash;
};

static struct flight_seat *seats(const struct flight_book *b)
{
	return (struct flight_seat *) (void *) ((uint8_t *) b->header + FLIGHT_FILE_PAGE);
}

/* ---- life */

/* Return: descriptor or -errno */
static int open_folder(const char *path)
{
	_cleanup_close_ int dir = -1;
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0 || fstat(dir, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return -EPERM;
	return TAKE_FD(dir);
}

static int make_file(struct flight_book *b)
{
	struct flight_file_header *h;

	(void) unlinkat(b->dir, "requests", 0);
	b->file = openat(b->dir, "requests", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			 0600);
	if (b->file < 0 || ftruncate(b->file, (off_t) FLIGHT_FILE_BYTES) < 0 ||
	    fallocate(b->file, 0, 0, FLIGHT_FILE_PAGE) < 0)
		return -errno;
	h = mmap(NULL, FLIGHT_FILE_RINGS, PROT_READ | PROT_WRITE, MAP_SHARED, b->file, 0);
	if (h == MAP_FAILED)
		return -errno;
	b->header = h;
	h->magic = FLIGHT_FILE_MAGIC;
	h->version = FLIGHT_FILE_VERSION;
	return 0;
}

/* Who is blamed goes on being so as long as it can matter. */
static void count_deaths(struct flight_book *b)
{
	const struct death *d = &b->crash.header.death;
	struct flight_deaths *to = b->header->deaths, *mine = NULL;
	uint64_t now = clock_usec(CLOCK_MONOTONIC);
	unsigned int n = 0;

	for (unsigned int i = 0; i < FLIGHT_FILE_DEATHS; i++) {
		const struct flight_deaths *from = &b->crash.header.deaths[i];

		if (!from->count || from->usec > now || now - from->usec > DEATHS_APART_USEC)
			continue;
		to[n] = *from;
		if (d->signal && strcmp(from->device, d->device) == 0)
			mine = &to[n];
		n++;
	}
	if (!d->signal || !*d->device || d->usec > now)
		return;
	if (!mine)
		mine = &to[n < FLIGHT_FILE_DEATHS ? n : 0];
	if (mine->count == 0 || strcmp(mine->device, d->device) != 0)
		*mine = (struct flight_deaths){0};
	memcpy(mine->device, d->device, sizeof(mine->device));
	mine->count++;
	mine->usec = d->usec;
}

DEFINE_CLEANUP(struct flight_book *, flight_book_close);

int flight_book_open(const char *runtime_dir, struct flight_book **ret)
{
	_cleanup_(flight_book_closep) struct flight_book *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->dir = b->file = -1;
	if (asprintf(&b->path, "%s/flight", runtime_dir) < 0) {
		b->path = NULL;
		return -ENOMEM;
	}
	b->dir = open_folder(b->path);
	if (b->dir < 0)
		return b->dir;
	r = flight_crash_read(b->dir, "requests", &b->crash);
	/* One that is not ours is no crash, and in our way. */
	if (r == 0 && !b->crash.header.left)
		(void) renameat(b->dir, "requests", b->dir, "crash");
	else
		flight_crash_release(&b->crash);
	r = make_file(b);
	if (r < 0)
		return r;
	count_deaths(b);
	*ret = TAKE_PTR(b);
	return 0;
}

struct flight_book *flight_book_close(struct flight_book *b)
{
	if (!b)
		return NULL;
	if (b->header)
		(void) munmap(b->header, FLIGHT_FILE_RINGS);
	if (b->file >= 0) {
		(void) close(b->file);
		(void) unlinkat(b->dir, "requests", 0);
	}
	if (b->dir >= 0)
		(void) close(b->dir);
	flight_crash_release(&b->crash);
	free(b->path);
	free(b);
	return NULL;
}

void flight_book_leave(struct flight_book *b)
{
	if (b)
		b->header->left = 1;
}

struct death *flight_book_death(struct flight_book *b)
{
	return &b->header->death;
}

/* ---- seats and rings */

struct flight_seat *flight_book_take(struct flight_book *b, const char *device, uint32_t q_id,
				     uint32_t first_tag)
{
	struct flight_seat *s;
	unsigned int i = 0;

	if (!b)
		return NULL;
	while (i < FLIGHT_FILE_SEATS && b->taken[i])
		i++;
	if (i == FLIGHT_FILE_SEATS ||
	    fallocate(b->file, 0, flight_seat_offset(i), FLIGHT_SEAT_BYTES) < 0)
		return NULL;
	b->taken[i] = true;
	if (b->header->n_seats <= i)
		b->header->n_seats = i + 1;
	s = &seats(b)[i];
	memset(s, 0, sizeof(*s));
	(void) snprintf(s->name, sizeof(s->name), "%s", device);
	s->q_id = q_id;
	s->first_tag = first_tag;
	return s;
}

void flight_book_give_back(struct flight_book *b, struct flight_seat *seat)
{
	if (!seat)
		return;
	memset(seat, 0, sizeof(*seat));
	b->taken[seat - seats(b)] = false;
}

struct flight_record *flight_book_take_ring(struct flight_book *b, const struct flight_seat *seat)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;
	off_t at = 0;
	void *p;

	if (b && seat) {
		at = flight_ring_offset((unsigned int) (seat - seats(b)));
		/* In a page of it that cannot be had its queue would die. */
		if (fallocate(b->file, 0, at, FLIGHT_RING_BYTES) < 0)
			return NULL;
		flags = MAP_SHARED;
		fd = b->file;
	}
	p = mmap(NULL, FLIGHT_RING_BYTES, PROT_READ | PROT_WRITE, flags, fd, at);
	return p == MAP_FAILED ? NULL : p;
}

void flight_book_give_back_ring(struct flight_book *b, const struct flight_seat *seat,
				struct flight_record *ring)
{
	if (!ring)
		return;
	(void) munmap(ring, FLIGHT_RING_BYTES);
	if (b && seat)
		(void) fallocate(b->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 flight_ring_offset((unsigned int) (seat - seats(b))),
				 FLIGHT_RING_BYTES);
}

/* ---- files for people */

const char *flight_book_dir(const struct flight_book *b)
{
	return b ? b->path : "";
}

int flight_book_write(struct flight_book *b, const char *device, void (*write)(void *arg, FILE *f),
		      void *arg)
{
	_cleanup_fclose_ FILE *f = NULL;
	char name[FLIGHT_NAME_MAX + 8];
	int fd, r = 0;

	(void) unlinkat(b->dir, ".new", 0);
	fd = openat(b->dir, ".new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	f = fdopen(fd, "we");
	if (!f) {
		(void) close(fd);
		return -ENOMEM;
	}
	write(arg, f);
	(void) snprintf(name, sizeof(name), "%s.stall", device);
	if (fflush(f) != 0 || ferror(f))
		r = -ENOSPC;
	else if (renameat(b->dir, ".new", b->dir, name) < 0)
		r = -errno;
	if (r < 0)
		(void) unlinkat(b->dir, ".new", 0);
	return r;
}

/* ---- of the daemon before this one */

const struct death *flight_book_crash(const struct flight_book *b)
{
	return &b->crash.header.death;
}

unsigned int flight_book_in_flight(const struct flight_book *b, const char *device)
{
	unsigned int n = 0;

	for (size_t i = 0; b && i < b->crash.n; i++)
		if (strcmp(b->crash.v[i].device, device) == 0)
			n += b->crash.v[i].in_flight;
	return n;
}

static struct flight_deaths *deaths_of(const struct flight_book *b, const char *device)
{
	for (unsigned int i = 0; b && i < FLIGHT_FILE_DEATHS; i++)
		if (b->header->deaths[i].count && strcmp(b->header->deaths[i].device, device) == 0)
			return &b->header->deaths[i];
	return NULL;
}

unsigned int flight_book_deaths(const struct flight_book *b, const char *device)
{
	const struct flight_deaths *d = deaths_of(b, device);

	return d ? d->count : 0;
}

void flight_book_forgive(struct flight_book *b, const char *device)
{
	struct flight_deaths *d = deaths_of(b, device);

	if (d)
		*d = (struct flight_deaths){0};
}
