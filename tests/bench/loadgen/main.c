/* SPDX-License-Identifier: Apache-2.0 */
/* The modes of the load generator and their options. */
#include "load.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct mode {
	const char *name, *help;
	void (*run)(const struct options *o);
} modes[] = {
	{ "core", "one connection publishes (--size), another receives", run_core },
	{ "request", "requests and replies, one at a time (--size)", run_request },
	{ "publish",
		"makes a stream (--stream) and publishes to it: --clients, each with --window unacknowledged messages",
		run_publish },
	{ "fetch", "reads that stream from its start: --clients fetch --batch messages and ack each", run_fetch },
	{ "idle", "opens --count connections and looks at the memory of --pid", run_idle },
	{ "memory", "the memory of --pid", run_memory },
	{ "start", "starts the command behind -- and waits until it accepts; with --stream until that stream is served",
		run_start },
};

enum { MODES = sizeof modes / sizeof modes[0] };

static void usage(FILE *to)
{
	fputs("usage: loadgen MODE [--host 127.0.0.1] [--port 4222] [--seconds 1] [--warmup 0.3] [--count N] [--size "
	      "128] [--clients 4]\n"
	      "               [--window 1000] [--batch 500] [--pid PID] [--stream load0] [--keep] [-- COMMAND ...]\n\n",
		to);
	for (unsigned i = 0; i < MODES; i++) fprintf(to, "  %-8s %s\n", modes[i].name, modes[i].help);
}

enum {
	OPT_HOST = 256,
	OPT_PORT,
	OPT_SECONDS,
	OPT_WARMUP,
	OPT_COUNT,
	OPT_SIZE,
	OPT_CLIENTS,
	OPT_WINDOW,
	OPT_BATCH,
	OPT_PID,
	OPT_STREAM,
	OPT_KEEP
};

static const struct option option_table[] = { { "host", required_argument, NULL, OPT_HOST },
	{ "port", required_argument, NULL, OPT_PORT }, { "seconds", required_argument, NULL, OPT_SECONDS },
	{ "warmup", required_argument, NULL, OPT_WARMUP }, { "count", required_argument, NULL, OPT_COUNT },
	{ "size", required_argument, NULL, OPT_SIZE }, { "clients", required_argument, NULL, OPT_CLIENTS },
	{ "window", required_argument, NULL, OPT_WINDOW }, { "batch", required_argument, NULL, OPT_BATCH },
	{ "pid", required_argument, NULL, OPT_PID }, { "stream", required_argument, NULL, OPT_STREAM },
	{ "keep", no_argument, NULL, OPT_KEEP }, { 0 } };

/* A whole number of at most max, or the end of the program. */
static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (!*text || *end || *text == '-' || n > max) die("%s is not a number up to %lu", text, max);
	return n;
}

static void option_set(struct options *o, int option)
{
	switch (option) {
	case OPT_HOST: o->host = optarg; break;
	case OPT_PORT: o->port = (int)number(optarg, 65535); break;
	case OPT_SECONDS: o->seconds = atof(optarg); break;
	case OPT_WARMUP: o->warmup = atof(optarg); break;
	case OPT_COUNT: o->count = number(optarg, 1000000000); break;
	case OPT_SIZE: o->size = (unsigned)number(optarg, 1 << 20); break;
	case OPT_CLIENTS: o->clients = (unsigned)number(optarg, 64); break;
	case OPT_WINDOW: o->window = (unsigned)number(optarg, 100000); break;
	case OPT_BATCH: o->batch = (unsigned)number(optarg, 100000); break;
	case OPT_PID: o->pid = (int)number(optarg, 1 << 22); break;
	case OPT_STREAM: o->stream = optarg; break;
	case OPT_KEEP: o->keep = true; break;
	default: usage(stderr); exit(2);
	}
}

int main(int argc, char **argv)
{
	struct options o = { .host = "127.0.0.1",
		.port = 4222,
		.seconds = 1,
		.warmup = 0.3,
		.size = 128,
		.clients = 4,
		.window = 1000,
		.batch = 500 };
	const struct mode *mode = NULL;
	for (unsigned i = 0; i < MODES && argc > 1; i++)
		if (!strcmp(argv[1], modes[i].name)) mode = &modes[i];
	if (!mode) {
		usage(stderr);
		return 2;
	}
	optind = 2;
	for (int option; (option = getopt_long(argc, argv, "+", option_table, NULL)) != -1;) option_set(&o, option);
	o.argv = argv + optind;
	if (mode->run == run_start ? !o.argv[0] : optind < argc) {
		usage(stderr);
		return 2;
	}
	if (mode->run != run_start && !o.stream) o.stream = "load0";
	if (!o.clients || !o.window || !o.batch || (mode->run == run_idle && !o.count))
		die("--clients, --window, --batch and --count are at least 1");
	signal(SIGPIPE, SIG_IGN);
	mode->run(&o);
	return 0;
}
