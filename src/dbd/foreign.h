/* Native structures on their way between nodes: what byte order they have there. */
#ifndef DBD_FOREIGN_H
#define DBD_FOREIGN_H

#include <stdbool.h>
#include <talloc.h>

#include "base/xdr.h"

/*
 * Payloads of classic controls and records with their headers travel between nodes as clients wrote them: native
 * structures, opaque to XDR. Between nodes they are little endian, with the layout of x86-64, which all of this
 * project's programs use on every machine. So little endian machines, 32 or 64 bit, send and take them as they are; a
 * big endian one turns them round on the way out and on the way in. The contents of records are their owners' affair,
 * but for the sequence number record of persistent and replicated databases (u64), which is ours.
 */
#define FOREIGN_HOST (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

enum foreign_dir { FOREIGN_OUT, FOREIGN_IN }; /* host to wire, wire to host */

/*
 * Each replaces *bytes by a turned copy below mem; nothing happens on a little endian host. 0, ENOMEM; EBADMSG: lengths
 * inside do not fit, *bytes unchanged.
 */
int foreign_recdata(TALLOC_CTX *mem, enum foreign_dir dir, struct ctdb_blob *bytes); /* rec_data, one after the other */
int foreign_recbuf(TALLOC_CTX *mem, enum foreign_dir dir, struct ctdb_blob *bytes);
/* Request or reply of a control, 0 or ENOMEM; of an unknown number: unchanged. What does not fit its structure is
 * turned as far as it goes: the handler refuses it as it would on its own machine. foreign.c does not compile if it
 * lacks a control that protocol/classic.x declares. */
int foreign_control(TALLOC_CTX *mem, enum foreign_dir dir, uint32_t opcode, bool reply, struct ctdb_blob *bytes);

/* ---- for tests, on any host: in place ---- */
int foreign_turn_recdata(uint8_t *p, size_t len, enum foreign_dir dir);
int foreign_turn_recbuf(uint8_t *p, size_t len, enum foreign_dir dir);
/* The size of what was turned, 0: nothing. */
size_t foreign_turn_control(uint8_t *p, size_t len, enum foreign_dir dir, uint32_t opcode, bool reply);

#endif
