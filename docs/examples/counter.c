/*
 * Counts in two databases of the cluster, with synchronous functions: in a volatile one under the lock of a record, in
 *a persistent one by a transaction. Started on several nodes at once it never counts a number twice.
 *
 *	counter [SOCKET]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ctdb/ctdb.h>

#define TIMEOUT_MS 30000

static const struct ctdb_data key = {.data = (const uint8_t *)"counter", .len = 7};

/* Data are bytes, without NUL. An empty record counts as 0. */
static unsigned long number_of(struct ctdb_data d)
{
	char text[24] = "0";

	if (d.len > 0 && d.len < sizeof(text)) {
		memcpy(text, d.data, d.len);
		text[d.len] = '\0';
	}
	return strtoul(text, NULL, 10);
}

static struct ctdb_data text_of(unsigned long n, char buf[24])
{
	return (struct ctdb_data){.data = (uint8_t *)buf, .len = (size_t)snprintf(buf, 24, "%lu", n)};
}

/* 0 or errno. Nobody else in the cluster can change the record between lock and talloc_free(). */
static int count_volatile(struct ctdb_client *c, unsigned long *n)
{
	char buf[24];
	struct ctdb_db *db = NULL;
	struct ctdb_record *rec = NULL;
	int ret = ctdb_db_attach(c, "example_counter.tdb", CTDB_DB_VOLATILE, c, &db);

	if (ret != 0) {
		return ret;
	}
	ret = ctdb_record_lock(db, key, db, &rec);
	if (ret == 0) {
		*n = number_of(ctdb_record_data(rec)) + 1;
		ret = ctdb_record_store(rec, text_of(*n, buf));
		talloc_free(rec); /* unlocks */
	}
	talloc_free(db);
	return ret;
}

/* 0 or errno. After 0 the new number is on the disks of all active nodes. */
static int count_in_transaction(struct ctdb_transaction *t, unsigned long *n)
{
	char buf[24];
	struct ctdb_data data = {.len = 0};
	int ret = ctdb_transaction_fetch(t, key, t, &data);

	if (ret != 0 && ret != ENOENT) { /* ENOENT: the first time */
		return ret;
	}
	*n = number_of(data) + 1;
	ret = ctdb_transaction_store(t, key, text_of(*n, buf));
	return ret != 0 ? ret : ctdb_transaction_commit(t);
}

static int count_persistent(struct ctdb_client *c, unsigned long *n)
{
	struct ctdb_db *db = NULL;
	struct ctdb_transaction *t = NULL;
	int ret = ctdb_db_attach(c, "example_counter_persistent.tdb", CTDB_DB_PERSISTENT, c, &db);

	if (ret != 0) {
		return ret;
	}
	ret = ctdb_transaction_start(db, db, &t);
	if (ret == 0) {
		ret = count_in_transaction(t, n);
	}
	talloc_free(db); /* and what belongs to it: a transaction that was not committed is cancelled */
	return ret;
}

int main(int argc, char **argv)
{
	struct ctdb_client *c = NULL;
	unsigned long in_memory = 0, on_disk = 0;
	int ret = ctdb_open(NULL, argc > 1 ? argv[1] : NULL, TIMEOUT_MS, &c);

	if (ret != 0) {
		fprintf(stderr, "no connection to the CTDB daemon: %s\n", strerror(ret));
		return 1;
	}
	ret = count_volatile(c, &in_memory);
	if (ret == 0) {
		ret = count_persistent(c, &on_disk);
	}
	if (ret != 0) {
		fprintf(stderr, "%s: %s\n", strerror(ret), ctdb_client_error(c));
	} else {
		printf("node %u: volatile %lu, persistent %lu\n", ctdb_client_pnn(c), in_memory, on_disk);
	}
	talloc_free(c);
	return ret == 0 ? 0 : 1;
}
