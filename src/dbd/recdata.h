/* Records as byte streams of the classic protocol: rec_data, rec_buffer, and the header in front of each record's data.
 */
#ifndef DBD_RECDATA_H
#define DBD_RECDATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * rec_data, host byte order, unaligned: u32 length (16 + keylen + datalen), u32 reqid, u32 keylen, u32 datalen, key,
 * data. One follows the other without padding. rec_buffer: u32 db_id, u32 count, then count rec_data.
 */
#define RECDATA_HEAD 16U
#define RECBUF_HEAD  8U
/* Header in front of a record's data in the file: u64 rsn, u32 dmaster, u32 0, u32 flags, u32 padding. A record with
 * nothing more is empty. */
#define REC_HEADER_SIZE 24U

/* Points into the buffer it was read from. */
struct recdata {
	uint32_t reqid;
	uint32_t keylen, datalen;
	const uint8_t *key, *data;
};

/* Reads from *p, of which *left bytes are there, and moves both on. 0; ENOENT nothing left; EBADMSG lengths do not fit
 * (nothing moved). */
int recdata_next(const uint8_t **p, size_t *left, struct recdata *r);

/* Size of one; SIZE_MAX if its length field could not hold it. */
size_t recdata_size(size_t keylen, size_t datalen);
/* Writes one of recdata_size() bytes; returns the position behind it. */
uint8_t *recdata_put(uint8_t *p, uint32_t reqid, const void *key, uint32_t keylen, const void *data, uint32_t datalen);

/* Reads the head of a rec_buffer; *p and *left then stand at its records. 0 or EBADMSG: shorter than the head. */
int recbuf_begin(const uint8_t **p, size_t *left, uint32_t *db_id, uint32_t *count);
/* All count records are there and well formed. Bytes behind them are ignored. 0 or EBADMSG. */
int recbuf_check(const uint8_t *buf, size_t len, uint32_t *db_id, uint32_t *count);

struct rec_header {
	uint64_t rsn;
	uint32_t dmaster;
	uint32_t flags;
};

/* false: shorter than a header (such a record counts as absent). */
bool rec_header_get(const uint8_t *data, size_t len, struct rec_header *h);
void rec_header_put(uint8_t data[REC_HEADER_SIZE], const struct rec_header *h);

#endif
