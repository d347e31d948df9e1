/* ctdb, the command line tool. */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "text.h"

int cli_fail(struct cli *cli, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cli->error, sizeof(cli->error), fmt, ap);
	va_end(ap);
	text_make_printable(cli->error);
	return code;
}

void cli_own(struct cli *cli, void *memory)
{
	if (cli->n_owned == sizeof(cli->owned) / sizeof(cli->owned[0])) {
		abort(); /* more arguments than any command has */
	}
	cli->owned[cli->n_owned++] = memory;
}

static void cli_free(struct cli *cli)
{
	while (cli->n_owned > 0) {
		free(cli->owned[--cli->n_owned]);
	}
	output_free(&cli->out);
	talloc_free(cli->c);
}

static int code_of(int err)
{
	switch (err) {
	case ENOENT:
		return EXIT_NOT_FOUND;
	case ETIMEDOUT:
		return EXIT_TIMEOUT;
	case ENOTCONN:
		return EXIT_NO_DAEMON;
	default:
		return EXIT_ERROR;
	}
}

int cli_fail_api(struct cli *cli, int err, const char *fmt, ...)
{
	const char *text = cli->c != NULL ? ctdb_client_error(cli->c) : "";
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cli->error, sizeof(cli->error), fmt, ap);
	va_end(ap);
	len = strlen(cli->error);
	snprintf(cli->error + len, sizeof(cli->error) - len, ": %s", text[0] != '\0' ? text : strerror(err));
	text_make_printable(cli->error);
	return code_of(err);
}

/* ---- connecting ---- */

/* Resource agents look for the first words in what the old forms print. */
static int connect_failed(struct cli *cli, int err, const char *path)
{
	if (cli->cmd->object == NULL) {
		fprintf(stderr, "connect() failed, errno=%d\nFailed to connect to CTDB daemon (%s)\n", err, path);
	}
	switch (err) {
	case ENOENT:
	case ECONNREFUSED:
		cli_fail(cli, EXIT_NO_DAEMON,
			 "no CTDB daemon listens at %s (%s): start ctdbd, or name its socket with --socket", path,
			 strerror(err));
		break;
	case EACCES:
	case EPERM:
		cli_fail(cli, EXIT_NO_DAEMON, "not permitted to connect to %s: run ctdb as root", path);
		break;
	case ETIMEDOUT:
		cli_fail(cli, EXIT_NO_DAEMON, "the CTDB daemon at %s does not answer: see its log", path);
		break;
	case EPROTO:
		cli_fail(cli, EXIT_NO_DAEMON, "what listens at %s does not speak the protocol of CTDB", path);
		break;
	default:
		cli_fail(cli, EXIT_NO_DAEMON, "cannot connect to the CTDB daemon at %s: %s", path, strerror(err));
		break;
	}
	return cli->cmd->object == NULL ? EXIT_ERROR : EXIT_NO_DAEMON; /* old forms: as ever */
}

static int cli_connect(struct cli *cli)
{
	char *def = ctdb_default_socket(NULL);
	const char *path = cli->opt.socket != NULL ? cli->opt.socket : def;
	int err = path == NULL ? ENOMEM : ctdb_open(NULL, path, cli->opt.timeout_ms, &cli->c);
	int code = err == 0 ? 0 : connect_failed(cli, err, path != NULL ? path : "?");

	talloc_free(def);
	return code;
}

/* ---- running ---- */

static int check_use(struct cli *cli, int argc)
{
	const struct command *c = cli->cmd;
	unsigned int extra = cli->opt.given & ~c->options;
	char name[64], line[160];

	snprintf(name, sizeof(name), "%s%s%s", c->object != NULL ? c->object : "", c->object != NULL ? " " : "",
		 c->verb);
	if (extra != 0) {
		return cli_fail(cli, EXIT_USAGE, "%s cannot be used with \"ctdb %s\"%s", option_first(extra), name,
				(extra & OPT_NODE) != 0 ? ": it works on the node it runs on" : "");
	}
	if (argc < c->min_args || argc > c->max_args) {
		return cli_fail(cli, EXIT_USAGE, "too %s arguments; usage: %s", argc < c->min_args ? "few" : "many",
				help_usage(line, sizeof(line), c));
	}
	return 0;
}

/* Of -n; the old forms say of it what they always said. */
static int check_node(struct cli *cli)
{
	struct ctdb_nodemap *map = NULL;
	int err;

	if (cli->cmd->object == NULL || cli->opt.node == CTDB_NODE_CURRENT) {
		return 0;
	}
	err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	for (uint32_t i = 0; i < map->n; i++) {
		if (map->nodes[i].pnn == cli->opt.node) {
			return 0;
		}
	}
	return cli_fail(cli, EXIT_NOT_FOUND, "there is no node %u: ctdb node list shows which there are",
			cli->opt.node);
}

/* The command between its surroundings: a failure leaves nothing half printed but in streams of messages. */
static int run(struct cli *cli, char **argv, int argc)
{
	int used, code;

	if (strcmp(argv[0], "help") == 0) {
		cli->opt.help = true;
		argv++;
		argc--;
	}
	if ((cli->opt.help && help_object(stdout, argv, argc)) ||
	    (argc == 2 && strcmp(argv[1], "help") == 0 && help_object(stdout, argv, 1))) {
		return EXIT_OK;
	}
	cli->cmd = command_find(cli, argv, argc, &used);
	if (cli->cmd == NULL) {
		return EXIT_USAGE;
	}
	if (cli->opt.help) {
		help_command(stdout, cli->cmd);
		return EXIT_OK;
	}
	code = check_use(cli, argc - used);
	if (code == 0 && (cli->cmd->options & NO_DAEMON) == 0) {
		code = cli_connect(cli);
		code = code == 0 ? check_node(cli) : code;
	}
	if (code != 0) {
		return code;
	}
	output_begin(&cli->out, cli->opt.format, stdout);
	code = cli->cmd->run(cli, argv + used, argc - used);
	if (cli->error[0] == '\0' && !cli->printed && output_end(&cli->out) != 0) {
		return cli_fail(cli, EXIT_ERROR, "cannot write to standard output: %s", strerror(errno));
	}
	return code;
}

/* Programs that read JSON get the error there as well. */
static void print_error(const struct cli *cli, int code)
{
	json_t *doc;

	fprintf(stderr, "ctdb: %s\n", cli->error);
	if (cli->opt.format == &output_json) {
		doc = output_check(json_pack("{s:i, s:{s:i, s:o}}", "schema", 1, "error", "code", code, "message",
					     output_sentence(cli->error)));
		json_dumpf(doc, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(doc);
	}
}

int main(int argc, char **argv)
{
	struct cli cli = {.c = NULL};
	int code;

	srandom((unsigned int)time(NULL) ^ (unsigned int)getpid()
						   << 8); /* pauses while waiting for others, nothing secret */
	signal(SIGPIPE, SIG_IGN);
	code = options_parse(&cli, &argc, &argv);
	if (code == 0 && cli.opt.version) {
		printf("ctdb-ng %s\n", ctdb_api_version());
	} else if (code == 0 && argc == 0) {
		help_overview(cli.opt.help ? stdout : stderr);
		code = cli.opt.help ? EXIT_OK : EXIT_USAGE;
	} else if (code == 0) {
		code = run(&cli, argv, argc);
	}
	if (cli.error[0] != '\0') {
		print_error(&cli, code);
	}
	cli_free(&cli);
	errno = 0;
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
		fprintf(stderr, "ctdb: cannot write to standard output: %s\n", strerror(errno != 0 ? errno : EIO));
		code = EXIT_ERROR;
	}
	return code;
}
