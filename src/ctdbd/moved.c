/* A node that has moved: asks until it has its place back. */
#include "moved.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "notify.h"
#include "shared/file_replace.h"
#include "shared/log.h"
#include "shared/node_id.h"

#define PAUSE_MS 2000
#define SAY_MS   60000
/* For the others to notice that the node is not where it was (then it is a copy of it), or to be started: who refuses
 * it may know least of all. */
#define CERTAIN_MS 30000

struct moved {
	struct daemon *d;
	struct node_id id;
	struct moved_ask ask;
	struct sockaddr_storage own;
	struct mono say_at, certain_at;
	sigset_t former; /* signal mask */
	struct sigaction hup;
	char last[1200]; /* what was said against it last, by whom */
};

/* ---- where things are ---- */

static bool own_address(const char *text, struct sockaddr_storage *addr)
{
	memset(addr, 0, sizeof(*addr));
	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)addr)->sin_addr) == 1) {
		addr->ss_family = AF_INET;
	} else if (inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)addr)->sin6_addr) == 1) {
		addr->ss_family = AF_INET6;
	}
	return addr->ss_family != 0;
}

int moved_possible(struct daemon *d, char **err)
{
	const struct conf *conf = d->conf;
	bool able = conf->transport.security != CONF_SECURITY_NONE && conf->transport.carrier == CONF_CARRIER_LINKS &&
		    conf->transport.interface_version != 1;
	struct node_id id;
	int ret = node_id_load(d, conf->path.db_state, &id, err);

	if (ret == ENOENT) {
		*err = d->lost;
	} else if (ret == 0 && !able) {
		*err = talloc_asprintf(
			d,
			"%s. It was node %u: if its address has changed, run 'ctdb node replace %u ADDRESS' on a "
			"member and copy the nodes file from there (with links, security = tls and interface version = "
			"2 it would do that by itself)",
			d->lost, id.pnn, id.pnn);
		ret = ENOENT;
	}
	return ret;
}

static int begin(struct moved *m, char **err)
{
	const struct conf *conf = m->d->conf;
	struct cluster_keys *keys;
	int ret = node_id_load(m, conf->path.db_state, &m->id, err);

	ret = ret != 0 ? ret : cluster_keys_load(m, conf->transport.key_file, &keys, err);
	if (ret == 0) {
		ret = link_tls_mesh_new(m, keys, &m->ask.tls);
		talloc_free(keys);
	}
	return ret;
}

/* The second address of the node, if it is still here. */
static const char *second_address(const struct moved *m)
{
	const struct conf_nodes *nodes = m->d->nodes;
	const struct conf_node *node = m->id.pnn < nodes->n ? &nodes->v[m->id.pnn] : NULL;
	bool here;
	int fd;

	if (node == NULL || node->deleted || node->n_addrs < 2) {
		return NULL;
	}
	fd = socket(node->addrs[1].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	here = fd >= 0 && bind(fd, (const struct sockaddr *)&node->addrs[1], sizeof(node->addrs[1])) == 0;
	if (fd >= 0) {
		close(fd);
	}
	if (!here) {
		log_warning("the second address of this node, %s, is not here any more: when the node is back, stop it "
			    "and use 'ctdb node replace' to give it another one",
			    node->texts[1]);
	}
	return here ? node->texts[1] : NULL;
}

static int start_log(struct moved *m, char **err)
{
	const struct daemon *d = m->d;
	enum log_level level = d->conf->logging.level;

	if (d->log_level != NULL) {
		(void)log_level_parse(d->log_level, &level);
	}
	return log_init(m->d, d->name, d->log_location, level, err);
}

/* To who started it as well: the start takes longer than usual. */
static void tell(const struct moved *m, const char *text)
{
	char status[1300];

	log_notice("%s", text);
	if (!log_is_stderr()) {
		fprintf(stderr, "%s: %s\n", m->d->name, text);
	}
	snprintf(status, sizeof(status), "STATUS=%s", text);
	notify_send(status);
}

/* ---- the answer ---- */

static bool has_address(const struct conf_node *node, const char *text)
{
	return !node->deleted && strcmp(node->text, text) == 0;
}

/* Where a symbolic link leads; on disk before the first daemon starts. */
static int write_nodes(const struct moved *m, const char *text, char **err)
{
	const char *path = m->d->conf->path.nodes;
	char resolved[PATH_MAX];
	struct stat st;
	int ret = realpath(path, resolved) == NULL || stat(resolved, &st) != 0 ? errno : 0;

	if (ret == 0) {
		ret = file_replace(resolved, text, strlen(text), st.st_mode & 0777, FILE_REPLACE_DURABLE);
	}
	if (ret != 0) {
		*err = talloc_asprintf(m->d,
				       "%s cannot be written: %s: copy it from another node, the cluster has the new "
				       "address of this node",
				       path, strerror(ret));
	}
	return ret;
}

static int take(struct moved *m, const char *text, char **err)
{
	struct daemon *d = m->d;
	struct conf_nodes *nodes;
	int ret = conf_nodes_parse(d, "the nodes list of the others", text, &nodes, err);

	if (ret == 0 && (m->id.pnn >= nodes->n || !has_address(&nodes->v[m->id.pnn], m->ask.from))) {
		*err = talloc_asprintf(d, "the nodes list of the others has another address for node %u than %s",
				       m->id.pnn, m->ask.from);
		ret = EPROTO;
	}
	ret = ret != 0 ? ret : write_nodes(m, text, err);
	ret = ret != 0 ? ret : conf_nodes_self(d, d->conf, nodes, &d->pnn, err);
	if (ret != 0) {
		return ret;
	}
	if (d->pnn != m->id.pnn) {
		*err = talloc_asprintf(d,
				       "%s: this node was node %u, but has the address of node %u as well: set node "
				       "address in [cluster]",
				       d->conf->path.nodes, m->id.pnn, d->pnn);
		return ENOTUNIQ;
	}
	d->nodes = nodes;
	d->lost = NULL;
	return 0;
}

/* ---- asking ---- */

static void note(struct moved *m, const char *who, const char *text)
{
	snprintf(m->last, sizeof(m->last), "%.64s: %.1000s", who, text);
}

/* What one round has found. */
struct round {
	bool later, refused, connected, silent;
};

/* 0: taken; EAGAIN: go on. */
static int ask_one(struct moved *m, const struct conf_node *node, struct round *round, char **err)
{
	struct link_list list = {.result = LINK_MOVED_LATER};
	TALLOC_CTX *tmp = talloc_new(m);
	char why[256];
	int ret;

	notify_send("EXTEND_TIMEOUT_USEC=120000000");
	ret = tmp == NULL ? ENOMEM : moved_ask(tmp, &m->ask, &node->addr, &list, why, sizeof(why));

	if (ret == ECANCELED || ret == ENOMEM) {
		talloc_free(tmp);
		return ret;
	}
	if (ret != 0) {
		log_debug("%s: %s", node->text, why);
		if (m->last[0] == '\0') {
			note(m, node->text, why);
		}
		round->silent = true;
		ret = EAGAIN;
	} else if (list.result == LINK_MOVED_DONE) {
		ret = take(m, list.nodes, err);
	} else {
		round->later |= list.result == LINK_MOVED_LATER;
		round->connected |= list.result == LINK_MOVED_CONNECTED;
		round->refused |= list.result == LINK_MOVED_REFUSED;
		note(m, node->text, list.text);
		ret = EAGAIN;
	}
	talloc_free(tmp);
	return ret;
}

/* Who has refused it for good counts when nobody else may still decide otherwise. */
static int judge(struct moved *m, const struct round *round, char **err)
{
	struct mono now = mono_now();
	bool against = round->connected || (round->refused && !round->later);

	if (!against) {
		m->certain_at = MONO_NEVER;
		return EAGAIN;
	}
	if (!mono_is_set(m->certain_at)) {
		m->certain_at = mono_add_ms(now, CERTAIN_MS + 2 * m->d->conf->cluster.dead_interval);
	}
	if (mono_before(now, m->certain_at) && (round->connected || round->silent)) {
		return EAGAIN;
	}
	*err = talloc_asprintf(m->d, "this node cannot come back as node %u with another address: %s%s%s%s", m->id.pnn,
			       m->last, round->connected ? ". If this machine is a copy of that node, remove " : "",
			       round->connected ? m->d->conf->path.db_state : "", round->connected ? "/node-id" : "");
	return EACCES;
}

static int ask_round(struct moved *m, char **err)
{
	const struct conf_nodes *nodes = m->d->nodes;
	struct round round = {.later = false};
	int ret = EAGAIN;

	m->last[0] = '\0';
	for (uint32_t p = 0; ret == EAGAIN && p < nodes->n; p++) {
		if (p != m->id.pnn && !nodes->v[p].deleted) {
			ret = ask_one(m, &nodes->v[p], &round, err);
		}
	}
	return ret == EAGAIN ? judge(m, &round, err) : ret;
}

/* EAGAIN: the pause is over; ECANCELED. */
static int pause_round(struct moved *m)
{
	struct pollfd p = {.fd = m->ask.stop_fd, .events = POLLIN};
	char text[1300];

	if (!mono_is_set(m->say_at) || !mono_before(mono_now(), m->say_at)) {
		m->say_at = mono_add_ms(mono_now(), SAY_MS);
		snprintf(text, sizeof(text), "node %u waits for a member that takes its new address (%.1100s)",
			 m->id.pnn, m->last[0] != '\0' ? m->last : "there is no other node in the nodes file");
		tell(m, text);
	}
	return poll(&p, 1, PAUSE_MS) > 0 ? ECANCELED : EAGAIN;
}

static int ask_until_done(struct moved *m, char **err)
{
	int ret;

	do {
		ret = ask_round(m, err);
		if (ret == EAGAIN) {
			ret = pause_round(m);
		}
	} while (ret == EAGAIN);
	return ret;
}

/* ---- signals ---- */

static int catch_signals(struct moved *m)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* There is nothing to read again, and it is no reason to end. */
	(void)sigaction(SIGHUP, &(struct sigaction){.sa_handler = SIG_IGN}, &m->hup);
	if (sigprocmask(SIG_BLOCK, &set, &m->former) != 0) {
		return errno;
	}
	m->ask.stop_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return m->ask.stop_fd < 0 ? errno : 0;
}

/* The signal that came is still there and takes effect now, when nothing of this process is left behind. */
static void __attribute__((noreturn)) end_by_signal(struct moved *m)
{
	sigset_t former = m->former;

	log_notice("stopped before it had a place in the cluster");
	talloc_free(m->d);
	sigprocmask(SIG_SETMASK, &former, NULL);
	_exit(1);
}

int moved_rejoin(struct daemon *d, char **err)
{
	struct moved *m = talloc_zero(d->priv, struct moved);
	char text[400];
	int ret;

	if (m == NULL) {
		return ENOMEM;
	}
	m->d = d;
	m->ask = (struct moved_ask){.port = d->conf->transport.port, .id = &m->id};
	if (d->conf->cluster.node_address != NULL && own_address(d->conf->cluster.node_address, &m->own)) {
		m->ask.own = &m->own;
	}
	ret = begin(m, err);
	ret = ret != 0 ? ret : start_log(m, err);
	ret = ret != 0 ? ret : catch_signals(m);
	if (ret != 0) {
		talloc_free(m);
		return ret;
	}
	snprintf(text, sizeof(text),
		 "the address of this node is not in %.200s, but it was node %u: asking the other nodes to take its "
		 "new address",
		 d->conf->path.nodes, m->id.pnn);
	tell(m, text);
	m->ask.second = second_address(m);
	ret = ask_until_done(m, err);
	if (ret == ECANCELED) {
		end_by_signal(m);
	}
	if (ret == 0) {
		snprintf(text, sizeof(text), "node %u has the address %s now", d->pnn, m->ask.from);
		tell(m, text);
	}
	close(m->ask.stop_fd);
	(void)sigaction(SIGHUP, &m->hup, NULL);
	sigprocmask(SIG_SETMASK, &m->former, NULL);
	talloc_free(m);
	return ret;
}
