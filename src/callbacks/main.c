/* ctdb-callbacks: runs the programs of a directory one after the other, for a daemon that must not wait for them. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <tevent.h>

#include "shared/proc.h"

/*
 * ctdb-callbacks TIMEOUT_MS DIRECTORY [ARGUMENT...]
 *
 * Programs run in the order of their names (as bytes), with the arguments and this process's environment, each at most
 * TIMEOUT_MS; one that fails does not keep the next from running. A directory that does not exist is empty. Left out:
 * names that do not consist of letters, digits, '_', '-' and '.', or end in
 * ".bak", ".orig", ".rej", ".disabled" or begin with "README"; files that are not executable. Files that everybody
 * may write fail unrun.
 *
 * Output: a line for each: NAME, a tab, "ok" or "failed", a tab, a text: the last line it printed, before it what
 * happened if it failed. Exit status: 0 all succeeded, 1 not, 2 wrong usage.
 */
#define SCRIPTS_MAX 64
#define OUTPUT_MAX  65536
#define TEXT_MAX    160

static bool name_ok(const char *name)
{
	static const char *const endings[] = {".bak", ".orig", ".rej", ".disabled"};
	size_t len = strlen(name);

	if (name[0] == '.' || strncmp(name, "README", 6) == 0 ||
	    name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")] != '\0') {
		return false;
	}
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t n = strlen(endings[i]);

		if (len > n && strcmp(name + len - n, endings[i]) == 0) {
			return false;
		}
	}
	return true;
}

static int choose(const struct dirent *d)
{
	return name_ok(d->d_name) ? 1 : 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The last line that is not empty, printable. */
static void last_line(const struct ctdb_blob *output, char text[TEXT_MAX])
{
	size_t end = output->len, begin, n = 0;

	while (end > 0 && strchr(" \t\r\n", output->data[end - 1]) != NULL && output->data[end - 1] != '\0') {
		end--;
	}
	begin = end;
	while (begin > 0 && output->data[begin - 1] != '\n') {
		begin--;
	}
	for (; begin < end && n < TEXT_MAX - 1; begin++) {
		uint8_t ch = output->data[begin];

		text[n++] = (char)(ch < ' ' || ch == 0x7F ? ' ' : ch);
	}
	text[n] = '\0';
}

static bool tell(const char *name, bool ok, const char *what, const char *line)
{
	printf("%s\t%s\t%s%s%s\n", name, ok ? "ok" : "failed", what, what[0] != '\0' && line[0] != '\0' ? ": " : "",
	       line);
	fflush(stdout);
	return ok;
}

static bool tell_result(const char *name, int ret, int status, const char *line)
{
	char what[TEXT_MAX] = "";

	if (ret == ETIMEDOUT) {
		snprintf(what, sizeof(what), "did not end in time and was killed");
	} else if (ret != 0) {
		snprintf(what, sizeof(what), "cannot be run: %s", strerror(ret));
	} else if (WIFSIGNALED(status)) {
		snprintf(what, sizeof(what), "killed by signal %d", WTERMSIG(status));
	} else if (WEXITSTATUS(status) != 0) {
		snprintf(what, sizeof(what), "exit status %d", WEXITSTATUS(status));
	}
	return tell(name, what[0] == '\0', what, line);
}

static bool run(TALLOC_CTX *mem, struct tevent_context *ev, uint32_t timeout_ms, const char *name, char **argv)
{
	struct tevent_req *req = proc_run_send(mem, ev, argv, NULL, timeout_ms, OUTPUT_MAX);
	struct ctdb_blob output = {.len = 0};
	char line[TEXT_MAX];
	int status = 0, ret;

	if (req == NULL || !tevent_req_poll(req, ev)) {
		return tell(name, false, "cannot be run: out of memory", "");
	}
	ret = proc_run_recv(req, mem, &status, &output);
	last_line(&output, line);
	talloc_free(req);
	return tell_result(name, ret, status, line);
}

/* True unless it ran and failed. */
static bool consider(struct tevent_context *ev, uint32_t timeout_ms, const char *dir, const char *name, char **argv)
{
	TALLOC_CTX *mem = talloc_new(ev);
	char *path = talloc_asprintf(mem, "%s/%s", dir, name);
	struct stat st;
	bool ok;

	if (path == NULL) {
		ok = tell(name, false, "cannot be run: out of memory", "");
	} else if (stat(path, &st) != 0) {
		ok = tell(name, false, strerror(errno), "");
	} else if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0) {
		ok = true;
	} else if ((st.st_mode & 0002) != 0) {
		ok = tell(name, false, "not run: everybody may write it; chmod o-w", "");
	} else {
		argv[0] = path;
		ok = run(mem, ev, timeout_ms, name, argv);
	}
	talloc_free(mem);
	return ok;
}

int main(int argc, char **argv)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct dirent **names = NULL;
	const char *dir = argc >= 3 ? argv[2] : NULL; /* its place becomes the program's name */
	char *end = NULL;
	unsigned long timeout_ms = argc >= 3 ? strtoul(argv[1], &end, 10) : 0;
	bool ok = true;
	int n;

	if (argc < 3 || *end != '\0' || timeout_ms == 0 || timeout_ms > UINT32_MAX || ev == NULL) {
		fprintf(stderr, "usage: %s TIMEOUT_MS DIRECTORY [ARGUMENT...]\n", argv[0]);
		return 2;
	}
	n = scandir(dir, &names, choose, by_bytes);
	if (n < 0 && errno != ENOENT) {
		ok = tell(".", false, strerror(errno), dir);
	}
	for (int i = 0; i < n; i++) {
		if (i == SCRIPTS_MAX) {
			ok = tell(names[i]->d_name, false, "not run: more than 64 programs", "");
			break;
		}
		ok = consider(ev, (uint32_t)timeout_ms, dir, names[i]->d_name, argv + 2) && ok;
	}
	for (int i = 0; i < n; i++) {
		free(names[i]);
	}
	free(names);
	talloc_free(ev);
	return ok ? 0 : 1;
}
