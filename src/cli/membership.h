/* What clusterd says, through the gateway of this node's daemon; and the facts that verdicts are made of. */
#ifndef CLI_MEMBERSHIP_H
#define CLI_MEMBERSHIP_H

#include "cli.h"
#include "protocol/cluster.h"
#include "verdict.h"

/*
 * A request to clusterd of a node. 0, or errno: as ctdb_interface_call(), or what clusterd answered; cli_fail_api() has
 * its text. ENOSYS: an earlier daemon, which has no clusterd. The result is below the client.
 */
int membership_call(struct cli *cli, uint32_t node, enum cluster_proc proc, const struct ctdb_blob *payload,
		    uint32_t timeout_ms, struct ctdb_data *result);
int membership_status(struct cli *cli, uint32_t node, struct cluster_status **status);
int membership_own(struct cli *cli, uint32_t node, struct cluster_own *own);
/* Puts the flags that a node has given itself, as it says now, into *flags: views change only while somebody leads.
 * False: an earlier daemon. */
bool membership_own_flags(struct cli *cli, uint32_t node, uint32_t *flags);
/* Waits for a change that clusterd of this node sees, at most so long, or until wait_ms passed if it cannot be asked.
 * 0, or ENOTCONN. */
int membership_pause(struct cli *cli, struct cluster_events_args *at, uint32_t wait_ms);
/* The leader that clusterd knows with certainty now, or CTDB_NODE_UNKNOWN. */
uint32_t membership_leader(const struct cluster_status *s);

/* ---- connections that may be lost meanwhile ---- */

/* A moment on the monotonic clock, ms. */
uint64_t clock_ms(void);
void clock_pause(uint32_t ms);
/* What is left until then; 0: over. */
uint32_t clock_left(uint64_t until);
/* Connects if there is no connection, dropping one that was lost. 0 or errno. */
int membership_connect(struct cli *cli, uint32_t timeout_ms);
const char *membership_connect_text(int err); /* why not, and what to do */

/* ---- facts.c ---- */

/* What this node knows. Memory below the client. 0, or exit code. Asks again once if the connection is lost meanwhile.
 */
int facts_ask(struct cli *cli, struct facts *f);
/* The status of this run's own time-out, or of default_ms when there is none. */
uint32_t cli_limit_ms(const struct cli *cli, uint32_t default_ms);

/* ---- nodes that commands are about ---- */

/* A node by its number or "local"; -n if word is NULL; else this one. It has to exist. 0 or exit code. */
int node_arg(struct cli *cli, const char *word, uint32_t *pnn);
/* "all" (without deleted ones), or numbers joined by commas; NULL: -n, or this node. Below the client. 0 or exit code.
 */
int node_list_arg(struct cli *cli, const char *word, const struct ctdb_nodemap *map, uint32_t **pnns, uint32_t *n);
/* NULL: there is no such node */
const struct ctdb_node *node_find(const struct ctdb_nodemap *map, uint32_t pnn);
/* "12 s", "3 min", "5 h", "2 days" */
const char *age_text(uint64_t ms, char buf[32]);

#endif
