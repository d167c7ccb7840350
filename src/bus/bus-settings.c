/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus-settings - AddDevice's a{sv} to a checked device_config, SetTargetOptions' to a running
 * device. The keys are those of the option tables; every value becomes the text that would stand in
 * the INI file, so there is one parser and one set of rules. What only D-Bus can get wrong (types,
 * a key given twice) is InvalidArgs, what the rules refuse is InvalidConfiguration with all
 * problems in one message.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "device/device-config.h"
#include "target/registry.h"

#define SETTINGS_MAX 256 /* several times as many as there are keys */

struct bus_setting {
	char *key, *value;
	char type; /* first letter of the D-Bus type */
};

struct bus_settings {
	struct bus_setting *v;
	size_t n;
};

static void bus_settings_release(struct bus_settings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->v[i].key);
		free(s->v[i].value);
	}
	free(s->v);
}

/* ---- from the message */

static int read_list(sd_bus_message *m, char **ret)
{
	_cleanup_free_ char *joined = NULL;
	size_t size = 0, old;
	const char *s;
	char *grown;
	int r;

	joined = strdup("");
	if (!joined)
		return -ENOMEM;
	r = sd_bus_message_enter_container(m, 'a', "s");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_read_basic(m, 's', &s)) > 0) {
		old = size;
		size += strlen(s) + (old > 0);
		grown = realloc(joined, size + 1);
		if (!grown)
			return -ENOMEM;
		joined = grown;
		(void) snprintf(joined + old, size - old + 1, "%s%s", old > 0 ? "," : "", s);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(joined);
	return sd_bus_message_exit_container(m);
}

static int read_number(sd_bus_message *m, char type, const char *key, char **ret,
		       sd_bus_error *error)
{
	union {
		uint8_t y;
		int16_t n;
		uint16_t q;
		int32_t i;
		uint32_t u;
		int64_t x;
		uint64_t t;
	} v;
	uint64_t number;
	int64_t sign = 0;
	int r;

	r = sd_bus_message_read_basic(m, type, &v);
	if (r < 0)
		return r;
	switch (type) {
	case 'y':
		number = v.y;
		break;
	case 'q':
		number = v.q;
		break;
	case 'u':
		number = v.u;
		break;
	case 't':
		number = v.t;
		break;
	case 'n':
		sign = v.n;
		number = (uint64_t) sign;
		break;
	case 'i':
		sign = v.i;
		number = (uint64_t) sign;
		break;
	default:
		sign = v.x;
		number = (uint64_t) sign;
		break;
	}
	if (sign < 0)
		return bus_set_argsf(error, "setting '%.64s' is negative (%" PRId64 ")", key, sign);
	if (asprintf(ret, "%" PRIu64, number) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int read_value(sd_bus_message *m, const char *key, char **ret, char *ret_type,
		      sd_bus_error *error)
{
	const char *type, *s;
	int r, b;

	r = sd_bus_message_peek_type(m, NULL, &type);
	if (r < 0)
		return r;
	if (strcmp(type, "as") != 0 && (strlen(type) != 1 || !strchr("sbynqiuxt", type[0])))
		return bus_set_argsf(
			error, "setting '%.64s' is of type %.16s, which no setting has", key, type);
	*ret_type = type[0];
	r = sd_bus_message_enter_container(m, 'v', type);
	if (r < 0)
		return r;
	switch (type[0]) {
	case 'a':
		r = read_list(m, ret);
		break;
	case 's':
		r = sd_bus_message_read_basic(m, 's', &s);
		if (r < 0)
			break;
		*ret = strdup(s);
		r = *ret ? 0 : -ENOMEM;
		break;
	case 'b':
		r = sd_bus_message_read_basic(m, 'b', &b);
		if (r < 0)
			break;
		*ret = strdup(b ? "yes" : "no");
		r = *ret ? 0 : -ENOMEM;
		break;
	default:
		r = read_number(m, type[0], key, ret, error);
		break;
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

static int read_setting(sd_bus_message *m, struct bus_settings *s, sd_bus_error *error)
{
	struct bus_setting *grown, *new;
	const char *key;
	int r;

	r = sd_bus_message_read_basic(m, 's', &key);
	if (r < 0)
		return r;
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].key, key) == 0)
			return bus_set_argsf(error, "setting '%.64s' is given twice", key);

	if (s->n == SETTINGS_MAX)
		return bus_set_argsf(error, "more than %d settings are given", SETTINGS_MAX);
	grown = reallocarray(s->v, s->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->v = grown;
	new = &s->v[s->n];
	*new = (struct bus_setting){.key = strdup(key)};
	if (!new->key)
		return -ENOMEM;
	s->n++;
	return read_value(m, key, &new->value, &new->type, error);
}

static int read_all(sd_bus_message *m, struct bus_settings *s, sd_bus_error *error)
{
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = read_setting(m, s, error);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

/* ---- into the configuration */

struct row_search {
	const char *key;
	const struct ub_opt *found;
};

static int match_row(void *arg, const char *section, const struct ub_opt *opt, const char *value)
{
	struct row_search *search = arg;

	if (strcmp(opt->bus_key ? opt->bus_key : opt->key, search->key) != 0)
		return 0;
	search->found = opt;
	return 1;
}

/* Is this D-Bus type one that can mean a value of that option? Text always can. */
static bool type_fits(const struct ub_opt *opt, char type)
{
	if (type == 's')
		return true;
	switch (opt->type) {
	case UB_TYPE_BOOL:
	case UB_TYPE_ENUM: /* most have a yes and a no */
		return type == 'b';
	case UB_TYPE_PATH:
		return false;
	case UB_TYPE_STRING: /* lists are strings, and so is Id with its numbers */
		return type != 'b' || (opt->dflt && strcmp(opt->dflt, "no") == 0);
	case UB_TYPE_BYTES:
	case UB_TYPE_UINT:
	case UB_TYPE_USEC:
		return type != 'b' && type != 'a';
	}
	return false;
}

static int check_type(const struct device_config *c, const struct bus_setting *s,
		      sd_bus_error *error)
{
	struct row_search search = {.key = s->key};
	int r;

	r = device_config_foreach(c, match_row, &search);
	if (r < 0)
		return r;
	if (search.found && !type_fits(search.found, s->type))
		return bus_set_argsf(error, "setting '%.64s' cannot be of type %s", s->key,
				     s->type == 'a' ? "as" : (char[]){s->type, '\0'});
	return 0;
}

static int apply(struct device_config *c, const struct bus_setting *s, struct problems *p,
		 sd_bus_error *error)
{
	int r = check_type(c, s, error);

	if (r < 0)
		return r;
	r = device_config_set(c, s->key, s->value, p);
	return r == -EINVAL ? 0 : r; /* recorded; there may be more */
}

/* The target's own keys exist only once the target is known, and a{sv} has no order. */
static int apply_all(struct device_config *c, const struct bus_settings *s, struct problems *p,
		     sd_bus_error *error)
{
	int r;

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < s->n; i++) {
			bool is_target = strcmp(s->v[i].key, "Target") == 0;

			if (is_target != (pass == 0))
				continue;
			if (is_target && s->v[i].type == 's' && !registry_find(s->v[i].value))
				return bus_set_errorf(error, FAILURE_UNKNOWN_TARGET,
						      "%s: there is no target '%.64s'; the "
						      "property Targets lists those there are",
						      c->name, s->v[i].value);
			r = apply(c, &s->v[i], p, error);
			if (r < 0)
				return r;
		}
	return 0;
}

int bus_read_settings(sd_bus_message *m, const char *name, struct device_config **ret,
		      sd_bus_error *error)
{
	_cleanup_(device_config_freep) struct device_config *c = NULL;
	_cleanup_(problems_release) struct problems p = {};
	_cleanup_(bus_settings_release) struct bus_settings s = {};
	_cleanup_free_ char *text = NULL;
	int r;

	r = read_all(m, &s, error);
	if (r < 0)
		return r;
	c = device_config_new(name);
	if (!c)
		return -ENOMEM;
	r = apply_all(c, &s, &p, error);
	if (r < 0)
		return r;
	r = device_config_check(c, &p);
	if (r == -ENOMEM || p.out_of_memory)
		return -ENOMEM;
	if (p.n_fatal > 0) {
		text = problems_join(&p);
		if (!text)
			return -ENOMEM;
		return bus_set_errorf(error, FAILURE_INVALID_CONFIGURATION, "%s: %s", name, text);
	}
	*ret = TAKE_PTR(c);
	return 0;
}

int bus_update_settings(sd_bus_message *m, struct device *d, sd_bus_error *error)
{
	_cleanup_(bus_settings_release) struct bus_settings s = {};
	_cleanup_free_ struct device_setting *v = NULL;
	struct failure f = {};
	int r;

	r = read_all(m, &s, error);
	if (r < 0)
		return r;
	v = calloc(s.n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < s.n; i++) {
		r = check_type(device_get_config(d), &s.v[i], error);
		if (r < 0)
			return r;
		v[i] = (struct device_setting){.key = s.v[i].key, .value = s.v[i].value};
	}
	r = device_update(d, v, s.n, &f);
	return r < 0 ? bus_set_failure(error, device_get_name(d), &f) : 0;
}
