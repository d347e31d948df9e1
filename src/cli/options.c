/* Options of the command line. */
#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

enum long_option {
	LONG_SOCKET = 256,
	LONG_HEX,
	LONG_COUNT,
	LONG_MODEL,
	LONG_RETIRE,
	LONG_DRY_RUN,
	LONG_FOR,
	LONG_FORCE,
	LONG_LOCAL,
	LONG_HISTORY,
	LONG_RESET,
	LONG_RECORDS,
	LONG_FULL,
	LONG_VERSION
};

static const struct option long_options[] = {
	{"output", required_argument, NULL, 'o'},
	{"socket", required_argument, NULL, LONG_SOCKET},
	{"timeout", required_argument, NULL, 't'},
	{"timelimit", required_argument, NULL, 't'},
	{"node", required_argument, NULL, 'n'},
	{"separator", required_argument, NULL, 'x'},
	{"hex", no_argument, NULL, LONG_HEX},
	{"count", required_argument, NULL, LONG_COUNT},
	{"model", required_argument, NULL, LONG_MODEL},
	{"help", no_argument, NULL, 'h'},
	{"retire", no_argument, NULL, LONG_RETIRE},
	{"dry-run", no_argument, NULL, LONG_DRY_RUN},
	{"for", required_argument, NULL, LONG_FOR},
	{"force", no_argument, NULL, LONG_FORCE},
	{"local", no_argument, NULL, LONG_LOCAL},
	{"history", no_argument, NULL, LONG_HISTORY},
	{"reset", no_argument, NULL, LONG_RESET},
	{"records", no_argument, NULL, LONG_RECORDS},
	{"full", no_argument, NULL, LONG_FULL},
	{"version", no_argument, NULL, LONG_VERSION},
	{NULL, 0, NULL, 0},
};

static const struct option_name {
	enum option_flag flag;
	const char *name;
	const char *usage; /* NULL: part of the one before */
} option_names[] = {
	{OPT_NODE, "-n", "[-n PNN]"},
	{OPT_MACHINE, "-X, -Y and -x", "[-X]"},
	{OPT_HEX, "--hex", "[--hex]"},
	{OPT_COUNT, "--count", "[--count N]"},
	{OPT_MODEL, "--model", "[--model MODEL]"},
	{OPT_RETIRE, "--retire", "[--retire]"},
	{OPT_DRY_RUN, "--dry-run", "[--dry-run]"},
	{OPT_FULL, "--full", "[--full]"},
	{OPT_FOR, "--for", "--for STATE [--timeout S]"},
	{OPT_FORCE, "--force", "[--force] [--timeout S]"},
	{OPT_LOCAL, "--local", "[--local]"},
	{OPT_RECORDS, "--records", "[--records]"},
	{OPT_HISTORY, "--history", "[--history | --reset]"},
	{OPT_RESET, "--reset", NULL},
};

#define N_OPTION_NAMES (sizeof(option_names) / sizeof(option_names[0]))

const char *option_first(unsigned int flags)
{
	for (size_t i = 0; i < N_OPTION_NAMES; i++) {
		if ((flags & option_names[i].flag) != 0) {
			return option_names[i].name;
		}
	}
	return NULL;
}

void options_usage(FILE *f, unsigned int flags)
{
	for (size_t i = 0; i < N_OPTION_NAMES; i++) {
		if ((flags & option_names[i].flag) != 0 && option_names[i].usage != NULL) {
			fprintf(f, " %s", option_names[i].usage);
		}
	}
}

static int usage(struct cli *cli, const char *what, const char *value, const char *wanted)
{
	return cli_fail(cli, EXIT_USAGE, "%s: \"%s\" is not %s", what, value, wanted);
}

static int set_model(struct cli *cli, const char *value)
{
	enum ctdb_db_model m;

	for (m = CTDB_DB_VOLATILE; m <= CTDB_DB_REPLICATED; m++) {
		if (strcmp(ctdb_db_model_name(m), value) == 0) {
			cli->opt.model = m;
			cli->opt.given |= OPT_MODEL;
			return 0;
		}
	}
	return usage(cli, "--model", value, "volatile, persistent or replicated");
}

static int set_number(struct cli *cli, const char *what, const char *value, uint64_t max, enum option_flag flag,
		      uint64_t *number)
{
	if (!text_number(value, max, number)) {
		return usage(cli, what, value, "a whole number that makes sense here");
	}
	cli->opt.given |= flag;
	return 0;
}

static int set_format(struct cli *cli, const char *value)
{
	cli->opt.format = output_find(value);
	return cli->opt.format != NULL ? 0 : usage(cli, "-o", value, "text, json or table");
}

static int set_timeout(struct cli *cli, const char *value)
{
	cli->opt.timeout_given = true;
	return text_seconds(value, &cli->opt.timeout_ms) ? 0 : usage(cli, "-t", value, "a number of seconds above 0");
}

static int set_node(struct cli *cli, const char *value)
{
	uint64_t n;
	int ret = set_number(cli, "-n", value, 0xFFFFFF, OPT_NODE, &n);

	cli->opt.node = ret == 0 ? (uint32_t)n : CTDB_NODE_CURRENT;
	return ret;
}

static void set_machine(struct cli *cli, const char *separator)
{
	cli->opt.machine = cli->opt.machine || separator == NULL;
	cli->opt.separator = separator != NULL ? separator : cli->opt.separator;
	cli->opt.given |= OPT_MACHINE;
}

static void set_switch(struct cli *cli, int c)
{
	cli->opt.local = cli->opt.local || c == LONG_LOCAL;
	cli->opt.history = cli->opt.history || c == LONG_HISTORY;
	cli->opt.reset = cli->opt.reset || c == LONG_RESET;
	cli->opt.records = cli->opt.records || c == LONG_RECORDS;
	cli->opt.full = cli->opt.full || c == LONG_FULL;
	cli->opt.given |= c == LONG_LOCAL     ? OPT_LOCAL
			  : c == LONG_HISTORY ? OPT_HISTORY
			  : c == LONG_RESET   ? OPT_RESET
			  : c == LONG_RECORDS ? OPT_RECORDS
					      : OPT_FULL;
}

static int set_option(struct cli *cli, int c, char *const *argv)
{
	switch (c) {
	case 'o':
		return set_format(cli, optarg);
	case LONG_SOCKET:
		cli->opt.socket = optarg;
		return 0;
	case 't':
		return set_timeout(cli, optarg);
	case 'n':
		return set_node(cli, optarg);
	case 'X':
	case 'Y':
		set_machine(cli, NULL);
		return 0;
	case 'x':
		set_machine(cli, optarg);
		return 0;
	case LONG_HEX:
		cli->opt.hex = true;
		cli->opt.given |= OPT_HEX;
		return 0;
	case LONG_COUNT:
		return set_number(cli, "--count", optarg, UINT64_MAX, OPT_COUNT, &cli->opt.count);
	case LONG_RETIRE:
		cli->opt.retire = true;
		cli->opt.given |= OPT_RETIRE;
		return 0;
	case LONG_DRY_RUN:
		cli->opt.dry_run = true;
		cli->opt.given |= OPT_DRY_RUN;
		return 0;
	case LONG_FOR:
		cli->opt.goal = optarg;
		cli->opt.given |= OPT_FOR;
		return 0;
	case LONG_FORCE:
		cli->opt.force = true;
		cli->opt.given |= OPT_FORCE;
		return 0;
	case LONG_LOCAL:
	case LONG_HISTORY:
	case LONG_RESET:
	case LONG_RECORDS:
	case LONG_FULL:
		set_switch(cli, c);
		return 0;
	case LONG_MODEL:
		return set_model(cli, optarg);
	case 'h':
		cli->opt.help = true;
		return 0;
	case LONG_VERSION:
		cli->opt.version = true;
		return 0;
	case ':':
		return cli_fail(cli, EXIT_USAGE, "option %s needs a value", argv[optind - 1]);
	default:
		if (optopt != 0 && isprint(optopt) && argv[optind - 1][1] != '-') {
			return cli_fail(cli, EXIT_USAGE,
					"unknown option -%c; ctdb OBJECT VERB --help lists those of a command", optopt);
		}
		return cli_fail(cli, EXIT_USAGE, "unknown option %s; ctdb OBJECT VERB --help lists those of a command",
				argv[optind - 1]);
	}
}

int options_parse(struct cli *cli, int *argc, char ***argv)
{
	int c, ret;

	cli->opt = (struct options){.format = &output_text,
				    .timeout_ms = CTDB_TIMEOUT_DEFAULT,
				    .node = CTDB_NODE_CURRENT,
				    .separator = "|",
				    .model = CTDB_DB_VOLATILE};
	opterr = 0;
	for (;;) {
		optopt = 0;
		c = getopt_long(*argc, *argv, ":o:t:n:XYx:h?", long_options, NULL);
		if (c == -1) {
			break;
		}
		if (c == '?' && optopt == 0 && (*argv)[optind - 1][1] != '-') {
			c = 'h'; /* "-?" itself; unknown options look alike but for these two */
		}
		ret = set_option(cli, c, *argv);
		if (ret != 0) {
			return ret;
		}
	}
	*argv += optind;
	*argc -= optind;
	return 0;
}
