/* The cluster's keys: the file that holds them, their ids, and how the set of them changes. */
#ifndef SHARED_CLUSTER_KEY_H
#define SHARED_CLUSTER_KEY_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>

/*
 * The file: one key a line, 64 hexadecimal digits (32 random bytes); empty lines and what follows a '#' are ignored. The first key is the one
 * that this node offers when it connects; every key is accepted from who connects. 1 to CLUSTER_KEYS_MAX keys, all different. Mode 0600 or
 * stricter, owner root or the own uid, a regular file of at most 16 KiB: anything else is refused.
 *
 * A key's id is what is said aloud (logs, status, the identity in the TLS handshake): the first 8 bytes of SHA-256("ctdb-ng key id" and
 * the 32 bytes), as 16 lower-case hexadecimal digits. It tells nothing about the key.
 */
#define CLUSTER_KEY_BYTES 32
#define CLUSTER_KEYS_MAX  8

struct cluster_key {
	uint8_t secret[CLUSTER_KEY_BYTES];
	char id[17];
};

/* A talloc object whose secrets are wiped when it is freed. */
struct cluster_keys {
	uint32_t n;
	struct cluster_key v[CLUSTER_KEYS_MAX]; /* v[0]: offered */
};

/* 0; ENOENT no file; EACCES mode or owner too open; EINVAL malformed; or errno of reading. *err names the file (and line) and what to do. */
int cluster_keys_load(TALLOC_CTX *mem, const char *path, struct cluster_keys **keys, char **err);
/* Writes atomically: a temporary file beside it, synced, renamed, the directory synced. Mode 0600. *err (err may be NULL) is the caller's to free. May
 * run in a thread if err is NULL. */
int cluster_keys_store(const struct cluster_keys *keys, const char *path, char **err);
/* A new random key (getrandom). */
int cluster_key_random(struct cluster_key *key);
/* Fills key from 64 hexadecimal digits. EINVAL. */
int cluster_key_parse(const char *hex, struct cluster_key *key);
/* NULL: not in the set. */
const struct cluster_key *cluster_keys_find(const struct cluster_keys *keys, const char *id);

/* The steps of a rotation. Each may be repeated without harm. ENOSPC: CLUSTER_KEYS_MAX; ENOENT: no such id; EBUSY: it is the offered one. */
int cluster_keys_add(struct cluster_keys *keys, const struct cluster_key *key); /* accepted, at the end */
int cluster_keys_use(struct cluster_keys *keys, const char *id);		/* becomes the first */
int cluster_keys_drop(struct cluster_keys *keys, const char *id);

#endif
