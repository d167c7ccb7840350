/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay-log [-m] [-n N] [-s SEED] LOG IMAGE [FROM UNTIL COMMAND [ARG...]] - what a disk holds
 * after a power cut
 *
 * LOG is a log device of dm-log-writes, or a copy; IMAGE a file of the disk's size that holds what
 * was on it when the log began. Everything in the log is applied to IMAGE. With FROM, UNTIL and
 * COMMAND, marks and a checker, the power is cut between the two marks at each of these points:
 *
 *   flush, FUA, mark   after the entry: what was logged until then is on the disk, nothing else
 *   torn               while a flush is under way: of the writes it waits for, some have arrived
 *
 * COMMAND gets ARG... and the name of an image, which it must not change; POINT says which point it
 * is, MARKS holds the last mark of each LABEL=VALUE until then. -n N checks every N-th point, -s
 * SEED chooses what a torn flush has left behind. Exit status: 0 if COMMAND always succeeded.
 *
 * The format, all numbers little endian, SECTOR as the first sector of the log says: a sector
 * {magic, version, number of entries, u32 SECTOR}; each entry a sector {sector, sectors, flags,
 * length of a mark, mark}, followed by the sectors written unless it is a discard. A write is in
 * the log when it is durable: FUA at its completion, others before the flush that they were
 * complete for.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_MAGIC UINT64_C(0x6a736677736872)
#define LOG_VERSION 1

enum { FLUSH = 1, FUA = 2, DISCARD = 4, MARK = 8 };
enum { COPY_SIZE = 1 << 20, LABELS_MAX = 16, MARK_MAX = 480 };

struct entry {
	uint64_t at, len; /* on the disk, bytes */
	uint64_t data; /* in the log */
	uint64_t flags;
	char *mark;
};

struct replay {
	int log, image;
	const char *image_name;
	char *torn_name;
	uint32_t sector;
	struct entry *entries;
	size_t n_entries;
	char **command; /* the last argument is the image */
	size_t n_command;
	const char *marks[LABELS_MAX];
	uint64_t random;
	unsigned long every, seen, checked, failed;
	bool every_mark;
};

static void must(bool ok, const char *what)
{
	if (!ok)
		error(2, errno, "%s", what);
}

static void read_log(const struct replay *r, void *buf, size_t len, uint64_t at)
{
	errno = 0;
	must(pread(r->log, buf, len, (off_t) at) == (ssize_t) len, "the log is cut short");
}

static void open_log(struct replay *r, const char *name)
{
	uint64_t head[4], at;

	r->log = open(name, O_RDONLY | O_CLOEXEC);
	must(r->log >= 0, name);
	read_log(r, head, sizeof(head), 0);
	errno = 0;
	must(le64toh(head[0]) == LOG_MAGIC && le64toh(head[1]) == LOG_VERSION, "not a log");
	r->n_entries = le64toh(head[2]);
	r->sector = (uint32_t) le64toh(head[3]);
	must(r->sector >= 512 && r->sector <= 4096, "not a log: sector size");
	r->entries = calloc(r->n_entries + 1, sizeof(*r->entries));
	must(r->entries, "memory");
	at = r->sector;
	for (size_t i = 0; i < r->n_entries; i++) {
		struct entry *e = &r->entries[i];

		read_log(r, head, sizeof(head), at);
		e->at = le64toh(head[0]) * r->sector;
		e->len = le64toh(head[1]) * r->sector;
		e->flags = le64toh(head[2]);
		e->data = at + r->sector;
		if (e->flags & MARK) {
			must(le64toh(head[3]) <= MARK_MAX, "a mark is too long");
			e->mark = calloc(1, le64toh(head[3]) + 1);
			must(e->mark, "memory");
			read_log(r, e->mark, le64toh(head[3]), at + sizeof(head));
		}
		at = e->data + (e->flags & DISCARD ? 0 : e->len);
	}
}

static void apply(const struct replay *r, int image, const struct entry *e)
{
	static char buf[COPY_SIZE];

	for (uint64_t done = 0, n; done < e->len; done += n) {
		n = e->len - done < sizeof(buf) ? e->len - done : sizeof(buf);
		if (e->flags & DISCARD)
			memset(buf, 0, n);
		else
			read_log(r, buf, n, e->data + done);
		must(pwrite(image, buf, n, (off_t) (e->at + done)) == (ssize_t) n,
		     "write to the image");
	}
}

static void remember_mark(struct replay *r, const char *mark)
{
	const char *sign = strchr(mark, '=');
	size_t label = sign ? (size_t) (sign - mark) + 1 : 0;

	for (size_t i = 0; label && i < LABELS_MAX; i++)
		if (!r->marks[i] || !strncmp(r->marks[i], mark, label)) {
			r->marks[i] = mark;
			return;
		}
}

static void run_command(struct replay *r, const char *image)
{
	int status = -1;
	pid_t pid;

	r->command[r->n_command] = (char *) image;
	(void) fflush(stdout);
	pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		(void) execvp(r->command[0], r->command);
		error(127, errno, "%s", r->command[0]);
	}
	must(waitpid(pid, &status, 0) == pid, "wait");
	r->checked++;
	if (status != 0) {
		r->failed++;
		printf("power cut at %s, marks %s: FAILED\n", getenv("POINT"), getenv("MARKS"));
	}
}

/* Whether this point is one to be checked; the checker's environment is set then. */
static bool point(struct replay *r, size_t i, const char *kind)
{
	char name[64], marks[LABELS_MAX * MARK_MAX] = "";
	bool mark = r->every_mark && !strcmp(kind, "mark");

	if (!r->command || (r->seen++ % r->every && !mark))
		return false;
	(void) snprintf(name, sizeof(name), "entry %zu (%s)", i, kind);
	for (size_t m = 0; m < LABELS_MAX && r->marks[m]; m++) {
		(void) strcat(marks, m ? " " : "");
		(void) strcat(marks, r->marks[m]);
	}
	must(setenv("POINT", name, 1) == 0 && setenv("MARKS", marks, 1) == 0, "setenv");
	return true;
}

static int copy_image(const struct replay *r)
{
	static char buf[COPY_SIZE];
	struct stat st;
	off_t at = 0;
	int fd = open(r->torn_name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && fstat(r->image, &st) == 0 && ftruncate(fd, st.st_size) == 0, r->torn_name);
	while ((at = lseek(r->image, at, SEEK_DATA)) >= 0) {
		ssize_t n = pread(r->image, buf, sizeof(buf), at);

		must(n > 0 && pwrite(fd, buf, (size_t) n, at) == n, r->torn_name);
		at += n;
	}
	return fd;
}

static bool chance(struct replay *r)
{
	r->random = r->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return r->random >> 63;
}

/* The flush that is entry @end is under way; FUA writes and marks in its part of the log are older.
 */
static void check_torn(struct replay *r, size_t begin, size_t end)
{
	int fd;

	if (!point(r, end, "torn"))
		return;
	fd = copy_image(r);
	for (size_t i = begin; i < end; i++) {
		const struct entry *e = &r->entries[i];

		if (!(e->flags & (FUA | MARK)) && chance(r))
			apply(r, fd, e);
	}
	must(close(fd) == 0, r->torn_name);
	run_command(r, r->torn_name);
	(void) unlink(r->torn_name);
}

/* Plain writes wait for their flush: the torn state needs the disk as it was before them. */
static void apply_writes(struct replay *r, size_t begin, size_t end)
{
	for (size_t i = begin; i < end; i++)
		if (!(r->entries[i].flags & (FUA | MARK)))
			apply(r, r->image, &r->entries[i]);
}

static void replay(struct replay *r, const char *from, const char *until)
{
	char **command = r->command;
	size_t begin = 0; /* of the plain writes that have not been applied */

	r->command = NULL;
	for (size_t i = 0; i < r->n_entries; i++) {
		const struct entry *e = &r->entries[i];

		if (e->flags & MARK) {
			remember_mark(r, e->mark);
			if (from && !strcmp(e->mark, from))
				r->command = command;
			if (until && !strcmp(e->mark, until))
				return;
		}
		if (e->flags & FLUSH) {
			check_torn(r, begin, i);
			apply_writes(r, begin, i);
			begin = i;
		}
		if (e->flags & (FLUSH | FUA))
			apply(r, r->image, e);
		if (e->flags & FLUSH)
			begin++;
		if (e->flags & (FLUSH | FUA | MARK) && point(r, i,
							     e->flags & MARK  ? "mark"
							     : e->flags & FUA ? "FUA"
									      : "flush"))
			run_command(r, r->image_name);
	}
	errno = 0;
	must(!from, "the log has no such marks: did it run out of space?");
	apply_writes(r, begin, r->n_entries);
}

int main(int argc, char **argv)
{
	struct replay r = {.every = 1, .random = 1};
	const char *from = NULL, *until = NULL;
	int c;

	while ((c = getopt(argc, argv, "+mn:s:")) != -1) {
		if (c == 'n')
			r.every = strtoul(optarg, NULL, 10);
		else if (c == 'm')
			r.every_mark = true;
		else if (c == 's')
			r.random = strtoull(optarg, NULL, 10);
		else
			return 2;
	}
	argc -= optind;
	argv += optind;
	if ((argc != 2 && argc < 5) || !r.every)
		error(2, 0,
		      "usage: replay-log [-m] [-n N] [-s SEED] LOG IMAGE [FROM UNTIL COMMAND "
		      "[ARG...]]");
	open_log(&r, argv[0]);
	r.image_name = argv[1];
	r.image = open(argv[1], O_RDWR | O_CLOEXEC);
	must(r.image >= 0 && asprintf(&r.torn_name, "%s.torn", argv[1]) > 0, argv[1]);
	if (argc > 2) {
		from = argv[2];
		until = argv[3];
		r.n_command = (size_t) argc - 4;
		r.command = calloc(r.n_command + 2, sizeof(*r.command));
		must(r.command, "memory");
		memcpy(r.command, argv + 4, r.n_command * sizeof(*r.command));
	}
	replay(&r, from, until);
	if (from)
		printf("%lu of %lu points, %lu failures\n", r.checked, r.seen, r.failed);
	/* To have looked at nothing proves nothing. */
	return r.failed || (from && !r.checked) ? 1 : 0;
}
