/*
 * A client that works in a database and writes down what it did and saw: history DATABASE MODEL KEYS SECONDS NAME.
 * test/netns/history.py judges.
 *
 * NAME is unique among all clients; operation number N of it has the token NAME.N. One line each, with the monotonic
 * time in seconds: C time                        connected: what was seen before may have been on another incarnation
 * of the node B token time kind key         begins: W write, D delete, T transaction, R read, O read, a read-only copy
 * is enough S token time seen             what a W or D found under the lock (token or -), before it changes it E token
 * time status seen      ended: 0 or errno; for R and O also token or counter, - if there is none
 *
 * Volatile: the value of key v<N> is the token of who wrote it, and padding. Others: a transaction adds one to c<N> and
 * its token to the set s<N>.<part>; a part is PART seconds of the machine's monotonic clock, so that sets stay small.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ctdb/ctdb.h>

#define TIMEOUT_MS 15000
#define PART       10
#define PAUSE_US   30000

struct work {
	const char *database, *name;
	enum ctdb_db_model model;
	unsigned keys;
	struct ctdb_client *c;
	struct ctdb_db *db;
	unsigned long number;
	char token[64];
	char seen[64];
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct ctdb_data text_data(const char *text)
{
	return (struct ctdb_data){.data = (const uint8_t *)text, .len = strlen(text)};
}

/* The first word of a value, "-" for none. */
static void set_seen(struct work *w, struct ctdb_data d)
{
	size_t n = 0;

	while (n < d.len && n < sizeof(w->seen) - 1 && d.data[n] != ' ') {
		w->seen[n] = (char)d.data[n];
		n++;
	}
	w->seen[n] = '\0';
	if (n == 0) {
		strcpy(w->seen, "-");
	}
}

static int change_record(struct work *w, const char *key, bool delete)
{
	char value[512];
	struct ctdb_record *rec = NULL;
	int ret = ctdb_record_lock(w->db, text_data(key), NULL, &rec);

	if (ret != 0) {
		return ret;
	}
	set_seen(w, ctdb_record_data(rec));
	printf("S %s %.6f %s\n", w->token, now(), w->seen);
	if (delete) {
		ret = ctdb_record_delete(rec);
	} else {
		snprintf(value, sizeof(value), "%s %*s", w->token, (int)(random() % 300), "");
		ret = ctdb_record_store(rec, text_data(value));
	}
	talloc_free(rec);
	return ret;
}

static int add_token(struct work *w, struct ctdb_transaction *t, const char *key)
{
	struct ctdb_data set = {0};
	char *text;
	int ret = ctdb_transaction_fetch(t, text_data(key), t, &set);

	if (ret != 0 && ret != ENOENT) {
		return ret;
	}
	text = talloc_asprintf(t, "%.*s%s ", ret == 0 ? (int)set.len : 0, ret == 0 ? (const char *)set.data : "",
			       w->token);
	return text == NULL ? ENOMEM : ctdb_transaction_store(t, text_data(key), text_data(text));
}

static int add_one(struct work *w, struct ctdb_transaction *t, const char *key)
{
	struct ctdb_data d = {0};
	char text[32];
	int ret = ctdb_transaction_fetch(t, text_data(key), t, &d);

	if (ret != 0 && ret != ENOENT) {
		return ret;
	}
	set_seen(w, ret == 0 ? d : (struct ctdb_data){0});
	snprintf(text, sizeof(text), "%lu", strtoul(w->seen, NULL, 10) + 1);
	if (w->seen[0] == '-') {
		strcpy(text, "1");
	}
	strcpy(w->seen, text);
	return ctdb_transaction_store(t, text_data(key), text_data(text));
}

static int transaction(struct work *w, const char *counter, const char *set)
{
	struct ctdb_transaction *t = NULL;
	int ret = ctdb_transaction_start(w->db, NULL, &t);

	if (ret != 0) {
		return ret;
	}
	ret = add_one(w, t, counter);
	if (ret == 0) {
		ret = add_token(w, t, set);
	}
	if (ret == 0) {
		printf("S %s %.6f %s\n", w->token, now(), w->seen);
		ret = ctdb_transaction_commit(t);
	}
	talloc_free(t);
	return ret;
}

static int look(struct work *w, const char *key, bool readonly)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct ctdb_record_header h;
	struct ctdb_data d = {0};
	int ret = readonly ? ctdb_record_fetch_readonly(w->db, text_data(key), mem, &h, &d)
			   : ctdb_record_fetch(w->db, text_data(key), mem, &d);

	if (ret == 0 || ret == ENOENT) {
		set_seen(w, ret == 0 ? d : (struct ctdb_data){0});
		ret = 0;
	}
	talloc_free(mem);
	return ret;
}

static int volatile_step(struct work *w, unsigned key)
{
	static const char kinds[] = "WWWWWDRROO";
	char kind = kinds[(size_t)random() % (sizeof(kinds) - 1)], name[32];

	snprintf(name, sizeof(name), "v%u", key);
	printf("B %s %.6f %c %s\n", w->token, now(), kind, name);
	return kind == 'W' || kind == 'D' ? change_record(w, name, kind == 'D') : look(w, name, kind == 'O');
}

static int transaction_step(struct work *w, unsigned key)
{
	char kind = random() % 3 == 0 ? 'R' : 'T', name[32], set[64];

	snprintf(name, sizeof(name), "c%u", key);
	snprintf(set, sizeof(set), "s%u.%d", key, (int)now() / PART);
	printf("B %s %.6f %c %s\n", w->token, now(), kind, name);
	return kind == 'T' ? transaction(w, name, set) : look(w, name, false);
}

static int connect_db(struct work *w)
{
	int ret = ctdb_open(NULL, NULL, TIMEOUT_MS, &w->c);

	if (ret != 0) {
		w->c = NULL;
		return ret;
	}
	ret = ctdb_db_attach(w->c, w->database, w->model, w->c, &w->db);
	if (ret == 0 && w->model == CTDB_DB_VOLATILE) {
		ret = ctdb_db_set_readonly(w->db);
	}
	if (ret != 0) {
		TALLOC_FREE(w->c);
		return ret;
	}
	printf("C %.6f\n", now());
	return 0;
}

static void step(struct work *w)
{
	unsigned key = (unsigned)random() % w->keys;
	int ret;

	snprintf(w->token, sizeof(w->token), "%s.%lu", w->name, ++w->number);
	strcpy(w->seen, "-");
	ret = w->model == CTDB_DB_VOLATILE ? volatile_step(w, key) : transaction_step(w, key);
	printf("E %s %.6f %d %s\n", w->token, now(), ret, w->seen);
	if (ret != 0) {
		fprintf(stderr, "%s: %s (%s)\n", w->token, strerror(ret), ctdb_client_error(w->c));
		TALLOC_FREE(w->c);
	}
}

int main(int argc, char **argv)
{
	struct work w = {.keys = 0};
	double until;

	if (argc != 6 || (w.keys = (unsigned)atoi(argv[3])) == 0) {
		fprintf(stderr, "usage: history DATABASE volatile|persistent|replicated KEYS SECONDS NAME\n");
		return 2;
	}
	w.database = argv[1];
	w.model = strcmp(argv[2], "persistent") == 0   ? CTDB_DB_PERSISTENT
		  : strcmp(argv[2], "replicated") == 0 ? CTDB_DB_REPLICATED
						       : CTDB_DB_VOLATILE;
	w.name = argv[5];
	until = now() + atof(argv[4]);
	srandom((unsigned)getpid());
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (now() < until) {
		if (w.c != NULL || connect_db(&w) == 0) {
			step(&w);
		}
		usleep((useconds_t)(random() % PAUSE_US));
	}
	talloc_free(w.c);
	return 0;
}
