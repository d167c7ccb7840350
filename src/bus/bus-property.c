/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-property - one table per object says what its properties are: the vtable. From it come the
 * properties on the bus (sd-bus does that), the JSON of Describe, and which of them a change
 * changed: each property that announces changes is kept as text and compared.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "util/log.h"

int bus_append_field(sd_bus_message *m, const struct bus_field *fields, const char *name,
		     const void *base)
{
	const struct bus_field *f = fields;
	const void *p;
	int b;

	while (f->name && strcmp(f->name, name) != 0)
		f++;
	assert(f->name);
	p = (const char *) base + f->offset;

	switch (f->type) {
	case 's':
		return bus_append_string(m, *(const char *const *) p);
	case 'a':
		return bus_append_string(m, p);
	case 'b':
		b = *(const bool *) p;
		return sd_bus_message_append_basic(m, 'b', &b);
	default:
		assert(strchr("iut", f->type));
		return sd_bus_message_append_basic(m, f->type, p);
	}
}

/* The macros that fill a vtable are all that is documented of it; its members are public types. */
static bool is_property(const sd_bus_vtable *v)
{
	return v->type == _SD_BUS_VTABLE_PROPERTY;
}

static size_t vtable_size(const sd_bus_vtable *vtable)
{
	size_t n = 0;

	while (vtable[n].type != _SD_BUS_VTABLE_END)
		n++;
	return n;
}

/* Asks the getter as sd-bus would, and reads back what it wrote. */
static int property_json(sd_bus *sd, const char *path, const char *interface,
			 const sd_bus_vtable *v, void *userdata, FILE *f)
{
	_cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *m = NULL;
	int r;

	r = sd_bus_message_new(sd, &m, SD_BUS_MESSAGE_SIGNAL);
	if (r < 0)
		return r;
	r = v->x.property.get(sd, path, interface, v->x.property.member, m, userdata, &error);
	if (r < 0)
		return r;
	r = sd_bus_message_seal(m, 1, 0);
	if (r < 0)
		return r;
	r = sd_bus_message_rewind(m, true);
	if (r < 0)
		return r;
	return json_value(f, m);
}

int bus_properties_json(sd_bus *sd, const char *path, const char *interface,
			const sd_bus_vtable *vtable, void *userdata, FILE *f)
{
	bool first = true;
	int r;

	for (const sd_bus_vtable *v = vtable; v->type != _SD_BUS_VTABLE_END; v++) {
		if (!is_property(v))
			continue;
		if (!first)
			(void) fputc(',', f);
		first = false;
		json_string(f, v->x.property.member);
		(void) fputc(':', f);
		r = property_json(sd, path, interface, v, userdata, f);
		if (r < 0)
			return r;
	}
	return 0;
}

static char *property_text(sd_bus *sd, const char *path, const char *interface,
			   const sd_bus_vtable *v, void *userdata)
{
	char *text = NULL;
	size_t size;
	FILE *f;
	int r;

	f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	r = property_json(sd, path, interface, v, userdata, f);
	if (fclose(f) != 0 || r < 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* Return: how many properties are not as @shown, their names in @ret (n + 1 entries, NULL behind
 * the last); 0 too if that cannot be told. @shown is as they are now. */
static size_t update_shown(sd_bus *sd, const char *path, const char *interface,
			   const sd_bus_vtable *vtable, void *userdata, char ***shown, char ***ret)
{
	_cleanup_free_ char **names = NULL;
	size_t n = vtable_size(vtable), n_names = 0;

	if (!*shown)
		*shown = calloc(n, sizeof(char *));
	names = calloc(n + 1, sizeof(char *));
	if (!*shown || !names)
		return 0;

	for (size_t i = 0; i < n; i++) {
		char *now;

		if (!is_property(&vtable[i]) ||
		    !(vtable[i].flags & SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE))
			continue;
		now = property_text(sd, path, interface, &vtable[i], userdata);
		/* Without memory to compare: better told twice than not at all. */
		if (!now || !(*shown)[i] || strcmp(now, (*shown)[i]) != 0)
			names[n_names++] = (char *) vtable[i].x.property.member;
		free((*shown)[i]);
		(*shown)[i] = now;
	}
	*ret = TAKE_PTR(names);
	return n_names;
}

void bus_properties_remember(struct bus *b, const char *path, const char *interface,
			     const sd_bus_vtable *vtable, void *userdata, char ***shown)
{
	_cleanup_free_ char **names = NULL;

	if (b->sd)
		(void) update_shown(b->sd, path, interface, vtable, userdata, shown, &names);
}

void bus_properties_changed(struct bus *b, const char *path, const char *interface,
			    const sd_bus_vtable *vtable, void *userdata, char ***shown)
{
	_cleanup_free_ char **names = NULL;
	int r;

	if (!b->sd || update_shown(b->sd, path, interface, vtable, userdata, shown, &names) == 0 ||
	    !bus_is_connected(b))
		return;
	r = sd_bus_emit_properties_changed_strv(b->sd, path, interface, names);
	if (r < 0)
		log_debug("D-Bus: cannot announce changes of %s: %s", path, strerror(-r));
}

void bus_shown_free(const sd_bus_vtable *vtable, char **shown)
{
	if (!shown)
		return;
	for (size_t i = 0, n = vtable_size(vtable); i < n; i++)
		free(shown[i]);
	free(shown);
}

int bus_reply_written(sd_bus_message *m, int (*write)(void *object, sd_bus *sd, FILE *f),
		      void *object)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f;
	int r;

	f = open_memstream(&text, &size);
	if (!f)
		return -ENOMEM;
	r = write(object, sd_bus_message_get_bus(m), f);
	if (fclose(f) != 0)
		return -ENOMEM;
	if (r < 0)
		return r;
	return sd_bus_reply_method_return(m, "s", text);
}
