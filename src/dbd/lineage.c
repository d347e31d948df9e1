/* Lineages of the copies of this node, kept in the run directory. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbd/recovery_int.h"
#include "shared/log.h"

/*
 * Text, one line a database: id in hex, number of recoveries told, then term.number.attempt of "changed" and of each told. Written to a new file that takes the
 * old one's name. A line that cannot be read counts as no lineage: the copy is then wiped and filled again, which is safe.
 */
static char *file_name(TALLOC_CTX *mem, const struct recovery *r)
{
	return talloc_asprintf(mem, "%s/dbd.lineage", r->dbd->d->conf->path.run);
}

static char *append_id(char *line, const struct recovery_id *id)
{
	return talloc_asprintf_append_buffer(line, " %" PRIu64 ".%" PRIu64 ".%" PRIu32, id->term, id->number, id->attempt);
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

static int write_file(const char *path, const char *tmp, const char *text, size_t len)
{
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ret = 0;

	if (fd < 0) {
		return errno;
	}
	if (write(fd, text, len) != (ssize_t)len) {
		ret = errno != 0 ? errno : EIO;
	}
	close(fd);
	if (ret == 0 && rename(tmp, path) != 0) {
		ret = errno;
	}
	return ret;
}

void lineage_save(struct recovery *r)
{
	char *text = talloc_strdup(r, "");
	char *path = file_name(text, r);
	char *tmp = talloc_asprintf(text, "%s.new", path);
	int ret;

	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		char *longer = append_db(text, dlist_entry(e, struct db, link));

		text = longer != NULL ? longer : text;
	}
	ret = write_file(path, tmp, text, strlen(text));
	/* An old lineage must not outlive a newer copy: without a file the copy is wiped after a restart, which is safe. */
	if (ret != 0) {
		log_error("cannot write %s: %s; a restarted ctdb-dbd will fetch this node's records again", path, strerror(ret));
		(void)unlink(path);
	}
	talloc_free(text);
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

static void parse_line(struct recovery *r, char *line)
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
	if (db != NULL && (db->kept || (db->flags & DB_PERSISTENT) != 0) && lineage_attach(r, db) == 0) {
		*db->lineage = l;
	}
}

int lineage_load(struct recovery *r)
{
	char *path = file_name(r, r);
	FILE *f = path != NULL ? fopen(path, "re") : NULL;
	char line[4096];

	talloc_free(path);
	if (f == NULL) {
		return errno;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		parse_line(r, line);
	}
	fclose(f);
	return 0;
}

int lineage_attach(struct recovery *r, struct db *db)
{
	if (db->lineage == NULL) {
		db->lineage = talloc_zero(db, struct rec_lineage);
	}
	return db->lineage != NULL ? records_db_add(r->dbd->records, db) : ENOMEM;
}
