/* Inside of recovery*.c and lineage.c: recovery on real files, links and views. */
#ifndef DBD_RECOVERY_INT_H
#define DBD_RECOVERY_INT_H

#include "core/recovery.h"
#include "dbd/lane.h"
#include "dbd/records.h"
#include "dbd/worker.h"
#include "protocol/db.h"
#include "shared/mono_timer.h"

/* The set that the last recovery we led was for. */
struct led {
	uint64_t term;
	uint32_t members[LANE_NODES], n;
	uint64_t incarnation[LANE_NODES], breaks[LANE_NODES]; /* by index of members */
	bool lmaster[LANE_NODES];
};

struct recovery {
	struct dbd *dbd;
	struct rec_member *member;
	struct rec_leader *leader;
	struct mono_timer *member_timer, *lead_timer;
	struct mono slice_began;
	struct dlist jobs; /* struct db_job */
	uint32_t contents_read; /* persistent and replicated files, since the newest BEGIN */
	struct dlist freezes;
	char *lineage_saved[2]; /* as the files have it; NULL: unknown. By whether of persistent databases */
	/* lineage.c: of persistent databases. Versions of the text: the newest, that which is being written, that which is on disk. */
	uint64_t lineage_version, lineage_writing, lineage_written;
	struct tevent_req *lineage_write;
	struct mono lineage_since; /* lineage_write began */
	bool lineage_soon; /* the next write begins after this event */
	int lineage_log;	   /* of the others: the file is open, lines are appended; 0 or below: it is not */
	size_t lineage_log_len;	   /* what was appended since all of it was written */
	struct dlist lineage_held; /* messages that wait for it */
	/* As of the last END, cleared by BEGIN and fence. */
	bool normal, fenced, ever_normal;
	bool working; /* from the first BEGIN to END or fence: what "started" is the begin of */
	uint32_t generation;
	uint32_t *slots, n_slots; /* kept until the next END */
	uint32_t *members, n_members;
	struct recovery_id id;
	struct recovery_times times;
	/* Leading. */
	struct led led;
	struct mono led_at; /* when the last attempt began */
	bool wanted;
	struct mono not_before;		     /* no recovery for a mere wish before that */
	struct mono missing_since[LANE_NODES]; /* link to a member of the view is down */
	struct mono trying_since;	       /* no recovery has come to its end since */
	struct mono blamed[LANE_NODES];
	struct rpc_client *clusterd;
	struct mono_timer *patience_timer;
	/* A wish that was told the leader and has not been followed by a BEGIN. */
	uint32_t wish_generation;
	char wish[200];
	bool wish_full;
	bool full_wanted; /* by this node: until a full recovery has ended that began later */
	uint32_t full_seen; /* generation in which the newest reason for that was seen */
	struct db_recovery costs; /* without generation, wanted, reason */
	struct dlist waits;	  /* struct recovery_wait */
	bool rejoin; /* this node was fenced and is active again: nobody else may have noticed */
};

/* recovery_jobs.c */
int recovery_start_wipe(void *priv, void *db);
int recovery_strip(void *priv, void *db);
int recovery_start_scan(void *priv, void *db, const struct rec_scan_filter *filter);
int recovery_start_state(void *priv, void *db);
const uint64_t *recovery_parts(void *priv, void *db, uint32_t *n);
void recovery_contents_forget(void *priv, void *db);
int recovery_start_read(void *priv, void *db, const struct content_map *map);
int recovery_start_replace(void *priv, void *db, const struct rec_replace *what);
int recovery_replace_feed(void *priv, void *db, const uint8_t *records, size_t len, bool last);
void recovery_job_continue(void *priv, void *db);
void recovery_stop_jobs(void *priv, void *db);
void recovery_patience_check(void *priv); /* gives up what does not move */

/* freeze.c: volatile files are locked while this node may not act */
void freeze_all(struct recovery *r);
void freeze_end(struct recovery *r, struct db *db);  /* lets the file go as it is */
bool freeze_wipe(struct recovery *r, struct db *db); /* empties it, lets it go, answers rec_member_job_done(); false: it is not locked */
void freeze_stop(struct recovery *r, struct db *db); /* gives up a wipe that runs */
void freeze_forget(struct recovery *r, const struct db *db); /* it is being detached */
struct mono freeze_patience(struct recovery *r, struct mono now); /* gives up one that does not move; when to look again */

/* recovery_lead.c */
void recovery_lead(struct recovery *r); /* begins a recovery if this node leads and something asks for one */
void recovery_wish_again(struct recovery *r);

/* recovery_cost.c */
void recovery_cost_begun(struct recovery *r, uint32_t generation);
void recovery_cost_ended(struct recovery *r);
void recovery_cost_told(struct recovery *r); /* the other parts know of the end */

/* recovery_blame.c: who keeps a recovery from going on is reported to clusterd, which bans who does so again and again */
void recovery_blame(struct recovery *r, uint32_t node, int status, const char *text);
void recovery_blame_missing(struct recovery *r, uint32_t node, struct mono since); /* its dbd is not linked */
/* How long a node's own part may stand still; tunable RecoverTimeout is what others wait for it. */
uint32_t recovery_patience_ms(const struct recovery *r);

/* recovery.c */
void recovery_kick(struct recovery *r); /* the member's state machine may have something to do */
bool recovery_is_leader(const struct recovery *r);

/* lineage.c: what copies the files hold, in files that outlive dbd, and for persistent databases the machine's power */
int lineage_attach(struct recovery *r, struct db *db); /* gives a database its lineage; from the file if the copy was kept */
/*
 * The lineage of db has changed; NULL: of many. Volatile, replicated: the file says so on return. Persistent: a thread writes and syncs it, many changes at once; what
 * lets others conclude that it has moved (answers to BEGIN, states, PREPARED) has to go through lineage_hold(), so that it leaves after that.
 */
void lineage_save(struct recovery *r, const struct db *db);
/*
 * 0: the message, a struct of proc, was copied and leaves when the file says what is known now. ENOENT: it need not wait. ENOMEM: it may not leave, the sender has
 * failed. If the file cannot be written, or not for as long as recovery_patience_ms(), the leader gets an answer with that error instead: the file may say less
 * than is true, but nobody knows more than it says.
 */
int lineage_hold(struct recovery *r, uint32_t node, enum lane_proc proc, const void *msg);
struct mono lineage_patience(struct recovery *r, struct mono now); /* as freeze_patience() */
void lineage_forget_held(struct recovery *r); /* this node may not act any more */
int lineage_load(struct recovery *r);

#endif
