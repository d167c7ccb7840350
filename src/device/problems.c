/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/problems.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/log.h"

#define VALUE_SHOWN_MAX 100

static void problem_done(struct problem *p)
{
	free(p->file);
	free(p->text);
}

static bool is_after(const struct problem *p, const char *file, unsigned int line)
{
	int order = strcmp(p->file ? p->file : "", file ? file : "");

	return order > 0 || (order == 0 && p->line > line);
}

/* Room for one more at its place; equals stay in the order they came. */
static struct problem *make_room(struct problems *p, const char *file, unsigned int line)
{
	struct problem *v = reallocarray(p->v, p->n + 1, sizeof(*v));
	size_t i = p->n;

	if (!v)
		return NULL;
	p->v = v;
	while (i > 0 && is_after(&v[i - 1], file, line))
		i--;
	memmove(&v[i + 1], &v[i], (p->n - i) * sizeof(*v));
	p->n++;
	return &v[i];
}

/* Takes @text, also on failure. */
static void add_text(struct problems *p, const char *file, unsigned int line, bool fatal,
		     char *text)
{
	_cleanup_free_ char *owned_text = text;
	_cleanup_free_ char *owned_file = NULL;
	struct problem *room = NULL;

	if (fatal)
		p->n_fatal++;
	if (p->n >= PROBLEMS_MAX)
		return;
	if (file)
		owned_file = strdup(file);
	if (text && (owned_file || !file))
		room = make_room(p, file, line);
	if (!room) {
		p->n_fatal += !fatal;
		p->out_of_memory = true;
		return;
	}
	*room = (struct problem){
		.file = TAKE_PTR(owned_file),
		.line = line,
		.text = TAKE_PTR(owned_text),
		.fatal = fatal,
	};
}

void problems_add(struct problems *p, const char *file, unsigned int line, bool fatal,
		  const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	add_text(p, file, line, fatal, text);
}

/* A long value is shown by its beginning, cut between two characters and not within one. */
static int shown_length(const char *value)
{
	size_t len = strlen(value);

	if (len <= VALUE_SHOWN_MAX)
		return (int) len;
	len = VALUE_SHOWN_MAX;
	while (len > 0 && ((unsigned char) value[len] & 0xc0) == 0x80)
		len--;
	return (int) len;
}

static char *setting_text(const struct setting *s, const char *rule)
{
	const char *open = s->section ? "[" : "", *close = s->section ? "]" : "";
	const char *section = s->section ? s->section : "", *blank = s->section ? " " : "";
	int shown, r;
	char *text;

	if (!s->key)
		r = asprintf(&text, "%s%s%s: %s", open, section, close, rule);
	else {
		shown = shown_length(s->value);
		r = asprintf(&text, "%s%s%s%s%s=%.*s%s: %s", open, section, close, blank, s->key,
			     shown, s->value, s->value[shown] ? "..." : "", rule);
	}
	return r < 0 ? NULL : text;
}

void problems_add_setting(struct problems *p, const struct setting *s, bool fatal, const char *fmt,
			  ...)
{
	_cleanup_free_ char *rule = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&rule, fmt, ap) < 0)
		rule = NULL;
	va_end(ap);
	add_text(p, s->file, s->line, fatal, rule ? setting_text(s, rule) : NULL);
}

int problems_since(const struct problems *p, size_t n_fatal)
{
	assert(p->n_fatal >= n_fatal);
	if (p->n_fatal == n_fatal)
		return 0;
	return p->out_of_memory ? -ENOMEM : -EINVAL;
}

void problems_release(struct problems *p)
{
	for (size_t i = 0; i < p->n; i++)
		problem_done(&p->v[i]);
	free(p->v);
	*p = (struct problems){0};
}

char *problems_format(const struct problem *p)
{
	char *text;
	int r;

	if (!p->file)
		return strdup(p->text);
	if (p->line)
		r = asprintf(&text, "%s:%u: %s", p->file, p->line, p->text);
	else
		r = asprintf(&text, "%s: %s", p->file, p->text);
	return r < 0 ? NULL : text;
}

char *problems_join(const struct problems *p)
{
	_cleanup_free_ char *all = strdup("");

	for (size_t i = 0; all && i < p->n; i++) {
		_cleanup_free_ char *one = NULL;
		char *longer;

		if (!p->v[i].fatal)
			continue;
		one = problems_format(&p->v[i]);
		if (!one || asprintf(&longer, "%s%s%s", all, *all ? "; " : "", one) < 0)
			return NULL;
		free(all);
		all = longer;
	}
	return TAKE_PTR(all);
}

void problems_log(const struct problems *p)
{
	for (size_t i = 0; i < p->n; i++) {
		_cleanup_free_ char *text = problems_format(&p->v[i]);

		log_full(p->v[i].fatal ? LOG_ERR : LOG_WARNING, 0, NULL, p->v[i].file, p->v[i].line,
			 "%s", text ? text : "out of memory");
	}
}
