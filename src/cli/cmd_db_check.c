/*
 * ctdb db check: do the nodes' copies of a live database fit together?
 *
 * Files first, each by its own node (tdb_check). Persistent and replicated: sequence number and digest of all nodes
 * have to be equal. Volatile: the copies of all nodes, key by key, in parts of the keys that fit into memory. The nodes
 * are read one after the other while records move, so what looks wrong is looked at again, record by record: it counts
 * as wrong only when it stays as it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copies.h"
#include "db_call.h"
#include "text.h"
#include "walk.h"

#define PART_RECORDS  50000U /* copies of a node that are held at once, about */
#define LOOKS         8U
#define SAME_LOOKS    3U
#define LOOK_MS       50U
#define FINDINGS_MAX  20U
#define ATTEMPTS      5U
#define ATTEMPT_MS    300U
#define EXIT_AGAIN    101
#define CONTENT_LOOKS 10U
#define CONTENT_MS    300U
#define N_BUCKETS     65536U
#define RECORDS_MAX   (UINT32_MAX / 64) /* more do not fit into a file */

struct check {
	struct cli *cli;
	TALLOC_CTX *mem; /* of this database */
	struct db_info db;
	struct copies_map map;
	struct db_examination *files; /* as map.pnn */
	uint64_t records;
	uint64_t wrong, moving;
	json_t *findings;
};

static void __attribute__((format(printf, 2, 3))) finding(struct check *c, const char *fmt, ...)
{
	char text[700];
	va_list ap;

	c->wrong++;
	if (json_array_size(c->findings) >= FINDINGS_MAX) {
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(c->findings, output_string(text));
}

/* ---- files ---- */

static int recovery_began(const struct check *c)
{
	return cli_fail(c->cli, EXIT_AGAIN, "database \"%s\": a recovery ran meanwhile: check again", c->db.name);
}

static int examine(struct check *c)
{
	for (uint32_t i = 0; i < c->map.n; i++) {
		int ret = copies_examine(c->cli, c->mem, c->map.pnn[i], c->db.id, &c->files[i]);

		if (ret < 0) {
			return -ret;
		}
		if (ret == EAGAIN) {
			return recovery_began(c);
		}
		if (ret != 0) {
			finding(c, "node %u does not have the database: %s", c->map.pnn[i], strerror(ret));
		}
	}
	return 0;
}

static void judge_files(struct check *c)
{
	for (uint32_t i = 0; i < c->map.n; i++) {
		const struct db_examination *f = &c->files[i];

		if (f->records > RECORDS_MAX) {
			finding(c, "node %u: says that there are %llu records, which is impossible", c->map.pnn[i],
				(unsigned long long)f->records);
			continue;
		}
		if (f->damaged) {
			finding(c, "node %u: the file is damaged", c->map.pnn[i]);
		} else if (f->health != NULL && f->health[0] != '\0') {
			finding(c, "node %u: marked unhealthy: %s", c->map.pnn[i], f->health);
		}
		c->records = f->records > c->records ? f->records : c->records;
	}
}

/* ---- persistent and replicated ---- */

static bool contents_equal(const struct check *c)
{
	for (uint32_t i = 1; i < c->map.n; i++) {
		if (c->files[i].seqnum != c->files[0].seqnum || c->files[i].digest != c->files[0].digest) {
			return false;
		}
	}
	return true;
}

static int check_replicated(struct check *c)
{
	int code = 0;

	for (uint32_t i = 0; i < CONTENT_LOOKS && !contents_equal(c); i++) {
		if (walk_interrupted()) {
			return cli_fail(c->cli, EXIT_ERROR, "interrupted");
		}
		usleep(CONTENT_MS * 1000); /* a transaction may have been between two nodes */
		c->wrong = 0;
		json_array_clear(c->findings);
		code = examine(c);
		if (code != 0) {
			return code;
		}
	}
	judge_files(c);
	for (uint32_t i = 1; i < c->map.n && !contents_equal(c); i++) {
		const struct db_examination *a = &c->files[0], *b = &c->files[i];

		if (a->seqnum != b->seqnum || a->digest != b->digest) {
			finding(c,
				"nodes %u and %u differ: sequence numbers %llu and %llu, digests %016llx and %016llx",
				c->map.pnn[0], c->map.pnn[i], (unsigned long long)a->seqnum,
				(unsigned long long)b->seqnum, (unsigned long long)a->digest,
				(unsigned long long)b->digest);
		}
	}
	return 0;
}

/* ---- volatile ---- */

struct entry {
	struct entry *next;
	struct ctdb_data key;
	struct copy *copies; /* as map.pnn */
};

struct part {
	TALLOC_CTX *mem;
	struct entry **buckets;
};

static struct entry *entry_of(struct check *c, struct part *p, struct ctdb_data key)
{
	struct entry **bucket = &p->buckets[ctdb_key_hash(key.data, key.len) % N_BUCKETS], *e;

	for (e = *bucket; e != NULL; e = e->next) {
		if (e->key.len == key.len && memcmp(e->key.data, key.data, key.len) == 0) {
			return e;
		}
	}
	e = talloc_zero(p->mem, struct entry);
	if (e == NULL) {
		return NULL;
	}
	e->key = (struct ctdb_data){.data = talloc_memdup(e, key.data, key.len), .len = key.len};
	e->copies = talloc_zero_array(e, struct copy, c->map.n);
	if ((e->key.data == NULL && key.len > 0) || e->copies == NULL) {
		return NULL;
	}
	e->next = *bucket;
	*bucket = e;
	return e;
}

static int add_page(struct check *c, struct part *p, uint32_t node, const struct db_scan_page *page)
{
	for (uint32_t i = 0; i < page->copies.n; i++) {
		const struct db_copy *in = &page->copies.v[i];
		struct entry *e = entry_of(c, p, (struct ctdb_data){.data = in->key.data, .len = in->key.len});

		if (e == NULL) {
			return cli_fail(c->cli, EXIT_ERROR, "out of memory");
		}
		e->copies[node] = (struct copy){
			.found = true, .empty = in->empty, .rsn = in->rsn, .dmaster = in->dmaster, .flags = in->flags};
	}
	return 0;
}

static int scan_node(struct check *c, struct part *p, uint32_t node, uint32_t number, uint32_t parts)
{
	struct db_scan_args args = {.db_id = c->db.id, .part = number, .parts = parts};
	struct db_scan_page page;
	int code = 0;

	do {
		TALLOC_CTX *mem = talloc_new(p->mem);
		int ret = copies_scan(c->cli, mem, c->map.pnn[node], &args, &page);

		code = ret < 0         ? -ret
		       : ret == EAGAIN ? recovery_began(c)
		       : ret > 0       ? cli_fail(c->cli, EXIT_ERROR, "node %u: %s", c->map.pnn[node], strerror(ret))
				       : 0;
		code = code == 0 ? add_page(c, p, node, &page) : code;
		if (code == 0 && page.next_chain != 0 && page.next_chain <= args.chain) {
			code = -db_call_malformed(c->cli, c->map.pnn[node]);
		}
		args.chain = page.next_chain;
		talloc_free(mem);
		if (code == 0 && walk_interrupted()) {
			code = cli_fail(c->cli, EXIT_ERROR, "interrupted");
		}
	} while (code == 0 && args.chain != 0);
	return code;
}

/* All nodes' copies now. 0; EAGAIN: not to be had at the moment; or exit code below 0. */
static int look(struct check *c, struct ctdb_data key, struct copy *copies)
{
	for (uint32_t i = 0; i < c->map.n; i++) {
		uint32_t generation = CTDB_GENERATION_INVALID;
		int ret = copies_locate(c->cli, c->map.pnn[i], c->db.id, key, &copies[i], &generation);

		if (ret < 0) {
			return ret;
		}
		if (ret != 0 || generation != c->map.generation) {
			return EAGAIN;
		}
	}
	return 0;
}

/* 0; EAGAIN: it moves all the time; EBADMSG: *why is what is wrong; or exit code below 0. */
static int look_again(struct check *c, const struct entry *e, char *why, size_t len)
{
	struct copy *now = talloc_zero_array(c->mem, struct copy, c->map.n);
	struct copy *before = talloc_zero_array(c->mem, struct copy, c->map.n);
	uint32_t lmaster = copies_lmaster(&c->map, e->key), same = 0;
	int ret = EAGAIN;

	for (uint32_t i = 0; i < LOOKS && ret == EAGAIN && now != NULL && before != NULL; i++) {
		const char *problem;

		usleep((LOOK_MS << (i / 2)) * 1000);
		ret = look(c, e->key, now);
		if (ret != 0) {
			same = 0;
			continue;
		}
		problem = copies_problem(&c->map, now, lmaster, why, len);
		if (problem == NULL) {
			break;
		}
		if (problem != why) {
			snprintf(why, len, "%s", problem);
		}
		same = memcmp(now, before, c->map.n * sizeof(*now)) == 0 ? same + 1 : 0;
		memcpy(before, now, c->map.n * sizeof(*now));
		ret = same >= SAME_LOOKS - 1 ? EBADMSG : EAGAIN;
	}
	talloc_free(now);
	talloc_free(before);
	return ret;
}

static int judge(struct check *c, const struct entry *e)
{
	char why[300];
	char *key;
	int ret;

	if (copies_problem(&c->map, e->copies, copies_lmaster(&c->map, e->key), why, sizeof(why)) == NULL) {
		return 0;
	}
	if (c->wrong > 100 * FINDINGS_MAX) {
		c->wrong++; /* enough is known */
		return 0;
	}
	ret = look_again(c, e, why, sizeof(why));
	if (ret < 0) {
		return -ret;
	}
	c->moving += ret == EAGAIN;
	if (ret == EBADMSG) {
		key = text_quote(e->key.data, e->key.len);
		finding(c, "record %.300s: %s", key != NULL ? key : "?", why);
		free(key);
	}
	return 0;
}

static int check_part(struct check *c, uint32_t number, uint32_t parts)
{
	struct part p = {.mem = talloc_new(c->mem)};
	int code = 0;

	p.buckets = talloc_zero_array(p.mem, struct entry *, N_BUCKETS);
	if (p.buckets == NULL) {
		return cli_fail(c->cli, EXIT_ERROR, "out of memory");
	}
	for (uint32_t i = 0; i < c->map.n && code == 0; i++) {
		code = scan_node(c, &p, i, number, parts);
	}
	for (uint32_t i = 0; i < N_BUCKETS && code == 0; i++) {
		for (const struct entry *e = p.buckets[i]; e != NULL && code == 0; e = e->next) {
			c->records++;
			code = judge(c, e);
		}
	}
	talloc_free(p.mem);
	return code;
}

static int check_volatile(struct check *c)
{
	struct copies_map after;
	uint32_t parts;
	int code = 0;

	judge_files(c);
	if (c->wrong > 0) {
		return 0;
	}
	parts = (uint32_t)(c->records / PART_RECORDS) + 1;
	c->records = 0;
	for (uint32_t i = 0; i < parts && code == 0; i++) {
		code = check_part(c, i, parts);
	}
	code = code != 0 ? code : copies_map_get(c->cli, c->mem, &after);
	if (code == 0 && after.generation != c->map.generation) {
		return recovery_began(c);
	}
	return code;
}

/* ---- the command ---- */

struct totals {
	uint64_t databases, wrong_databases, records, moving;
	uint32_t nodes;
	json_t *rows;
};

static void add_row(struct check *c, struct totals *t)
{
	json_array_append_new(t->rows,
			      output_check(json_pack(
				      "{s:o, s:s, s:s, s:I, s:I, s:I, s:O}", "name", output_string(c->db.name), "model",
				      ctdb_db_model_name(ctdb_db_flags_model(c->db.flags)), "verdict",
				      c->wrong == 0 ? "ok" : "wrong", "records", (json_int_t)c->records, "wrong",
				      (json_int_t)c->wrong, "moving", (json_int_t)c->moving, "findings", c->findings)));
	t->databases++;
	t->wrong_databases += c->wrong > 0;
	t->records += c->records;
	t->moving += c->moving;
	t->nodes = c->map.n;
}

/* EXIT_AGAIN: a recovery ran meanwhile. */
static int check_once(struct cli *cli, const char *name, struct totals *t)
{
	struct check c = {.cli = cli, .findings = output_check(json_array())};
	int code = db_find(cli, CTDB_NODE_CURRENT, name, &c.db);

	c.mem = talloc_new(cli->c);
	code = code != 0 ? code : copies_map_get(cli, c.mem, &c.map);
	if (code == 0) {
		c.files = talloc_zero_array(c.mem, struct db_examination, c.map.n);
		code = c.files == NULL ? cli_fail(cli, EXIT_ERROR, "out of memory") : examine(&c);
	}
	if (code == 0) {
		code = ctdb_db_flags_model(c.db.flags) == CTDB_DB_VOLATILE ? check_volatile(&c) : check_replicated(&c);
	}
	if (code == 0) {
		add_row(&c, t);
	}
	json_decref(c.findings);
	talloc_free(c.mem);
	return code;
}

static int check_one(struct cli *cli, const char *name, struct totals *t)
{
	int code = EXIT_AGAIN;

	for (uint32_t i = 0; i < ATTEMPTS && code == EXIT_AGAIN && !walk_interrupted(); i++) {
		usleep(i * ATTEMPT_MS * 1000);
		cli->error[0] = '\0';
		code = check_once(cli, name, t);
	}
	return code == EXIT_AGAIN ? EXIT_ERROR : code;
}

static int check_all(struct cli *cli, struct totals *t)
{
	struct ctdb_db_list *list = NULL;
	int err = ctdb_list_dbs(cli->c, CTDB_NODE_CURRENT, cli->c, &list), code = 0;

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list databases");
	}
	for (uint32_t i = 0; i < list->n && code == 0; i++) {
		char id[16];

		snprintf(id, sizeof(id), "0x%08x", list->dbs[i].id);
		code = check_one(cli, id, t);
	}
	return code;
}

static void put_findings(struct cli *cli, const struct totals *t)
{
	for (size_t i = 0; i < json_array_size(t->rows) && cli->opt.format != &output_json; i++) {
		const json_t *row = json_array_get(t->rows, i), *findings = json_object_get(row, "findings");
		size_t n = json_array_size(findings);

		for (size_t k = 0; k < n; k++) {
			printf("%s: %s\n", json_string_value(json_object_get(row, "name")),
			       json_string_value(json_array_get(findings, k)));
		}
		if ((json_int_t)n < json_integer_value(json_object_get(row, "wrong"))) {
			printf("%s: and %lld more\n", json_string_value(json_object_get(row, "name")),
			       (long long)(json_integer_value(json_object_get(row, "wrong")) - (json_int_t)n));
		}
	}
}

int cmd_db_check(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"name", "NAME"},
						       {"model", "MODEL"},
						       {"verdict", "VERDICT"},
						       {"records", "RECORDS"},
						       {"moving", "MOVING"}};
	struct totals t = {.rows = output_check(json_array())};
	char verdict[200];
	int code;

	walk_catch_signals();
	code = argc > 0 ? check_one(cli, argv[0], &t) : check_all(cli, &t);
	if (code != 0) {
		json_decref(t.rows);
		return code;
	}
	snprintf(verdict, sizeof(verdict), "%s: %llu of %llu databases wrong; %llu records, on %u nodes",
		 t.wrong_databases == 0 ? "OK" : "WRONG", (unsigned long long)t.wrong_databases,
		 (unsigned long long)t.databases, (unsigned long long)t.records, t.nodes);
	output_line(&cli->out, "verdict", verdict);
	put_findings(cli, &t);
	/* JSON has the findings in its rows. */
	output_rows(&cli->out, "databases", columns, 5, t.rows);
	return t.wrong_databases == 0 ? EXIT_OK : EXIT_WRONG;
}
