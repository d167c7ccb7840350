/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry - the built-in targets by name. The list is src/targets/meson.build. */
#pragma once

#include <ublkd/target.h>

/** registry_find - target by its name; NULL if there is none */
const struct ub_target *registry_find(const char *name);

/** registry_at - the i-th target in the order of the list; NULL behind the last */
const struct ub_target *registry_at(unsigned int i);
