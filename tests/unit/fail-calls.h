/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fail-calls - the N-th call that can fail fails, alone or with all after it, wherever the daemon
 * makes it: on its main thread, its job threads, its queue threads. Which calls there are is in
 * meson.build (fail_calls) and, for rings, in fail_ring_call().
 */
#pragma once

#include <stdbool.h>

/* The @n-th of those counted from now on; 0: none. Nothing is counted yet. */
void fail_calls_arm(unsigned int n, bool all_after);
void fail_calls_count(bool on);
/* One has failed: there are more to come. */
bool fail_calls_hit(void);
/* The first that has failed; "" if none has. */
const char *fail_calls_name(void);
unsigned int fail_calls_counted(void);
/* For fake.fail. */
int fail_ring_call(const char *call);
