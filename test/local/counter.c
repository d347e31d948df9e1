/*
 * A client that increments counters in a database, for history checks: counter DATABASE MODEL KEYS SECONDS [SEED].
 * Each record "c<N>" is a decimal number. Every acknowledged increment is counted; at the end one line "N acknowledged unsure" for each key. An increment
 * whose fate is unknown (the daemon went away in between) counts as unsure. The daemon may go away and come back: the client connects again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ctdb/ctdb.h>

#define KEYS_MAX 1000
#define TIMEOUT_MS 30000

static unsigned long acknowledged[KEYS_MAX], unsure[KEYS_MAX], total;
static double latency_max;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static unsigned long parse(struct ctdb_data d)
{
	char text[32] = "0";

	if (d.len > 0 && d.len < sizeof(text)) {
		memcpy(text, d.data, d.len);
		text[d.len] = '\0';
	}
	return strtoul(text, NULL, 10);
}

static struct ctdb_data key_of(char *buf, size_t size, unsigned key)
{
	int n = snprintf(buf, size, "c%u", key);

	return (struct ctdb_data){.data = (uint8_t *)buf, .len = (size_t)n};
}

/* 0; else errno, *stored telling whether the value may be in the database. */
static int increment_record(struct ctdb_db *db, unsigned key, bool *stored)
{
	char name[16], text[32];
	struct ctdb_record *rec = NULL;
	int ret = ctdb_record_lock(db, key_of(name, sizeof(name), key), NULL, &rec);

	if (ret != 0) {
		return ret;
	}
	snprintf(text, sizeof(text), "%lu", parse(ctdb_record_data(rec)) + 1);
	*stored = true;
	ret = ctdb_record_store(rec, (struct ctdb_data){.data = (uint8_t *)text, .len = strlen(text)});
	talloc_free(rec);
	return ret;
}

static int increment_transaction(struct ctdb_db *db, unsigned key, bool *stored)
{
	char name[16], text[32];
	struct ctdb_data k = key_of(name, sizeof(name), key), value = {0};
	struct ctdb_transaction *t = NULL;
	int ret = ctdb_transaction_start(db, NULL, &t);

	if (ret != 0) {
		return ret;
	}
	ret = ctdb_transaction_fetch(t, k, t, &value);
	if (ret == 0 || ret == ENOENT) {
		snprintf(text, sizeof(text), "%lu", parse(value) + 1);
		ret = ctdb_transaction_store(t, k, (struct ctdb_data){.data = (uint8_t *)text, .len = strlen(text)});
	}
	if (ret == 0) {
		*stored = true;
		ret = ctdb_transaction_commit(t);
	}
	talloc_free(t);
	return ret;
}

static int connect_db(const char *name, enum ctdb_db_model model, struct ctdb_client **c, struct ctdb_db **db)
{
	int ret = ctdb_open(NULL, NULL, TIMEOUT_MS, c);

	if (ret != 0) {
		return ret;
	}
	ret = ctdb_db_attach(*c, name, model, *c, db);
	if (ret != 0) {
		talloc_free(*c);
		*c = NULL;
	}
	return ret;
}

static void work(const char *name, enum ctdb_db_model model, unsigned keys, double until)
{
	struct ctdb_client *c = NULL;
	struct ctdb_db *db = NULL;
	double began, took;

	while (now() < until) {
		unsigned key = (unsigned)(random() % keys);
		bool stored = false;
		int ret;

		if (c == NULL && connect_db(name, model, &c, &db) != 0) {
			c = NULL;
			usleep(20000);
			continue;
		}
		began = now();
		ret = model == CTDB_DB_VOLATILE ? increment_record(db, key, &stored) : increment_transaction(db, key, &stored);
		took = now() - began;
		latency_max = took > latency_max ? took : latency_max;
		if (ret == 0) {
			acknowledged[key]++;
			total++;
			continue;
		}
		unsure[key] += stored;
		fprintf(stderr, "increment of c%u: %s (%s)\n", key, strerror(ret), ctdb_client_error(c));
		talloc_free(c);
		c = NULL;
	}
	talloc_free(c);
}

int main(int argc, char **argv)
{
	enum ctdb_db_model model;
	unsigned keys;

	if (argc < 5) {
		fprintf(stderr, "usage: counter DATABASE volatile|persistent|replicated KEYS SECONDS [SEED]\n");
		return 2;
	}
	model = strcmp(argv[2], "persistent") == 0 ? CTDB_DB_PERSISTENT : strcmp(argv[2], "replicated") == 0 ? CTDB_DB_REPLICATED : CTDB_DB_VOLATILE;
	keys = (unsigned)atoi(argv[3]);
	if (keys < 1 || keys > KEYS_MAX) {
		fprintf(stderr, "KEYS: 1..%d\n", KEYS_MAX);
		return 2;
	}
	srandom(argc > 5 ? (unsigned)atoi(argv[5]) : (unsigned)getpid());
	work(argv[1], model, keys, now() + atof(argv[4]));
	for (unsigned i = 0; i < keys; i++) {
		printf("%u %lu %lu\n", i, acknowledged[i], unsure[i]);
	}
	fprintf(stderr, "total %lu, longest %.3f s\n", total, latency_max);
	return 0;
}
