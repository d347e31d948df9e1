/* Tunables: names, defaults, values. Those that mean something to dbd are read where it matters, by tunable(). */
#include "dbd/control.h"
#include "protocol/classic_native.h"
#include "shared/log.h"

#include <errno.h>
#include <strings.h>

struct entry {
	const char *name;
	uint32_t value; /* default */
	bool obsolete;  /* not listed; setting it is answered with status 1 */
};

/* By index in classic_tunable_list. */
static const struct entry table[CLASSIC_TUNABLES] = {
	[CLASSIC_TUNABLE_MAX_REDIRECT_COUNT] = {"MaxRedirectCount", 3, true},
	[CLASSIC_TUNABLE_SEQNUM_INTERVAL] = {"SeqnumInterval", 1000, false},
	[CLASSIC_TUNABLE_CONTROL_TIMEOUT] = {"ControlTimeout", 60, false},
	[CLASSIC_TUNABLE_TRAVERSE_TIMEOUT] = {"TraverseTimeout", 20, false},
	[CLASSIC_TUNABLE_KEEPALIVE_INTERVAL] = {"KeepaliveInterval", 5, false},
	[CLASSIC_TUNABLE_KEEPALIVE_LIMIT] = {"KeepaliveLimit", 5, false},
	[CLASSIC_TUNABLE_RECOVER_TIMEOUT] = {"RecoverTimeout", 30, false},
	[CLASSIC_TUNABLE_RECOVER_INTERVAL] = {"RecoverInterval", 1, false},
	[CLASSIC_TUNABLE_ELECTION_TIMEOUT] = {"ElectionTimeout", 3, false},
	[CLASSIC_TUNABLE_TAKEOVER_TIMEOUT] = {"TakeoverTimeout", 9, false},
	[CLASSIC_TUNABLE_MONITOR_INTERVAL] = {"MonitorInterval", 15, false},
	[CLASSIC_TUNABLE_TICKLE_UPDATE_INTERVAL] = {"TickleUpdateInterval", 20, false},
	[CLASSIC_TUNABLE_EVENT_SCRIPT_TIMEOUT] = {"EventScriptTimeout", 30, false},
	[CLASSIC_TUNABLE_MONITOR_TIMEOUT_COUNT] = {"MonitorTimeoutCount", 20, false},
	[CLASSIC_TUNABLE_EVENT_SCRIPT_UNHEALTHY_ON_TIMEOUT] = {"EventScriptUnhealthyOnTimeout", 0, true},
	[CLASSIC_TUNABLE_RECOVERY_GRACE_PERIOD] = {"RecoveryGracePeriod", 120, false},
	[CLASSIC_TUNABLE_RECOVERY_BAN_PERIOD] = {"RecoveryBanPeriod", 300, false},
	[CLASSIC_TUNABLE_DATABASE_HASH_SIZE] = {"DatabaseHashSize", 100001, false},
	[CLASSIC_TUNABLE_DATABASE_MAX_DEAD] = {"DatabaseMaxDead", 5, false},
	[CLASSIC_TUNABLE_RERECOVERY_TIMEOUT] = {"RerecoveryTimeout", 10, false},
	[CLASSIC_TUNABLE_ENABLE_BANS] = {"EnableBans", 1, false},
	[CLASSIC_TUNABLE_DETERMINISTIC_IPS] = {"DeterministicIPs", 0, true},
	[CLASSIC_TUNABLE_RECLOCK_PING_PERIOD] = {"ReclockPingPeriod", 60, true},
	[CLASSIC_TUNABLE_NO_IP_FAILBACK] = {"NoIPFailback", 0, false},
	[CLASSIC_TUNABLE_DISABLE_IP_FAILOVER] = {"DisableIPFailover", 0, true},
	[CLASSIC_TUNABLE_VERBOSE_MEMORY_NAMES] = {"VerboseMemoryNames", 0, false},
	[CLASSIC_TUNABLE_RECD_PING_TIMEOUT] = {"RecdPingTimeout", 60, false},
	[CLASSIC_TUNABLE_RECD_FAIL_COUNT] = {"RecdFailCount", 10, false},
	[CLASSIC_TUNABLE_LOG_LATENCY_MS] = {"LogLatencyMs", 0, false},
	[CLASSIC_TUNABLE_REC_LOCK_LATENCY_MS] = {"RecLockLatencyMs", 1000, false},
	[CLASSIC_TUNABLE_RECOVERY_DROP_ALL_IPS] = {"RecoveryDropAllIPs", 120, false},
	[CLASSIC_TUNABLE_VERIFY_RECOVERY_LOCK] = {"VerifyRecoveryLock", 1, true},
	[CLASSIC_TUNABLE_VACUUM_INTERVAL] = {"VacuumInterval", 10, false},
	[CLASSIC_TUNABLE_VACUUM_MAX_RUN_TIME] = {"VacuumMaxRunTime", 120, false},
	[CLASSIC_TUNABLE_REPACK_LIMIT] = {"RepackLimit", 10000, false},
	[CLASSIC_TUNABLE_VACUUM_LIMIT] = {"VacuumLimit", 5000, true},
	[CLASSIC_TUNABLE_MAX_QUEUE_DROP_MSG] = {"MaxQueueDropMsg", 1000000, false},
	[CLASSIC_TUNABLE_ALLOW_UNHEALTHY_DB_READ] = {"AllowUnhealthyDBRead", 0, false},
	[CLASSIC_TUNABLE_STAT_HISTORY_INTERVAL] = {"StatHistoryInterval", 1, false},
	[CLASSIC_TUNABLE_DEFERRED_ATTACH_TO] = {"DeferredAttachTO", 120, false},
	[CLASSIC_TUNABLE_VACUUM_FAST_PATH_COUNT] = {"VacuumFastPathCount", 60, false},
	[CLASSIC_TUNABLE_LCP2_PUBLIC_IPS] = {"LCP2PublicIPs", 1, true},
	[CLASSIC_TUNABLE_ALLOW_CLIENT_DB_ATTACH] = {"AllowClientDBAttach", 1, false},
	[CLASSIC_TUNABLE_RECOVER_PDB_BY_SEQ_NUM] = {"RecoverPDBBySeqNum", 1, true},
	[CLASSIC_TUNABLE_DEFERRED_REBALANCE_ON_NODE_ADD] = {"DeferredRebalanceOnNodeAdd", 300, true},
	[CLASSIC_TUNABLE_FETCH_COLLAPSE] = {"FetchCollapse", 1, false},
	[CLASSIC_TUNABLE_HOPCOUNT_MAKE_STICKY] = {"HopcountMakeSticky", 50, false},
	[CLASSIC_TUNABLE_STICKY_DURATION] = {"StickyDuration", 600, false},
	[CLASSIC_TUNABLE_STICKY_PINDOWN] = {"StickyPindown", 200, false},
	[CLASSIC_TUNABLE_NO_IP_TAKEOVER] = {"NoIPTakeover", 0, false},
	[CLASSIC_TUNABLE_DB_RECORD_COUNT_WARN] = {"DBRecordCountWarn", 100000, false},
	[CLASSIC_TUNABLE_DB_RECORD_SIZE_WARN] = {"DBRecordSizeWarn", 10000000, false},
	[CLASSIC_TUNABLE_DB_SIZE_WARN] = {"DBSizeWarn", 100000000, false},
	[CLASSIC_TUNABLE_PULL_DB_PREALLOCATION] = {"PullDBPreallocation", 10485760, false},
	[CLASSIC_TUNABLE_NO_IP_HOST_ON_ALL_DISABLED] = {"NoIPHostOnAllDisabled", 1, true},
	[CLASSIC_TUNABLE_SAMBA3_AVOID_DEADLOCKS] = {"Samba3AvoidDeadlocks", 0, true},
	[CLASSIC_TUNABLE_TDB_MUTEX_ENABLED] = {"TDBMutexEnabled", 1, true},
	[CLASSIC_TUNABLE_LOCK_PROCESSES_PER_DB] = {"LockProcessesPerDB", 200, false},
	[CLASSIC_TUNABLE_REC_BUFFER_SIZE_LIMIT] = {"RecBufferSizeLimit", 1000000, false},
	[CLASSIC_TUNABLE_QUEUE_BUFFER_SIZE] = {"QueueBufferSize", 1024, false},
	[CLASSIC_TUNABLE_IP_ALLOC_ALGORITHM] = {"IPAllocAlgorithm", 2, false},
	[CLASSIC_TUNABLE_ALLOW_MIXED_VERSIONS] = {"AllowMixedVersions", 0, false},
};

/* The order in which clients see the names. */
static const uint8_t order[] = {
	CLASSIC_TUNABLE_SEQNUM_INTERVAL,
	CLASSIC_TUNABLE_CONTROL_TIMEOUT,
	CLASSIC_TUNABLE_TRAVERSE_TIMEOUT,
	CLASSIC_TUNABLE_KEEPALIVE_INTERVAL,
	CLASSIC_TUNABLE_KEEPALIVE_LIMIT,
	CLASSIC_TUNABLE_RECOVER_TIMEOUT,
	CLASSIC_TUNABLE_RECOVER_INTERVAL,
	CLASSIC_TUNABLE_ELECTION_TIMEOUT,
	CLASSIC_TUNABLE_TAKEOVER_TIMEOUT,
	CLASSIC_TUNABLE_MONITOR_INTERVAL,
	CLASSIC_TUNABLE_TICKLE_UPDATE_INTERVAL,
	CLASSIC_TUNABLE_EVENT_SCRIPT_TIMEOUT,
	CLASSIC_TUNABLE_MONITOR_TIMEOUT_COUNT,
	CLASSIC_TUNABLE_RECOVERY_GRACE_PERIOD,
	CLASSIC_TUNABLE_RECOVERY_BAN_PERIOD,
	CLASSIC_TUNABLE_DATABASE_HASH_SIZE,
	CLASSIC_TUNABLE_DATABASE_MAX_DEAD,
	CLASSIC_TUNABLE_RERECOVERY_TIMEOUT,
	CLASSIC_TUNABLE_ENABLE_BANS,
	CLASSIC_TUNABLE_NO_IP_FAILBACK,
	CLASSIC_TUNABLE_VERBOSE_MEMORY_NAMES,
	CLASSIC_TUNABLE_RECD_PING_TIMEOUT,
	CLASSIC_TUNABLE_RECD_FAIL_COUNT,
	CLASSIC_TUNABLE_LOG_LATENCY_MS,
	CLASSIC_TUNABLE_REC_LOCK_LATENCY_MS,
	CLASSIC_TUNABLE_RECOVERY_DROP_ALL_IPS,
	CLASSIC_TUNABLE_VACUUM_INTERVAL,
	CLASSIC_TUNABLE_VACUUM_MAX_RUN_TIME,
	CLASSIC_TUNABLE_REPACK_LIMIT,
	CLASSIC_TUNABLE_VACUUM_FAST_PATH_COUNT,
	CLASSIC_TUNABLE_MAX_QUEUE_DROP_MSG,
	CLASSIC_TUNABLE_ALLOW_UNHEALTHY_DB_READ,
	CLASSIC_TUNABLE_STAT_HISTORY_INTERVAL,
	CLASSIC_TUNABLE_DEFERRED_ATTACH_TO,
	CLASSIC_TUNABLE_ALLOW_CLIENT_DB_ATTACH,
	CLASSIC_TUNABLE_FETCH_COLLAPSE,
	CLASSIC_TUNABLE_HOPCOUNT_MAKE_STICKY,
	CLASSIC_TUNABLE_STICKY_DURATION,
	CLASSIC_TUNABLE_STICKY_PINDOWN,
	CLASSIC_TUNABLE_NO_IP_TAKEOVER,
	CLASSIC_TUNABLE_DB_RECORD_COUNT_WARN,
	CLASSIC_TUNABLE_DB_RECORD_SIZE_WARN,
	CLASSIC_TUNABLE_DB_SIZE_WARN,
	CLASSIC_TUNABLE_PULL_DB_PREALLOCATION,
	CLASSIC_TUNABLE_LOCK_PROCESSES_PER_DB,
	CLASSIC_TUNABLE_REC_BUFFER_SIZE_LIMIT,
	CLASSIC_TUNABLE_QUEUE_BUFFER_SIZE,
	CLASSIC_TUNABLE_IP_ALLOC_ALGORITHM,
	CLASSIC_TUNABLE_ALLOW_MIXED_VERSIONS,
};

#define LISTED (sizeof(order) / sizeof(order[0]))

struct tunables {
	struct classic_tunable_list list;
};

uint32_t tunable(const struct clients *cs, enum classic_tunable_index i)
{
	return cs->tunables->list.values[i];
}

/* Names count without regard to case. -1: unknown. */
static int find(const char *name)
{
	for (int i = 0; i < CLASSIC_TUNABLES; i++) {
		if (strcasecmp(name, table[i].name) == 0) {
			return i;
		}
	}
	return -1;
}

void control_set_tunable(struct control *ctl)
{
	struct tunables *t = ctl->clients->tunables;
	struct classic_tunable arg;
	int i;

	if (classic_tunable_ndecode(ctl, ctl->data, ctl->len, &arg, NULL) != 0) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	i = find(arg.name);
	if (i < 0) {
		control_reply(ctl, -1, NULL, 0, "unknown tunable");
		return;
	}
	log_notice("tunable %s is set from %u to %u", table[i].name, t->list.values[i], arg.value);
	t->list.values[i] = arg.value;
	control_reply(ctl, table[i].obsolete ? 1 : 0, NULL, 0, NULL);
}

void control_get_tunable(struct control *ctl)
{
	struct classic_tunable_name arg;
	int i;

	if (classic_tunable_name_ndecode(ctl, ctl->data, ctl->len, &arg, NULL) != 0) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	i = find(arg.name);
	if (i < 0) {
		control_reply(ctl, -EINVAL, NULL, 0, NULL);
		return;
	}
	control_reply_u32(ctl, ctl->clients->tunables->list.values[i]);
}

/* All names, each with a colon in front. */
void control_list_tunables(struct control *ctl)
{
	struct classic_tunable_name names = {.name = talloc_strdup(ctl, "")};
	struct ctdb_blob blob;

	for (size_t i = 0; i < LISTED && names.name != NULL; i++) {
		names.name = talloc_asprintf_append_buffer(names.name, ":%s", table[order[i]].name);
	}
	if (names.name == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	control_reply_blob(ctl, classic_tunable_name_nencode(ctl, &names, &blob), &blob);
}

void control_get_all_tunables(struct control *ctl)
{
	struct ctdb_blob blob;

	control_reply_blob(ctl, classic_tunable_list_nencode(ctl, &ctl->clients->tunables->list, &blob), &blob);
}

int tunables_new(struct clients *cs, struct tunables **out)
{
	struct tunables *t = talloc(cs, struct tunables);

	if (t == NULL) {
		return ENOMEM;
	}
	for (int i = 0; i < CLASSIC_TUNABLES; i++) {
		t->list.values[i] = table[i].value;
	}
	*out = t;
	return 0;
}
