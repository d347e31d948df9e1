/* The journal of a persistent database: one sync for each transaction. Files and order of writes; used by workers and at the start. */
#ifndef DBD_JOURNAL_FILE_H
#define DBD_JOURNAL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

/*
 * A transaction of TDB alone costs eight syncs. While a database is written often, two files stand beside it:
 *
 * FILE.base     an exact copy of FILE at some moment, synced.
 * FILE.journal  a head that names its base, then every transaction since, each as the rec_buffer of TRANS3_COMMIT; written ahead with zeros, so that a sync of it
 *               is one write to the disk.
 *
 * Each transaction is appended to the journal and synced, then done in FILE by TDB without a sync. After a kill FILE is as the kernel has it, and TDB takes back what
 * was half done. After a power cut FILE is worthless, and is built again of base and journal.
 *
 * J1 FILE is changed without a sync only while base and journal, and their names, are synced.
 * J2 FILE is changed by a transaction after that has been synced in the journal; who asked is answered after both.
 * J3 As long as the kernel runs (boot id in the head), FILE counts. At most the last entry of the journal is not in it. That it is, is said by a mark behind the entry, which
 *    needs no sync. Where it is missing nobody appends; the journal is ended, which cuts off an entry that is not in FILE. It was never answered with success.
 * J4 A journal is ended so: FILE is synced, the journal removed, that synced, the base removed. A base without a journal has no meaning.
 * J5 If the kernel is another, base and journal count: all entries up to the end. An entry that is not whole is the end if no whole one follows; it was never answered.
 *    Else, or if head or base are not whole, nothing of this is trusted.
 * J6 Everything here is done under FILE's transaction lock (TDB's), also against a killed process that is not gone yet. Not at the start of a node that has lost power: nobody
 *    can have a lock from before.
 * J7 After a sync of the journal failed nothing is appended. After a sync of FILE failed the journal is never ended: it says so in its head (journal_distrust()), every
 *    use of it fails, and the next start goes by J5: the kernel may have dropped what it could not write, and would say so only once.
 * J8 Everybody else who changes FILE ends the journal before, under the same lock. Who changes it behind our back (a tool on a stopped node): the kernel is the same: FILE counts;
 *    else FILE counts if its sequence number is beyond that of the journal.
 *
 * All numbers in the byte order of the machine, as in TDB's own files; a journal of another one has the wrong magic.
 */
#define JOURNAL_ENTRY_MAX (1024U * 1024U)      /* a larger transaction is done by TDB alone */
#define JOURNAL_BASE_MAX  (256U * 1024 * 1024) /* a larger database has no journal */
#define JOURNAL_BYTES_MIN (4U * 1024U * 1024U) /* a journal ends when it is larger than this and than its base */

struct journal;

char *journal_path(TALLOC_CTX *mem, const char *path); /* of the TDB */
char *journal_base_path(TALLOC_CTX *mem, const char *path);
bool journal_exists(const char *path);
/* At the start: is there a journal or a base? Removes files that were being made when somebody was killed. */
bool journal_left_overs(const char *path);

/* All below: 0 or errno; path is that of the TDB, tdb_fd its descriptor (another one, closed, would drop the locks of this process). */

/* Base, then journal. After an error there is neither. EFBIG: JOURNAL_BASE_MAX. */
int journal_begin(TALLOC_CTX *mem, const char *path, uint32_t db_id, int tdb_fd, struct journal **j);
/* ENOENT: there is none. EBADMSG: its head is damaged, or it is not of this database. ESTALE: J7, or another kernel's. */
int journal_open(TALLOC_CTX *mem, const char *path, uint32_t db_id, struct journal **j);
bool journal_is_named(const struct journal *j); /* else it was ended by somebody else */
/* Looks at what others have appended. EUCLEAN: the last entry has no mark, or there is none (J1: who began it may not have come to sync its name): to be ended (J3). */
int journal_follow(struct journal *j);
bool journal_has_room(const struct journal *j, size_t len); /* for an entry; else it is time to end it */
/* Synced on return. After an error the journal has to be ended (J7), before the next transaction. */
int journal_append(struct journal *j, const uint8_t *p, size_t len);
void journal_mark(struct journal *j); /* what was appended last is in FILE */
/* J4. ENOENT never. EIO and others: not ended; after the sync of FILE failed: distrusted. */
int journal_end(const char *path, int tdb_fd);
int journal_distrust(const char *path);

/* ---- at the start of the daemon: journal_start.c ---- */
enum journal_verdict {
	JOURNAL_NONE,	 /* there is none (any more): FILE is right, if it passes its check */
	JOURNAL_KERNEL,	 /* FILE counts; the journal is still there */
	JOURNAL_REBUILT, /* FILE was built anew; nothing is left of the journal */
	JOURNAL_FOREIGN, /* FILE was changed by others after a power cut: it counts; the rest was set aside */
	JOURNAL_DAMAGED	 /* J5: nothing can be trusted, nothing was changed */
};
/* distrust_file: it did not pass its check, so it is built again in any case. Logs what it does. ENOSPC ...: nothing was changed. */
int journal_start(TALLOC_CTX *mem, const char *path, uint32_t db_id, bool distrust_file, enum journal_verdict *verdict);
/* Waits for the lock of FILE for some seconds, then ends the journal of a FILE that has passed its check. EAGAIN: locked. */
int journal_start_end(const char *path, int tdb_flags);

/* ---- inside ---- */
struct journal_image {
	uint8_t *data; /* the whole file */
	size_t len;
	uint64_t base_size, base_sum;
	bool same_kernel;
};
int journal_read(TALLOC_CTX *mem, const char *path, uint32_t db_id, struct journal_image *image);
/* The entry at *at, which then is behind it. ENOENT: the end; EBADMSG: damaged, others follow. */
int journal_next(const struct journal_image *image, size_t *at, uint64_t *number, const uint8_t **p, size_t *len);
#define JOURNAL_FIRST 4096U /* where entries begin */
int journal_sync_directory(const char *path); /* the one that path is in */
int journal_copy(int from, int to, uint64_t *size, uint64_t *sum);

/* For tests: another file than /proc/sys/kernel/random/boot_id. */
void journal_set_boot_id_file(const char *path);

#endif
