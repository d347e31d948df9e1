/* Inside of dbd: what recovery does with the records of volatile databases. service.h has what clients use. */
#ifndef DBD_RECORDS_H
#define DBD_RECORDS_H

#include "core/record.h"
#include "core/recovery.h"
#include "dbd/service.h"

struct dbd *records_owner(struct records *r);
/* Gives a volatile database its part of the engine, closed. Nothing for other models. */
int records_db_add(struct records *r, struct db *db);
/* See record_db_open(), record_db_serve(), record_db_close() in core/record.h. */
int records_open(struct records *r, struct db *db, uint32_t generation, const uint32_t *slots, uint32_t n_slots);
void records_serve(struct records *r, struct db *db);
/* The recovery has ended for it, or it is new and empty: vacuuming may begin. */
void records_settled(struct records *r, struct db *db);
/* Does the engine wait for this chain lock? It can be had now. */
bool records_waits(const struct db *db, const uint8_t *key, size_t keylen);
void records_retry(struct records *r, struct db *db, const uint8_t *key, size_t keylen);
/* The engine may have something to do. */
void records_kick(struct records *r);
/* See apply in struct rec_member_ops, core/recovery.h. */
int records_apply(struct records *r, struct db *db, enum rec_apply what, const uint8_t *key, size_t keylen, uint64_t rsn, uint32_t owner);

/* ---- records_stats.c ---- */
/* See hot in struct record_ops. */
void records_hot(void *priv, struct record_key key, uint32_t count);

/* ---- records_readonly.c ---- */
/* See send_readonly in struct record_ops. */
void records_send_readonly(void *priv, uint32_t node, uint32_t generation, enum record_ro what, uint32_t requester, struct record_key key,
			   const struct record_copy *copy);
/* See strip in struct rec_member_ops. */
int records_strip(struct db *db);
/* A scan of recovery met a record: what has read-only flags must be known. 0 or ENOMEM. */
int records_found(struct db *db, const uint8_t *key, size_t keylen, uint32_t flags);

#endif
