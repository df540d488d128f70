/* SPDX-License-Identifier: Apache-2.0 */
/* The process: argv becomes a configuration, the configuration a running node, and its end an exit code. With main_fatal.c the only place for
 * signals, the environment, standard error and exit(). Started under the name nats-server it is `thebes server`. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "thebes/cli.h"
#include "thebes/conf.h"
#include "thebes/io_uv.h"
#include "thebes/node.h"
#include "main_fatal.h"
#include "main_signal.h"

struct process {
	struct io *io;
	struct node node;
	struct node_host host;
	struct rusage usage_last; /* for the share of CPU since the last page */
	uint64_t usage_last_ns;
	double cpu_percent;
	int exit_code;
	struct main_fatal fatal;
};

/* ---- what the node is lent ---- */

static void print_to(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done < 0 && errno != EINTR) return; /* nobody is left who could be told */
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		}
	}
}

static void host_print(void *arg, const char *p, size_t n)
{
	(void)arg;
	print_to(STDERR_FILENO, p, n);
}

static void host_syslog(void *arg, enum diag_level level, const char *line, size_t n)
{
	(void)arg;
	static const uint8_t priorities[] = {
		[DIAG_FATAL] = LOG_CRIT,
		[DIAG_ERROR] = LOG_ERR,
		[DIAG_WARN] = LOG_WARNING,
		[DIAG_INFO] = LOG_NOTICE,
		[DIAG_DEBUG] = LOG_DEBUG,
		[DIAG_TRACE] = LOG_DEBUG,
	};
	syslog(priorities[level], "%.*s", (int)n, line);
}

static const char *host_env(void *arg, const char *name)
{
	(void)arg;
	return getenv(name);
}

static enum err host_resolve(
	void *arg, const char *host, uint16_t port, struct io_addr *out, unsigned max, unsigned *count)
{
	(void)arg;
	return io_uv_resolve(host, port, out, max, count);
}

static uint64_t timeval_ns(struct timeval t) { return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * NS_PER_US; }

static uint64_t memory_resident(void)
{
	uint64_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f) return 0;
	char text[128];
	if (fgets(text, sizeof text, f)) {
		const char *second = strchr(text, ' ');
		if (second) pages = strtoull(second, NULL, 10);
	}
	(void)fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void host_usage(void *arg, struct http_usage *out)
{
	struct process *p = arg;
	struct rusage now;
	uint64_t now_ns = io_now_precise_ns(p->io);
	if (getrusage(RUSAGE_SELF, &now) == 0 && now_ns > p->usage_last_ns) {
		uint64_t used = timeval_ns(now.ru_utime) + timeval_ns(now.ru_stime) -
				timeval_ns(p->usage_last.ru_utime) - timeval_ns(p->usage_last.ru_stime);
		p->cpu_percent = 100.0 * (double)used / (double)(now_ns - p->usage_last_ns);
		p->usage_last = now;
		p->usage_last_ns = now_ns;
	}
	*out = (struct http_usage) {
		.memory_bytes = memory_resident(),
		.cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
		.cpu_percent = p->cpu_percent,
	};
}

static void host_give_back(void *arg)
{
	(void)arg;
	(void)malloc_trim(0);
}

static void host_stopped(void *arg, int exit_code)
{
	struct process *p = arg;
	p->exit_code = exit_code;
	io_uv_stop(p->io);
}

static void host_die(void *arg, const char *why)
{
	(void)arg;
	(void)why;
	_exit(1); /* no destructor may write to a disk that failed (S17) */
}

static int32_t utc_offset(void)
{
	time_t now = time(NULL);
	struct tm local;
	return localtime_r(&now, &local) ? (int32_t)local.tm_gmtoff : 0;
}

static void process_lend(struct process *p, const char *program)
{
	openlog(program, LOG_PID, LOG_DAEMON); /* for host_syslog; connects with its first line */
	p->host = (struct node_host) {
		.pid = (int)getpid(),
		.program = program,
		.output_is_terminal = isatty(STDERR_FILENO),
		.utc_offset_s = utc_offset(),
		.memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE),
		.print = host_print,
		.syslog = host_syslog,
		.env = host_env,
		.resolve = host_resolve,
		.usage = host_usage,
		.give_back = host_give_back,
		.stopped = host_stopped,
		.die = host_die,
		.arg = p,
	};
}

/* ---- signals ---- */

static void on_signal(void *arg, int signum)
{
	struct process *p = arg;
	static const char *const names[] = {
		[SIGINT] = "interrupt",
		[SIGTERM] = "terminated",
		[SIGHUP] = "hangup",
		[SIGUSR1] = "user defined signal 1",
		[SIGUSR2] = "user defined signal 2",
	};
	diag_line(&p->node.diag, DIAG_DEBUG, "Trapped \"%s\" signal", names[signum]);
	switch (signum) {
	case SIGINT: node_stop(&p->node, true); break;
	case SIGTERM: node_stop(&p->node, false); break;
	case SIGHUP: node_reload(&p->node); break;
	case SIGUSR1: node_log_reopen(&p->node); break;
	case SIGUSR2: node_lame_duck(&p->node); break;
	}
}

static enum err process_watch_signals(struct process *p)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 };
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < COUNT_OF(signals); i++) {
		enum err e = io_uv_on_signal(p->io, signals[i], on_signal, p);
		if (e != OK) return e;
	}
	return OK;
}

/* A descriptor per client: as many as the system lets us have. */
static void process_raise_files(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= files.rlim_max) return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

/* ---- the server ---- */

static int serve(struct process *p, const struct conf_command *cmd, struct conf *conf, const struct conf_report *report)
{
	process_raise_files();
	io_uv_busy_poll(p->io, conf->busy_poll_ns);
	/* Before anybody can know that the server runs; they are handled on the loop, when it does. */
	enum err e = process_watch_signals(p);
	main_fatal_watch(&p->fatal);
	if (e == OK) e = node_start(&p->node, p->io, &p->host, cmd, conf, report);
	if (e == OK)
		io_uv_run(p->io);
	else
		p->exit_code = 1;
	node_deinit(&p->node);
	main_fatal_end(&p->fatal);
	return p->exit_code;
}

/* `what` stands before each line; "" or ending with a blank. */
static void print_report(const char *name, const char *what, const struct buf *lines)
{
	struct slice left = buf_slice(lines);
	while (left.n) {
		ptrdiff_t end = slice_find(left, '\n');
		struct slice line = end < 0 ? left : slice_first(left, (size_t)end);
		(void)fprintf(stderr, "%s: %s%.*s\n", name, what, SLICE_FMT(line));
		left = slice_from(left, line.n + 1);
	}
}

/* -t: is the configuration good? Warnings are not good enough for a test. */
static int tell_validity(const char *name, const struct conf *conf, const struct conf_report *report)
{
	print_report(name, "", &report->warnings);
	if (report->warning_count) return 1;
	(void)fprintf(
		stderr, "%s: configuration file %s is valid (%s)\n", name, conf->file ? conf->file : "", conf->digest);
	return 0;
}

static int load_and_serve(struct process *p, const char *name, const struct conf_command *cmd)
{
	struct conf conf = { 0 };
	struct conf_report report = { 0 };
	struct conf_source source = {
		.read_file = node_read_file, .env = host_env, .try_tls = node_try_tls, .arg = p->io
	};
	int code = 1;
	if (conf_load(&conf, cmd->config_file, cmd, &source, &report) != OK)
		print_report(name, report.is_syntax ? "Parse error: " : "", &report.errors); /* nats-server's words */
	else if (cmd->verdict == CONF_TEST)
		code = tell_validity(name, &conf, &report);
	else
		code = serve(p, cmd, &conf, &report);
	conf_report_deinit(&report);
	conf_deinit(&conf);
	return code;
}

/* `name` begins its sentences and decides what a wrong command line ends with (0 as nats-server, else 2); `program` is what files and the
 * system's log call it. */
static int server_main(int argc, const char *const *argv, const char *name, const char *program)
{
	struct conf_command cmd;
	conf_command_parse(&cmd, argc, argv, name, NODE_NATS_VERSION);
	print_to(STDOUT_FILENO, (const char *)cmd.out.p, cmd.out.n);
	print_to(STDERR_FILENO, (const char *)cmd.err.p, cmd.err.n);
	int code = cmd.exit_code;
	if (cmd.verdict == CONF_SIGNAL) {
		code = main_signal_send(name, cmd.signal_name, cmd.signal_target);
	} else if (cmd.verdict != CONF_END) {
		struct process p = { 0 };
		process_lend(&p, program);
		if (io_uv_new(&p.io) != OK) {
			(void)fprintf(stderr, "%s: no event loop: %s\n", name, err_text(ERR_FILES));
			code = 1;
		} else {
			code = load_and_serve(&p, name, &cmd);
			io_uv_free(p.io);
		}
	}
	conf_command_deinit(&cmd);
	return code;
}

static bool is_version(const char *word)
{
	static const char *const words[] = { "version", "--version", "-v", "-version" };
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (strcmp(word, words[i]) == 0) return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *program = slash ? slash + 1 : argc > 0 ? argv[0] : "thebes";
	const char *const *args = (const char *const *)argv;
	if (strcmp(program, "nats-server") == 0) return server_main(argc, args, "nats-server", "nats-server");
	if (argc > 1 && strcmp(argv[1], "server") == 0)
		return server_main(argc - 1, args + 1, "thebes server", "thebes");
	if (argc > 1 && is_version(argv[1])) {
		(void)printf("thebes: v%s (NATS v%s)\n", THEBES_VERSION, NODE_NATS_VERSION);
		return 0;
	}
	return cli_main(argc, argv);
}
