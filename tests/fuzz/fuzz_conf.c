/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration that somebody made up: up to four texts, separated by NULs, are main.conf, the file "b", the
 * environment variable E (any other is not set) and a command line of words. Whatever they are: loading ends, it is
 * either OK or says why, a second time it is the same, and what is loaded keeps its promises. */
#include "thebes/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAIN, TEXT_B, TEXT_ENV, TEXT_WORDS, TEXT_COUNT, WORDS_MAX = 16 };

struct input {
	struct slice texts[TEXT_COUNT];
	struct buf env; /* owned */
};

static enum err read_text(void *arg, const char *path, struct buf *out)
{
	const struct input *in = arg;
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	if (strcmp(name, "main.conf") != 0 && strcmp(name, "b") != 0) return ERR_NOT_FOUND;
	buf_append_slice(out, in->texts[strcmp(name, "b") == 0 ? TEXT_B : TEXT_MAIN]);
	return OK;
}

static const char *env_text(void *arg, const char *name)
{
	struct input *in = arg;
	return strcmp(name, "E") == 0 ? buf_str(&in->env) : NULL;
}

static void count_change(void *arg, const struct conf_change *change)
{
	ASSERT(change->key && change->text);
	(*(size_t *)arg)++;
}

static void check_subjects(const struct conf_subjects *s)
{
	ASSERT(s->allow_is_set || s->allow.count == 0);
	for (size_t i = 0; i < s->allow.count; i++) ASSERT(s->allow.at[i][0] != '\0');
	for (size_t i = 0; i < s->deny.count; i++) ASSERT(s->deny.at[i][0] != '\0');
}

static void check_permissions(const struct conf_permissions *p)
{
	if (!p) return;
	check_subjects(&p->publish);
	check_subjects(&p->subscribe);
	ASSERT(!p->allow_responses ||
		(p->publish.allow_is_set && p->responses_max != 0 && p->responses_expires_ns != 0));
}

static void check_account(const struct conf *c, const struct conf_account *a)
{
	ASSERT(conf_account_find(c, a->name) == a);
	check_permissions(a->default_permissions);
	for (size_t i = 0; i < a->user_count; i++) {
		ASSERT(a->users[i].name && a->users[i].name[0]);
		check_permissions(a->users[i].permissions);
	}
}

static void check_conf(const struct conf *c)
{
	size_t systems = 0;
	ASSERT(c->client.is_on && c->client.host[0]);
	ASSERT(c->max_payload_bytes > 0 && c->max_payload_bytes <= c->max_pending_bytes &&
		c->max_control_line_bytes > 0);
	ASSERT(c->ping_interval_ns > 0 && c->ping_max > 0 && c->write_deadline_ns > 0);
	ASSERT(c->lame_duck_grace_period_ns < c->lame_duck_duration_ns);
	ASSERT(c->jetstream.store_dir && c->jetstream.store_dir[0]);
	ASSERT(c->journal.slot_bytes % 4096 == 0 && c->journal.slot_count >= 4);
	ASSERT(c->account_count > 0 && strcmp(c->accounts[0].name, "$G") == 0);
	for (size_t i = 0; i < c->account_count; i++) {
		check_account(c, &c->accounts[i]);
		systems += c->accounts[i].is_system;
	}
	ASSERT(systems == (c->system_account ? 1 : 0));
	ASSERT(!c->auth_password || c->auth_user);
	check_permissions(c->default_permissions);
}

static enum err load(struct conf *c, struct input *in, const struct conf_command *cmd)
{
	struct conf_source source = { .read_file = read_text, .env = env_text, .arg = in };
	struct conf_report report = { .error_count = 0 };
	enum err e = conf_load(c, "main.conf", cmd, &source, &report);
	ASSERT((e == OK) == (report.error_count == 0));
	ASSERT((report.error_count > 0) == (report.errors.n > 0));
	ASSERT((report.warning_count > 0) == (report.warnings.n > 0));
	for (size_t i = 0; i < report.errors.n; i++) ASSERT(report.errors.p[i] >= ' ' || report.errors.p[i] == '\n');
	conf_report_deinit(&report);
	return e;
}

/* The words as a command line, NUL-terminated in place. */
static void parse_words(struct conf_command *cmd, struct buf *words)
{
	const char *argv[WORDS_MAX + 1] = { "nats-server" };
	int argc = 1;
	char *rest = (char *)words->p;
	for (char *word; argc <= WORDS_MAX && (word = strsep(&rest, "\n")) != NULL;) argv[argc++] = word;
	conf_command_parse(cmd, argc, argv, "nats-server", "1.2.3");
	ASSERT(cmd->verdict == CONF_END || cmd->exit_code == 0);
	ASSERT((cmd->verdict == CONF_SIGNAL) == (cmd->signal_name != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .env = { 0 } };
	struct slice rest = slice_of(data, size);
	for (size_t i = 0; i < TEXT_COUNT; i++) {
		ptrdiff_t end = i + 1 < TEXT_COUNT ? slice_find(rest, 0) : -1;
		in.texts[i] = end < 0 ? rest : slice_first(rest, (size_t)end);
		rest = end < 0 ? SLICE_NULL : slice_from(rest, (size_t)end + 1);
	}
	buf_append_slice(&in.env, in.texts[TEXT_ENV]);

	struct conf_command cmd;
	struct buf words = { 0 };
	buf_append_slice(&words, in.texts[TEXT_WORDS]);
	(void)buf_str(&words);
	parse_words(&cmd, &words);

	struct conf first, second;
	const struct conf_command *flags = cmd.verdict == CONF_RUN ? &cmd : NULL;
	enum err e = load(&first, &in, flags);
	ASSERT(load(&second, &in, flags) == e);
	if (e == OK) {
		size_t changes = 0;
		check_conf(&first);
		ASSERT(conf_diff(&first, &second, count_change, &changes) == 0 && changes == 0);
		ASSERT(strcmp(first.digest, second.digest) == 0);
	}
	conf_deinit(&first);
	conf_deinit(&second);
	conf_command_deinit(&cmd);
	buf_deinit(&words);
	buf_deinit(&in.env);
	return 0;
}
