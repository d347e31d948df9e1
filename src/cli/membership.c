/* Requests to clusterd, connections that may be lost meanwhile, and nodes as arguments. */
#include "membership.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "text.h"

#define CLUSTER_INTERFACE 0x20c70001U
#define CLUSTER_VERSION   1U
#define ANSWER_MS         2000U /* clusterd answers at once, or not at all */

uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void clock_pause(uint32_t ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

uint32_t clock_left(uint64_t until)
{
	uint64_t now = clock_ms();

	return now >= until ? 0 : until - now > UINT32_MAX ? UINT32_MAX : (uint32_t)(until - now);
}

uint32_t cli_limit_ms(const struct cli *cli, uint32_t default_ms)
{
	return cli->opt.timeout_given ? cli->opt.timeout_ms : default_ms;
}

int membership_connect(struct cli *cli, uint32_t timeout_ms)
{
	if (cli->c != NULL && ctdb_client_is_connected(cli->c)) {
		return 0;
	}
	TALLOC_FREE(cli->c);
	return ctdb_open(NULL, cli->opt.socket, timeout_ms, &cli->c);
}

const char *membership_connect_text(int err)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return "not permitted to connect to the CTDB daemon of this node: run ctdb as root";
	case ETIMEDOUT:
		return "the CTDB daemon of this node does not answer: see its log";
	case EPROTO:
		return "what listens at the socket does not speak the protocol of CTDB";
	default:
		return "no CTDB daemon of this node listens: start ctdbd, or see its log";
	}
}

int membership_call(struct cli *cli, uint32_t node, enum cluster_proc proc, const struct ctdb_blob *payload,
		    uint32_t timeout_ms, struct ctdb_data *result)
{
	const struct ctdb_interface_call call = {
		.node = node,
		.endpoint = "cluster",
		.interface = CLUSTER_INTERFACE,
		.version = CLUSTER_VERSION,
		.procedure = (uint32_t)proc,
		.payload = {.data = payload != NULL ? payload->data : NULL, .len = payload != NULL ? payload->len : 0},
		.timeout_ms = timeout_ms,
	};
	int32_t status = 0;
	int err = ctdb_interface_call(cli->c, &call, cli->c, &status, result);

	return err != 0 ? err : status;
}

static uint32_t answer_ms(const struct cli *cli)
{
	return cli->opt.timeout_ms < ANSWER_MS ? cli->opt.timeout_ms : ANSWER_MS;
}

int membership_status(struct cli *cli, uint32_t node, struct cluster_status **status)
{
	struct cluster_status *s = talloc_zero(cli->c, struct cluster_status);
	struct ctdb_data result = {.len = 0};
	int err =
		s == NULL ? ENOMEM : membership_call(cli, node, CLUSTER_PROC_GET_STATUS, NULL, answer_ms(cli), &result);

	if (err == 0) {
		err = cluster_status_decode(s, result.data, result.len, s);
	}
	if (err != 0) {
		talloc_free(s);
		return err;
	}
	*status = s;
	return 0;
}

int membership_own(struct cli *cli, uint32_t node, struct cluster_own *own)
{
	struct ctdb_data result = {.len = 0};
	int err = membership_call(cli, node, CLUSTER_PROC_GET_OWN, NULL, answer_ms(cli), &result);

	return err != 0 ? err : cluster_own_decode(cli->c, result.data, result.len, own);
}

bool membership_own_flags(struct cli *cli, uint32_t pnn, uint32_t *flags)
{
	const uint32_t mask = CTDB_NODE_STOPPED | CTDB_NODE_BANNED | CTDB_NODE_DISABLED;
	struct cluster_own own;

	if (membership_own(cli, pnn, &own) != 0) {
		return false;
	}
	*flags = (*flags & ~mask) | (own.flags & mask);
	return true;
}

/* The first time it only learns where things stand, so nothing is missed between a look and the wait for a change. */
int membership_pause(struct cli *cli, struct cluster_events_args *at, uint32_t wait_ms)
{
	struct cluster_events events;
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob = {.len = 0};
	uint64_t until = clock_ms() + wait_ms;
	int err;

	at->timeout_ms = wait_ms < 30000 ? wait_ms : 30000;
	err = cluster_events_args_encode(cli->c, at, &blob);
	err = err != 0 ? err
		       : membership_call(cli, CTDB_NODE_CURRENT, CLUSTER_PROC_EVENTS, &blob, at->timeout_ms + ANSWER_MS,
					 &result);
	err = err != 0 ? err : cluster_events_decode(cli->c, result.data, result.len, &events);
	talloc_free(blob.data);
	if (err == 0) {
		at->incarnation = events.incarnation;
		at->after = events.newest;
		return 0;
	}
	if (err != ENOTCONN) {
		clock_pause(clock_left(until));
	}
	return err == ENOTCONN ? ENOTCONN : 0;
}

uint32_t membership_leader(const struct cluster_status *s)
{
	bool lease = s->arbitration == CLUSTER_ARBITRATION_HELD || s->state.active;

	return lease ? s->state.view.leader : CTDB_NODE_UNKNOWN;
}

const char *age_text(uint64_t ms, char buf[32])
{
	uint64_t s = ms / 1000;

	if (s < 120) {
		snprintf(buf, 32, "%" PRIu64 " s", s);
	} else if (s < 7200) {
		snprintf(buf, 32, "%" PRIu64 " min", s / 60);
	} else if (s < 2 * 86400) {
		snprintf(buf, 32, "%" PRIu64 " h", s / 3600);
	} else {
		snprintf(buf, 32, "%" PRIu64 " days", s / 86400);
	}
	return buf;
}

/* ---- nodes as arguments ---- */

const struct ctdb_node *node_find(const struct ctdb_nodemap *map, uint32_t pnn)
{
	for (uint32_t i = 0; i < map->n; i++) {
		if (map->nodes[i].pnn == pnn && (map->nodes[i].flags & CTDB_NODE_DELETED) == 0) {
			return &map->nodes[i];
		}
	}
	return NULL;
}

static uint32_t node_default(const struct cli *cli)
{
	return cli->opt.node == CTDB_NODE_CURRENT ? ctdb_client_pnn(cli->c) : cli->opt.node;
}

static int number_of(struct cli *cli, const char *word, const struct ctdb_nodemap *map, uint32_t *pnn)
{
	uint64_t v;

	if (strcmp(word, "local") == 0) {
		*pnn = ctdb_client_pnn(cli->c);
		return 0;
	}
	if (!text_number(word, UINT32_MAX, &v)) {
		return cli_fail(cli, EXIT_USAGE, "\"%s\" is no node: a number as in ctdb node list, or \"local\"",
				word);
	}
	if (node_find(map, (uint32_t)v) == NULL) {
		return cli_fail(cli, EXIT_NOT_FOUND, "there is no node %s: ctdb node list shows which there are", word);
	}
	*pnn = (uint32_t)v;
	return 0;
}

int node_arg(struct cli *cli, const char *word, uint32_t *pnn)
{
	struct ctdb_nodemap *map = NULL;
	int err;

	if (word == NULL) {
		*pnn = node_default(cli);
		return 0;
	}
	if ((cli->opt.given & OPT_NODE) != 0) {
		return cli_fail(cli, EXIT_USAGE, "name the node once: as an argument or with -n");
	}
	err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);
	return err != 0 ? cli_fail_api(cli, err, "cannot list nodes") : number_of(cli, word, map, pnn);
}

int node_list_arg(struct cli *cli, const char *word, const struct ctdb_nodemap *map, uint32_t **pnns, uint32_t *n)
{
	bool all = word != NULL && strcmp(word, "all") == 0;
	char *words = talloc_strdup(cli->c, word != NULL && !all ? word : ""), *save = NULL;
	uint32_t *list = talloc_zero_array(cli->c, uint32_t, map->n + strlen(words != NULL ? words : "") + 1);
	uint32_t count = 0;
	int code = words == NULL || list == NULL ? cli_fail(cli, EXIT_ERROR, "out of memory") : 0;

	for (uint32_t i = 0; all && code == 0 && i < map->n; i++) {
		if ((map->nodes[i].flags & CTDB_NODE_DELETED) == 0) {
			list[count++] = map->nodes[i].pnn;
		}
	}
	if (word == NULL && code == 0) {
		list[count++] = node_default(cli);
	}
	for (char *w = code == 0 ? strtok_r(words, ",", &save) : NULL; w != NULL && code == 0;
	     w = strtok_r(NULL, ",", &save)) {
		code = number_of(cli, w, map, &list[count++]);
	}
	if (code == 0 && count == 0) {
		code = cli_fail(cli, EXIT_USAGE, "\"%s\" names no node: \"all\", or numbers joined by commas", word);
	}
	*pnns = list;
	*n = count;
	return code;
}
