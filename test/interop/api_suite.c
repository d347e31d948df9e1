/*
 * What programs expect of libctdbapi and the daemon behind it, in cases with a name, for any cluster: test_api.py runs
 *each against this project's suite and against Debian's ctdbd. Uses only what an installation has.
 *
 *	api_suite --list				"name nodes" for each case
 *	api_suite new|old sync|async CASE SOCKET...	exit status 0: passed
 */
#include "suite.h"

static const struct suite_case *const tables[] = {cluster_cases, record_cases, message_cases, transaction_cases,
						  node_cases,    event_cases,  error_cases};

static const struct suite_case *find(const char *name, bool list)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct suite_case *k = tables[t]; k->name != NULL; k++) {
			if (list) {
				printf("%s %u\n", k->name, k->nodes);
			} else if (strcmp(k->name, name) == 0) {
				return k;
			}
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct suite s = {.n_nodes = 0};
	const struct suite_case *k;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		find(NULL, true);
		return 0;
	}
	if (argc < 5 || argc - 4 > MAX_NODES) {
		fprintf(stderr, "usage: api_suite --list | new|old sync|async CASE SOCKET...\n");
		return 2;
	}
	s.old = strcmp(argv[1], "old") == 0;
	s.async = strcmp(argv[2], "async") == 0;
	k = find(argv[3], false);
	if (k == NULL) {
		fprintf(stderr, "there is no case %s: --list tells which there are\n", argv[3]);
		return 2;
	}
	for (int i = 4; i < argc; i++) {
		s.sockets[s.n_nodes++] = argv[i];
	}
	if (s.n_nodes < k->nodes) {
		fprintf(stderr, "case %s needs %u nodes\n", k->name, k->nodes);
		return 2;
	}
	suite_begin();
	alarm(300); /* whatever happens, the program ends */
	k->run(&s);
	return 0;
}
