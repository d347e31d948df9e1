/* Controls that count: statistics of the node and of databases. */
#include "dbd/control.h"
#include "protocol/classic_native.h"
#include "protocol/db.h"

#include <errno.h>

/* What has been counted up to the end of each of the last intervals (StatHistoryInterval, in seconds); ring. */
struct stat_history {
	struct clients *clients;
	struct classic_statistics past[CLASSIC_STAT_HISTORY + 1];
	uint32_t n;       /* filled */
	uint32_t next;    /* where the next goes */
	uint32_t seconds; /* since the newest */
};

static struct classic_timeval now_of(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return (struct classic_timeval){.sec = tv.tv_sec, .usec = tv.tv_usec};
}

static struct classic_timeval start_of(const struct clients *cs)
{
	return (struct classic_timeval){.sec = cs->started.tv_sec, .usec = cs->started.tv_usec};
}

static void fill(const struct clients *cs, struct classic_statistics *s)
{
	const struct client_counters *n = &cs->count;
	const struct recovery *r = cs->dbd->recovery;

	*s = (struct classic_statistics){
		.num_clients = cs->n,
		.frozen = edits_count(cs->edits) > 0 || recovery_is_fenced(r) ? 1 : 0,
		.recovering = recovery_is_normal(r) ? 0 : 1,
		.client_packets_sent = n->sent,
		.client_packets_recv = n->received,
		.node_req_message = n->node_req_message,
		.node_req_control = n->node_req_control,
		.node_reply_control = n->node_reply_control,
		.node_req_tunnel = n->node_req_tunnel,
		.client_req_call = n->req_call,
		.client_req_message = n->req_message,
		.client_req_control = n->req_control,
		.client_req_tunnel = n->req_tunnel,
		.timeouts_control = n->timeouts_control,
		.timeouts_traverse = n->timeouts_traverse,
		.total_calls = n->total_calls,
		.pending_calls = n->pending_calls,
		.call_latency = {.num = (int32_t)n->call_latency_n,
				 .min = n->call_latency_min,
				 .max = n->call_latency_max,
				 .total = n->call_latency_total},
		.num_recoveries = recovery_times(r)->count,
		.start_time = start_of(cs),
		.current_time = now_of(),
	};
	records_statistics_all(cs->dbd->records, s);
}

void control_statistics(struct control *ctl)
{
	struct classic_statistics s;
	struct ctdb_blob blob;

	fill(ctl->clients, &s);
	control_reply_blob(ctl, classic_statistics_nencode(ctl, &s, &blob), &blob);
}

void control_statistics_reset(struct control *ctl)
{
	uint32_t pending = ctl->clients->count.pending_calls;

	ctl->clients->count = (struct client_counters){.pending_calls = pending};
	ctl->clients->history->n = 0;
	records_statistics_reset(ctl->dbd->records);
	control_reply(ctl, 0, NULL, 0, NULL);
}

/* ---- history ---- */

int stat_history_new(struct clients *cs, struct stat_history **out)
{
	struct stat_history *h = talloc_zero(cs, struct stat_history);

	if (h == NULL) {
		return ENOMEM;
	}
	h->clients = cs;
	*out = h;
	return 0;
}

void stat_history_tick(struct stat_history *h, uint32_t interval_s)
{
	h->seconds++;
	if (h->seconds < interval_s) {
		return;
	}
	h->seconds = 0;
	fill(h->clients, &h->past[h->next]);
	h->next = (h->next + 1) % (CLASSIC_STAT_HISTORY + 1);
	if (h->n < CLASSIC_STAT_HISTORY + 1) {
		h->n++;
	}
}

static const struct classic_statistics *intervals_ago(const struct stat_history *h, uint32_t i)
{
	return &h->past[(h->next + CLASSIC_STAT_HISTORY - i) % (CLASSIC_STAT_HISTORY + 1)];
}

/* What happened between two moments: counters are differences, the rest is as it was at the end. */
static struct classic_statistics difference(const struct classic_statistics *end,
					    const struct classic_statistics *begin)
{
	struct classic_statistics d = *end;

	d.client_packets_sent -= begin->client_packets_sent;
	d.client_packets_recv -= begin->client_packets_recv;
	d.node_req_message -= begin->node_req_message;
	d.node_req_control -= begin->node_req_control;
	d.node_reply_control -= begin->node_reply_control;
	d.node_req_tunnel -= begin->node_req_tunnel;
	d.client_req_call -= begin->client_req_call;
	d.client_req_message -= begin->client_req_message;
	d.client_req_control -= begin->client_req_control;
	d.client_req_tunnel -= begin->client_req_tunnel;
	d.timeouts_control -= begin->timeouts_control;
	d.timeouts_traverse -= begin->timeouts_traverse;
	d.total_calls -= begin->total_calls;
	d.call_latency.num -= begin->call_latency.num;
	d.call_latency.total -= begin->call_latency.total;
	d.num_recoveries -= begin->num_recoveries;
	d.locks.num_calls -= begin->locks.num_calls;
	d.locks.num_failed -= begin->locks.num_failed;
	d.locks.latency.num -= begin->locks.latency.num;
	d.locks.latency.total -= begin->locks.latency.total;
	for (unsigned int i = 0; i < CLASSIC_STAT_BUCKETS; i++) {
		d.locks.buckets[i] -= begin->locks.buckets[i];
		d.hop_count_buckets[i] -= begin->hop_count_buckets[i];
	}
	d.total_ro_delegations -= begin->total_ro_delegations;
	d.total_ro_revokes -= begin->total_ro_revokes;
	d.start_time = begin->current_time;
	return d;
}

/* Always 100 entries, newest first; those before the start are zero. */
void control_get_stat_history(struct control *ctl)
{
	const struct stat_history *h = ctl->clients->history;
	struct classic_statistics_list list = {.stats = {.n = CLASSIC_STAT_HISTORY}};
	struct ctdb_blob blob;

	list.stats.v = talloc_zero_array(ctl, struct classic_statistics, CLASSIC_STAT_HISTORY);
	if (list.stats.v == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	for (uint32_t i = 0; i + 1 < h->n; i++) {
		list.stats.v[i] = difference(intervals_ago(h, i), intervals_ago(h, i + 1));
	}
	control_reply_blob(ctl, classic_statistics_list_nencode(ctl, &list, &blob), &blob);
}

/* How long runs of vacuuming took. */
static struct classic_latency vacuum_latency(const struct control *ctl, struct db *db)
{
	struct db_vacuum_counts v = {.runs = 0};

	if (db_is_volatile(db)) {
		vacuum_counts(ctl->dbd->vacuums, db, &v);
	}
	return (struct classic_latency){.num = (int32_t)v.runs,
					.min = (double)v.ms_min / 1000,
					.max = (double)v.ms_max / 1000,
					.total = (double)v.ms / 1000};
}

void control_get_db_statistics(struct control *ctl)
{
	struct classic_db_statistics s = {.num_hot_keys = 0};
	struct db *db = control_db(ctl);
	struct ctdb_blob blob;
	int rc;

	if (db != NULL) {
		rc = records_statistics(ctl, db, &s);
		s.vacuum = vacuum_latency(ctl, db);
		control_reply_blob(ctl, rc != 0 ? rc : classic_db_statistics_nencode(ctl, &s, &blob), &blob);
	}
}
