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
	uint8_t *frame;
	size_t frame_len;
	struct backup_records block; /* ours */
	uint32_t at;                 /* in block */
	/* backup_classic.c */
	bool classic, turned; /* written in the other byte order */
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

/* r->magic was read. */
int backup_classic_open(struct backup_reader *r, struct backup_info *info, char *error);
int backup_classic_next(struct backup_reader *r, struct backup_record *record, char *error);

#endif
