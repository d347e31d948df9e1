/* Cases: looking after a node, tunables, statistics, public addresses, the gateway to the daemons' interfaces. */
#include "suite.h"

#include <strings.h>

static void ignore(void *priv, uint64_t srvid, struct ctdb_data data)
{
}

static void case_ping(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		uint32_t n = 0;

		CHECK_OK(p, BOTH(p, ctdb_ping(p->c, i, &n), ctdb_ping_send(p, p->c, i), ctdb_ping_recv(req, &n)));
		CHECK(i > 0 || n >= 1, "node %u: %u clients, though this one is connected", i, n);
	}
	talloc_free(p);
}

/* A process counts if it is a client of the node that is asked. */
static void case_process(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, s->n_nodes - 1);
	struct ctdb_listener *l = NULL;
	uint64_t srvid = suite_srvid(7);
	bool exists = false;

	CHECK_OK(q, p_listen(q, srvid, ignore, NULL, &l));
	CHECK_OK(p, BOTH(p, ctdb_process_exists(p->c, q->pnn, getpid(), &exists),
			 ctdb_process_exists_send(p, p->c, q->pnn, getpid()), ctdb_process_exists_recv(req, &exists)));
	CHECK(exists, "this process is no client of node %u", q->pnn);
	CHECK_OK(p, BOTH(p, ctdb_process_exists(p->c, 0, 1, &exists), ctdb_process_exists_send(p, p->c, 0, 1),
			 ctdb_process_exists_recv(req, &exists)));
	CHECK(!exists, "process 1 is a client");
	CHECK_OK(p, BOTH(p, ctdb_pid_srvid_exists(p->c, q->pnn, getpid(), srvid, &exists),
			 ctdb_pid_srvid_exists_send(p, p->c, q->pnn, getpid(), srvid),
			 ctdb_pid_srvid_exists_recv(req, &exists)));
	CHECK(exists, "srvid not found on node %u", q->pnn);
	CHECK_OK(p, BOTH(p, ctdb_pid_srvid_exists(p->c, q->pnn, getpid(), srvid + 1, &exists),
			 ctdb_pid_srvid_exists_send(p, p->c, q->pnn, getpid(), srvid + 1),
			 ctdb_pid_srvid_exists_recv(req, &exists)));
	CHECK(!exists, "a srvid that nobody registered");
	talloc_free(q);
	talloc_free(p);
}

static void case_capabilities(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		uint32_t caps = 0, seconds = 99;

		CHECK_OK(p, BOTH(p, ctdb_get_capabilities(p->c, i, &caps), ctdb_get_capabilities_send(p, p->c, i),
				 ctdb_get_capabilities_recv(req, &caps)));
		CHECK((caps & CTDB_CAP_LEADER) != 0 && (caps & CTDB_CAP_LMASTER) != 0, "node %u: %#x", i, caps);
		CHECK_OK(p, BOTH(p, ctdb_get_ban_state(p->c, i, &seconds), ctdb_get_ban_state_send(p, p->c, i),
				 ctdb_get_ban_state_recv(req, &seconds)));
		CHECK(seconds == 0, "node %u is banned for %u s", i, seconds);
	}
	talloc_free(p);
}

static void case_debug_level(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	uint32_t node = s->n_nodes - 1;
	int32_t before = -1, now = -1;

	CHECK_OK(p, BOTH(p, ctdb_get_debug_level(p->c, node, &before), ctdb_get_debug_level_send(p, p->c, node),
			 ctdb_get_debug_level_recv(req, &before)));
	CHECK_OK(p, BOTH(p, ctdb_set_debug_level(p->c, node, 1), ctdb_set_debug_level_send(p, p->c, node, 1),
			 ctdb_set_debug_level_recv(req)));
	CHECK_OK(p, BOTH(p, ctdb_get_debug_level(p->c, node, &now), ctdb_get_debug_level_send(p, p->c, node),
			 ctdb_get_debug_level_recv(req, &now)));
	CHECK(now == 1, "set to 1, is %d", now);
	CHECK_OK(p, BOTH(p, ctdb_set_debug_level(p->c, node, before), ctdb_set_debug_level_send(p, p->c, node, before),
			 ctdb_set_debug_level_recv(req)));
	talloc_free(p);
}

static uint32_t tunable(struct peer *p, uint32_t node, const char *name)
{
	uint32_t value = 0;

	CHECK_OK(p, BOTH(p, ctdb_get_tunable(p->c, node, name, &value), ctdb_get_tunable_send(p, p->c, node, name),
			 ctdb_get_tunable_recv(req, &value)));
	return value;
}

static void set_tunable(struct peer *p, uint32_t node, const char *name, uint32_t value)
{
	bool obsolete = true;

	CHECK_OK(p, BOTH(p, ctdb_set_tunable(p->c, node, name, value, &obsolete),
			 ctdb_set_tunable_send(p, p->c, node, name, value), ctdb_set_tunable_recv(req, &obsolete)));
	CHECK(!obsolete, "%s", name);
}

static void case_tunables(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	uint32_t node = s->n_nodes - 1, before, value;
	struct ctdb_tunable_list *list = NULL;
	unsigned int found = 0;

	CHECK_OK(p, BOTH(p, ctdb_list_tunables(p->c, node, p, &list), ctdb_list_tunables_send(p, p->c, node),
			 ctdb_list_tunables_recv(req, p, &list)));
	for (uint32_t i = 0; i < list->n; i++) {
		found += strcmp(list->names[i], "TraverseTimeout") == 0;
		(void)tunable(p, node, list->names[i]);
	}
	CHECK(found == 1 && list->n >= 40, "%u tunables, TraverseTimeout %u times", list->n, found);
	before = tunable(p, node, "TraverseTimeout");
	CHECK(tunable(p, node, "traversetimeout") == before, "upper and lower case differ");
	set_tunable(p, node, "TraverseTimeout", before + 1);
	CHECK(tunable(p, node, "TraverseTimeout") == before + 1, "not set");
	set_tunable(p, node, "TraverseTimeout", before);
	CHECK_ERR(p,
		  BOTH(p, ctdb_get_tunable(p->c, node, "NoSuchTunable", &value),
		       ctdb_get_tunable_send(p, p->c, node, "NoSuchTunable"), ctdb_get_tunable_recv(req, &value)),
		  ENOENT);
	talloc_free(p);
}

static struct ctdb_statistics *statistics(struct peer *p, uint32_t node)
{
	struct ctdb_statistics *stats = NULL;

	CHECK_OK(p, BOTH(p, ctdb_get_statistics(p->c, node, p, &stats), ctdb_get_statistics_send(p, p->c, node),
			 ctdb_get_statistics_recv(req, p, &stats)));
	return stats;
}

static void case_statistics(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_db *db = open_db(p, "statistics", CTDB_DB_VOLATILE);
	struct ctdb_db_statistics *of_db = NULL;
	struct ctdb_statistics *before = statistics(p, 0), *after;

	CHECK(before->clients >= 1, "no clients");
	CHECK(before->started.tv_sec > 0 && before->now.tv_sec >= before->started.tv_sec, "started after now");
	for (unsigned int i = 0; i < 10; i++) {
		statistics(p, 0);
	}
	after = statistics(p, 0);
	CHECK(after->client_packets_received >= before->client_packets_received + 10, "%u packets, then %u",
	      before->client_packets_received, after->client_packets_received);
	CHECK(after->client.req_control >= before->client.req_control + 10, "%u controls, then %u",
	      before->client.req_control, after->client.req_control);
	CHECK_OK(p, BOTH(p, ctdb_reset_statistics(p->c, 0), ctdb_reset_statistics_send(p, p->c, 0),
			 ctdb_reset_statistics_recv(req)));
	CHECK(statistics(p, 0)->client_packets_received < after->client_packets_received, "not reset");
	CHECK_OK(p, BOTH(p, ctdb_get_db_statistics(p->c, 0, ctdb_db_id(db), p, &of_db),
			 ctdb_get_db_statistics_send(p, p->c, 0, ctdb_db_id(db)),
			 ctdb_get_db_statistics_recv(req, p, &of_db)));
	CHECK(of_db->n_hot_keys == 0, "%u hot keys of a new database", of_db->n_hot_keys);
	talloc_free(p);
}

/* None is configured. */
static void case_public_ips(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_public_ip_list *list = NULL;
	struct ctdb_public_ip_info *info = NULL;
	union ctdb_addr addr, again;
	char text[CTDB_ADDR_TEXT_MAX];

	for (unsigned int available = 0; available < 2; available++) {
		CHECK_OK(p, BOTH(p, ctdb_get_public_ips(p->c, 0, available, p, &list),
				 ctdb_get_public_ips_send(p, p->c, 0, available),
				 ctdb_get_public_ips_recv(req, p, &list)));
		CHECK(list->n == 0, "%u addresses", list->n);
	}
	CHECK(ctdb_addr_parse("10.1.2.3", &addr) == 0 && ctdb_addr_parse("10.1.2", &again) == EINVAL, "parse");
	CHECK(strcmp(ctdb_addr_format(&addr, text), "10.1.2.3") == 0, "%s", text);
	CHECK(ctdb_addr_parse("10.1.2.3", &again) == 0 && ctdb_addr_equal(&addr, &again), "not equal");
	CHECK_ERR(p,
		  BOTH(p, ctdb_get_public_ip_info(p->c, 0, &addr, p, &info),
		       ctdb_get_public_ip_info_send(p, p->c, 0, &addr), ctdb_get_public_ip_info_recv(req, p, &info)),
		  ENOENT);
	talloc_free(p);
}

/* Only this project's daemons have interfaces behind the socket. */
static void case_interface(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_interface_call call = {
		.node = CTDB_NODE_CURRENT, .endpoint = "nobody", .interface = 1, .version = 1, .procedure = 1};
	struct ctdb_data result = {.len = 0};
	int32_t status = 0;
	int err = BOTH(p, ctdb_interface_call(p->c, &call, p, &status, &result),
		       ctdb_interface_call_send(p, p->c, &call), ctdb_interface_call_recv(req, p, &status, &result));

	if (s->old) {
		CHECK(err == ENOSYS, "%s", strerror(err));
	} else {
		CHECK(err == 0 && status == ENOENT && result.len == 0, "%s, status %d", strerror(err), status);
	}
	talloc_free(p);
}

static void case_verdict(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	char *text = NULL;
	int err = BOTH(p, ctdb_get_verdict(p->c, 0, p, &text), ctdb_get_verdict_send(p, p->c, 0),
		       ctdb_get_verdict_recv(req, p, &text));

	if (s->old) {
		CHECK(err == EREMOTEIO, "%s", strerror(err));
	} else {
		CHECK(err == 0 && text[0] != '\0', "%s", strerror(err));
	}
	talloc_free(p);
}

const struct suite_case node_cases[] = {
	{"ping", 1, case_ping},
	{"process", 1, case_process},
	{"capabilities", 1, case_capabilities},
	{"debug_level", 1, case_debug_level},
	{"tunables", 1, case_tunables},
	{"statistics", 1, case_statistics},
	{"public_ips", 1, case_public_ips},
	{"interface", 1, case_interface},
	{"verdict", 1, case_verdict},
	{NULL},
};
