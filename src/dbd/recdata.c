/* Records as byte streams of the classic protocol. */
#include "dbd/recdata.h"

#include <errno.h>
#include <string.h>

static uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

int recdata_next(const uint8_t **p, size_t *left, struct recdata *r)
{
	const uint8_t *q = *p;
	uint32_t length, keylen, datalen;

	if (*left == 0) {
		return ENOENT;
	}
	if (*left < RECDATA_HEAD) {
		return EBADMSG;
	}
	length = get_u32(q);
	keylen = get_u32(q + 8);
	datalen = get_u32(q + 12);
	if (length > *left || length < RECDATA_HEAD || (uint64_t)RECDATA_HEAD + keylen + datalen != length) {
		return EBADMSG;
	}
	*r = (struct recdata){
		.reqid = get_u32(q + 4),
		.keylen = keylen,
		.datalen = datalen,
		.key = q + RECDATA_HEAD,
		.data = q + RECDATA_HEAD + keylen,
	};
	*p += length;
	*left -= length;
	return 0;
}

size_t recdata_size(size_t keylen, size_t datalen)
{
	if (keylen > UINT32_MAX || datalen > UINT32_MAX || RECDATA_HEAD + keylen + datalen > UINT32_MAX) {
		return SIZE_MAX;
	}
	return RECDATA_HEAD + keylen + datalen;
}

uint8_t *recdata_put(uint8_t *p, uint32_t reqid, const void *key, uint32_t keylen, const void *data, uint32_t datalen)
{
	put_u32(p, RECDATA_HEAD + keylen + datalen);
	put_u32(p + 4, reqid);
	put_u32(p + 8, keylen);
	put_u32(p + 12, datalen);
	p += RECDATA_HEAD;
	if (keylen > 0) {
		memcpy(p, key, keylen);
	}
	p += keylen;
	if (datalen > 0) {
		memcpy(p, data, datalen);
	}
	return p + datalen;
}

int recbuf_begin(const uint8_t **p, size_t *left, uint32_t *db_id, uint32_t *count)
{
	if (*left < RECBUF_HEAD) {
		return EBADMSG;
	}
	*db_id = get_u32(*p);
	*count = get_u32(*p + 4);
	*p += RECBUF_HEAD;
	*left -= RECBUF_HEAD;
	return 0;
}

int recbuf_check(const uint8_t *buf, size_t len, uint32_t *db_id, uint32_t *count)
{
	struct recdata r;
	uint32_t id, n, i;

	if (recbuf_begin(&buf, &len, &id, &n) != 0) {
		return EBADMSG;
	}
	for (i = 0; i < n; i++) {
		if (recdata_next(&buf, &len, &r) != 0) {
			return EBADMSG;
		}
	}
	*db_id = id;
	*count = n;
	return 0;
}

bool rec_header_get(const uint8_t *data, size_t len, struct rec_header *h)
{
	if (len < REC_HEADER_SIZE) {
		return false;
	}
	memcpy(&h->rsn, data, 8);
	h->dmaster = get_u32(data + 8);
	h->flags = get_u32(data + 16);
	return true;
}

void rec_header_put(uint8_t data[REC_HEADER_SIZE], const struct rec_header *h)
{
	memset(data, 0, REC_HEADER_SIZE);
	memcpy(data, &h->rsn, 8);
	put_u32(data + 8, h->dmaster);
	put_u32(data + 16, h->flags);
}
