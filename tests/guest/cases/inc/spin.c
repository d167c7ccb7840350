/* SPDX-License-Identifier: GPL-2.0-or-later */
/* spin THREAD - put an endless loop where the thread is. x86-64. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	pid_t thread = argc == 2 ? atoi(argv[1]) : 0;
	struct user_regs_struct regs;
	long code;

	if (thread <= 0 || ptrace(PTRACE_ATTACH, thread, NULL, NULL) < 0 ||
	    waitpid(thread, NULL, __WALL) < 0 || ptrace(PTRACE_GETREGS, thread, NULL, &regs) < 0)
		return perror("spin"), 1;
	code = ptrace(PTRACE_PEEKTEXT, thread, (void *) regs.rip, NULL);
	code = (code & ~0xffffL) | 0xfeeb; /* jmp to itself */
	if (ptrace(PTRACE_POKETEXT, thread, (void *) regs.rip, (void *) code) < 0 ||
	    ptrace(PTRACE_DETACH, thread, NULL, NULL) < 0)
		return perror("spin"), 1;
	return 0;
}
