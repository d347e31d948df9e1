/* What the daemons of this node use. */
#include "daemons.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROCESSES_MAX 65536U

struct process {
	pid_t pid, parent;
	char name[32];
	uint64_t ticks; /* its own, and those of children that it waited for */
	bool below;
};

/* false: it has ended meanwhile. */
static bool process_read(const char *pid, struct process *p)
{
	char path[64], text[1024], *open, *close;
	uint64_t user, sys, child_user, child_sys;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	f = fopen(path, "re");
	if (f == NULL) {
		return false;
	}
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	open = strchr(text, '(');
	close = strrchr(text, ')'); /* the name may contain brackets and spaces */
	if (open == NULL || close == NULL) {
		return false;
	}
	*close = '\0';
	*p = (struct process){.pid = atoi(pid)};
	snprintf(p->name, sizeof(p->name), "%s", open + 1);
	if (sscanf(close + 2, "%*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		   &p->parent, &user, &sys, &child_user, &child_sys) != 5) {
		return false;
	}
	p->ticks = user + sys + child_user + child_sys;
	return true;
}

pid_t daemons_top(struct session *s)
{
	int32_t pid = session_ask(s, CTDB_NODE_CURRENT, CTDB_CONTROL_GET_PID, 0, (struct ctdb_data){0}, NULL);
	struct process p, parent;
	char text[24];

	snprintf(text, sizeof(text), "%d", pid);
	if (pid <= 0 || !process_read(text, &p)) {
		fail("process %d, which answers as the CTDB daemon, is not to be seen in /proc", pid);
	}
	for (;;) {
		snprintf(text, sizeof(text), "%d", p.parent);
		if (!process_read(text, &parent) || strcmp(parent.name, "ctdbd") != 0) {
			return p.pid;
		}
		p = parent;
	}
}

static uint32_t processes_read(struct process *list)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	uint32_t n = 0;

	if (dir == NULL) {
		fail("/proc: %s", strerror(errno));
	}
	while ((entry = readdir(dir)) != NULL && n < PROCESSES_MAX) {
		if (isdigit((unsigned char)entry->d_name[0]) && process_read(entry->d_name, &list[n])) {
			n++;
		}
	}
	closedir(dir);
	return n;
}

static bool below(const struct process *list, uint32_t n, pid_t parent)
{
	for (uint32_t i = 0; i < n; i++) {
		if (list[i].pid == parent) {
			return list[i].below;
		}
	}
	return false;
}

uint64_t daemons_cpu(pid_t top)
{
	struct process *list = calloc(PROCESSES_MAX, sizeof(*list));
	uint64_t ticks = 0;
	uint32_t n;
	bool again = true;

	if (list == NULL) {
		fail("out of memory");
	}
	n = processes_read(list);
	while (again) {
		again = false;
		for (uint32_t i = 0; i < n; i++) {
			if (!list[i].below && (list[i].pid == top || below(list, n, list[i].parent))) {
				list[i].below = again = true;
				ticks += list[i].ticks;
			}
		}
	}
	free(list);
	return ticks * (1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t network_sent(void)
{
	FILE *f = fopen("/proc/net/dev", "re");
	char line[512];
	uint64_t sum = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		char *colon = strchr(line, ':'), *name = line + strspn(line, " ");
		uint64_t sent;

		if (colon != NULL && strncmp(name, "lo:", 3) != 0 &&
		    sscanf(colon + 1, "%*u %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &sent) == 1) {
			sum += sent;
		}
	}
	if (f != NULL) {
		fclose(f);
	}
	return sum;
}

void file_size(const char *path, uint64_t *length, uint64_t *occupied)
{
	struct stat st;

	if (stat(path, &st) != 0) {
		fail("%s: %s", path, strerror(errno));
	}
	*length = (uint64_t)st.st_size;
	*occupied = (uint64_t)st.st_blocks * 512;
}
