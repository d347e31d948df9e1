/* Inside of dbd: sending lane messages as structs. service.h has what the classic side uses. */
#ifndef DBD_LANE_H
#define DBD_LANE_H

#include "core/record.h"
#include "dbd/service.h"
#include "protocol/lane_rpc.h"

/* Encodes msg, the generated struct of proc, and sends it to pnn; to the own node: delivered in the next turn of the event loop. 0 or errno. */
int lane_post(struct lane *l, uint32_t pnn, enum lane_proc proc, const void *msg);
/* Incarnation of the dbd at the other end, 0 while the link is down; of the own one for the own node. */
uint64_t lane_incarnation(const struct lane *l, uint32_t pnn);
/* An always-equal flag for recoveries: how often links to pnn went down. */
uint64_t lane_breaks(const struct lane *l, uint32_t pnn);

/* records.c */
void records_on_call(struct records *r, uint32_t from, const struct lane_call *m);
void records_on_forward(struct records *r, uint32_t from, const struct lane_call *m);
void records_on_grant(struct records *r, uint32_t from, const struct lane_grant *m);
/* records_readonly.c */
void records_on_ro_call(struct records *r, uint32_t from, enum record_ro what, const struct lane_call *m);
void records_on_ro_copy(struct records *r, uint32_t from, enum record_ro what, const struct lane_grant *m);

/* recovery.c: everything that begins with REC_ */
void recovery_on_message(struct recovery *r, uint32_t from, enum lane_proc proc, const void *msg);
void recovery_link_changed(struct recovery *r, uint32_t pnn, bool up);
void recovery_view_changed(struct recovery *r);

#endif
