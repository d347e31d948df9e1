/* Inside of dbd's attach rounds. service.h has what the other parts use. */
#ifndef DBD_ATTACH_H
#define DBD_ATTACH_H

#include "dbd/service.h"

void attaches_recovery_began(
	struct attaches *a); /* rounds under way are given up; who waited for one waits for the end */
void attaches_recovery_ended(struct attaches *a); /* everybody tries again */

/* The database is being detached: who waits for it to be everywhere is refused. */
void attaches_db_gone(struct attaches *a, const struct db *db);

#endif
