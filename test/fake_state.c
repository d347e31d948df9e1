/* Reading the state of the fake daemon. */
#include "fake_state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORDS_MAX 80U

struct line {
	const char *path;
	unsigned int number;
	char *words[WORDS_MAX];
	unsigned int n;
	char rest[256]; /* what follows the word that text_from() was asked for */
	char *error;
	size_t error_len;
};

static bool bad(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool bad(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(l->error, l->error_len, "%s:%u: ", l->path, l->number);

	va_start(ap, fmt);
	vsnprintf(l->error + n, l->error_len - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

static bool number64(struct line *l, unsigned int i, uint64_t *v)
{
	char *end;

	if (i >= l->n) {
		return bad(l, "\"%s\" needs a number as word %u", l->words[0], i + 1);
	}
	errno = 0;
	*v = strtoull(l->words[i], &end, 0);
	if (errno != 0 || end == l->words[i] || *end != '\0' || l->words[i][0] == '-') {
		return bad(l, "\"%s\" is no number", l->words[i]);
	}
	return true;
}

static bool number(struct line *l, unsigned int i, uint32_t *v)
{
	uint64_t v64;

	if (!number64(l, i, &v64)) {
		return false;
	}
	if (v64 > UINT32_MAX) {
		return bad(l, "\"%s\" is too large", l->words[i]);
	}
	*v = (uint32_t)v64;
	return true;
}

/* A number, or the word that stands for none. */
static bool number_or(struct line *l, unsigned int i, const char *word, uint32_t none, uint32_t *v)
{
	if (i < l->n && strcmp(l->words[i], word) == 0) {
		*v = none;
		return true;
	}
	return number(l, i, v);
}

static const char *text_from(struct line *l, unsigned int i)
{
	l->rest[0] = '\0';
	for (; i < l->n; i++) {
		size_t len = strlen(l->rest);

		snprintf(l->rest + len, sizeof(l->rest) - len, "%s%s", len > 0 ? " " : "", l->words[i]);
	}
	return l->rest;
}

struct flag_word {
	const char *word;
	uint32_t flag;
};

static bool flags(struct line *l, unsigned int i, const struct flag_word *table, uint32_t *out)
{
	char *save = NULL, *word, *text = l->words[i];
	const struct flag_word *f;

	*out = 0;
	for (word = strtok_r(text, ",", &save); word != NULL; word = strtok_r(NULL, ",", &save)) {
		for (f = table; f->word != NULL && strcmp(f->word, word) != 0; f++) {
		}
		if (f->word == NULL) {
			return bad(l, "\"%s\" is no flag", word);
		}
		*out |= f->flag;
	}
	return true;
}

#define ROOM(l, n) ((n) < STATE_MAX || bad(l, "more than %u lines of this kind", STATE_MAX))

/* ---- lines ---- */

static bool line_pnn(struct line *l, struct fake_state *s)
{
	return number(l, 1, &s->pnn);
}

static bool line_node(struct line *l, struct fake_state *s)
{
	static const struct flag_word words[] = {
		{"ok", 0},
		{"disconnected", CTDB_NODE_DISCONNECTED},
		{"unhealthy", CTDB_NODE_UNHEALTHY},
		{"disabled", CTDB_NODE_DISABLED},
		{"banned", CTDB_NODE_BANNED},
		{"deleted", CTDB_NODE_DELETED},
		{"stopped", CTDB_NODE_STOPPED},
		{NULL, 0},
	};
	struct ctdb_node *n = &s->nodes[s->n_nodes];

	if (!ROOM(l, s->n_nodes)) {
		return false;
	}
	if (l->n < 2 || ctdb_addr_parse(l->words[1], &n->addr) != 0) {
		return bad(l, "a node needs an address");
	}
	n->pnn = s->n_nodes++;
	return l->n < 3 || flags(l, 2, words, &n->flags);
}

static bool line_generation(struct line *l, struct fake_state *s)
{
	return number_or(l, 1, "none", CTDB_GENERATION_INVALID, &s->generation);
}

static bool line_vnnmap(struct line *l, struct fake_state *s)
{
	for (s->n_slots = 0; s->n_slots + 1 < l->n; s->n_slots++) {
		if (!ROOM(l, s->n_slots) || !number(l, s->n_slots + 1, &s->slots[s->n_slots])) {
			return false;
		}
	}
	return true;
}

static bool line_recmode(struct line *l, struct fake_state *s)
{
	if (l->n < 2 || (strcmp(l->words[1], "normal") != 0 && strcmp(l->words[1], "active") != 0)) {
		return bad(l, "a recovery mode is \"normal\" or \"active\"");
	}
	s->recmode = strcmp(l->words[1], "normal") == 0 ? CTDB_RECMODE_NORMAL : CTDB_RECMODE_ACTIVE;
	return true;
}

static bool line_runstate(struct line *l, struct fake_state *s)
{
	enum ctdb_runstate r;

	for (r = CTDB_RUNSTATE_UNKNOWN; l->n > 1 && r <= CTDB_RUNSTATE_SHUTDOWN; r++) {
		if (strcasecmp(l->words[1], ctdb_runstate_name(r)) == 0) {
			s->runstate = r;
			return true;
		}
	}
	return bad(l, "no such run state");
}

static bool line_leader(struct line *l, struct fake_state *s)
{
	return number_or(l, 1, "none", CTDB_NODE_UNKNOWN, &s->leader);
}

static bool line_uptime(struct line *l, struct fake_state *s)
{
	struct timeval *t[4] = {&s->uptime.now, &s->uptime.started, &s->uptime.recovery_started,
				&s->uptime.recovery_finished};
	uint32_t i, v = 0;

	for (i = 0; i < 4; i++) {
		if (!number(l, i + 1, &v)) {
			return false;
		}
		t[i]->tv_sec = v;
	}
	return true;
}

static bool line_iface(struct line *l, struct fake_state *s)
{
	struct fake_iface *f = &s->ifaces[s->n_ifaces];

	if (!ROOM(l, s->n_ifaces) || !number(l, 1, &f->pnn)) {
		return false;
	}
	if (l->n < 4 || strlen(l->words[2]) > 16 ||
	    (strcmp(l->words[3], "up") != 0 && strcmp(l->words[3], "down") != 0)) {
		return bad(l, "an interface needs node, name and \"up\" or \"down\"");
	}
	snprintf(f->iface.name, sizeof(f->iface.name), "%s", l->words[2]);
	f->iface.up = strcmp(l->words[3], "up") == 0;
	s->n_ifaces++;
	return l->n < 5 || number(l, 4, &f->iface.references);
}

static bool line_ip(struct line *l, struct fake_state *s)
{
	struct fake_ip *p = &s->ips[s->n_ips];
	char *save = NULL, *word;

	if (!ROOM(l, s->n_ips) || !number_or(l, 2, "-", CTDB_NODE_UNKNOWN, &p->ip.pnn)) {
		return false;
	}
	if (ctdb_addr_parse(l->words[1], &p->ip.addr) != 0) {
		return bad(l, "\"%s\" is no address", l->words[1]);
	}
	p->active = UINT32_MAX;
	for (word = l->n > 3 ? strtok_r(l->words[3], ",", &save) : NULL; word != NULL;
	     word = strtok_r(NULL, ",", &save)) {
		if (p->n_ifaces == 4) {
			return bad(l, "more than 4 interfaces");
		}
		if (l->n > 4 && strcmp(word, l->words[4]) == 0) {
			p->active = p->n_ifaces;
		}
		snprintf(p->ifaces[p->n_ifaces++], sizeof(p->ifaces[0]), "%s", word);
	}
	s->n_ips++;
	return true;
}

static bool line_db(struct line *l, struct fake_state *s)
{
	static const struct flag_word words[] = {
		{"volatile", 0},
		{"persistent", CTDB_DB_FLAG_PERSISTENT},
		{"readonly", CTDB_DB_FLAG_READONLY},
		{"sticky", CTDB_DB_FLAG_STICKY},
		{"replicated", CTDB_DB_FLAG_REPLICATED},
		{NULL, 0},
	};
	struct fake_db *d = &s->dbs[s->n_dbs];

	if (!ROOM(l, s->n_dbs)) {
		return false;
	}
	if (l->n < 3 || strlen(l->words[1]) >= sizeof(d->name)) {
		return bad(l, "a database needs name and flags");
	}
	snprintf(d->name, sizeof(d->name), "%s", l->words[1]);
	d->entry.id = ctdb_key_hash(d->name, strlen(d->name) + 1);
	snprintf(d->reason, sizeof(d->reason), "%s", text_from(l, 4));
	s->n_dbs++;
	return flags(l, 2, words, &d->entry.flags) && (l->n < 4 || number64(l, 3, &d->seqnum));
}

static bool line_tunable(struct line *l, struct fake_state *s)
{
	struct fake_tunable *t = &s->tunables[s->n_tunables];

	if (!ROOM(l, s->n_tunables) || !number(l, 2, &t->value)) {
		return false;
	}
	snprintf(t->name, sizeof(t->name), "%s", l->words[1]);
	s->n_tunables++;
	return true;
}

static bool line_debug(struct line *l, struct fake_state *s)
{
	uint32_t v = 0;

	if (!number(l, 1, &v)) {
		return false;
	}
	s->debug = (int32_t)v;
	return true;
}

static bool line_capabilities(struct line *l, struct fake_state *s)
{
	return number(l, 1, &s->capabilities);
}

static bool line_verdict(struct line *l, struct fake_state *s)
{
	snprintf(s->verdict, sizeof(s->verdict), "%s", text_from(l, 1));
	return true;
}

static bool line_exists(struct line *l, struct fake_state *s)
{
	struct fake_process *p = &s->processes[s->n_processes];
	uint32_t pid = 0;

	if (!ROOM(l, s->n_processes) || !number(l, 1, &pid)) {
		return false;
	}
	p->pid = (int32_t)pid;
	s->n_processes++;
	return l->n < 3 || number64(l, 2, &p->srvid);
}

static bool line_fault(struct line *l, struct fake_state *s)
{
	struct fake_fault *f = &s->faults[s->n_faults];

	if (!ROOM(l, s->n_faults) || !number(l, 1, &f->opcode)) {
		return false;
	}
	f->kind = l->words[0][0] == 'r' ? FAKE_REFUSE : l->words[0][0] == 's' ? FAKE_SILENT : FAKE_GARBAGE;
	snprintf(f->text, sizeof(f->text), "%s", text_from(l, 2));
	s->n_faults++;
	return true;
}

static const struct {
	const char *word;
	bool (*fn)(struct line *l, struct fake_state *s);
} lines[] = {
	{"pnn", line_pnn},
	{"node", line_node},
	{"generation", line_generation},
	{"vnnmap", line_vnnmap},
	{"recmode", line_recmode},
	{"runstate", line_runstate},
	{"leader", line_leader},
	{"uptime", line_uptime},
	{"iface", line_iface},
	{"ip", line_ip},
	{"db", line_db},
	{"tunable", line_tunable},
	{"debug", line_debug},
	{"capabilities", line_capabilities},
	{"verdict", line_verdict},
	{"exists", line_exists},
	{"refuse", line_fault},
	{"silent", line_fault},
	{"garbage", line_fault},
};

static bool line_read(struct line *l, char *text, struct fake_state *s)
{
	char *save = NULL, *word;
	size_t i;

	text[strcspn(text, "#\n")] = '\0';
	for (l->n = 0, word = strtok_r(text, " \t", &save); word != NULL; word = strtok_r(NULL, " \t", &save)) {
		if (l->n == WORDS_MAX) {
			return bad(l, "too many words");
		}
		l->words[l->n++] = word;
	}
	if (l->n == 0) {
		return true;
	}
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (strcmp(lines[i].word, l->words[0]) == 0) {
			return lines[i].fn(l, s);
		}
	}
	return bad(l, "\"%s\" is not known", l->words[0]);
}

bool fake_state_read(const char *path, struct fake_state *state, char *error, size_t error_len)
{
	struct fake_state *s = calloc(1, sizeof(*s));
	struct line l = {.path = path, .error = error, .error_len = error_len};
	FILE *f = fopen(path, "re");
	char text[1024];
	bool ok = s != NULL && f != NULL;

	if (!ok) {
		bad(&l, "%s", strerror(errno));
	} else {
		s->generation = CTDB_GENERATION_INVALID;
		s->runstate = CTDB_RUNSTATE_RUNNING;
		s->leader = CTDB_NODE_UNKNOWN;
		s->capabilities = CTDB_CAP_LEADER | CTDB_CAP_LMASTER;
	}
	while (ok && fgets(text, sizeof(text), f) != NULL) {
		l.number++;
		ok = line_read(&l, text, s);
	}
	if (ok) {
		*state = *s;
	}
	if (f != NULL) {
		fclose(f);
	}
	free(s);
	return ok;
}
