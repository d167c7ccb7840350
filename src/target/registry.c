/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/registry.h"

#include <stddef.h>
#include <string.h>

/* target-list.h is X(null) X(loop) ..., made by meson from src/targets/meson.build. */
#define X(name) extern const struct ub_target ub_target_##name;
#include "targets/target-list.h"
#undef X

static const struct ub_target *const targets[] = {
#define X(name) &ub_target_##name,
#include "targets/target-list.h"
#undef X
};

const struct ub_target *registry_at(unsigned int i)
{
	return i < sizeof(targets) / sizeof(targets[0]) ? targets[i] : NULL;
}

const struct ub_target *registry_find(const char *name)
{
	const struct ub_target *t;

	for (unsigned int i = 0; (t = registry_at(i)); i++)
		if (strcmp(t->name, name) == 0)
			return t;
	return NULL;
}
