/* Inside of the simulation of record engine and recovery: what its files share. */
#ifndef SIM_DB_H
#define SIM_DB_H

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/record.h"
#include "core/recovery.h"
#include "core/slotmap.h"
#include "core/vacuum.h"

#define MAX_NODES    8
#define MAX_KEYS     16
#define MAX_CLIENTS  4
#define SLOTS        32
#define CONTENT_KEYS 24
#define US           1000ULL
#define MS           1000000ULL
#define S            1000000000ULL

enum bug {
	BUG_NONE,
	BUG_GIVE_TWICE,   /* R1: the giver does not write down that it gave */
	BUG_KEEP_STALE,   /* V5: a copy that does not count is not wiped */
	BUG_LOSE_GRANT,   /* R3 */
	BUG_DELETE_GIVEN, /* R5 */
	BUG_IGNORE_LOCKS, /* R7 */
	BUG_SERVE_ALWAYS, /* V2: records move during a recovery */
	BUG_SERVE_EARLY,  /* V3, V4: clients are served before COMMIT */
	BUG_NO_LINEAGE,   /* V5: all copies count */
	BUG_NO_POINTER,   /* V6: the location master forgets who owns a key */
	BUG_NO_REPLACE,   /* V7 */
	BUG_SILENT_LINK,  /* V8: nobody says that messages between two members are lost */
	BUG_SILENT_FENCE, /* V8: nobody says that a member forgot the recovery */
	BUG_KEPT_WIPED,   /* V11: what was kept is not forgotten when the file is emptied */
	BUG_SKIP_DIGEST,  /* S1: a write is not counted */
	BUG_FORGET_DEAD,  /* V9: records of nodes that are gone are not asked for */
	BUG_KEPT_ALWAYS,  /* S2: a location master thinks that it kept a slot that was another's */
	BUG_DIGEST_STALE, /* V11: a dbd that starts believes that the file is empty */
	/* vacuuming, core/vacuum.h */
	BUG_VAC_ONE_STEP,    /* no TOMBSTONE: members just drop what is not theirs (lesson H-027) */
	BUG_VAC_IGNORE_NO,   /* what a member says is not listened to (H-029) */
	BUG_VAC_SKIP_MEMBER, /* not all members are asked (H-033) */
	BUG_VAC_KEEP_TOMB,   /* a tombstone that is said to be dropped stays (W4) */
	BUG_VAC_NO_RECHECK,  /* L removes without another look (H-026) */
	BUG_VAC_NEVER,       /* nothing is ever removed */
	/* read-only copies */
	BUG_KEEP_COPY,     /* D4: a holder says that it gave up its copy and keeps it */
	BUG_EARLY_REVOKED, /* D3: the data master does not wait for the holders */
	BUG_NO_STRIP,      /* D5: copies survive a recovery */
	BUG_STRIP_LATE,    /* D5: copies are stripped after the claims were told */
	BUG_STRIP_OWNER,   /* D5: a data master forgets at BEGIN that others have copies */
	BUG_FORGET_COPIES, /* D6: a dbd that starts does not look for flags */
	BUG_COPY_RSN,      /* B1: copies have the data master's rsn */
	BUG_NO_PIN,        /* P2: sticky records go at once */
	/* databases that a client's lock holds up in a recovery (V12) */
	BUG_LATE_SERVED, /* V3: END opens them */
	BUG_LATE_LOST,   /* COMMIT after END is not followed */
	/* contents in parts */
	BUG_PARTS_KEEP,      /* records that were deleted at the source stay */
	BUG_PARTS_UNCHECKED, /* V13: what comes of it is not looked at */
};

static const char *const bug_names[] = {
	"none",         "give-twice",    "keep-stale",      "lose-grant",    "delete-given",   "ignore-locks",
	"serve-always", "serve-early",   "no-lineage",      "no-pointer",    "no-replace",     "silent-link",
	"silent-fence", "kept-wiped",    "skip-digest",     "forget-dead",   "kept-always",    "digest-stale",
	"vac-one-step", "vac-ignore-no", "vac-skip-member", "vac-keep-tomb", "vac-no-recheck", "vac-never",
	"keep-copy",    "early-revoked", "no-strip",        "strip-late",    "strip-owner",    "forget-copies",
	"copy-rsn",     "no-pin",        "late-served",     "late-lost",     "parts-keep",     "parts-unchecked"};

/* ---- world ---- */

struct file_record {
	bool exists;
	uint64_t rsn;
	uint32_t dmaster, flags;
	uint64_t value;         /* 0: header only */
	int locked_by;          /* client, -1 */
	uint32_t ro_generation; /* in which the read-only flags came */
};

struct content {
	uint64_t value[CONTENT_KEYS]; /* 0: no such record */
};

enum client_state { CLIENT_IDLE, CLIENT_WAIT, CLIENT_LOCKED };

struct client {
	enum client_state state;
	int node, index, key;
	struct record_call *call;
	uint64_t asked_at;
	bool reader; /* content with a read-only copy */
	bool keeps;  /* its lock, for so long that it is noticed */
	bool peek;   /* content with the data of the answer */
};

/* What is known of a key at a node whose database is sticky. */
struct sticky_key {
	uint64_t given_since, given, until;
	uint64_t came_at, pinned_until;
	uint32_t pinned_in; /* generation */
};

struct node {
	uint32_t pnn;
	bool power, dbd, expelled;
	bool fenced;              /* lost its lease for a moment: it does nothing, the others do not know */
	uint32_t wish_generation; /* a recovery is wanted for what was lost in this generation */
	bool rejoin;
	uint64_t wish_at, not_before;
	uint32_t members[MAX_NODES], n_members; /* of the last END */
	bool late;                              /* the last END came before COMMIT of the volatile database */
	bool stale; /* was expelled and has not been committed since: its records do not count */
	uint64_t incarnation;
	TALLOC_CTX *mem;
	struct record_engine *engine;
	struct record_db *db;
	struct rec_member *member;
	struct rec_leader *leader;
	struct file_record file[MAX_KEYS];
	uint64_t wide[2]; /* a large value as it was read last */
	struct slot_digest *digest;
	struct rec_scan_filter filter;          /* of the scan that runs */
	bool filtered, fresh;                   /* its file was empty when dbd started */
	struct file_record told_file[MAX_KEYS]; /* as it was when digests were told */
	struct recovery_id told_id, prepared_id;
	struct content content;
	struct rec_lineage lineage[2]; /* by database; survive a dbd crash, not a power cut */
	struct recovery_id committed[2];
	uint32_t led_members[MAX_NODES], n_led;
	uint64_t led_incarnations[MAX_NODES], led_term, led_breaks[MAX_NODES];
	bool lead_wanted;
	uint32_t job_epoch[2];
	int scan_at;
	bool scan_paused;
	struct content incoming, reading;
	struct content_map read_map;
	uint64_t read_at;
	struct rec_replace replace;
	struct content known; /* when the file was read last */
	bool content_known;
	uint64_t sums[LANE_PARTS];
	bool content_changed; /* since the last BEGIN */
	uint64_t poll_at;
	uint32_t generation;
	int vac_scan_at; /* full scan of vacuuming; -1: none */
	uint32_t vac_epoch;
	bool vac_ended;
	struct vacuum_result vac_result;
	int vac_drop[MAX_KEYS], vac_drops, vac_drop_left; /* BUG_VAC_NO_RECHECK */
	uint64_t vac_drop_id;
	struct sticky_key sticky[MAX_KEYS];
	struct client clients[MAX_CLIENTS];
	bool clients_running; /* processes start when their attach is answered: at the first commit */
};

struct event {
	uint64_t t, order;
	void (*fn)(struct event *e);
	int node, a, b;
	uint32_t epoch;
	uint64_t incarnation, incarnation2, breaks;
	uint8_t *buf;
	size_t len;
	uint32_t proc;
};
struct view {
	uint64_t term, number;
	uint32_t leader, members[MAX_NODES], n;
};

extern struct node nodes[MAX_NODES];
extern int n_nodes, n_keys;
extern uint64_t now_ns, event_order, rnd_state, seed;
extern struct event **heap;
extern size_t n_heap, heap_size;
extern uint64_t link_clear[MAX_NODES][MAX_NODES]; /* time when the last message arrives: FIFO */
extern uint64_t link_breaks[MAX_NODES][MAX_NODES], link_down_until[MAX_NODES][MAX_NODES];
extern bool trace, quiet_phase;
extern enum bug bug;
extern uint64_t truth[MAX_KEYS];       /* last value written, 0 deleted */
extern uint64_t small_since[MAX_KEYS]; /* if it is no large one */
/* In every third run some values are longer than what can be sent. */
#define SIM_MAX_DATA sizeof(uint64_t)
static inline bool is_large(uint64_t value)
{
	return seed % 3 == 2 && value % 6 == 5;
}
extern uint64_t next_value[MAX_KEYS];
extern bool lost[MAX_KEYS]; /* only copy of the truth died: an older value may come back */
extern bool gone[MAX_KEYS]; /* deleted, and removed from all files that count */
extern struct view view;
extern uint32_t slots_now[SLOTS];
extern bool have_slots;
extern uint64_t stat_locks, stat_grants, stat_recoveries, stat_lost, stat_events, stat_removed, stat_orphans,
	stat_reads, stat_copies, stat_revokes, stat_pins, stat_refused;
extern uint64_t stat_late, stat_late_committed;
extern struct recovery_id late_id; /* newest recovery that was told of a database that is late */
extern uint64_t stat_slots, stat_dirty, stat_scans, stat_compared;
extern uint64_t stat_contents, stat_content_parts, stat_content_sent, stat_content_wrong;

#define TRACE(...)                                                                                                     \
	do {                                                                                                           \
		if (trace) {                                                                                           \
			printf("%10.3f ", (double)now_ns / 1e6);                                                       \
			printf(__VA_ARGS__);                                                                           \
			printf("\n");                                                                                  \
		}                                                                                                      \
	} while (0)

/* sim_db_world.c */
bool link_is_up(uint32_t a, uint32_t b);
struct event *at(uint64_t t, void (*fn)(struct event *), int node, int a);
struct event *pop(void);
struct mono mono(void);
uint64_t rnd(uint64_t n);
void run_until(uint64_t t);
void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void send_any(void *priv, uint32_t to, enum lane_proc proc, const void *msg);

/* sim_db_client.c */
extern const struct record_ops record_ops;
void check_readonly(struct node *n);
int key_index(struct record_key key);
struct record_key key_of(int k);
void clients_kill(struct node *n);
void clients_start(struct node *n);

/* sim_db_vacuum.c */
extern const struct vacuum_ops vacuum_ops;
void vacuum_event(struct event *e); /* runs at chance, all over the cluster */
void vacuum_all(void);              /* after quiet: full runs everywhere; fails if one does not end well */
void vacuum_check_removed(struct node *n, int key);
void vacuum_check_clean(void);
void vacuum_on_message(struct node *n, uint32_t from, const struct lane_vacuum *m);
void vacuum_on_reply(struct node *n, uint32_t from, const struct lane_vacuum_answer *m);

/* sim_db_sticky.c */
void sticky_start(struct node *n);
void sticky_owned(struct node *n, int key, uint64_t rsn);
void sticky_answered(struct node *n, int key);
void sticky_check(struct node *n, int key, const char *what);
void sticky_gave(struct node *n, int key);

/* sim_db_digest.c */
void file_changed(struct node *n, int key, uint32_t before); /* before: data master that was there, SLOT_DIGEST_NONE */
uint32_t file_dmaster(const struct node *n, int key);
void digest_check_told(struct node *n, const struct recovery_id *id);
void digest_check_prepared(struct node *n, const struct recovery_id *id, const uint32_t *slots);

/* sim_db_content.c */
bool content_equal(const struct content *a, const struct content *b);
void content_commit(struct node *n);
int content_start_state(void *priv, void *db);
const uint64_t *content_parts(void *priv, void *db, uint32_t *count);
void content_forget(void *priv, void *db);
int content_start_read(void *priv, void *db, const struct content_map *map);
void content_read_continue(void *priv, void *db);
int content_start_replace(void *priv, void *db, const struct rec_replace *what);
int content_feed(void *priv, void *db, const uint8_t *records, size_t len, bool last);

/* sim_db_node.c */
void job(struct node *n, void *db, void (*fn)(struct event *), uint64_t after); /* within that time */
bool job_alive(const struct event *e);
bool in_view(uint32_t pnn);
void dbd_kill(struct node *n);
void dbd_start(struct node *n);
void deliver(struct event *e);
void lead(struct node *n);
void poll_node(struct node *n);
void wish(struct node *n);

#endif
