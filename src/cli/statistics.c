/* Counters of a node as the old forms print them. */
#include "statistics.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define HOT_KEYS   10U
#define AT(member) offsetof(struct ctdb_statistics, member)

const struct statistics_counter statistics_counters[] = {
	{NULL, "num_clients", AT(clients)},
	{NULL, "frozen", AT(frozen)},
	{NULL, "recovering", AT(recovering)},
	{NULL, "num_recoveries", AT(recoveries)},
	{NULL, "client_packets_sent", AT(client_packets_sent)},
	{NULL, "client_packets_recv", AT(client_packets_received)},
	{NULL, "node_packets_sent", AT(node_packets_sent)},
	{NULL, "node_packets_recv", AT(node_packets_received)},
	{NULL, "keepalive_packets_sent", AT(keepalive_packets_sent)},
	{NULL, "keepalive_packets_recv", AT(keepalive_packets_received)},
	{"node", "req_call", AT(node.req_call)},
	{"node", "reply_call", AT(node.reply_call)},
	{"node", "req_dmaster", AT(node.req_dmaster)},
	{"node", "reply_dmaster", AT(node.reply_dmaster)},
	{"node", "reply_error", AT(node.reply_error)},
	{"node", "req_message", AT(node.req_message)},
	{"node", "req_control", AT(node.req_control)},
	{"node", "reply_control", AT(node.reply_control)},
	{"node", "req_tunnel", AT(node.req_tunnel)},
	{"client", "req_call", AT(client.req_call)},
	{"client", "req_message", AT(client.req_message)},
	{"client", "req_control", AT(client.req_control)},
	{"client", "req_tunnel", AT(client.req_tunnel)},
	{"timeouts", "call", AT(timeouts.call)},
	{"timeouts", "control", AT(timeouts.control)},
	{"timeouts", "traverse", AT(timeouts.traverse)},
	{"locks", "num_calls", AT(locks.calls)},
	{"locks", "num_current", AT(locks.current)},
	{"locks", "num_pending", AT(locks.pending)},
	{"locks", "num_failed", AT(locks.failed)},
	{NULL, "total_calls", AT(total_calls)},
	{NULL, "pending_calls", AT(pending_calls)},
	{NULL, "childwrite_calls", AT(childwrite_calls)},
	{NULL, "pending_childwrite_calls", AT(pending_childwrite_calls)},
	{NULL, "memory_used", AT(memory_used)},
	{NULL, "max_hop_count", AT(max_hop_count)},
	{NULL, "total_ro_delegations", AT(readonly_delegations)},
	{NULL, "total_ro_revokes", AT(readonly_revokes)},
	{.name = NULL},
};

uint32_t statistics_value(const struct ctdb_statistics *s, const struct statistics_counter *c)
{
	uint32_t v;

	memcpy(&v, (const char *)s + c->offset, sizeof(v));
	return v;
}

double statistics_average(const struct ctdb_latency *l)
{
	double v = l->n > 0 ? l->total / l->n : 0.0;

	return isfinite(v) && v >= 0 ? v : 0.0;
}

/* ---- for people ---- */

static void print_buckets(const char *name, const uint32_t *buckets)
{
	printf(" %s:", name);
	for (unsigned int i = 0; i < CTDB_STATS_BUCKETS; i++) {
		printf(" %u", buckets[i]);
	}
	putchar('\n');
}

static void print_latency(const char *name, const struct ctdb_latency *l)
{
	printf(" %-18s MIN/AVG/MAX     %.6f/%.6f/%.6f sec out of %u\n", name, l->min, statistics_average(l), l->max,
	       l->n);
}

static void print_times(const struct ctdb_statistics *s)
{
	long long since = (long long)(s->now.tv_sec - s->started.tv_sec);
	char text[64];

	printf("Current time of statistics  :                %s", ctime_r(&s->now.tv_sec, text));
	printf("Statistics collected since  : (%03lld %02lld:%02lld:%02lld) %s", since / 86400, since / 3600 % 24,
	       since / 60 % 60, since % 60, ctime_r(&s->started.tv_sec, text));
}

void statistics_print_old(const struct ctdb_statistics *s)
{
	const char *group = NULL;

	puts("CTDB version 1");
	print_times(s);
	for (const struct statistics_counter *c = statistics_counters; c->name != NULL; c++) {
		if (c->group != NULL && (group == NULL || strcmp(group, c->group) != 0)) {
			printf(" %s\n", c->group);
		}
		group = c->group;
		/* Names in a group stand four further to the right, numbers below each other. */
		printf(group != NULL ? "     %-18s" : " %-22s", c->name);
		printf("%*u\n", group != NULL ? 14 : 14, statistics_value(s, c));
	}
	print_buckets("hop_count_buckets", s->hop_count_buckets);
	print_buckets("lock_buckets", s->locks.buckets);
	print_latency("locks_latency", &s->locks.latency);
	print_latency("reclock_ctdbd", &s->cluster_lock_daemon);
	print_latency("reclock_recd", &s->cluster_lock_recovery);
	print_latency("call_latency", &s->call_latency);
	print_latency("childwrite_latency", &s->childwrite_latency);
}

void statistics_print_old_db(const char *name, const struct ctdb_db_statistics *s)
{
	const struct {
		const char *name;
		uint32_t value;
	} locks[] = {{"num_calls", s->locks.calls},
		     {"num_current", s->locks.current},
		     {"num_pending", s->locks.pending},
		     {"num_failed", s->locks.failed}};

	printf("DB Statistics %s\n %-22s%14u\n %-22s%14u\n locks\n", name, "db_ro_delegations", s->readonly_delegations,
	       "db_ro_revokes", s->readonly_revokes);
	for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++) {
		printf("     %-18s%14u\n", locks[i].name, locks[i].value);
	}
	print_buckets("hop_count_buckets", s->hop_count_buckets);
	print_buckets("lock_buckets", s->locks.buckets);
	print_latency("locks_latency", &s->locks.latency);
	print_latency("vacuum_latency", &s->vacuum);
	printf(" Num Hot Keys:     %u\n", s->n_hot_keys > HOT_KEYS ? s->n_hot_keys : HOT_KEYS);
	for (uint32_t i = s->n_hot_keys; i < HOT_KEYS; i++) {
		puts("     Count:0 Key:"); /* so many are always told */
	}
	for (uint32_t i = 0; i < s->n_hot_keys; i++) {
		printf("     Count:%u Key:", s->hot_keys[i].count);
		for (size_t j = 0; j < s->hot_keys[i].key.len; j++) {
			printf("%02x", s->hot_keys[i].key.data[j]);
		}
		putchar('\n');
	}
}

/* ---- for programs ---- */

static const char *const latencies[] = {"reclock_ctdbd", "reclock_recd", "call", "lockwait", "childwrite"};
#define N_LATENCIES (sizeof(latencies) / sizeof(latencies[0]))

void statistics_print_old_machine_header(const char *sep)
{
	printf("CTDB version%sCurrent time of statistics%sStatistics collected since%s", sep, sep, sep);
	for (const struct statistics_counter *c = statistics_counters; c->name != NULL; c++) {
		printf("%s%s%s%s", c->group != NULL ? c->group : "", c->group != NULL ? "." : "", c->name, sep);
	}
	for (size_t i = 0; i < N_LATENCIES; i++) {
		const char *n = latencies[i];

		printf("num_%s_latency%smin_%s_latency%savg_%s_latency%smax_%s_latency%s", n, sep, n, sep, n, sep, n,
		       sep);
	}
	putchar('\n');
}

void statistics_print_old_machine(const struct ctdb_statistics *s, const char *sep)
{
	const struct ctdb_latency *const values[N_LATENCIES] = {&s->cluster_lock_daemon, &s->cluster_lock_recovery,
								&s->call_latency, &s->locks.latency,
								&s->childwrite_latency};

	printf("1%s%" PRIdMAX "%s%" PRIdMAX "%s", sep, (intmax_t)s->now.tv_sec, sep, (intmax_t)s->started.tv_sec, sep);
	for (const struct statistics_counter *c = statistics_counters; c->name != NULL; c++) {
		printf("%u%s", statistics_value(s, c), sep);
	}
	for (size_t i = 0; i < N_LATENCIES; i++) {
		printf("%u%s%.6f%s%.6f%s%.6f%s", values[i]->n, sep, values[i]->min, sep, statistics_average(values[i]),
		       sep, values[i]->max, sep);
	}
	putchar('\n');
}
