/* Inside of the readers of backup files. */
#ifndef CLI_BACKUP_INT_H
#define CLI_BACKUP_INT_H

#include "backup.h"

#include <gnutls/crypto.h>
#include <stdbool.h>
#include <sys/types.h>

struct backup_reader {
	FILE *f;
	char *path;
	off_t size, start; /* start: of the first block */
	uint8_t magic[8];
	bool hashing; /* what is read counts for the checksum */
	gnutls_hash_hd_t hash;
	gnutls_hash_hd_t pass; /* over all that is read from start on: each reading has to be that which was checked */
	bool checked;          /* the first one has come to its end: */
	uint8_t digest[32];
	uint8_t *frame;
	size_t frame_len;
	TALLOC_CTX *block_mem;
	struct backup_records block; /* ours; below block_mem */
	uint32_t at;                 /* in block */
	/* backup_classic.c */
	bool classic, turned; /* written in the other byte order */
	bool replicated;      /* also persistent: one of its records is the sequence number */
	bool has_seqnum;
	uint64_t n_blocks, block_left;
	uint32_t records_left; /* in frame */
	const uint8_t *p;
	size_t left;
	uint64_t seqnum;
};

/* EBADMSG with a text that names the file, what, and where. */
int backup_bad(const struct backup_reader *r, char *error, const char *what);
/* Exactly that many bytes. */
int backup_get(struct backup_reader *r, void *buf, size_t len, char *error);
uint64_t backup_left(const struct backup_reader *r); /* bytes of the file that were not read */

/* Whether it could be stored. EBADMSG with a text that names the record and what is wrong with it. */
int backup_check_record(const struct backup_reader *r, const struct backup_record *record, char *error);
/* The last byte was read. ENOENT, or EBADMSG: these were other bytes than the first time. */
int backup_end_of_pass(struct backup_reader *r, char *error);

/* r->magic was read. */
int backup_classic_open(struct backup_reader *r, struct backup_info *info, char *error);
int backup_classic_next(struct backup_reader *r, struct backup_record *record, char *error);

#endif
