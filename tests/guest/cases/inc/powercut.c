/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * powercut - writes of which each is acknowledged before the next, and what must be left of them
 *
 *   powercut files LOG DIR STEPS       work on files in DIR, each step with its fsync
 *   powercut sql LOG LABEL DB STEPS    commit to a database of inc/powercut.sh, by way of sqlite3
 *   powercut verify DIR STEP           is DIR as it was after STEP, but for what the next one has
 * begun?
 *
 * LOG is a dm-log-writes device: when step N has been acknowledged it gets the mark LABEL=N
 * ("files=N").
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_FILES = 6, BLOCKS_MAX = 12, BLOCK = 4096, SECTOR = 512, SECTORS = BLOCK / SECTOR };

/* What a step does to its file. */
enum kind { REPLACE, APPEND, OVERWRITE, OVERWRITE_SYNC, REMOVE };

struct file {
	bool exists;
	unsigned int n_blocks;
	unsigned int step[BLOCKS_MAX]; /* that wrote the block */
};

struct step {
	unsigned int number, file, first, n;
	enum kind kind;
};

static void must(bool ok, const char *what)
{
	if (!ok)
		error(2, errno, "%s", what);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 31)) * UINT64_C(0x7fb5d329728ea185);
	x = (x ^ (x >> 27)) * UINT64_C(0x81dadef4bc2dd44d);
	return x ^ (x >> 33);
}

/* ---- what is to be done, and what there is then */

static struct step step_at(const struct file *files, unsigned int number)
{
	static const enum kind kinds[] = {REPLACE,   APPEND,	     APPEND,	     OVERWRITE,
					  OVERWRITE, OVERWRITE_SYNC, OVERWRITE_SYNC, REMOVE};
	uint64_t r = mix(number + 1);
	struct step s = {.number = number, .file = (unsigned int) (r % N_FILES)};
	const struct file *f = &files[s.file];

	s.kind = f->exists ? kinds[(r >> 8) % 8] : REPLACE;
	if (s.kind == APPEND && f->n_blocks == BLOCKS_MAX)
		s.kind = OVERWRITE;
	switch (s.kind) {
	case REPLACE:
		s.n = 1 + (unsigned int) (r >> 16) % (BLOCKS_MAX / 2);
		break;
	case APPEND:
		s.first = f->n_blocks;
		s.n = 1 + (unsigned int) (r >> 16) % (BLOCKS_MAX - f->n_blocks);
		break;
	case OVERWRITE:
	case OVERWRITE_SYNC:
		s.first = (unsigned int) (r >> 16) % f->n_blocks;
		s.n = 1 + (unsigned int) (r >> 24) % (f->n_blocks - s.first);
		break;
	case REMOVE:
		break;
	}
	return s;
}

static struct file after(struct file f, const struct step *s)
{
	f.exists = s->kind != REMOVE;
	if (s->kind == REPLACE || s->kind == REMOVE)
		f.n_blocks = 0;
	if (s->first + s->n > f.n_blocks)
		f.n_blocks = s->first + s->n;
	for (unsigned int b = s->first; b < s->first + s->n; b++)
		f.step[b] = s->number;
	return f;
}

/* Every sector says whose it is, so that a torn or misplaced one shows. */
static void fill_sector(uint64_t *words, unsigned int file, unsigned int block, unsigned int sector,
			unsigned int step)
{
	uint64_t seed = ((uint64_t) file << 56) | ((uint64_t) block << 48) |
			((uint64_t) sector << 40) | step;

	for (unsigned int w = 0; w < SECTOR / sizeof(*words); w++)
		words[w] = mix(seed * 64 + w);
}

static char *file_name(unsigned int file)
{
	static char name[16];

	(void) snprintf(name, sizeof(name), "f%u", file);
	return name;
}

/* ---- doing it */

static void mark(const char *log, const char *label, unsigned int step)
{
	static int control = -1;
	struct {
		struct dm_ioctl head;
		struct dm_target_msg msg;
		char text[48];
	} m = {.head = {.version = {DM_VERSION_MAJOR, 0, 0},
			.data_size = sizeof(m),
			.data_start = sizeof(m.head)}};

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	(void) snprintf(m.head.name, sizeof(m.head.name), "%s", log);
	(void) snprintf(m.msg.message, sizeof(m.text), "mark %s=%u", label, step);
	must(control >= 0 && ioctl(control, DM_TARGET_MSG, &m) == 0, "mark");
}

static void do_step(int dir, const struct step *s)
{
	static char buf[BLOCKS_MAX * BLOCK] __attribute__((aligned(BLOCK)));
	const char *name = file_name(s->file), *opened = s->kind == REPLACE ? "new" : name;
	int flags = O_WRONLY | O_CLOEXEC | (s->kind == REPLACE ? O_CREAT | O_TRUNC : 0) |
		    (s->kind == OVERWRITE_SYNC ? O_DIRECT | O_DSYNC : 0);
	size_t len = (size_t) s->n * BLOCK;
	int fd;

	if (s->kind == REMOVE) {
		must(unlinkat(dir, name, 0) == 0 && fsync(dir) == 0, "unlink");
		return;
	}
	for (unsigned int i = 0; i < s->n * SECTORS; i++)
		fill_sector((uint64_t *) (buf + (size_t) i * SECTOR), s->file,
			    s->first + i / SECTORS, i % SECTORS, s->number);
	fd = openat(dir, opened, flags, 0600);
	must(fd >= 0, opened);
	must(pwrite(fd, buf, len, (off_t) s->first * BLOCK) == (ssize_t) len, "write");
	if (s->kind == REPLACE)
		must(fsync(fd) == 0 && renameat(dir, opened, dir, name) == 0 && fsync(dir) == 0,
		     "replace");
	else if (s->kind != OVERWRITE_SYNC)
		must(fdatasync(fd) == 0, "fdatasync");
	must(close(fd) == 0, "close");
}

static void files(const char *log, const char *path, unsigned int n_steps)
{
	struct file model[N_FILES] = {0};
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(dir >= 0, path);
	for (unsigned int i = 1; i <= n_steps; i++) {
		struct step s = step_at(model, i);

		do_step(dir, &s);
		mark(log, "files", i);
		model[s.file] = after(model[s.file], &s);
	}
}

static void sql(const char *log, const char *label, const char *db, unsigned int n_steps)
{
	unsigned int answer;
	int to[2], from[2];
	FILE *in, *out;

	must(pipe(to) == 0 && pipe(from) == 0, "pipe");
	if (fork() == 0) {
		(void) dup2(to[0], 0);
		(void) dup2(from[1], 1);
		(void) close(to[1]);
		(void) execlp("stdbuf", "stdbuf", "-oL", "sqlite3", "-bail", db, NULL);
		error(2, errno, "stdbuf sqlite3");
	}
	(void) close(from[1]);
	in = fdopen(to[1], "w");
	out = fdopen(from[0], "r");
	must(in && out, "pipe");
	/* With FULL, the removal of a journal is not durable, and so its commit is not. */
	fprintf(in, "PRAGMA synchronous=EXTRA;\nPRAGMA cache_size=20;\n");
	for (unsigned int i = 1; i <= n_steps; i++) {
		fprintf(in,
			"BEGIN; INSERT INTO t VALUES(%u, 0, printf('%%0*d', 200 + %u * 37 %% 3000, "
			"%u));"
			"UPDATE t SET step = %u WHERE id = %u; UPDATE s SET n = %u; COMMIT; SELECT "
			"%u;\n",
			i, i, i, i, i / 2, i, i);
		must(fflush(in) == 0 && fscanf(out, "%u", &answer) == 1 && answer == i, "sqlite3");
		mark(log, label, i);
	}
}

/* ---- looking at what is left */

static bool failed;

static void wrong(const char *name, const char *what, size_t at)
{
	printf("%s: %s at %zu\n", name, what, at);
	failed = true;
}

static bool is_zero(const char *sector)
{
	return !sector[0] && !memcmp(sector, sector + 1, SECTOR - 1);
}

static bool is_of(const char *sector, unsigned int file, size_t i, unsigned int step)
{
	uint64_t words[SECTOR / sizeof(uint64_t)];

	fill_sector(words, file, (unsigned int) i / SECTORS, i % SECTORS, step);
	return !memcmp(sector, words, SECTOR);
}

/* What file @n holds; the length, -1 if there is none. */
static ssize_t content(int dir, unsigned int n, char *buf, size_t size)
{
	int fd = openat(dir, file_name(n), O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0 && errno == ENOENT)
		return -1;
	must(fd >= 0, file_name(n));
	len = read(fd, buf, size);
	must(len >= 0 && close(fd) == 0, file_name(n));
	return len;
}

static bool is_exactly(const struct file *f, unsigned int n, const char *buf, ssize_t len)
{
	if (!f->exists || len < 0)
		return !f->exists && len < 0;
	if ((size_t) len != (size_t) f->n_blocks * BLOCK)
		return false;
	for (size_t i = 0; i < (size_t) f->n_blocks * SECTORS; i++)
		if (!is_of(buf + i * SECTOR, n, i, f->step[i / SECTORS]))
			return false;
	return true;
}

/* In the middle of a write: each sector is old or new; what is appended may be missing. */
static bool is_between(const struct file *old, const struct file *new, unsigned int n,
		       const char *buf, ssize_t len)
{
	if (len < (ssize_t) old->n_blocks * BLOCK || len > (ssize_t) new->n_blocks *BLOCK)
		return false;
	for (size_t i = 0; i < (size_t) len / SECTOR; i++) {
		const char *sector = buf + i * SECTOR;
		size_t b = i / SECTORS;

		if (is_of(sector, n, i, new->step[b]))
			continue;
		if (b < old->n_blocks ? !is_of(sector, n, i, old->step[b]) : !is_zero(sector))
			return false;
	}
	return true;
}

static void verify(const char *path, unsigned int acknowledged)
{
	static char buf[(BLOCKS_MAX + 1) * BLOCK];
	struct file model[N_FILES] = {0};
	struct step next = {0};
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(dir >= 0, path);
	for (unsigned int i = 1; i <= acknowledged; i++) {
		next = step_at(model, i);
		model[next.file] = after(model[next.file], &next);
	}
	next = step_at(model, acknowledged + 1);
	for (unsigned int n = 0; n < N_FILES; n++) {
		ssize_t len = content(dir, n, buf, sizeof(buf));
		struct file then = after(model[n], &next);

		if (is_exactly(&model[n], n, buf, len))
			continue;
		if (n != next.file)
			wrong(file_name(n), "acknowledged and not there: length", (size_t) len);
		else if (next.kind == REPLACE || next.kind == REMOVE
				 ? !is_exactly(&then, n, buf, len)
				 : !is_between(&model[n], &then, n, buf, len))
			wrong(file_name(n), "neither as before nor as after the next step: length",
			      (size_t) len);
	}
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "files"))
		files(argv[2], argv[3], (unsigned int) atoi(argv[4]));
	else if (argc == 6 && !strcmp(argv[1], "sql"))
		sql(argv[2], argv[3], argv[4], (unsigned int) atoi(argv[5]));
	else if (argc == 4 && !strcmp(argv[1], "verify"))
		verify(argv[2], (unsigned int) atoi(argv[3]));
	else
		error(2, 0,
		      "usage: powercut files LOG DIR STEPS | sql LOG LABEL DB STEPS | verify DIR "
		      "STEP");
	return failed ? 1 : 0;
}
