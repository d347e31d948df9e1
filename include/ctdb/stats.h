/* What a node's daemon counts. */
#ifndef CTDB_STATS_H
#define CTDB_STATS_H

#include <ctdb/cluster.h>

/* Counters run since the daemon's start or the last reset, and go on at 0 after 2^32 - 1. Made by the library only:
 * later versions may have more fields at the end. */

struct ctdb_latency {
	uint32_t n;
	double min, max, total; /* seconds */
};

#define CTDB_STATS_BUCKETS 16U

struct ctdb_lock_stats {
	uint32_t calls, current, pending, failed;
	struct ctdb_latency latency;
	/* By waiting time: below 1, 10, 100 ms, 1, 2, 4, 8, 16, 32, 64 s, longer. */
	uint32_t buckets[CTDB_STATS_BUCKETS];
};

struct ctdb_statistics {
	uint32_t clients, frozen, recovering; /* now */
	uint32_t client_packets_sent, client_packets_received;
	uint32_t node_packets_sent, node_packets_received;
	uint32_t keepalive_packets_sent, keepalive_packets_received;
	struct {
		uint32_t req_call, reply_call, req_dmaster, reply_dmaster, reply_error, req_message, req_control,
			reply_control, req_tunnel;
	} node; /* received, by operation */
	struct {
		uint32_t req_call, req_message, req_control, req_tunnel;
	} client;
	struct {
		uint32_t call, control, traverse;
	} timeouts;
	struct ctdb_latency cluster_lock_daemon, cluster_lock_recovery;
	struct ctdb_lock_stats locks;
	uint32_t total_calls, pending_calls, childwrite_calls, pending_childwrite_calls;
	uint32_t memory_used; /* bytes */
	uint32_t max_hop_count;
	uint32_t hop_count_buckets[CTDB_STATS_BUCKETS]; /* by number of significant bits of the hop count */
	struct ctdb_latency call_latency, childwrite_latency;
	uint32_t recoveries;
	struct timeval started, now; /* wall clock of that node */
	uint32_t readonly_delegations, readonly_revokes;
};

/* Counters of that node. */
struct tevent_req *ctdb_get_statistics_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_statistics_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_statistics **stats);
int ctdb_get_statistics(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_statistics **stats);

/* Sets that node's counters, those of its databases as well, to 0. */
struct tevent_req *ctdb_reset_statistics_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_reset_statistics_recv(struct tevent_req *req);
int ctdb_reset_statistics(struct ctdb_client *c, uint32_t node);

struct ctdb_hot_key {
	uint32_t count;
	struct ctdb_data key;
};

struct ctdb_db_statistics {
	struct ctdb_lock_stats locks;
	struct ctdb_latency vacuum;
	uint32_t readonly_delegations, readonly_revokes;
	uint32_t hop_count_buckets[CTDB_STATS_BUCKETS];
	uint32_t n_hot_keys;
	struct ctdb_hot_key *hot_keys; /* that other nodes asked for most; without the empty ones */
};

/* id unknown there: EREMOTEIO. */
struct tevent_req *ctdb_get_db_statistics_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_get_db_statistics_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_db_statistics **stats);
int ctdb_get_db_statistics(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem,
			   struct ctdb_db_statistics **stats);

#endif
