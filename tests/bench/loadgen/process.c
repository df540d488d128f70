/* SPDX-License-Identifier: Apache-2.0 */
/* What a server costs: its memory, alone and with idle connections, and the time from its start to its first answer. */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The anonymous memory and the resident set of a process, in KiB. */
struct memory {
	uint64_t anonymous, resident;
};

static struct memory memory_of(int pid)
{
	char path[64], line[256];
	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
	FILE *f = fopen(path, "r");
	if (!f) die("%s: %s", path, strerror(errno));
	struct memory m = { 0 };
	while (fgets(line, sizeof line, f)) {
		if (!strncmp(line, "Anonymous:", 10)) m.anonymous = strtoull(line + 10, NULL, 10);
		if (!strncmp(line, "Rss:", 4)) m.resident = strtoull(line + 4, NULL, 10);
	}
	fclose(f);
	return m;
}

void run_memory(const struct options *o)
{
	struct memory m = memory_of(o->pid);
	printf("{\"mode\":\"memory\",\"anonymous_kib\":%llu,\"resident_kib\":%llu}\n", (unsigned long long)m.anonymous,
		(unsigned long long)m.resident);
}

void run_idle(const struct options *o)
{
	struct rlimit files = { 0 };
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (o->count + 32 > files.rlim_cur)
		die("%llu connections need more than the %llu files that this process may have",
			(unsigned long long)o->count, (unsigned long long)files.rlim_cur);
	struct link *links = calloc(o->count, sizeof *links);
	if (!links) die("out of memory");
	/* The first connections make the server set up what it needs only once. */
	for (unsigned i = 0; i < 16; i++) {
		link_open(&links[0], o);
		link_close(&links[0]);
	}
	struct memory before = memory_of(o->pid);
	for (uint64_t i = 0; i < o->count; i++) {
		link_open(&links[i], o);
		free(links[i].in); /* 10,000 read buffers are of no use to connections that say nothing */
		free(links[i].out);
		links[i].in = links[i].out = NULL;
		links[i].in_cap = links[i].in_n = links[i].in_at = links[i].out_cap = 0;
	}
	struct memory after = memory_of(o->pid);
	double each = ((double)after.anonymous - (double)before.anonymous) * 1024 / (double)o->count;
	printf("{\"mode\":\"idle\",\"connections\":%llu,\"bytes_per_connection\":%.0f,\"anonymous_kib\":%llu,"
	       "\"resident_kib\":%llu}\n",
		(unsigned long long)o->count, each, (unsigned long long)after.anonymous,
		(unsigned long long)after.resident);
	for (uint64_t i = 0; i < o->count; i++) link_close(&links[i]);
	free(links);
}

/* Until the stream that was stored before is served again: its info is answered, and one more message is acknowledged. Returns how many
 * messages the stream said it has. */
static uint64_t wait_for_stream(const struct options *o)
{
	struct link l;
	char subject[128];
	snprintf(subject, sizeof subject, "$JS.API.STREAM.INFO.%s", o->stream);
	for (uint64_t end = now_ns() + 120000000000u; now_ns() < end;) {
		if (!link_try(&l, o, 1000)) continue;
		const char *info = link_request(&l, subject, "", 200);
		uint64_t messages = info ? json_number(info, "messages", UINT64_MAX) : UINT64_MAX;
		snprintf(subject, sizeof subject, "%s.s.0", o->stream);
		const char *ack = messages != UINT64_MAX ? link_request(&l, subject, "again", 10000) : NULL;
		bool stored = ack && json_number(ack, "seq", 0);
		link_close(&l);
		if (stored) return messages;
		snprintf(subject, sizeof subject, "$JS.API.STREAM.INFO.%s", o->stream);
	}
	die("the stream %s was not served within 120 s", o->stream);
}

void run_start(const struct options *o)
{
	uint64_t begin = now_ns(), messages = 0;
	pid_t pid = fork();
	if (pid < 0) die("fork: %s", strerror(errno));
	if (pid == 0) {
		/* The server may outlive this program: it must not hold the pipes that somebody reads to their end. */
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(126);
		execv(o->argv[0], o->argv);
		_exit(127);
	}
	struct link l;
	while (!link_try(&l, o, 10000)) {
		int status;
		if (waitpid(pid, &status, WNOHANG) == pid) die("%s ended before it listened", o->argv[0]);
		if (now_ns() - begin > 120000000000u) die("%s does not listen after 120 s", o->argv[0]);
		poll(NULL, 0, 1); /* nothing announces that a port is listened on */
	}
	double accepting = (double)(now_ns() - begin) / 1e6, serving = 0;
	link_close(&l);
	if (o->stream) {
		messages = wait_for_stream(o);
		serving = (double)(now_ns() - begin) / 1e6;
	}
	struct memory m = memory_of(pid);
	printf("{\"mode\":\"start\",\"pid\":%d,\"accepting_ms\":%.1f,\"serving_ms\":%.1f,\"messages\":%llu,\"anonymous_"
	       "kib\":%llu}\n",
		pid, accepting, serving, (unsigned long long)messages, (unsigned long long)m.anonymous);
	if (o->keep) return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
