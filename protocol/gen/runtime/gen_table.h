/* All functions of a generated type behind pointers, so that one test can go over all types. */
#ifndef PROTOCOL_GEN_TABLE_H
#define PROTOCOL_GEN_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <talloc.h>

#include "base/turn.h"
#include "base/xdr.h"

#define GEN_VIEW_ROOM_MAX 4096

/* A table ends with name NULL. view and nview are NULL for types that are not flat, view_at for those that have none,
 * nsize and the rest for types without native encoding. */
struct gen_type {
	const char *name;
	size_t size;      /* of the C structure */
	bool since;       /* has @since fields: a shorter input may be an older sender's */
	bool native_open; /* native: takes what is left, or has an optional tail */
	void (*random)(uint64_t *rnd_state, TALLOC_CTX *mem, void *v);
	bool (*equal)(const void *a, const void *b);
	size_t (*xdr_size)(const void *v);
	int (*encode)(TALLOC_CTX *mem, const void *v, struct ctdb_blob *out);
	int (*encode_to)(TALLOC_CTX *mem, struct xdr_buf *buf, const void *v, struct ctdb_blob *out);
	int (*decode)(TALLOC_CTX *mem, const uint8_t *buf, size_t len, void *v);
	int (*view)(const uint8_t *buf, size_t len, void *v);
	int (*view_at)(const uint8_t *buf, size_t len, void *v, char *room); /* room for GEN_VIEW_ROOM_MAX bytes */
	int (*validate)(const void *v);
	json_t *(*to_json)(const void *v);
	void (*print)(FILE *f, const void *v);
	size_t (*nsize)(const void *v);
	int (*nencode)(TALLOC_CTX *mem, const void *v, struct ctdb_blob *out);
	int (*nput)(uint8_t *buf, size_t size, const void *v);
	int (*ndecode)(TALLOC_CTX *mem, const uint8_t *buf, size_t len, void *v, size_t *used);
	int (*nview)(const uint8_t *buf, size_t len, void *v, size_t *used);
	turn_fn turn;
};

#endif
