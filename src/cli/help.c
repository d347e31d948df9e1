/* Help, and finding the command that was meant. */
#include <stdint.h>
#include <string.h>

#include "cli.h"
#include "text.h"

#define SUGGEST_DISTANCE 3U

static void command_line(FILE *f, const struct command *c)
{
	char name[96];

	snprintf(name, sizeof(name), "%s%s%s %s", c->object != NULL ? c->object : "", c->object != NULL ? " " : "",
		 c->verb, c->args);
	fprintf(f, "  %-31s  %s\n", name, c->summary);
}

/* "cluster" of "cluster key". */
static bool object_begins(const struct command *c, const char *word)
{
	size_t len = strlen(word);

	return strncmp(c->object, word, len) == 0 && c->object[len] == ' ';
}

void help_overview(FILE *f)
{
	const struct command *c;
	int old = 0;

	fputs("Usage: ctdb [OPTIONS] OBJECT VERB [ARGUMENTS]\n\nCommands:\n", f);
	for (c = commands; c->run != NULL; c++) {
		if (c->object == NULL && !old++) {
			fputs("\nForms that scripts know from earlier versions:\n", f);
		}
		command_line(f, c);
	}
	fputs("\nOptions:\n"
	      "  -o, --output FORMAT   text, json or table\n"
	      "  -t, --timeout S       seconds for each operation (10)\n"
	      "  -n, --node PNN        node to ask, where it makes sense\n"
	      "  --socket PATH         socket of the daemon\n"
	      "  --retire              drop all former keys after a rotation\n"
	      "  --dry-run             only say what would be done to the nodes list\n"
	      "  --for STATE           what ctdb cluster wait waits for\n"
	      "  --force               also stop or ban a node that the cluster needs\n"
	      "  --full                vacuuming looks at all records\n"
	      "  --hex                 keys, values and texts are hexadecimal\n"
	      "  --local               db dump: only this node's file, as it is\n"
	      "  --records             db show-backup: also the records\n"
	      "  --history, --reset    statistics: by intervals; begin at 0 again\n"
	      "  -X, -x SEPARATOR      old forms: output for programs, and its separator\n"
	      "  --version, -h, --help\n"
	      "\nctdb OBJECT --help lists the verbs of one, ctdb OBJECT VERB --help says more about a command. Manual: "
	      "ctdb(1).\n",
	      f);
}

bool help_object(FILE *f, char **argv, int argc)
{
	char object[64];
	const struct command *c;
	bool found = false;

	if (argc == 0) {
		help_overview(f);
		return true;
	}
	snprintf(object, sizeof(object), "%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
	for (c = commands; c->run != NULL; c++) {
		if (c->object != NULL && (strcmp(c->object, object) == 0 || (argc == 1 && object_begins(c, argv[0])))) {
			if (!found) {
				fprintf(f, "Usage: ctdb %s VERB [ARGUMENTS]\n\n", object);
			}
			found = true;
			command_line(f, c);
		}
	}
	if (found) {
		fprintf(f, "\nctdb %s VERB --help says more about one. Manual: ctdb(1).\n", object);
	}
	return found;
}

const char *help_usage(char *line, size_t size, const struct command *c)
{
	FILE *f = fmemopen(line, size, "w");

	if (f == NULL) {
		return c->verb;
	}
	fprintf(f, "ctdb %s%s%s%s%s", c->object != NULL ? c->object : "", c->object != NULL ? " " : "", c->verb,
		c->args[0] != '\0' ? " " : "", c->args);
	options_usage(f, c->options);
	fclose(f);
	line[size - 1] = '\0';
	return line;
}

void help_command(FILE *f, const struct command *c)
{
	char line[160];

	fprintf(f, "Usage: %s\n", help_usage(line, sizeof(line), c));
	fprintf(f, "%s.\n%s", c->summary, c->help != NULL ? c->help : "");
}

/* What was typed against the names of commands. */
static const struct command *nearest(const char *typed)
{
	const struct command *c, *best = NULL;
	size_t best_distance = SUGGEST_DISTANCE + 1;

	for (c = commands; c->run != NULL; c++) {
		char name[64];
		size_t d;

		snprintf(name, sizeof(name), "%s%s%s", c->object != NULL ? c->object : "", c->object != NULL ? " " : "",
			 c->verb);
		d = text_distance(typed, name);
		if (d < best_distance && 2 * d <= strlen(typed)) {
			best = c;
			best_distance = d;
		}
	}
	return best;
}

static bool is_object(const char *name)
{
	for (const struct command *c = commands; c->run != NULL; c++) {
		if (c->object != NULL && strcmp(c->object, name) == 0) {
			return true;
		}
	}
	return false;
}

static const struct command *unknown(struct cli *cli, char **argv, int argc)
{
	/* The longest name has three words. */
	bool three = argc > 2 && strcmp(argv[0], "cluster") == 0 && strcmp(argv[1], "key") == 0;
	char typed[100];
	const struct command *c, *near;

	snprintf(typed, sizeof(typed), "%s%s%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "",
		 three ? " " : "", three ? argv[2] : "");
	near = is_object(typed) ? NULL : nearest(typed); /* a verb is missing, however near another command is */
	near = near != NULL || is_object(typed) ? near : nearest(argv[0]);
	if (near != NULL) {
		cli_fail(cli, EXIT_USAGE, "unknown command \"%s\"; did you mean \"ctdb %s%s%s\"?", typed,
			 near->object != NULL ? near->object : "", near->object != NULL ? " " : "", near->verb);
		return NULL;
	}
	for (c = commands; c->run != NULL; c++) {
		if (c->object != NULL && (strcmp(c->object, argv[0]) == 0 || strcmp(c->object, typed) == 0)) {
			cli_fail(cli, EXIT_USAGE, "%s \"%s\"; ctdb %s --help lists the verbs",
				 argc > 1 && strcmp(c->object, typed) != 0 ? "unknown command"
									   : "verb is missing after",
				 typed, c->object);
			return NULL;
		}
	}
	cli_fail(cli, EXIT_USAGE, "unknown command \"%s\"; ctdb --help lists all", typed);
	return NULL;
}

/* How many words are the name of the command; 0: it is another one. */
static int words_of(const struct command *c, char **argv, int argc)
{
	const char *space = c->object != NULL ? strchr(c->object, ' ') : NULL;
	size_t len = space != NULL ? (size_t)(space - c->object) : 0;

	if (c->object == NULL) {
		return strcmp(c->verb, argv[0]) == 0 ? 1 : 0;
	}
	if (space == NULL) {
		return argc > 1 && strcmp(c->object, argv[0]) == 0 && strcmp(c->verb, argv[1]) == 0 ? 2 : 0;
	}
	return argc > 2 && strncmp(c->object, argv[0], len) == 0 && argv[0][len] == '\0' &&
			       strcmp(space + 1, argv[1]) == 0 && strcmp(c->verb, argv[2]) == 0
		       ? 3
		       : 0;
}

const struct command *command_find(struct cli *cli, char **argv, int argc, int *used)
{
	const struct command *c;

	for (c = commands; c->run != NULL; c++) {
		*used = words_of(c, argv, argc);
		if (*used > 0) {
			return c;
		}
	}
	return unknown(cli, argv, argc);
}
