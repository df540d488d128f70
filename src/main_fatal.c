/* SPDX-License-Identifier: Apache-2.0 */
/* fatal — the handler runs on the thread that failed; what that thread is to note hangs on it (docs/decisions/0001), so a fault on a worker
 * notes nothing. It is taken out when it is called: the second fault is the end. */
#include "main_fatal.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "thebes/base.h"

static void on_fatal(int signum, siginfo_t *info, void *context)
{
	(void)context;
	bool is_fault = info->si_code > 0;                                     /* the kernel says what was wrong */
	bool is_abort = info->si_code == SI_TKILL && info->si_pid == getpid(); /* not sent by somebody else */
	if (is_fault || is_abort) assert_crashed();
	if (!is_fault) (void)raise(signum); /* when we return; a fault repeats itself then */
}

void main_fatal_watch(struct main_fatal *f)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	stack_t old = { 0 }, mine = { .ss_sp = f->stack, .ss_size = sizeof f->stack };
	f->has_stack = sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE) && sigaltstack(&mine, NULL) == 0;
	for (size_t i = 0; i < COUNT_OF(signals); i++) {
		struct sigaction was,
			now = { .sa_sigaction = on_fatal, .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND | SA_ONSTACK) };
		/* A sanitizer watches some itself. It ends with SIGABRT. */
		if (sigaction(signals[i], NULL, &was) != 0 || was.sa_handler != SIG_DFL) continue;
		(void)sigemptyset(&now.sa_mask);
		(void)sigaction(signals[i], &now, NULL);
	}
}

void main_fatal_end(struct main_fatal *f)
{
	const stack_t none = { .ss_flags = SS_DISABLE };
	if (f->has_stack) (void)sigaltstack(&none, NULL);
	f->has_stack = false;
}
