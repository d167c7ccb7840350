/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * co - a sequence of asynchronous steps that reads like one: a stackless coroutine in a `switch`.
 *
 *	static void boil(struct pot *p)
 *	{
 *		CO_BEGIN(&p->co);
 *		CO_AWAIT(&p->co, heat_on(p));   // whoever finishes it calls boil(p) again
 *		if (p->res < 0) ...
 *		CO_END(&p->co);
 *	}
 *
 * 1. A local does not survive an await: state lives in the struct. The compiler sees most misuses
 *    (-Wjump-misses-init).
 * 2. No await inside an inner switch; the default trips an assert on the first resume.
 * 3. The awaited statement may finish at once and resume before it returns: nothing after it, in
 *    CO_AWAIT, touches the coroutine any more.
 * 4. Main thread and queue threads alike: a coroutine belongs to the thread that runs it.
 */
#pragma once

#include <assert.h>

struct co {
	unsigned int line; /* resume point; 0: at the beginning */
};

#define CO_BEGIN(co)                                                                               \
	switch ((co)->line) {                                                                      \
	case 0:

#define CO_AWAIT(co, ...)                                                                          \
	do {                                                                                       \
		(co)->line = __LINE__;                                                             \
		__VA_ARGS__;                                                                       \
		return;                                                                            \
	case __LINE__:;                                                                            \
	} while (0)

#define CO_END(co)                                                                                 \
	break;                                                                                     \
	default:                                                                                   \
		assert(!"resumed where nobody waits");                                             \
		}                                                                                  \
		(co)->line = 0
