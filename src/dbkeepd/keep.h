/* The files that dbkeep holds open. */
#ifndef DBKEEPD_KEEP_H
#define DBKEEPD_KEEP_H

#include <talloc.h>

#include "protocol/dbkeep.h"

/*
 * While a process has a TDB open with TDB_CLEAR_IF_FIRST it holds the file's "active lock" (a POSIX record lock), and
 * nobody who opens the file empties it. That lock is all we are here for: no record is read or locked. POSIX locks end
 * when *any* descriptor of the file is closed by the process, so a file must never be opened a second time, not even to
 * look at it: identity is compared with lstat() first.
 */
struct keep;

/* directory: of the volatile databases; nothing else is opened. */
int keep_new(TALLOC_CTX *mem, const char *directory, struct keep **keep);

/* See protocol/dbkeep.x for what they do. 0 or errno. */
int keep_file(struct keep *keep, const struct dbkeep_file *file);
int keep_drop(struct keep *keep, const char *path);
/* Strings belong to keep. */
int keep_list(struct keep *keep, TALLOC_CTX *mem, struct dbkeep_files *files);

#endif
