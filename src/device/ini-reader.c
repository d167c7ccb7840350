/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/ini-reader.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/parse.h"

#define FILE_SIZE_MAX (1024 * 1024)
#define NAME_LEN_MAX 48 /* inih cuts sections and keys behind it */
#define TEXT_SHOWN_MAX 60

struct reader {
	FILE *file;
	const char *path;
	char *line; /* owned, getline's; inih has got it or its beginning */
	size_t line_size;
	const char *text; /* in line: without the blanks around */
	size_t len; /* of text */
	bool cut; /* inih has got only the beginning of text */
	unsigned int number;
	enum { SECTION_NONE, SECTION_READ, SECTION_SKIPPED } section;
	int error; /* -ENOMEM, or 0 */
	struct settings *ret;
	struct problems *problems;
};

void settings_release(struct settings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->v[i].section);
		free(s->v[i].key);
		free(s->v[i].value);
	}
	free(s->v);
	*s = (struct settings){0};
}

/* The array doubles whenever its length is a power of two. */
static int settings_grow(struct settings *s)
{
	struct setting *v;

	if (s->n & (s->n - 1))
		return 0;
	v = reallocarray(s->v, s->n ? 2 * s->n : 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	s->v = v;
	return 0;
}

static int settings_add(struct settings *list, const struct setting *s)
{
	struct setting *new;

	if (settings_grow(list) < 0)
		return -ENOMEM;
	new = &list->v[list->n++];
	*new = (struct setting){.file = s->file, .line = s->line};
	new->section = strdup(s->section);
	new->key = s->key ? strdup(s->key) : NULL;
	new->value = s->value ? strdup(s->value) : NULL;
	if (!new->section || (s->key && !new->key) || (s->value && !new->value))
		return -ENOMEM;
	return 0;
}

/* isspace() of the C locale, which is inih's notion of a blank. */
static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static size_t name_length(const char *s)
{
	size_t n = 0;

	while ((s[n] >= 'A' && s[n] <= 'Z') || (s[n] >= 'a' && s[n] <= 'z') ||
	       (s[n] >= '0' && s[n] <= '9') || s[n] == '-' || s[n] == '_')
		n++;
	return n;
}

static const char *skip_blanks(const char *s)
{
	while (is_blank(*s))
		s++;
	return s;
}

/* ---- one line: is it of a form, and is it for inih? All return whether inih shall see it. */

static bool reject(struct reader *r, const char *what)
{
	problems_add(r->problems, r->path, r->number, true, "%s", what);
	return false;
}

static bool reject_form(struct reader *r)
{
	size_t shown = r->len;

	if (shown > TEXT_SHOWN_MAX)
		for (shown = TEXT_SHOWN_MAX; ((unsigned char) r->text[shown] & 0xc0) == 0x80;)
			shown--;
	problems_add(r->problems, r->path, r->number, true,
		     "'%.*s%s' is no [Section], no Key=value and no comment", (int) shown, r->text,
		     shown < r->len ? "..." : "");
	return false;
}

static bool is_foreign(const char *name)
{
	return strncmp(name, "X-", 2) == 0;
}

/* Keys behind a broken header must not go to the section before it. */
static bool take_section(struct reader *r)
{
	size_t n = name_length(r->text + 1);
	const char *rest = r->text + 1 + n;
	struct setting s = {.file = r->path, .line = r->number};
	char name[NAME_LEN_MAX + 1];

	r->section = SECTION_SKIPPED;
	if (n == 0 || *rest != ']')
		return reject_form(r);
	rest = skip_blanks(rest + 1);
	if (*rest && *rest != ';' && *rest != '#')
		return reject_form(r);
	if (n > NAME_LEN_MAX)
		return reject(r, "the name of a section must not be longer than 48 characters");
	if (is_foreign(r->text + 1))
		return false;

	memcpy(name, r->text + 1, n);
	name[n] = '\0';
	s.section = name;
	r->error = settings_add(r->ret, &s);
	r->section = SECTION_READ;
	return r->error == 0;
}

static bool take_key(struct reader *r)
{
	size_t n = name_length(r->text);
	const char *sep = skip_blanks(r->text + n);

	if (n == 0 || *sep != '=')
		return reject_form(r);
	if (is_foreign(r->text) || r->section == SECTION_SKIPPED)
		return false;
	if (n > NAME_LEN_MAX)
		return reject(r, "a key must not be longer than 48 characters");
	if (sep - r->text > 2 * NAME_LEN_MAX)
		return reject(r, "there are too many blanks before '='");
	if (r->section == SECTION_NONE)
		return reject(r, "a key must stand below a [Section]");
	return true;
}

static bool take_line(struct reader *r, char *line, size_t len)
{
	r->number++;
	if (!utf8_is_valid(line, len)) {
		if (*skip_blanks(line) == '[')
			r->section = SECTION_SKIPPED;
		return reject(r, memchr(line, '\0', len) ? "the line contains a NUL byte"
							 : "the line is not valid UTF-8");
	}
	if (r->number == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0) {
		line += 3;
		len -= 3;
	}
	while (len > 0 && is_blank(line[len - 1]))
		line[--len] = '\0';
	r->text = skip_blanks(line);
	r->len = len - (size_t) (r->text - line);

	switch (*r->text) {
	case '\0':
	case ';':
	case '#':
		return false;
	case '[':
		return take_section(r);
	default:
		return take_key(r);
	}
}

/* ---- between inih and us */

/* inih's reader: the next good line, or as much of it as fits. One call is one line for inih, too,
 * since it always ends in a newline. */
static char *next_line(char *buf, int size, void *arg)
{
	struct reader *r = arg;
	size_t room;

	assert(size > 3 * NAME_LEN_MAX);
	room = (size_t) size - 2;
	while (r->error == 0) {
		ssize_t len;

		errno = 0;
		len = getline(&r->line, &r->line_size, r->file);
		if (len < 0) {
			if (errno == ENOMEM)
				r->error = -ENOMEM;
			else if (ferror(r->file))
				problems_add(r->problems, r->path, 0, true, "cannot be read: %m");
			return NULL;
		}
		if (!take_line(r, r->line, (size_t) len))
			continue;
		r->cut = r->len > room;
		(void) snprintf(buf, (size_t) size, "%.*s\n", (int) (r->cut ? room : r->len),
				r->text);
		return buf;
	}
	return NULL;
}

/* The value of a line that inih has not seen to its end, by inih's rules: blanks around do not
 * count, a ';' behind a blank begins a comment. */
static char *whole_value(const struct reader *r)
{
	const char *value = strchr(r->text, '=') + 1, *end = value;
	bool after_blank = false;

	for (; *end && !(after_blank && *end == ';'); end++)
		after_blank = is_blank(*end);
	while (end > value && is_blank(end[-1]))
		end--;
	while (value < end && is_blank(*value))
		value++;
	return strndup(value, (size_t) (end - value));
}

static int take_setting(void *arg, const char *section, const char *key, const char *value)
{
	struct reader *r = arg;
	/* A libinih that calls for sections, too, does so without a key. */
	_cleanup_free_ char *whole = r->cut && key ? whole_value(r) : NULL;
	const struct setting s = {
		.file = r->path,
		.line = r->number,
		.section = (char *) section,
		.key = (char *) key,
		.value = r->cut ? whole : (char *) value,
	};

	if (!key)
		return 1;
	r->error = s.value ? settings_add(r->ret, &s) : -ENOMEM;
	return r->error == 0;
}

int ini_read(FILE *f, const char *path, struct settings *ret, struct problems *p)
{
	struct reader r = {.file = f, .path = path, .ret = ret, .problems = p};
	int q;

	q = ini_parse_stream(next_line, &r, take_setting, &r);
	free(r.line);
	if (q == -2)
		return -ENOMEM;
	if (q != 0 && r.error == 0) /* we think the form is good, libinih does not */
		problems_add(p, path, 0, true, "libinih cannot read this file");
	return r.error;
}

/* Not a FIFO to wait for, not a device, not a log by mistake. */
static bool check_file(int fd, const char *path, struct problems *p)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		problems_add(p, path, 0, true, "cannot be read: %m");
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		problems_add(p, path, 0, true, "is not a regular file");
		return false;
	}
	if (st.st_size > FILE_SIZE_MAX) {
		problems_add(p, path, 0, true, "is larger than 1 MiB");
		return false;
	}
	if (st.st_mode & S_IWOTH)
		problems_add(p, path, 0, false, "is writable by everybody; chmod o-w");
	return true;
}

int ini_read_file(const char *path, struct settings *ret, struct problems *p)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_close_ int fd = -1;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		problems_add(p, path, 0, true, "cannot be read: %m");
		return 0;
	}
	if (!check_file(fd, path, p))
		return 0;
	f = fdopen(fd, "re");
	if (!f)
		return -ENOMEM;
	(void) TAKE_FD(fd);
	return ini_read(f, path, ret, p);
}
