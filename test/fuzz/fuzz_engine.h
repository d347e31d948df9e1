/* A record engine on files in memory, for what other nodes may send it. */
#ifndef FUZZ_ENGINE_H
#define FUZZ_ENGINE_H

#include "core/record.h"
#include "fuzz.h"
#include "protocol/lane.h"

struct fuzz_engine;

/* how: bits that decide about its role and settings. */
struct fuzz_engine *fuzz_engine_new(uint8_t how);
/* proc: LANE_PROC_CALL, FORWARD, RO_CALL, RO_FORWARD, RO_REVOKED, RO_RETRY, TOO_LARGE. The generation of the message decides what else happens. */
void fuzz_engine_call(struct fuzz_engine *e, uint32_t from, enum lane_proc proc, const struct lane_call *m);
/* proc: LANE_PROC_GRANT, RO_COPY, RO_REVOKE */
void fuzz_engine_copy(struct fuzz_engine *e, uint32_t from, enum lane_proc proc, const struct lane_grant *m);
/* Checks that all of its clients were answered, once each, and that it comes to rest. */
void fuzz_engine_end(struct fuzz_engine *e);

#endif
