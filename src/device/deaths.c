/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/deaths.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/clock.h"

static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};

enum { N_FATAL = sizeof(fatal) / sizeof(fatal[0]) };

static struct death *death; /* NULL: nothing is caught */
static struct sigaction before[N_FATAL];
static _Thread_local const char *at_work_for;
static _Thread_local const struct flight *flight;
static _Thread_local stack_t own_stack;

static void copy_request(const struct flight_record *from, struct flight_record *to)
{
	atomic_store_explicit(&to->off, from->off, memory_order_relaxed);
	atomic_store_explicit(&to->start, from->start, memory_order_relaxed);
	atomic_store_explicit(&to->end, from->end, memory_order_relaxed);
	atomic_store_explicit(&to->id, from->id, memory_order_relaxed);
}

/* In a thread that may be in any state: memory and system calls only. */
static void write_down(int sig)
{
	const char *name = at_work_for;
	const struct flight_record *last;

	/* The first one counts: others may follow from it. */
	if (!death || death->signal)
		return;
	death->usec = clock_usec(CLOCK_MONOTONIC);
	for (size_t i = 0; name && name[i] && i < sizeof(death->device) - 1; i++)
		death->device[i] = name[i];
	last = flight ? flight_last(flight) : NULL;
	if (last) {
		copy_request(last, &death->request);
		death->has_request = 1;
	}
	death->signal = (uint32_t) sig;
}

static void on_fatal(int sig, siginfo_t *info, void *context)
{
	(void) context;
	write_down(sig);
	for (unsigned int i = 0; i < N_FATAL; i++)
		if (fatal[i] == sig)
			(void) sigaction(sig, &before[i], NULL);
	/* A fault happens again on return; what was sent must be sent again. */
	if (info->si_code <= 0)
		(void) raise(sig);
}

void deaths_catch(struct death *d)
{
	struct sigaction a = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	if (!d == !death)
		return;
	death = d;
	(void) sigemptyset(&a.sa_mask);
	for (unsigned int i = 0; i < N_FATAL; i++)
		(void) sigaction(fatal[i], d ? &a : &before[i], d ? &before[i] : NULL);
}

/* A stack that is used up has no room for the handler. Memory is used only then. */
static void take_stack(void)
{
	size_t size = (size_t) sysconf(_SC_SIGSTKSZ);
	stack_t now;
	void *p;

	if (sigaltstack(NULL, &now) < 0 || !(now.ss_flags & SS_DISABLE))
		return;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return;
	own_stack = (stack_t){.ss_sp = p, .ss_size = size};
	(void) sigaltstack(&own_stack, NULL);
}

void deaths_enter(const char *device, const struct flight *f)
{
	sigset_t set;

	/* The watchdog's is for the process, and no fault of whichever thread it would come to;
	 * abort() takes the way through this by itself. */
	(void) sigemptyset(&set);
	(void) sigaddset(&set, SIGABRT);
	(void) pthread_sigmask(SIG_BLOCK, &set, NULL);
	flight = f;
	at_work_for = device;
	if (death)
		take_stack();
}

void deaths_leave(void)
{
	static const stack_t none = {.ss_flags = SS_DISABLE};

	at_work_for = NULL;
	flight = NULL;
	if (!own_stack.ss_sp)
		return;
	(void) sigaltstack(&none, NULL);
	(void) munmap(own_stack.ss_sp, own_stack.ss_size);
	own_stack = (stack_t){0};
}
