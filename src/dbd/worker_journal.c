/* Worker program: transactions with a journal. Its rules: journal_file.h. */
#include "dbd/worker_prog.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "dbd/journal_file.h"
#include "protocol/lane.h" /* DB_PERSISTENT */
#include "shared/log.h" /* levels only */

#define UPDATES_MIN       8U
#define UPDATES_PER_BYTES (1024U * 1024U) /* one more for each: a large base takes its time */

static bool has_journals(const struct wjob *job)
{
	return (job->start.db_flags & DB_PERSISTENT) != 0;
}

static void say(const struct wjob *job, const char *what, int error)
{
	char *text = talloc_asprintf(NULL, "%s: %s: %s", job->start.path, what, strerror(error));

	if (text != NULL) {
		wjob_log(LOG_LVL_ERROR, text);
	}
	talloc_free(text);
}

/* The one that is there now; *j NULL: there is none. EUCLEAN, EBADMSG: to be ended. */
static int look(struct wjob *job, struct journal **j)
{
	struct journal **kept = wtdb_journal(job->tdb);
	int error;

	if (*kept != NULL && !journal_is_named(*kept)) {
		TALLOC_FREE(*kept);
	}
	if (*kept == NULL) {
		error = journal_open(NULL, job->start.path, job->start.db_id, kept);
		if (error != 0) {
			*j = NULL;
			return error == ENOENT ? 0 : error;
		}
	}
	*j = *kept;
	return journal_follow(*kept);
}

/* As J8 says. The head is read again: a worker may have found that FILE cannot be synced. */
int wjournal_end(struct wjob *job)
{
	struct journal *j;
	int error;

	if (!has_journals(job)) {
		return 0;
	}
	TALLOC_FREE(*wtdb_journal(job->tdb));
	error = journal_open(job, job->start.path, job->start.db_id, &j);
	if (error == ENOENT) {
		return 0;
	}
	if (error == ESTALE) {
		say(job,
		    "a sync of it has failed before, so that it cannot be trusted; start the node again to have it "
		    "built "
		    "again",
		    EIO);
		return EIO;
	}
	error = journal_end(job->start.path, tdb_fd(job->tdb));
	if (error != 0) {
		say(job, "its journal cannot be ended", error);
	}
	return error;
}

int wjournal_settle(struct wjob *job, bool end)
{
	struct journal *j;
	int error;

	if (!has_journals(job) || !journal_exists(job->start.path)) {
		return 0;
	}
	errno = 0;
	if (tdb_transaction_start(job->tdb) != 0) {
		return wtdb_errno(job->tdb);
	}
	error = look(job, &j);
	if (error != 0 || end) {
		error = wjournal_end(job);
	}
	tdb_transaction_cancel(job->tdb);
	return error;
}

static bool is_worth_it(const struct wjob *job)
{
	struct stat st;

	return fstat(tdb_fd(job->tdb), &st) == 0 &&
	       job->start.updates >= UPDATES_MIN + (uint64_t)st.st_size / UPDATES_PER_BYTES;
}

/* Without one, TDB's own syncs do as well: the transaction goes on. */
static void begin(struct wjob *job)
{
	int error;

	if (!is_worth_it(job)) {
		return;
	}
	error = journal_begin(NULL, job->start.path, job->start.db_id, tdb_fd(job->tdb), wtdb_journal(job->tdb));
	if (error != 0) {
		*wtdb_journal(job->tdb) = NULL;
		job->result.no_journal = true;
		if (error != EFBIG) {
			say(job, "no journal can be made, transactions are slower", error);
		}
	}
}

int wjournal_ready(struct wjob *job)
{
	struct journal *j;
	int error;

	if (!has_journals(job)) {
		return 0;
	}
	error = look(job, &j);
	if (error != 0 || (j != NULL && (job->start.updates == 0 || !journal_has_room(j, job->start.input.len)))) {
		error = wjournal_end(job);
	}
	if (error == 0 && *wtdb_journal(job->tdb) == NULL && job->start.input.len <= JOURNAL_ENTRY_MAX) {
		begin(job);
	}
	return error;
}

bool wjournal_is_ready(const struct wjob *job)
{
	return has_journals(job) && *wtdb_journal(job->tdb) != NULL;
}

/* FILE has to be able to take it before the journal says so, and nobody reads in it meanwhile. */
static int commit(struct wjob *job, struct journal *j)
{
	int error;

	errno = 0;
	if (tdb_transaction_prepare_commit(job->tdb) != 0) {
		error = wtdb_errno(job->tdb);
		tdb_transaction_cancel(job->tdb);
		return error;
	}
	error = journal_append(j, job->start.input.data, job->start.input.len);
	if (error != 0) {
		say(job, "its journal cannot be written, it ends here", error);
		tdb_transaction_cancel(job->tdb);
		return EAGAIN;
	}
	errno = 0;
	if (tdb_transaction_commit(job->tdb) != 0) {
		return wtdb_errno(job->tdb);
	}
	journal_mark(j);
	return 0;
}

int wjournal_commit(struct wjob *job)
{
	int error;

	tdb_add_flags(job->tdb, TDB_NOSYNC);
	error = commit(job, *wtdb_journal(job->tdb));
	tdb_remove_flags(job->tdb, TDB_NOSYNC);
	return error;
}
