/* SPDX-License-Identifier: Apache-2.0 */
/* Finds servers by pid, by a glob over pids, by pid file, or by the name of their program in /proc, and signals them. */
#include "main_signal.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "thebes/base.h"

enum { SIGNAL_PIDS_MAX = 1024 };

static int signal_number(const char *name)
{
	static const struct {
		const char *name;
		int signum;
	} rows[] = {
		{ "stop", SIGKILL },
		{ "quit", SIGINT },
		{ "term", SIGTERM },
		{ "reopen", SIGUSR1 },
		{ "reload", SIGHUP },
		{ "ldm", SIGUSR2 },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (strcmp(rows[i].name, name) == 0) return rows[i].signum;
	return 0;
}

static bool pid_parse(const char *text, pid_t *out)
{
	int64_t pid;
	if (slice_to_i64(slice_of_str(text), &pid) != OK || pid <= 0 || pid > INT32_MAX) return false;
	*out = (pid_t)pid;
	return true;
}

/* The beginning of a file of a process, with zero bytes as they are; "" when it cannot be read. */
static void read_proc(pid_t pid, const char *what, char *to, size_t room)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	memset(to, 0, room);
	FILE *f = fopen(path, "re");
	if (!f) return;
	if (fread(to, 1, room - 1, f) == 0) to[0] = '\0';
	(void)fclose(f);
}

/* It runs under nats-server's name, or is `thebes server` and not one of our clients; and it is not this process. */
static bool pid_is_server(pid_t pid)
{
	char comm[64], line[4096];
	if (pid == getpid()) return false;
	read_proc(pid, "comm", comm, sizeof comm);
	comm[strcspn(comm, "\n")] = '\0';
	if (strcmp(comm, "nats-server") == 0) return true;
	if (strcmp(comm, "thebes") != 0) return false;
	read_proc(pid, "cmdline", line, sizeof line);
	size_t second = strlen(line) + 1;
	return second < sizeof line && strcmp(line + second, "server") == 0;
}

static unsigned pids_find(const char *glob, pid_t *pids)
{
	DIR *proc = opendir("/proc");
	unsigned count = 0;
	if (!proc) return 0;
	const struct dirent *entry;
	while ((entry = readdir(proc)) != NULL && count < SIGNAL_PIDS_MAX) {
		pid_t pid;
		if (!pid_parse(entry->d_name, &pid)) continue;
		if (glob && fnmatch(glob, entry->d_name, 0) != 0) continue;
		if (pid_is_server(pid)) pids[count++] = pid;
	}
	(void)closedir(proc);
	return count;
}

static bool pid_of_file(const char *path, pid_t *out)
{
	char text[32] = "";
	FILE *f = fopen(path, "re");
	if (!f) return false;
	if (!fgets(text, sizeof text, f)) text[0] = '\0';
	(void)fclose(f);
	text[strcspn(text, "\n")] = '\0';
	return pid_parse(text, out);
}

static unsigned pids_of_target(const char *target, pid_t *pids)
{
	if (!target || strchr(target, '*')) return pids_find(target, pids);
	return pid_parse(target, pids) || pid_of_file(target, pids) ? 1 : 0;
}

int main_signal_send(const char *prefix, const char *name, const char *target)
{
	pid_t pids[SIGNAL_PIDS_MAX];
	int signum = signal_number(name);
	unsigned count = signum ? pids_of_target(target, pids) : 0;
	if (count == 0) {
		(void)fprintf(stderr,
			target ? "%s: could not find a server for %s\n" : "%s: no nats-server processes running\n",
			prefix, target ? target : "");
		return 1;
	}
	if (count > 1 && !target) {
		(void)fprintf(stderr, "%s: multiple nats-server processes running:\n", prefix);
		for (unsigned i = 0; i < count; i++) (void)fprintf(stderr, "%d\n", (int)pids[i]);
		return 1;
	}
	int code = 0;
	for (unsigned i = 0; i < count; i++) {
		if (kill(pids[i], signum) == 0) continue;
		(void)fprintf(stderr, "%s: could not signal %d: %s\n", prefix, (int)pids[i], strerror(errno));
		code = 1;
	}
	return code;
}
