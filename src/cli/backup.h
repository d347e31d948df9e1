/* Backup files of databases: writing, and reading them with all checks. */
#ifndef CLI_BACKUP_H
#define CLI_BACKUP_H

#include <stdint.h>
#include <stdio.h>
#include <talloc.h>

#include "protocol/backup.h"

#define BACKUP_ERROR_MAX 512U

/*
 * Writing: to "FILE.new.PID" in the same directory, which takes FILE's name when it is complete and on disk; freeing an
 * unfinished one removes it. Of a symbolic link the file that it leads to. Devices, pipes and so on are refused. FILE
 * "-": standard output. Errors: errno, with a text in error (of BACKUP_ERROR_MAX).
 */
struct backup_writer;
int backup_writer_new(TALLOC_CTX *mem, const char *path, const struct backup_header *header, struct backup_writer **w,
		      char *error);
int backup_write(struct backup_writer *w, const struct backup_record *record);
/* seqnum: 0 for a volatile database. */
int backup_finish(struct backup_writer *w, uint64_t seqnum);
const char *backup_writer_error(const struct backup_writer *w);
uint64_t backup_written(const struct backup_writer *w);

/*
 * Reading: backup_open() reads all of the file and refuses it (EBADMSG, text) if anything in it is wrong: foreign,
 * damaged, cut short, or holding a record or number that no database can have. What is read later has to be the same
 * bytes: if not, the end is EBADMSG. FILE has to be a regular file. Files of CTDB's own backupdb, from machines with 64
 * bits of either byte order, are read as well: these have no checksum, and the database's id follows from its name.
 */
struct backup_reader;
struct backup_info {
	struct backup_header header;
	uint64_t records;
	uint64_t seqnum;
	bool classic; /* written by CTDB's own tool */
};
int backup_open(TALLOC_CTX *mem, const char *path, struct backup_reader **r, struct backup_info *info, char *error);
/* Begins anew. */
int backup_rewind(struct backup_reader *r, char *error);
/* The next record, valid until the next call. 0; ENOENT: that was the last; or errno and text. */
int backup_next(struct backup_reader *r, struct backup_record *record, char *error);

struct cli;
/* Adds when it was made to the command's output: seconds since 1970 in JSON, for people in local time. */
void backup_time_field(struct cli *cli, const struct backup_info *info);

#endif
