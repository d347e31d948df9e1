/* Walking through databases. */
#include "walk.h"

#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tdb.h>

#include "protocol/classic_native.h"

#define PIECE_MS     200U
#define IDLE_MS      30000U /* longer than daemons wait for each other */
#define RECOVERY_MS  500U
#define REQID        1U
#define CLIENT_RANGE 0xBE00000000000000ULL

static const char seqnum_key[] = "__db_sequence_number__"; /* its NUL belongs to it */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

void walk_catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)}, before;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		bool ignored = sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN;

		if (numbers[i] != SIGHUP || !ignored) { /* nohup */
			sigaction(numbers[i], &act, NULL);
		}
	}
}

bool walk_interrupted(void)
{
	return interrupted != 0;
}

struct ctdb_data walk_seqnum_key(void)
{
	return (struct ctdb_data){.data = (const uint8_t *)seqnum_key, .len = sizeof(seqnum_key)};
}

bool walk_is_seqnum(struct ctdb_data key)
{
	return key.len == sizeof(seqnum_key) && memcmp(key.data, seqnum_key, key.len) == 0;
}

static int interrupted_after(struct cli *cli, const struct walk *w)
{
	return cli_fail(cli, EXIT_ERROR, "interrupted after %llu records", (unsigned long long)w->n);
}

/* Whether this record is wanted, and what fn says to it. */
static int give(struct walk *w, bool may_be_internal, const struct walk_record *r)
{
	if ((r->data.len == 0 && !w->with_empty) || (may_be_internal && !w->with_internal && walk_is_seqnum(r->key))) {
		return 0;
	}
	w->n++;
	return w->fn(w->priv, r);
}

/* ---- the cluster ---- */

struct walking {
	struct cli *cli;
	const struct db_info *db;
	struct walk *w;
	uint64_t srvid;
	uint64_t n_messages;
	bool replicated;
	bool ended, stop;
	int code;
};

/* The last message: empty, or with a word about how it went. */
static int end_of(struct walking *g, struct ctdb_data end)
{
	struct classic_traverse_end e;

	if (end.len == 0) {
		return 0;
	}
	if (classic_traverse_end_ndecode(g->cli->c, end.data, end.len, &e, NULL) != 0) {
		return cli_fail(g->cli, EXIT_ERROR, "the daemon ended the walk by something malformed");
	}
	return e.status == 0 ? 0
			     : cli_fail(g->cli, EXIT_ERROR,
					"records of database \"%s\" may be missing after %llu: %s. Do it again",
					g->db->name, (unsigned long long)g->w->n, e.text);
}

static void on_record(void *priv, uint64_t srvid, struct ctdb_data message)
{
	struct walking *g = priv;
	struct ctdb_wire_record wire;
	struct walk_record r;

	if (g->ended || g->code != 0) {
		return;
	}
	g->n_messages++;
	if (ctdb_wire_get_record(message, &wire) != 0) {
		g->code = cli_fail(g->cli, EXIT_ERROR, "malformed record from the daemon");
	} else if (wire.reqid != REQID) {
		return;
	} else if (wire.key.len == 0) {
		g->ended = true;
		g->code = end_of(g, wire.value);
	} else if (wire.value.len >= CTDB_WIRE_RECORD_HEADER_SIZE) {
		r.key = wire.key;
		ctdb_wire_get_record_header(wire.value.data, &r.header);
		r.data = (struct ctdb_data){.data = wire.value.data + CTDB_WIRE_RECORD_HEADER_SIZE,
					    .len = wire.value.len - CTDB_WIRE_RECORD_HEADER_SIZE};
		g->code = walk_interrupted() ? interrupted_after(g->cli, g->w) : give(g->w, g->replicated, &r);
	}
	g->stop = g->ended || g->code != 0;
}

/* 0; EAGAIN: a recovery runs; ENOSYS: such a control is not known; or exit code below 0. */
static int start_as(struct walking *g, uint32_t opcode)
{
	struct classic_traverse_start_ext start = {
		.db_id = g->db->id, .reqid = REQID, .srvid = g->srvid, .withemptyrecords = g->w->with_empty};
	struct ctdb_control control = {.node = CTDB_NODE_CURRENT, .opcode = opcode};
	struct ctdb_control_reply *reply = NULL;
	struct ctdb_blob blob;
	int err = classic_traverse_start_ext_nencode(g->cli->c, &start, &blob);

	if (err == 0) {
		control.data = (struct ctdb_data){.data = blob.data, .len = blob.len};
		err = ctdb_control(g->cli->c, &control, g->cli->c, &reply);
	}
	if (err != 0) {
		return -cli_fail_api(g->cli, err, "cannot walk through database \"%s\"", g->db->name);
	}
	if (reply->status == 0) {
		return 0;
	}
	if (reply->error[0] == '\0' && opcode == CLASSIC_CONTROL_TRAVERSE_START_TOLD) {
		return ENOSYS;
	}
	cli_fail(g->cli, EXIT_ERROR, "cannot walk through database \"%s\": %s", g->db->name,
		 reply->error[0] != '\0' ? reply->error : "the daemon refused");
	return strstr(reply->error, "a recovery is running") != NULL ? EAGAIN : -EXIT_ERROR;
}

static int start(struct walking *g)
{
	uint32_t waited = 0;
	int ret = start_as(g, CLASSIC_CONTROL_TRAVERSE_START_TOLD);

	while (ret == EAGAIN && waited < g->cli->opt.timeout_ms && !walk_interrupted()) {
		g->cli->error[0] = '\0';
		usleep(RECOVERY_MS * 1000);
		waited += RECOVERY_MS;
		ret = start_as(g, CLASSIC_CONTROL_TRAVERSE_START_TOLD);
	}
	if (ret == ENOSYS) {
		g->w->unchecked = true;
		ret = start_as(g, CLASSIC_CONTROL_TRAVERSE_START_EXT);
	}
	return ret < 0 ? -ret : ret == EAGAIN ? EXIT_TIMEOUT : ret == 0 ? 0 : EXIT_ERROR;
}

static int wait_for_end(struct walking *g)
{
	uint32_t limit = g->cli->opt.timeout_given ? g->cli->opt.timeout_ms : IDLE_MS, idle = 0;
	uint64_t seen = 0;

	while (!g->stop) {
		int err = ctdb_client_wait(g->cli->c, PIECE_MS, &g->stop);

		if (err != 0 && err != ETIMEDOUT && err != EINTR) {
			return cli_fail_api(g->cli, err, "database \"%s\", after %llu records", g->db->name,
					    (unsigned long long)g->w->n);
		}
		if (walk_interrupted() && !g->ended) {
			return interrupted_after(g->cli, g->w);
		}
		idle = g->n_messages != seen ? 0 : idle + PIECE_MS;
		seen = g->n_messages;
		if (idle >= limit && !g->stop) {
			return cli_fail(g->cli, EXIT_TIMEOUT,
					"database \"%s\": nothing came for %u s after %llu records", g->db->name,
					limit / 1000, (unsigned long long)g->w->n);
		}
	}
	return g->code;
}

int walk_cluster(struct cli *cli, const struct db_info *db, struct walk *w)
{
	struct ctdb_listener *listener = NULL;
	struct walking g = {.cli = cli,
			    .db = db,
			    .w = w,
			    .srvid = CLIENT_RANGE | ((uint64_t)(random() & 0xFFFFFF) << 32) | (uint32_t)getpid(),
			    .replicated = ctdb_db_flags_model(db->flags) != CTDB_DB_VOLATILE};
	int err, code;

	w->n = 0;
	w->unchecked = false;
	err = ctdb_listen(cli->c, g.srvid, on_record, &g, cli->c, &listener);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot walk through database \"%s\"", db->name);
	}
	code = start(&g);
	code = code == 0 ? wait_for_end(&g) : code;
	g.stop = g.ended = true; /* what still comes is for nobody */
	talloc_free(listener);
	return code;
}

/* ---- this node's file ---- */

struct local {
	struct cli *cli;
	struct walk *w;
	bool replicated;
	uint64_t end_ms; /* 0: none */
	int code;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int on_local(struct tdb_context *tdb, TDB_DATA key, TDB_DATA value, void *priv)
{
	struct walk_record r = {.key = {.data = key.dptr, .len = key.dsize}};
	struct local *l = priv;

	if (walk_interrupted()) {
		l->code = interrupted_after(l->cli, l->w);
	} else if (l->end_ms != 0 && now_ms() >= l->end_ms) {
		l->code = cli_fail(l->cli, EXIT_TIMEOUT, "the file was not read within %u ms: %llu records were",
				   l->cli->opt.timeout_ms, (unsigned long long)l->w->n);
	} else if (value.dsize >= CTDB_WIRE_RECORD_HEADER_SIZE) {
		ctdb_wire_get_record_header(value.dptr, &r.header);
		r.data = (struct ctdb_data){.data = value.dptr + CTDB_WIRE_RECORD_HEADER_SIZE,
					    .len = value.dsize - CTDB_WIRE_RECORD_HEADER_SIZE};
		l->code = give(l->w, l->replicated, &r);
	}
	return l->code;
}

/* Read only: without locks, so that nobody waits for this, and this for nobody. */
int walk_local(struct cli *cli, const struct db_info *db, struct walk *w)
{
	struct local l = {.cli = cli, .w = w, .replicated = ctdb_db_flags_model(db->flags) != CTDB_DB_VOLATILE};
	struct tdb_context *tdb;
	char *path = NULL;
	int err = ctdb_get_db_path(cli->c, CTDB_NODE_CURRENT, db->id, cli->c, &path);

	w->n = 0;
	if (err != 0) {
		return cli_fail_api(cli, err, "database \"%s\": where its file is", db->name);
	}
	tdb = tdb_open(path, 0, 0, O_RDONLY, 0);
	if (tdb == NULL) {
		return cli_fail(cli, EXIT_ERROR, "database \"%s\": %s: %s", db->name, path, strerror(errno));
	}
	l.end_ms = cli->opt.timeout_given ? now_ms() + cli->opt.timeout_ms : 0;
	if (tdb_traverse_read(tdb, on_local, &l) == -1 && l.code == 0) {
		l.code = cli_fail(cli, EXIT_ERROR,
				  "database \"%s\": %s: %s after %llu records: it may have changed "
				  "meanwhile, do it again",
				  db->name, path, tdb_errorstr(tdb), (unsigned long long)w->n);
	}
	tdb_close(tdb);
	return l.code;
}
