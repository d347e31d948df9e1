/* Lineages of the copies of this node, kept in files that live as long as the copies. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dbd/recovery_int.h"
#include "shared/file_replace.h"
#include "shared/log.h"

/*
 * Two files: one in the run directory; one for persistent databases beside their files, synced. If those lineages did
 * not outlive a power cut, members that were out of the cluster before it would seem to have the only copies that
 * count, and older contents would replace newer ones.
 *
 * Text, one line a database: id in hex, number of recoveries told, then term.number.attempt of "changed" and of each
 * told. Written to a new file that takes the old one's name. A line that cannot be read counts as no lineage: the copy
 * is then wiped and filled again, which is safe.
 */
static char *file_name(TALLOC_CTX *mem, const struct recovery *r, bool persistent)
{
	const struct daemon *d = r->dbd->d;

	return persistent ? talloc_asprintf(mem, "%s/lineage.%u", d->conf->path.db_persistent, d->pnn)
			  : talloc_asprintf(mem, "%s/dbd.lineage", d->conf->path.run);
}

static bool is_persistent(const struct db *db)
{
	return (db->flags & DB_PERSISTENT) != 0;
}

static char *append_id(char *line, const struct recovery_id *id)
{
	return talloc_asprintf_append_buffer(line, " %" PRIu64 ".%" PRIu64 ".%" PRIu32, id->term, id->number,
					     id->attempt);
}

static char *append_db(char *text, const struct db *db)
{
	const struct rec_lineage *l = db->lineage;

	if (l == NULL || (recovery_id_is_zero(&l->changed) && l->n_told == 0)) {
		return text;
	}
	text = talloc_asprintf_append_buffer(text, "%08x %u", db->id, l->n_told);
	text = append_id(text, &l->changed);
	for (uint32_t i = 0; i < l->n_told; i++) {
		text = append_id(text, &l->told[i]);
	}
	return talloc_strdup_append_buffer(text, "\n");
}

static char *text_of(const struct recovery *r, TALLOC_CTX *mem, bool persistent)
{
	char *text = talloc_strdup(mem, "");

	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		const struct db *db = dlist_entry(e, struct db, link);
		char *longer = is_persistent(db) == persistent ? append_db(text, db) : text;

		text = longer != NULL ? longer : text;
	}
	return text;
}

static void save(struct recovery *r, bool persistent)
{
	char *text = text_of(r, r, persistent);
	char **saved = &r->lineage_saved[persistent];
	char *path;
	int ret;

	if (text != NULL && *saved != NULL && strcmp(text, *saved) == 0) {
		talloc_free(text);
		return;
	}
	TALLOC_FREE(*saved);
	path = file_name(r, r, persistent);
	if (text == NULL || path == NULL) {
		log_error("out of memory: lineages are not written");
		talloc_free(text);
		talloc_free(path);
		return;
	}
	ret = file_replace(path, text, strlen(text), 0600, persistent ? FILE_REPLACE_DURABLE : 0);
	/* An old lineage must not outlive a newer copy: without a file the copy is wiped after a restart, which is
	 * safe. */
	if (ret != 0) {
		log_error("cannot write %s: %s; a restarted ctdb-dbd will fetch this node's records again", path,
			  strerror(ret));
		(void)unlink(path);
		TALLOC_FREE(text);
	}
	*saved = text;
	talloc_free(path);
}

void lineage_save(struct recovery *r)
{
	save(r, false);
	save(r, true);
}

static bool parse_id(char **p, struct recovery_id *id)
{
	int used = 0;

	if (sscanf(*p, " %" SCNu64 ".%" SCNu64 ".%" SCNu32 "%n", &id->term, &id->number, &id->attempt, &used) != 3) {
		return false;
	}
	*p += used;
	return true;
}

/* Does the copy deserve the lineage that was found? A damaged one was replaced by an empty one. */
static bool copy_is_there(const struct db *db, bool persistent)
{
	return is_persistent(db) == persistent && (persistent ? db->health == NULL : db->kept);
}

static void parse_line(struct recovery *r, char *line, bool persistent)
{
	struct rec_lineage l = {0};
	uint32_t id, n;
	int used = 0;
	struct db *db;

	if (sscanf(line, "%" SCNx32 " %" SCNu32 "%n", &id, &n, &used) != 2 || n > LANE_LINEAGE) {
		return;
	}
	line += used;
	if (!parse_id(&line, &l.changed)) {
		return;
	}
	for (l.n_told = 0; l.n_told < n; l.n_told++) {
		if (!parse_id(&line, &l.told[l.n_told])) {
			return;
		}
	}
	db = db_find(r->dbd->dbs, id);
	if (db != NULL && copy_is_there(db, persistent) && lineage_attach(r, db) == 0) {
		*db->lineage = l;
	}
}

static int load(struct recovery *r, bool persistent)
{
	char *path = file_name(r, r, persistent);
	FILE *f = path != NULL ? fopen(path, "re") : NULL;
	char line[4096];

	talloc_free(path);
	if (f == NULL) {
		return errno;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		parse_line(r, line, persistent);
	}
	fclose(f);
	return 0;
}

int lineage_load(struct recovery *r)
{
	int ret = load(r, false);

	return load(r, true) != 0 ? ENOENT : ret;
}

int lineage_attach(struct recovery *r, struct db *db)
{
	if (db->lineage == NULL) {
		db->lineage = talloc_zero(db, struct rec_lineage);
	}
	return db->lineage != NULL ? records_db_add(r->dbd->records, db) : ENOMEM;
}
