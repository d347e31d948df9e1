/* ctdb-bench transaction: on persistent or replicated databases, as Samba does them, or by libctdbapi. */
#include "crew.h"
#include "lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA_SIZE      100U
#define PAUSE_NS       10000000U /* when a commit has to be repeated */
#define COMMITS_MAX    100U
#define SEQNUM_OF_DATA 8U

static const char seqnum_key[] = "__db_sequence_number__";

struct transaction_options {
	bool replicated, own, api;
};

struct transaction {
	struct locker locker;
	struct table *table;
	char lock_key[64], key[64];
	/* --api */
	struct ctdb_client *client;
	struct ctdb_db *db;
	struct ctdb_transaction *open;
};

/* A database of its own for each node with --own: no two transactions of different nodes are about the same. */
static void database_name(const struct member *m, char *name, size_t size)
{
	const struct transaction_options *o = m->crew->priv;

	snprintf(name, size, "bench_%s%s%.0u.tdb", o->replicated ? "replicated" : "persistent", o->own ? "_" : "",
		 o->own ? m->s->pnn + 1 : 0);
}

static void api_need(struct transaction *t, int err, const char *what)
{
	if (err != 0) {
		fail("%s: %s", what, t->client != NULL ? ctdb_client_error(t->client) : strerror(err));
	}
}

static void transaction_prepare(struct member *m)
{
	const struct transaction_options *o = m->crew->priv;
	enum ctdb_db_model model = o->replicated ? CTDB_DB_REPLICATED : CTDB_DB_PERSISTENT;
	struct transaction *t = calloc(1, sizeof(*t));
	char name[64];

	if (t == NULL) {
		fail("out of memory");
	}
	srandom((unsigned int)getpid());
	database_name(m, name, sizeof(name));
	snprintf(t->key, sizeof(t->key), "record-%u-%u", m->s->pnn, m->index);
	if (o->api) {
		api_need(t, ctdb_open(NULL, NULL, CTDB_TIMEOUT_DEFAULT, &t->client), "connecting");
		api_need(t, ctdb_db_attach(t->client, name, model, t->client, &t->db), name);
	} else {
		locker_open(&t->locker, m->s);
		t->table = table_open(m->s, name, model);
		snprintf(t->lock_key, sizeof(t->lock_key), "transaction_db_0x%08x", t->table->id);
	}
	m->priv = t;
}

/* ---- as Samba does it ---- */

static uint64_t seqnum_read(struct table *table, struct entry *e)
{
	uint64_t v = 0;

	entry_read(table, data_from(seqnum_key, sizeof(seqnum_key)), e);
	if (e->len == sizeof(v)) {
		memcpy(&v, e->data, sizeof(v));
	}
	return v;
}

/* Header (the next rsn, this node as writer) and data. */
static struct ctdb_wire_record record_of(struct table *table, const struct entry *e, struct ctdb_data data,
					 uint8_t *value)
{
	struct ctdb_record_header header = e->header;

	header.rsn++;
	header.dmaster = table->s->pnn;
	ctdb_wire_put_record_header(&header, value);
	memcpy(value + CTDB_WIRE_RECORD_HEADER_SIZE, data.data, data.len);
	return (struct ctdb_wire_record){.key = e->key,
					 .value = data_from(value, CTDB_WIRE_RECORD_HEADER_SIZE + data.len)};
}

/* Repeats it until the sequence number tells what became of it. */
static void commit(struct member *m, struct ctdb_data buffer, uint64_t seqnum)
{
	struct transaction *t = m->priv;
	struct entry e = {0};

	for (unsigned int i = 0; i < COMMITS_MAX; i++) {
		if (session_ask(m->s, CTDB_NODE_CURRENT, CTDB_CONTROL_TRANS3_COMMIT, t->table->id, buffer, NULL) == 0 ||
		    seqnum_read(t->table, &e) == seqnum + 1) {
			entry_free(&e);
			return;
		}
		m->count->extra[0]++;
		sleep_until(bench_now() + PAUSE_NS);
	}
	fail("a transaction cannot be committed, tried %u times", COMMITS_MAX);
}

static void once_as_samba(struct member *m)
{
	struct transaction *t = m->priv;
	uint8_t value[2][CTDB_WIRE_RECORD_HEADER_SIZE + DATA_SIZE], data[DATA_SIZE];
	struct ctdb_wire_record record[2];
	struct ctdb_wire_records buffer = {.db_id = t->table->id, .n = 2, .records = record};
	struct entry e = {0};
	struct ctdb_data out;
	uint64_t seqnum, next;

	memset(data, (int)(m->count->all & 0xff) | 1, sizeof(data));
	memcpy(data, &m->count->all, sizeof(m->count->all));
	locker_lock(&t->locker, data_from(t->lock_key, strlen(t->lock_key) + 1));
	entry_read(t->table, data_from(t->key, strlen(t->key)), &e);
	record[0] = record_of(t->table, &e, data_from(data, sizeof(data)), value[0]);
	seqnum = seqnum_read(t->table, &e);
	next = seqnum + 1;
	record[1] = record_of(t->table, &e, data_from(&next, sizeof(next)), value[1]);
	if (ctdb_wire_put_records(NULL, &buffer, &out) != 0) {
		fail("out of memory");
	}
	commit(m, out, seqnum);
	talloc_free((void *)(uintptr_t)out.data);
	entry_free(&e);
	locker_unlock(&t->locker, data_from(t->lock_key, strlen(t->lock_key) + 1));
}

/* ---- libctdbapi ---- */

static void once_by_api(struct member *m)
{
	struct transaction *t = m->priv;
	uint8_t data[DATA_SIZE] = {0};

	memcpy(data, &m->count->all, sizeof(m->count->all));
	data[DATA_SIZE - 1] = 1;
	api_need(t, ctdb_transaction_start(t->db, t->client, &t->open), "starting a transaction");
	api_need(t, ctdb_transaction_store(t->open, data_from(t->key, strlen(t->key)), data_from(data, sizeof(data))),
		 "storing in a transaction");
	api_need(t, ctdb_transaction_commit(t->open), "committing a transaction");
	TALLOC_FREE(t->open);
}

static void transaction_run(struct member *m)
{
	const struct transaction_options *o = m->crew->priv;

	while (crew_goes_on(m)) {
		uint64_t began = bench_now();

		if (o->api) {
			once_by_api(m);
		} else {
			once_as_samba(m);
		}
		crew_count(m, began);
	}
}

/* ---- what became of it ---- */

/* The sequence number has counted each transaction of all nodes once. */
static uint64_t sequence_number(struct crew *crew)
{
	const struct transaction_options *o = crew->priv;
	struct member m = {.crew = crew, .s = crew->s};
	char name[64];
	struct table *table;
	struct entry e = {0};
	uint64_t v;

	database_name(&m, name, sizeof(name));
	table = table_open(crew->s, name, o->replicated ? CTDB_DB_REPLICATED : CTDB_DB_PERSISTENT);
	v = seqnum_read(table, &e);
	entry_free(&e);
	table_close(table);
	return v;
}

static uint64_t before;

static void transaction_begin(struct crew *crew)
{
	before = sequence_number(crew);
}

static void transaction_end(struct crew *crew, json_t *result)
{
	const struct transaction_options *o = crew->priv;
	uint64_t repeated = 0;

	for (uint32_t i = 0; i < crew->clients; i++) {
		repeated += crew->counts[i].extra[0];
	}
	json_object_set_new(result, "model", json_string(o->replicated ? "replicated" : "persistent"));
	json_object_set_new(result, "contended", json_boolean(!o->own));
	json_object_set_new(result, "commits_repeated", json_integer((json_int_t)repeated));
	json_object_set_new(result, "seqnum_before", json_integer((json_int_t)before));
	json_object_set_new(result, "seqnum_after", json_integer((json_int_t)sequence_number(crew)));
}

int bench_transaction(int argc, char **argv)
{
	static const struct crew_work work = {.name = "transaction",
					      .operation = "transaction",
					      .latency = "from taking the lock until it is given back",
					      .prepare = transaction_prepare,
					      .run = transaction_run,
					      .begin = transaction_begin,
					      .end = transaction_end};
	struct transaction_options o = {0};
	struct crew crew = {.work = &work, .nodes = 1, .clients = 1, .ms = 5000, .priv = &o};
	const struct bench_option options[] = {
		CREW_OPTIONS(crew),
		{.name = "--think-us", .value = &crew.think_us, .low = 0, .high = 1000000},
		{.name = "--replicated", .flag = &o.replicated},
		{.name = "--own", .flag = &o.own},
		{.name = "--api", .flag = &o.api},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	return crew_run(&crew);
}
