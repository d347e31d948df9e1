/*
 * Backup files of CTDB's own tool: structures as they were in the memory of a 64-bit machine of either byte order. A
 * header of 104 bytes: version (3), time, flags, number of blocks, number of records (8 bytes each), name (64). A
 * block: id of the database, number of records (4 each), length of what follows (8), records: length, a number, lengths
 * of key and value (4 each), key, value: record header of 24 bytes, data.
 */
#include "backup_int.h"

#include <byteswap.h>
#include <errno.h>
#include <string.h>

#include <ctdb/ctdb.h>

#define VERSION    3U
#define HEAD       104U
#define BLOCK_HEAD 16U
#define NAME_AT    40U
#define BLOCK_MAX  (256U * 1024 * 1024)

static uint32_t u32(const struct backup_reader *r, const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return r->turned ? bswap_32(v) : v;
}

static uint64_t u64(const struct backup_reader *r, const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return r->turned ? bswap_64(v) : v;
}

static int next_block(struct backup_reader *r, char *error)
{
	uint8_t head[BLOCK_HEAD];
	uint64_t len;
	int err;

	if (r->block_left == 0) {
		return ENOENT;
	}
	err = backup_get(r, head, sizeof(head), error);
	if (err != 0) {
		return err;
	}
	r->block_left--;
	r->records_left = u32(r, head + 4);
	len = u64(r, head + 8);
	if (len > BLOCK_MAX) {
		return backup_bad(r, error, "the file is damaged");
	}
	if (len > backup_left(r)) {
		return backup_bad(r, error, "the file is cut short");
	}
	TALLOC_FREE(r->frame);
	r->frame = talloc_size(r, len);
	r->p = r->frame;
	r->left = len;
	return r->frame == NULL ? ENOMEM : backup_get(r, r->frame, len, error);
}

/* ltdb header: u64 rsn, u32 dmaster, u32 reserved, u32 flags, padding. */
static int parse(struct backup_reader *r, struct backup_record *record)
{
	uint32_t len, keylen, datalen;
	uint8_t *p = r->frame + (r->p - r->frame);

	if (r->left < 16) {
		return EBADMSG;
	}
	len = u32(r, p);
	keylen = u32(r, p + 8);
	datalen = u32(r, p + 12);
	if (len > r->left || len < 16 || keylen == 0 || (uint64_t)keylen + datalen != len - 16 ||
	    datalen < CTDB_WIRE_RECORD_HEADER_SIZE) {
		return EBADMSG;
	}
	*record = (struct backup_record){.key = {.data = p + 16, .len = keylen}};
	r->p += len;
	r->left -= len;
	p += 16 + keylen;
	record->rsn = u64(r, p);
	record->dmaster = u32(r, p + 8);
	record->flags = u32(r, p + 16);
	record->data = (struct ctdb_blob){.data = p + CTDB_WIRE_RECORD_HEADER_SIZE,
					  .len = datalen - CTDB_WIRE_RECORD_HEADER_SIZE};
	return 0;
}

static bool is_seqnum(struct backup_reader *r, const struct backup_record *record)
{
	static const char key[] = "__db_sequence_number__";

	if (!r->replicated || record->key.len != sizeof(key) || memcmp(record->key.data, key, sizeof(key)) != 0) {
		return false;
	}
	r->has_seqnum = true;
	r->seqnum = record->data.len == 8 ? u64(r, record->data.data) : 0;
	return true;
}

int backup_classic_next(struct backup_reader *r, struct backup_record *record, char *error)
{
	for (;;) {
		int err = 0;

		while (r->records_left == 0 && err == 0) {
			if (r->left != 0) {
				return backup_bad(r, error, "the file is damaged");
			}
			err = next_block(r, error);
		}
		if (err != 0) {
			return err == ENOENT ? backup_end_of_pass(r, error) : err;
		}
		r->records_left--;
		if (parse(r, record) != 0) {
			return backup_bad(r, error, "the file is damaged");
		}
		if (!is_seqnum(r, record)) {
			return 0;
		}
	}
}

static int read_head(struct backup_reader *r, struct backup_info *info, uint64_t *records, char *error)
{
	uint8_t head[HEAD] = {0};
	int err;

	memcpy(head, r->magic, sizeof(r->magic));
	r->turned = u64(r, head) != VERSION;
	if (u64(r, head) != VERSION || r->size < (off_t)HEAD) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: is no backup of a database", r->path);
		return EBADMSG;
	}
	err = backup_get(r, head + sizeof(r->magic), sizeof(head) - sizeof(r->magic), error);
	if (err != 0) {
		return err;
	}
	info->header.created = u64(r, head + 8);
	info->header.flags = (uint32_t)u64(r, head + 16);
	r->replicated = ctdb_db_flags_model(info->header.flags) != CTDB_DB_VOLATILE;
	r->n_blocks = u64(r, head + 24);
	*records = u64(r, head + 32);
	info->header.name = talloc_strndup(r, (const char *)head + NAME_AT, HEAD - NAME_AT);
	if (info->header.name == NULL || info->header.name[0] == '\0') {
		return backup_bad(r, error, "there is no name of a database");
	}
	return 0;
}

int backup_classic_open(struct backup_reader *r, struct backup_info *info, char *error)
{
	struct backup_record record;
	uint64_t records = 0;
	int err = read_head(r, info, &records, error);

	if (err != 0) {
		return err;
	}
	r->classic = info->classic = true;
	r->start = ftello(r->f);
	err = backup_rewind(r, error);
	while (err == 0) {
		err = backup_classic_next(r, &record, error);
		err = err == 0 ? backup_check_record(r, &record, error) : err;
		info->records += err == 0;
	}
	if (err != ENOENT) {
		return err;
	}
	info->seqnum = r->seqnum;
	if (r->seqnum > INT64_MAX) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: has an impossible sequence number", r->path);
		return EBADMSG;
	}
	if (backup_left(r) != 0 || info->records + r->has_seqnum != records) {
		return backup_bad(r, error, "the number of records is not what the file says");
	}
	info->header.maker = talloc_strdup(r, "ctdb");
	info->header.format = VERSION;
	return backup_rewind(r, error);
}
