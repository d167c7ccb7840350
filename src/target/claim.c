/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "target/dev.h"
#include "util/cleanup.h"

struct claim {
	struct claim *next_own; /* same device */
	struct claim *next; /* the table */
	const char *device; /* borrowed from the ub_dev, which outlives its claims */
	dev_t dev;
	ino_t ino; /* 0 for block devices: dev is theirs then */
	uint64_t begin, end;
	bool writable;
};

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct claim *table;

static bool claims_conflict(const struct claim *a, const struct claim *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->begin < b->end && b->begin < a->end &&
	       (a->writable || b->writable);
}

/* Return: 0, or -EBUSY with the other device's name copied and whether that one writes. */
static int claim_insert(struct claim *c, char *ret_other, size_t size, bool *ret_writable)
{
	struct claim *o;

	(void) pthread_mutex_lock(&table_lock);
	for (o = table; o; o = o->next)
		if (claims_conflict(o, c))
			break;
	if (o) {
		(void) snprintf(ret_other, size, "%s", o->device);
		*ret_writable = o->writable;
	} else {
		c->next = table;
		table = c;
	}
	(void) pthread_mutex_unlock(&table_lock);
	return o ? -EBUSY : 0;
}

void claims_release(struct claim **claims)
{
	struct claim *c;

	(void) pthread_mutex_lock(&table_lock);
	while ((c = *claims)) {
		struct claim **p = &table;

		*claims = c->next_own;
		while (*p && *p != c)
			p = &(*p)->next;
		if (*p)
			*p = c->next;
		free(c);
	}
	(void) pthread_mutex_unlock(&table_lock);
}

static int claim_lock(struct ub_dev *dev, int fd, const char *path, uint64_t off, uint64_t len,
		      bool writable)
{
	struct flock fl = {
		.l_type = writable ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t) off,
		.l_len = (off_t) len,
	};

	for (unsigned int i = 0;; i++) {
		if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			/* A file system without locks: the table has to do. */
			return 0;
		if (!ub_dev_pause(dev, path, i))
			break;
	}
	return ub_dev_fail(
		dev, UB_E_IN_USE, EBUSY,
		"'%s' is locked by another process: stop what uses it ('lslocks' lists it)", path);
}

int ub_dev_claim(struct ub_dev *dev, int fd, const char *path, uint64_t off, uint64_t len,
		 bool writable)
{
	_cleanup_free_ struct claim *c = calloc(1, sizeof(*c));
	char other[64];
	struct stat st;
	bool by_writer;

	if (!c)
		return ub_dev_fail(dev, UB_E_BACKING, ENOMEM, "out of memory");
	if (fstat(fd, &st) < 0)
		return ub_dev_fail(dev, UB_E_BACKING, errno, "cannot look at '%s': %s", path,
				   strerror(errno));
	*c = (struct claim){
		.device = dev->name,
		.dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev,
		.ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino,
		.begin = off,
		.end = off + len,
		.writable = writable,
	};
	if (claim_insert(c, other, sizeof(other), &by_writer) < 0)
		return ub_dev_fail(dev, UB_E_IN_USE, EBUSY,
				   "'%s' is already served %s by device '%s': stop that one first",
				   path, by_writer ? "read-write" : "read-only", other);
	c->next_own = dev->claims;
	dev->claims = TAKE_PTR(c);
	return S_ISREG(st.st_mode) ? claim_lock(dev, fd, path, off, len, writable) : 0;
}
