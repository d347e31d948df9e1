/* The hash that names databases and places keys. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bob Jenkins' lookup3 "hashlittle" with initial value 0, defined on bytes (public domain, http://burtleburtle.net/bob/c/lookup3.c); independent of
 * the host's byte order. It is TDB's hash for files with TDB_INCOMPATIBLE_HASH. A database's id is the hash of its name with the NUL.
 */
uint32_t hash_lookup3(const uint8_t *key, size_t len);

#endif
