/* ctdb-bench local: records that are on this node already, against a bare TDB of the same kind. */
#include "crew.h"
#include "table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCAL_DB   "bench_local.tdb"
#define SLICES     20U
#define KEYS_MAX   100000U
#define KEY_SIZE   24U
#define DATA_MAX   65536U
#define LOOK_AFTER 64U /* operations between two looks at the clock */

struct local {
	struct tdb_context *bare;
	struct table *table;
	struct ctdb_client *client;
	struct ctdb_db *db;
	char (*keys)[KEY_SIZE];
	uint64_t n_keys, size;
	uint8_t *data, *header; /* the data stand behind the header */
	struct entry e;
};

struct way {
	const char *name;
	void (*once)(struct local *l, struct ctdb_data key);
	double rates[SLICES];
};

/* ---- what is compared: lock, fetch, store, unlock ---- */

static int look(TDB_DATA key, TDB_DATA value, void *priv)
{
	struct local *l = priv;

	memcpy(l->header, value.dptr,
	       value.dsize < CTDB_WIRE_RECORD_HEADER_SIZE + l->size ? value.dsize
								    : CTDB_WIRE_RECORD_HEADER_SIZE + l->size);
	return 0;
}

static void once_bare(struct local *l, struct ctdb_data key)
{
	TDB_DATA k = tdb_from(key), v = {.dptr = l->header, .dsize = CTDB_WIRE_RECORD_HEADER_SIZE + l->size};

	if (tdb_chainlock(l->bare, k) != 0 || tdb_parse_record(l->bare, k, look, l) != 0 ||
	    tdb_store(l->bare, k, v, TDB_REPLACE) != 0 || tdb_chainunlock(l->bare, k) != 0) {
		fail("bare TDB: %s", tdb_errorstr(l->bare));
	}
}

/* What Samba does with a record that is here. */
static void once_file(struct local *l, struct ctdb_data key)
{
	entry_lock(l->table, key, &l->e);
	entry_store(&l->e, data_from(l->data, l->size));
	entry_unlock(&l->e);
}

static void once_api(struct local *l, struct ctdb_data key)
{
	struct ctdb_record *rec;

	if (ctdb_record_lock(l->db, key, l->client, &rec) != 0 ||
	    ctdb_record_store(rec, data_from(l->data, l->size)) != 0) {
		fail("%s", ctdb_client_error(l->client));
	}
	talloc_free(rec);
}

/* ---- preparation ---- */

/* Beside the database's file, with the same flags and number of chains; its name goes at once. */
static void bare_open(struct local *l)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s.bench-%d", l->table->path, (int)getpid());
	l->bare = tdb_open(path, tdb_hash_size(l->table->tdb), l->table->tdb_flags, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (l->bare == NULL) {
		fail("%s: %s", path, strerror(errno));
	}
	unlink(path);
}

static void api_open(struct local *l)
{
	if (ctdb_open(NULL, NULL, CTDB_TIMEOUT_DEFAULT, &l->client) != 0) {
		fail("libctdbapi cannot connect to the CTDB daemon");
	}
	if (ctdb_db_attach(l->client, LOCAL_DB, CTDB_DB_VOLATILE, l->client, &l->db) != 0) {
		fail("%s", ctdb_client_error(l->client));
	}
}

static void local_open(struct local *l, struct session *s, bool api)
{
	l->table = table_open(s, LOCAL_DB, CTDB_DB_VOLATILE);
	bare_open(l);
	l->header = calloc(1, CTDB_WIRE_RECORD_HEADER_SIZE + DATA_MAX);
	l->keys = calloc(l->n_keys, KEY_SIZE);
	if (l->header == NULL || l->keys == NULL) {
		fail("out of memory");
	}
	l->data = l->header + CTDB_WIRE_RECORD_HEADER_SIZE;
	memset(l->data, 'x', l->size);
	for (uint64_t i = 0; i < l->n_keys; i++) {
		TDB_DATA k = {.dptr = (unsigned char *)l->keys[i]};
		TDB_DATA v = {.dptr = l->header, .dsize = CTDB_WIRE_RECORD_HEADER_SIZE + l->size};

		k.dsize = (size_t)snprintf(l->keys[i], KEY_SIZE, "local-%u-%llu", s->pnn, (unsigned long long)i);
		once_file(l, data_from(l->keys[i], k.dsize));
		if (tdb_store(l->bare, k, v, TDB_REPLACE) != 0) {
			fail("bare TDB: %s", tdb_errorstr(l->bare));
		}
	}
	if (api) { /* a process can open a file once */
		tdb_close(l->table->tdb);
		api_open(l);
	}
}

/* CPU time: nobody is waited for, so what others do on the machine is left out. */
static double rate(struct local *l, const struct way *way, uint64_t ms)
{
	uint64_t end = bench_now() + ms * 1000000U, n = 0, begin = bench_cpu_now();

	do {
		for (uint64_t i = 0; i < LOOK_AFTER; i++, n++) {
			const char *key = l->keys[n % l->n_keys];

			way->once(l, data_from(key, strlen(key)));
		}
	} while (bench_now() < end);
	return (double)n * 1e9 / (double)(bench_cpu_now() - begin);
}

int bench_local(int argc, char **argv)
{
	struct way ways[] = {{.name = "bare", .once = once_bare}, {.name = "file", .once = once_file}};
	struct local l = {.n_keys = 1000, .size = 100};
	uint64_t ms = 3000;
	bool json = false, api = false;
	const struct bench_option options[] = {
		{.name = "--ms", .value = &ms, .low = 60, .high = 3600000},
		{.name = "--records", .value = &l.n_keys, .low = 1, .high = KEYS_MAX},
		{.name = "--size", .value = &l.size, .low = 1, .high = DATA_MAX},
		{.name = "--api", .flag = &api},
		{.name = "--json", .flag = &json},
	};
	const size_t n = sizeof(ways) / sizeof(ways[0]);
	json_t *result;

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	fail_set_command("local");
	local_open(&l, session_open(NULL), api);
	if (api) {
		ways[1] = (struct way){.name = "api", .once = once_api};
	}
	for (uint32_t i = 0; i < SLICES; i++) { /* by turns: what changes on the machine meets all */
		for (size_t k = 0; k < n; k++) {
			ways[k].rates[i] = rate(&l, &ways[k], ms / SLICES / n);
		}
	}
	result = json_pack("{s:s,s:i,s:I,s:I,s:i,s:i}", "benchmark", "local", "pnn", (int)l.table->s->pnn, "records",
			   (json_int_t)l.n_keys, "size", (json_int_t)l.size, "tdb_flags", l.table->tdb_flags, "chains",
			   tdb_hash_size(l.bare));
	for (size_t k = n; k-- > 0;) { /* the bare one last: medians sort */
		double ratio[SLICES];

		for (uint32_t i = 0; i < SLICES; i++) {
			ratio[i] = ways[k].rates[i] / ways[0].rates[i];
		}
		json_object_set_new(result, ways[k].name,
				    json_pack("{s:f,s:f}", "per_cpu_second", bench_median(ways[k].rates, SLICES),
					      "of_bare", bench_median(ratio, SLICES)));
	}
	result_print(result, json);
	return 0;
}
