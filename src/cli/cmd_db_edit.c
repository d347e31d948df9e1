/* ctdb db freeze, thaw, wipe, restore and detach: what changes whole databases; with the old forms. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup.h"
#include "edit.h"
#include "text.h"
#include "walk.h"

#define ATTEMPTS_MAX 3 /* when only some nodes have stored a change */

int cmd_db_freeze(struct cli *cli, char **argv, int argc)
{
	struct db_info db;
	int code = db_find(cli, CTDB_NODE_CURRENT, argv[0], &db);

	return code != 0 ? code : edit_freeze(cli, &db);
}

int cmd_db_thaw(struct cli *cli, char **argv, int argc)
{
	struct db_info db;
	int code = db_find(cli, CTDB_NODE_CURRENT, argv[0], &db);

	return code != 0 ? code : edit_thaw(cli, &db);
}

/* ---- contents that replace what is there ---- */

struct content {
	struct cli *cli;
	struct db_info db;
	struct backup_reader *file;   /* NULL: nothing */
	uint64_t file_seqnum, seqnum; /* seqnum: that the database gets */
	uint64_t n;
	bool attached; /* for this; perhaps it was made */
	char error[BACKUP_ERROR_MAX];
	uint64_t rsn; /* of what is restored, at least */
};

static struct ctdb_data data_of(const struct ctdb_blob *b)
{
	return (struct ctdb_data){.data = b->data, .len = b->len};
}

/* Header and data, below mem. */
static int put_value(struct content *c, TALLOC_CTX *mem, const struct ctdb_record_header *h, struct ctdb_data data,
		     struct ctdb_data *out)
{
	uint8_t *p = talloc_size(mem, CTDB_WIRE_RECORD_HEADER_SIZE + data.len);

	if (p == NULL) {
		return cli_fail(c->cli, EXIT_ERROR, "out of memory, nothing was changed");
	}
	ctdb_wire_put_record_header(h, p);
	if (data.len > 0) {
		memcpy(p + CTDB_WIRE_RECORD_HEADER_SIZE, data.data, data.len);
	}
	*out = (struct ctdb_data){.data = p, .len = CTDB_WIRE_RECORD_HEADER_SIZE + data.len};
	return 0;
}

/*
 * Volatile: to the node that is its location master, which owns it then; newer than any copy of a node that does not
 * get so far, so that none outranks its owner. Microseconds since 1970 are: an rsn goes up by one each time a record
 * moves. Others: to all, as they were.
 */
static int push_record(struct content *c, struct edit *e, const struct backup_record *r)
{
	bool is_volatile = ctdb_db_flags_model(c->db.flags) == CTDB_DB_VOLATILE;
	uint32_t node = is_volatile ? edit_owner(e, data_of(&r->key)) : EDIT_ALL;
	struct ctdb_record_header h = {.rsn = is_volatile && c->rsn > r->rsn ? c->rsn : r->rsn,
				       .flags = r->flags,
				       .dmaster = is_volatile ? edit_node(e, node) : r->dmaster};
	TALLOC_CTX *mem = talloc_new(e);
	struct ctdb_data value;
	int code = put_value(c, mem, &h, data_of(&r->data), &value);

	code = code != 0 ? code : edit_push(e, node, data_of(&r->key), value);
	talloc_free(mem);
	return code;
}

/* Above all that are known, so that this content wins over older copies of nodes that come back. */
static int push_seqnum(struct content *c, struct edit *e)
{
	struct ctdb_record_header h = {.dmaster = ctdb_client_pnn(c->cli->c)};
	uint64_t highest = edit_seqnum(e) > c->file_seqnum ? edit_seqnum(e) : c->file_seqnum;
	TALLOC_CTX *mem;
	struct ctdb_data value;
	int code;

	if (highest == UINT64_MAX) {
		return cli_fail(c->cli, EXIT_ERROR,
				"database \"%s\": its sequence number cannot go up any more, nothing was changed",
				c->db.name);
	}
	c->seqnum = highest + 1;
	mem = talloc_new(e);
	h.rsn = c->seqnum;
	code = put_value(c, mem, &h, (struct ctdb_data){.data = (const uint8_t *)&c->seqnum, .len = sizeof(c->seqnum)},
			 &value);
	code = code != 0 ? code : edit_push(e, EDIT_ALL, walk_seqnum_key(), value);
	talloc_free(mem);
	return code;
}

static int push_file(struct content *c, struct edit *e)
{
	struct backup_record r;
	int code = 0, err = backup_rewind(c->file, c->error);

	c->n = 0;
	while (code == 0 && err == 0) {
		err = backup_next(c->file, &r, c->error);
		if (err == 0 && walk_interrupted()) {
			code = cli_fail(c->cli, EXIT_ERROR, "interrupted, nothing was changed");
		} else if (err == 0) {
			code = push_record(c, e, &r);
			c->n++;
		}
	}
	if (code == 0 && err != ENOENT) {
		code = cli_fail(c->cli, EXIT_ERROR, "%s; nothing was changed", c->error);
	}
	return code;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec > 0 ? (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 : 0;
}

static int replace_once(struct content *c)
{
	bool replicated = ctdb_db_flags_model(c->db.flags) != CTDB_DB_VOLATILE;
	struct edit *e;
	int code = edit_begin(c->cli, &c->db, &e);

	c->rsn = now_us();
	if (code != 0) {
		return code;
	}
	code = edit_wipe(e);
	code = code == 0 && c->file != NULL ? push_file(c, e) : code;
	code = code == 0 && replicated ? push_seqnum(c, e) : code;
	code = code == 0 ? edit_commit(e, true) : code;
	return edit_end(e, code);
}

/* Some nodes stored it, others did not. Of replicated contents the recovery took those with the highest number: the new
 * ones. */
static int after_partly(struct content *c)
{
	uint64_t seqnum = 0;
	int err;

	if (ctdb_db_flags_model(c->db.flags) == CTDB_DB_VOLATILE) {
		return EXIT_PARTLY;
	}
	err = ctdb_get_db_seqnum(c->cli->c, CTDB_NODE_CURRENT, c->db.id, &seqnum);
	return err == 0 && seqnum >= c->seqnum ? edit_set_healthy(c->cli, &c->db) : EXIT_PARTLY;
}

/* What an attempt left open stays open when the next one fails. */
static int not_known(struct content *c, int code)
{
	char why[sizeof(c->cli->error)];

	snprintf(why, sizeof(why), "%.600s", c->cli->error);
	return cli_fail(c->cli, code == EXIT_PARTLY ? EXIT_ERROR : code,
			"database \"%s\": it is not known whether all nodes have stored it, old and new records may be "
			"mixed: do it again when ctdb cluster status is OK (%s)",
			c->db.name, why);
}

static int replace(struct content *c)
{
	int code = EXIT_PARTLY;
	bool open = false;

	walk_catch_signals();
	for (int i = 0; i < ATTEMPTS_MAX && code == EXIT_PARTLY && (i == 0 || !walk_interrupted()); i++) {
		code = replace_once(c);
		code = code == EXIT_PARTLY ? after_partly(c) : code;
		open = open || code == EXIT_PARTLY;
	}
	if (code != 0 && open) {
		return not_known(c, code);
	}
	if (code == 0) {
		c->cli->error[0] = '\0';
	}
	return code;
}

/* ---- wipe ---- */

static int wipe(struct cli *cli, const char *name, struct content *c)
{
	int code;

	*c = (struct content){.cli = cli};
	code = db_find(cli, CTDB_NODE_CURRENT, name, &c->db);
	return code != 0 ? code : replace(c);
}

int cmd_db_wipe(struct cli *cli, char **argv, int argc)
{
	struct content c;
	int code = wipe(cli, argv[0], &c);

	if (code == 0) {
		output_field(&cli->out, "name", "Emptied", output_string(c.db.name));
	}
	return code;
}

int cmd_old_wipedb(struct cli *cli, char **argv, int argc)
{
	struct content c;
	int code = wipe(cli, argv[0], &c);

	cli->printed = true;
	if (code == 0) {
		printf("Database %s wiped\n", c.db.name);
	}
	return code;
}

/* ---- restore ---- */

static int open_backup(struct cli *cli, const char *path, struct content *c, struct backup_info *info)
{
	*c = (struct content){.cli = cli};
	if (backup_open(cli->c, path, &c->file, info, c->error) != 0) {
		return cli_fail(cli, EXIT_ERROR, "%s; nothing was changed", c->error);
	}
	c->file_seqnum = info->seqnum;
	return 0;
}

static enum ctdb_db_model model_of(const struct backup_info *info)
{
	return ctdb_db_flags_model(info->header.flags);
}

/* The database to be filled; made if it does not exist. */
static int target(struct content *c, const char *name, const struct backup_info *info)
{
	struct ctdb_db *db = NULL;
	int err, code = db_find(c->cli, CTDB_NODE_CURRENT, name, &c->db);

	if (code == 0 || code != db_not_found(c->cli) || db_is_id(name)) {
		return code;
	}
	c->cli->error[0] = '\0';
	err = ctdb_db_attach(c->cli->c, name, model_of(info), c->cli->c, &db);
	if (err == EIO) {
		/* Marked unhealthy: it is known, and a restore is what it needs. */
		return db_find(c->cli, CTDB_NODE_CURRENT, name, &c->db);
	}
	if (err != 0) {
		return cli_fail_api(c->cli, err,
				    "cannot attach \"%s\" as %s database, as the backup is; nothing was changed", name,
				    ctdb_db_model_name(model_of(info)));
	}
	talloc_free(db);
	c->attached = true;
	return db_find(c->cli, CTDB_NODE_CURRENT, name, &c->db);
}

/* As the database was that the backup is of. */
static int set_flags(struct content *c, uint32_t flags)
{
	struct ctdb_db *db = NULL;
	int err;

	if ((flags & (CTDB_DB_FLAG_READONLY | CTDB_DB_FLAG_STICKY)) == 0) {
		return 0;
	}
	err = ctdb_db_attach(c->cli->c, c->db.name, CTDB_DB_VOLATILE, c->cli->c, &db);
	if (err == 0 && (flags & CTDB_DB_FLAG_READONLY) != 0) {
		err = ctdb_db_set_readonly(db);
	}
	if (err == 0 && (flags & CTDB_DB_FLAG_STICKY) != 0) {
		err = ctdb_db_set_sticky(db);
	}
	talloc_free(db);
	return err == 0 ? 0
			: cli_fail_api(c->cli, err, "database \"%s\" is restored, but its flags cannot be set",
				       c->db.name);
}

static int restore(struct content *c, const char *name, const struct backup_info *info)
{
	int code = target(c, name, info);

	if (code == 0 && ctdb_db_flags_model(c->db.flags) != model_of(info)) {
		return cli_fail(
			c->cli, EXIT_ERROR, "database \"%s\" is %s, the backup is of a %s one; nothing was changed",
			name, ctdb_db_model_name(ctdb_db_flags_model(c->db.flags)), ctdb_db_model_name(model_of(info)));
	}
	code = code != 0 ? code : replace(c);
	if (code != 0 && c->attached) {
		size_t len = strlen(c->cli->error);

		snprintf(c->cli->error + len, sizeof(c->cli->error) - len,
			 "; \"%s\" is attached now, and empty if it did not exist", name);
	}
	return code == 0 && model_of(info) == CTDB_DB_VOLATILE ? set_flags(c, info->header.flags) : code;
}

int cmd_db_restore(struct cli *cli, char **argv, int argc)
{
	struct backup_info info;
	struct content c;
	int code = open_backup(cli, argv[0], &c, &info);

	code = code != 0 ? code : restore(&c, argc > 1 ? argv[1] : info.header.name, &info);
	if (code != 0) {
		return code;
	}
	output_field(&cli->out, "name", "Database", output_string(c.db.name));
	output_field(&cli->out, "model", "Model", json_string(ctdb_db_model_name(model_of(&info))));
	output_field(&cli->out, "records", "Records", json_integer((json_int_t)c.n));
	backup_time_field(cli, &info);
	if (model_of(&info) != CTDB_DB_VOLATILE) {
		output_field(&cli->out, "seqnum", "Sequence number", json_integer((json_int_t)c.seqnum));
	}
	return EXIT_OK;
}

int cmd_old_restoredb(struct cli *cli, char **argv, int argc)
{
	struct backup_info info;
	struct content c;
	char when[TEXT_TIME_MAX], name[256];
	int code = open_backup(cli, argv[0], &c, &info);

	cli->printed = true;
	if (code != 0) {
		return code;
	}
	snprintf(name, sizeof(name), "%s", argc > 1 ? argv[1] : info.header.name);
	text_make_printable(name); /* the file may say anything */
	printf("Restoring database %s from backup @ %s\n", name, text_time(info.header.created, '/', when));
	code = restore(&c, argc > 1 ? argv[1] : info.header.name, &info);
	if (code == 0) {
		printf("Database %s restored\n", c.db.name);
	}
	return code;
}

/* ---- detach ---- */

static int may_detach(struct cli *cli, const struct db_info *db, const struct ctdb_nodemap *map)
{
	if (ctdb_db_flags_model(db->flags) != CTDB_DB_VOLATILE) {
		return cli_fail(cli, EXIT_ERROR, "database \"%s\" is %s: only volatile ones can be detached", db->name,
				ctdb_db_model_name(ctdb_db_flags_model(db->flags)));
	}
	for (uint32_t i = 0; i < map->n; i++) {
		uint32_t value = 0;
		int err;

		if ((map->nodes[i].flags & CTDB_NODE_INACTIVE) != 0) {
			continue;
		}
		err = ctdb_get_tunable(cli->c, map->nodes[i].pnn, "AllowClientDBAttach", &value);
		if (err != 0) {
			return cli_fail_api(cli, err, "node %u: cannot ask for AllowClientDBAttach", map->nodes[i].pnn);
		}
		if (value != 0) {
			return cli_fail(cli, EXIT_ERROR,
					"node %u: clients could attach \"%s\" again at once: set the tunable "
					"AllowClientDBAttach to 0 "
					"on all nodes first",
					map->nodes[i].pnn, db->name);
		}
	}
	return 0;
}

static int detach(struct cli *cli, const char *name)
{
	struct ctdb_nodemap *map = NULL;
	struct db_info db;
	int err, code = db_find(cli, CTDB_NODE_CURRENT, name, &db);

	if (code != 0) {
		return code;
	}
	err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	code = may_detach(cli, &db, map);
	if (code != 0) {
		return code;
	}
	err = ctdb_detach_db(cli->c, CTDB_NODE_CURRENT, db.id);
	return err != 0 ? cli_fail_api(cli, err, "cannot detach database \"%s\"", db.name) : 0;
}

/* Those before one that cannot be stay detached. */
int cmd_db_detach(struct cli *cli, char **argv, int argc)
{
	int code = 0;

	for (int i = 0; i < argc && code == 0; i++) {
		code = detach(cli, argv[i]);
	}
	return code;
}

int cmd_old_detach(struct cli *cli, char **argv, int argc)
{
	cli->printed = true;
	return cmd_db_detach(cli, argv, argc);
}
