/* Inside of dbd: vacuuming (core/vacuum.h) on real files, links and tunables. service.h has what the classic side uses. */
#ifndef DBD_VACUUM_H
#define DBD_VACUUM_H

#include "core/vacuum.h"
#include "dbd/service.h"

/* Called by records.c, whose engine it is. */
int vacuums_new(TALLOC_CTX *mem, struct dbd *dbd, struct record_engine *engine, struct vacuums **out);
/* Tunables may have changed. */
void vacuums_times(struct vacuums *v);
/* See vacuum_db_start(): recovery_members() are those of the present generation. */
void vacuums_start(struct vacuums *v, struct db *db);

/* lane.c */
void vacuums_on_keys(struct vacuums *v, uint32_t from, const struct lane_vacuum *m);
void vacuums_on_answer(struct vacuums *v, uint32_t from, const struct lane_vacuum_answer *m);

#endif
