/* Configuration: what is read from good files, and what is said about bad ones. */
#include "shared/conf.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/conf_options.h"
#include "shared/conf_private.h"

struct world {
	TALLOC_CTX *mem;
	char base[64]; /* CTDB_BASE */
};

static int world_setup(void **state)
{
	struct world *w = talloc_zero(NULL, struct world);
	char *dir;

	w->mem = w;
	snprintf(w->base, sizeof(w->base), "/tmp/test_conf.XXXXXX");
	assert_non_null(mkdtemp(w->base));
	dir = talloc_asprintf(w, "%s/conf.d", w->base);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(setenv("CTDB_BASE", w->base, 1), 0);
	*state = w;
	return 0;
}

static void remove_tree(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char *path = talloc_asprintf(NULL, "%s/%s", dir, e->d_name);

		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(path) != 0) {
			remove_tree(path);
		}
		talloc_free(path);
	}
	closedir(d);
	rmdir(dir);
}

static int world_teardown(void **state)
{
	struct world *w = *state;

	remove_tree(w->base);
	unsetenv("CTDB_BASE");
	unsetenv("CTDB_LIBEXEC");
	talloc_free(w);
	return 0;
}

static void put_bytes(struct world *w, const char *name, const char *text, size_t len)
{
	char *path = talloc_asprintf(w, "%s/%s", w->base, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void put(struct world *w, const char *name, const char *text)
{
	put_bytes(w, name, text, strlen(text));
}

static struct conf *load_good(struct world *w)
{
	struct conf *conf = NULL;
	char *err = NULL;
	int ret = conf_load(w, NULL, &conf, &err);

	if (ret != 0) {
		fail_msg("conf_load: %s", err);
	}
	return conf;
}

/* The error without the directory in front. */
static const char *load_bad(struct world *w)
{
	struct conf *conf = NULL;
	char *err = NULL;
	size_t n = strlen(w->base);

	assert_int_not_equal(conf_load(w, NULL, &conf, &err), 0);
	assert_null(conf);
	assert_non_null(err);
	return strncmp(err, w->base, n) == 0 ? err + n + 1 : err;
}

static void test_defaults(void **state)
{
	struct world *w = *state;
	struct conf *c;

	setenv("CTDB_LIBEXEC", "/x/libexec", 1);
	c = load_good(w);
	assert_int_equal(c->cluster.arbitration, CONF_ARBITRATION_MAJORITY);
	assert_int_equal(c->cluster.heartbeat_interval, 250);
	assert_int_equal(c->cluster.dead_interval, 1000);
	assert_true(c->cluster.leader_capability);
	assert_true(c->cluster.lmaster_capability);
	assert_null(c->cluster.cluster_lock);
	assert_int_equal(c->cluster.lock_timeout, 10000);
	assert_null(c->cluster.etcd_endpoints);
	assert_string_equal(c->cluster.etcd_key, "/ctdb/lock");
	assert_int_equal(c->cluster.etcd_ttl, 5000);
	assert_null(c->cluster.node_address);
	assert_int_equal(c->transport.port, 4379);
	assert_int_equal(c->transport.db_port, 4380);
	assert_true(c->database.tdb_mutexes);
	assert_int_equal(c->database.hash_size, 100001);
	assert_int_equal(c->database.transaction_hash_size, 10007);
	assert_int_equal(c->database.slots, 1024);
	assert_int_equal(c->database.attach_timeout, 120000);
	assert_int_equal(c->database.control_timeout, 60000);
	assert_int_equal(c->database.max_packet, 64 << 20);
	assert_int_equal(c->database.max_queue, 256 << 20);
	assert_int_equal(c->logging.level, LOG_LVL_NOTICE);
	assert_int_equal(c->logging.stall_warning, 100);
	assert_int_equal(c->n_notices, 0);
	assert_string_equal(c->path.etc, w->base);
	assert_string_equal(c->path.run, talloc_asprintf(w, "%s/run", w->base));
	assert_string_equal(c->path.msg_dir, talloc_asprintf(w, "%s/run/msg", w->base));
	assert_string_equal(c->path.socket, talloc_asprintf(w, "%s/run/ctdbd.socket", w->base));
	assert_string_equal(c->path.db_volatile, talloc_asprintf(w, "%s/var/volatile", w->base));
	assert_string_equal(c->path.nodes, talloc_asprintf(w, "%s/nodes", w->base));
	assert_string_equal(c->path.libexec, "/x/libexec");
}

static void test_system_paths(void **state)
{
	struct world *w = *state;
	static const char *const same[] = {"/etc/ctdb", "/etc/ctdb/", "", NULL};

	for (size_t i = 0; i < 4; i++) {
		struct conf *c = NULL;
		char *err = NULL;

		if (same[i] == NULL) {
			unsetenv("CTDB_BASE");
		} else {
			setenv("CTDB_BASE", same[i], 1);
		}
		put(w, "empty.conf", "");
		assert_int_equal(conf_load(w, talloc_asprintf(w, "%s/empty.conf", w->base), &c, &err), 0);
		assert_string_equal(c->path.etc, "/etc/ctdb");
		assert_string_equal(c->path.run, "/run/ctdb");
		assert_string_equal(c->path.db_state, "/var/lib/ctdb/state");
		assert_string_equal(c->logging.location, "file:/var/log/ctdb/log.ctdb");
	}
}

static void test_values(void **state)
{
	struct world *w = *state;
	struct conf *c;

	put(w, "ctdb.conf",
	    "# a comment\n"
	    "; another\n"
	    "\n"
	    "[CLUSTER]\n"
	    "\tnode   address =\t10.0.0.2 \n"
	    "    heartbeat interval = 50ms\n"
	    "dead interval = 1 s\n"
	    "leader capability=No\n"
	    "arbitration = none\n"
	    "nodes file = /some/where\n"
	    "[database]\r\n"
	    "  max packet = 2MiB\r\n"
	    "  max queue = 0x200000\n"
	    "  attach timeout = 2min\n"
	    "  slots = \\\n"
	    "     16\n"
	    "[logging]\n"
	    "  log level = warn\n"
	    "  location = syslog:udp-rfc5424");
	c = load_good(w);
	assert_string_equal(c->cluster.node_address, "10.0.0.2");
	assert_int_equal(c->cluster.heartbeat_interval, 50);
	assert_int_equal(c->cluster.dead_interval, 1000);
	assert_false(c->cluster.leader_capability);
	assert_int_equal(c->cluster.arbitration, CONF_ARBITRATION_NONE);
	assert_string_equal(c->path.nodes, "/some/where");
	assert_int_equal(c->database.max_packet, 2 << 20);
	assert_int_equal(c->database.max_queue, 0x200000);
	assert_int_equal(c->database.attach_timeout, 120000);
	assert_int_equal(c->database.slots, 16);
	assert_int_equal(c->logging.level, LOG_LVL_WARNING);
	assert_string_equal(c->logging.location, "syslog:udp-rfc5424");
	assert_int_equal(c->n_notices, 0);
}

/* A file as existing installations have it. */
static void test_existing_file(void **state)
{
	struct world *w = *state;
	struct conf *c;
	char *text;
	static const char *const expect[] = {
		"ctdb.conf:6: \"recovery lock\" in [cluster] is an old name: use \"cluster lock\" in [cluster]",
		"ctdb.conf:7: \"leader timeout\" in [cluster] has no effect in this version",
		"ctdb.conf:12: \"lock debug script\" in [database] has no effect in this version",
		"ctdb.conf:14: \"realtime scheduling\" in [legacy] has no effect in this version",
		("ctdb.conf:15: \"lmaster capability\" in [legacy] is an old name: use \"lmaster capability\" in "
		 "[cluster]"),
		"ctdb.conf:16: \"script log level\" in [legacy] has no effect in this version",
		"ctdb.conf:18: \"debug script\" in [event] has no effect in this version",
		"ctdb.conf:20: \"disabled\" in [failover] has no effect in this version",
	};

	text = talloc_asprintf(w,
			       "[logging]\n"
			       "\tlocation = file:%s/log.ctdb\n"
			       "\tlog level = 5\n"
			       "[cluster]\n"
			       "\ttransport = tcp\n"
			       "\trecovery lock = !/usr/libexec/ctdb/helper a; b = c\n"
			       "\tleader timeout = 5\n"
			       "[database]\n"
			       "\tvolatile database directory = %s\n"
			       "\ttdb mutexes = false\n"
			       "# \tx = y\n"
			       "\tlock debug script = debug.sh\n"
			       "[legacy]\n"
			       "\trealtime scheduling = false\n"
			       "\tlmaster capability = no\n"
			       "\tscript log level = ERROR\n"
			       "[event]\n"
			       "\tdebug script = debug-hung-script.sh\n"
			       "[failover]\n"
			       "\tdisabled = yes\n",
			       w->base, w->base);
	put(w, "ctdb.conf", text);
	c = load_good(w);
	assert_int_equal(c->logging.level, LOG_LVL_INFO);
	assert_string_equal(c->cluster.cluster_lock, "!/usr/libexec/ctdb/helper a; b = c");
	assert_int_equal(c->cluster.arbitration, CONF_ARBITRATION_LOCK);
	assert_string_equal(c->path.db_volatile, w->base);
	assert_false(c->database.tdb_mutexes);
	assert_false(c->cluster.lmaster_capability);
	assert_int_equal(c->n_notices, sizeof(expect) / sizeof(expect[0]));
	for (uint32_t i = 0; i < c->n_notices; i++) {
		assert_string_equal(c->notices[i] + strlen(w->base) + 1, expect[i]);
	}
}

static void test_present_name_wins(void **state)
{
	struct world *w = *state;

	put(w, "ctdb.conf", "[cluster]\ncluster lock = /new\nrecovery lock = /old\n");
	assert_string_equal(load_good(w)->cluster.cluster_lock, "/new");
	put(w, "ctdb.conf", "[cluster]\nrecovery lock = /old\ncluster lock = /new\n");
	assert_string_equal(load_good(w)->cluster.cluster_lock, "/new");
}

static void expect_arbitration(struct world *w, const char *text, enum conf_arbitration arbitration, const char *notice)
{
	struct conf *c;

	put(w, "ctdb.conf", talloc_asprintf(w, "[cluster]\n%s", text));
	c = load_good(w);
	assert_int_equal(c->cluster.arbitration, arbitration);
	assert_int_equal(c->n_notices, notice != NULL ? 1 : 0);
	if (notice != NULL) {
		assert_string_equal(c->notices[0] + strlen(w->base) + 1, notice);
	}
}

static void test_arbitration(void **state)
{
	struct world *w = *state;

	expect_arbitration(w, "cluster lock = /fs/lock\n", CONF_ARBITRATION_LOCK, NULL);
	expect_arbitration(w, "cluster lock = !  helper a\narbitration = lock\n", CONF_ARBITRATION_LOCK, NULL);
	expect_arbitration(w, "arbitration = none\ncluster lock = /fs/lock\n", CONF_ARBITRATION_NONE,
			   "ctdb.conf:3: \"cluster lock\" in [cluster] has no effect: arbitration is none");
	expect_arbitration(w, "arbitration = majority\ncluster lock = /fs/lock\n", CONF_ARBITRATION_MAJORITY,
			   "ctdb.conf:3: \"cluster lock\" in [cluster] has no effect: arbitration is majority");
	expect_arbitration(w, "etcd endpoints = a:1\n", CONF_ARBITRATION_MAJORITY,
			   "ctdb.conf:2: \"etcd endpoints\" in [cluster] has no effect: arbitration is majority");
	expect_arbitration(w,
			   "arbitration = etcd\netcd endpoints = a:1, http://10.0.0.1:2379,https://[fd00::1]:65535\n",
			   CONF_ARBITRATION_ETCD, NULL);
}

static const struct {
	const char *text, *error;
} bad_files[] = {
	{"[cluster]\n\nhartbeat interval = 5\n",
	 "ctdb.conf:3: unknown option \"hartbeat interval\" in [cluster]: is \"heartbeat interval\" meant?"},
	{"[cluster]\nNode Address = 10.0.0.1\n",
	 "ctdb.conf:2: unknown option \"Node Address\" in [cluster]: is \"node address\" meant?"},
	{"[cluster]\nzzz = 5\n", "ctdb.conf:2: unknown option \"zzz\" in [cluster]"},
	{"[clutser]\nzzz = 5\n", "ctdb.conf:2: unknown section [clutser]"},
	{"x = 5\n", "ctdb.conf:1: option \"x\" stands before the first [section]"},
	{"[cluster]\nnonsense\n", "ctdb.conf:2: is neither \"[section]\" nor \"name = value\""},
	{"[cluster\n", "ctdb.conf:1: is neither \"[section]\" nor \"name = value\""},
	{"[database]\nslots = 8\\\n\\\n\nnonsense\nzzz=1\n",
	 "ctdb.conf:5: is neither \"[section]\" nor \"name = value\""},
	{"[database]\nzzz=1\nnonsense\n", "ctdb.conf:2: unknown option \"zzz\" in [database]"},
	{"[database]\nslots =\n", "ctdb.conf:2: [database] slots = : give a value, or remove the line"},
	{"[database]\nslots = 0\n", "ctdb.conf:2: [database] slots = 0: give a number from 1 to 65536"},
	{"[database]\nslots = 5x\n", "ctdb.conf:2: [database] slots = 5x: give a number from 1 to 65536"},
	{"[database]\nslots = -1\n", "ctdb.conf:2: [database] slots = -1: give a number from 1 to 65536"},
	{"[database]\nslots = 99999999999999999999999\n",
	 "ctdb.conf:2: [database] slots = 99999999999999999999999: give a number from 1 to 65536"},
	{"[database]\nmax packet = 4294967297MiB\n", "ctdb.conf:2: [database] max packet = 4294967297MiB: give a "
						     "number from 1048576 to 1073741824 bytes, or with one of the "
						     "units KiB, MiB, GiB"},
	{"[transport]\nport = 65536\n", "ctdb.conf:2: [transport] port = 65536: give a number from 1 to 65535"},
	{"[transport]\nport = 5000\ndb port = 5000\n",
	 "ctdb.conf:3: [transport] port and db port are both 5000: give two ports"},
	{"[cluster]\nheartbeat interval = 5 h\n", "ctdb.conf:2: [cluster] heartbeat interval = 5 h: give a number from "
						  "20 to 10000 milliseconds, or with one of the units "
						  "ms, s, min"},
	{"[cluster]\ndead interval = 300\n",
	 "ctdb.conf:2: [cluster] dead interval (300 ms) must be at least three times the heartbeat interval (250 ms)"},
	{"[cluster]\nheartbeat interval = 2s\n", "ctdb.conf:2: [cluster] dead interval (1000 ms) must be at least "
						 "three times the heartbeat interval (2000 ms)"},
	{"[cluster]\nleader capability = maybe\n",
	 "ctdb.conf:2: [cluster] leader capability = maybe: give true or false"},
	{"[cluster]\narbitration = maybe\n",
	 "ctdb.conf:2: [cluster] arbitration = maybe: give majority or none, or lock "
	 "or etcd for one outside of the cluster"},
	{"[cluster]\narbitration = lock\n", "ctdb.conf:2: [cluster] arbitration = lock needs cluster lock as well: the "
					    "path of a file in the cluster file system"},
	{"[cluster]\narbitration = etcd\n",
	 "ctdb.conf:2: [cluster] arbitration = etcd needs etcd endpoints as well: the HOST:PORT of its servers"},
	{"[cluster]\ncluster lock = lock\n", "ctdb.conf:2: [cluster] cluster lock = lock: give the absolute path of a "
					     "file, or \"!COMMAND ARGUMENTS\""},
	{"[cluster]\ncluster lock = ! \n",
	 "ctdb.conf:2: [cluster] cluster lock = !: give the absolute path of a file, or \"!COMMAND ARGUMENTS\""},
	{"[cluster]\netcd endpoints = host\n", "ctdb.conf:2: [cluster] etcd endpoints = host: give one or more of "
					       "HOST:PORT, http://HOST:PORT or https://HOST:PORT, divided by commas"},
	{"[cluster]\netcd endpoints = a:1,,b:2\n",
	 "ctdb.conf:2: [cluster] etcd endpoints = a:1,,b:2: give one or more of "
	 "HOST:PORT, http://HOST:PORT or https://HOST:PORT, divided by commas"},
	{"[cluster]\netcd endpoints = fd00::1:2379\n",
	 "ctdb.conf:2: [cluster] etcd endpoints = fd00::1:2379: give one or more of HOST:PORT, http://HOST:PORT or "
	 "https://HOST:PORT, divided by commas"},
	{"[cluster]\netcd endpoints = http://a:1/path\n",
	 "ctdb.conf:2: [cluster] etcd endpoints = http://a:1/path: give one or more of HOST:PORT, http://HOST:PORT or "
	 "https://HOST:PORT, divided by commas"},
	{"[cluster]\netcd endpoints = a:65536\n",
	 "ctdb.conf:2: [cluster] etcd endpoints = a:65536: give one or more of "
	 "HOST:PORT, http://HOST:PORT or https://HOST:PORT, divided by commas"},
	{"[cluster]\netcd ttl = 2500\n", "ctdb.conf:2: [cluster] etcd ttl is 2500 ms: give whole seconds"},
	{"[cluster]\netcd certificate file = /c\n", "ctdb.conf:2: [cluster] etcd certificate file and etcd private key "
						    "file go together: give both or none"},
	{"[cluster]\ntransport = ib\n", "ctdb.conf:2: [cluster] transport = ib: tcp is the only transport"},
	{"[cluster]\nnode address = host1\n",
	 "ctdb.conf:2: [cluster] node address = host1: give a numeric IPv4 or IPv6 address without port"},
	{"[cluster]\nnodes list = !make-nodes\n", "ctdb.conf:2: [cluster] nodes list = !make-nodes: a command is not "
						  "supported: write the nodes to a file and name it here"},
	{"[cluster]\nnodes file = nodes\n", "ctdb.conf:2: [cluster] nodes file = nodes: give an absolute path"},
	{"[database]\nstate database directory = state\n",
	 "ctdb.conf:2: [database] state database directory = state: give an absolute path"},
	{"[database]\nstate database directory = /does/not/exist\n",
	 "ctdb.conf:2: [database] state database directory = /does/not/exist: there is no directory /does/not/exist: "
	 "create it"},
	{"[logging]\nlog level = LOUD\n", "ctdb.conf:2: [logging] log level = LOUD: give ERROR, WARNING, NOTICE, INFO "
					  "or DEBUG, or a number from 0 to 10"},
	{"[logging]\nlog level = 11\n",
	 "ctdb.conf:2: [logging] log level = 11: give ERROR, WARNING, NOTICE, INFO or DEBUG, or a number from 0 to 10"},
	{"[logging]\nlocation = printer\n",
	 "ctdb.conf:2: [logging] location = printer: unknown log location \"printer\": use file:PATH, stderr, syslog, "
	 "syslog:nonblocking, syslog:udp or syslog:udp-rfc5424"},
	{"[logging]\nlocation = file:/does/not/exist/log\n",
	 "ctdb.conf:2: [logging] location = file:/does/not/exist/log: there is no directory /does/not/exist/: create "
	 "it"},
	{"[database]\nslots = 8\n[cluster]\n[database]\nslots = 8\n",
	 "ctdb.conf:5: \"slots\" in [database] was already given in line 2: remove one"},
	{"[failover]\ndisabled = maybe\n", "ctdb.conf:2: [failover] disabled = maybe: give true or false"},
};

static void test_bad_files(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
		put(w, "ctdb.conf", bad_files[i].text);
		assert_string_equal(load_bad(w), bad_files[i].error);
	}
}

static void test_unreadable(void **state)
{
	struct world *w = *state;
	struct conf *conf = NULL;
	char *err = NULL, *long_line = talloc_array(w, char, 6001);

	put_bytes(w, "ctdb.conf", "[cluster]\n\0", 11);
	assert_string_equal(load_bad(w), "ctdb.conf: is not a text file: it holds NUL bytes");
	memset(long_line, 'x', 6000);
	long_line[6000] = '\0';
	put(w, "ctdb.conf", talloc_asprintf(w, "[cluster]\ncluster lock = %s\n", long_line));
	assert_string_equal(load_bad(w), "ctdb.conf:2: the line is longer than 4093 bytes");
	assert_int_equal(conf_load(w, "/does/not/exist.conf", &conf, &err), ENOENT);
	assert_string_equal(err, "/does/not/exist.conf: cannot be read: No such file or directory");
}

static void test_long_value(void **state)
{
	struct world *w = *state;
	char *value = talloc_array(w, char, 1001);

	memset(value, 'x', 1000);
	value[0] = '/';
	value[1000] = '\0';
	put(w, "ctdb.conf", talloc_asprintf(w, "[cluster]\ncluster lock = %s\n", value));
	assert_string_equal(load_good(w)->cluster.cluster_lock, value);
}

static void test_fragments(void **state)
{
	struct world *w = *state;

	put(w, "ctdb.conf", "[database]\nslots = 1\nhash size = 1\n");
	put(w, "conf.d/20-b.conf", "[database]\nslots = 3\n");
	put(w, "conf.d/10-a.conf", "[database]\nslots = 2\nmax packet = 3MiB\n");
	put(w, "conf.d/30-c.conf.rpmsave", "[database]\nnonsense = 3\n");
	put(w, "conf.d/.hidden.conf", "[database]\nnonsense = 3\n");
	assert_int_equal(load_good(w)->database.slots, 3);
	assert_int_equal(load_good(w)->database.hash_size, 1);
	assert_int_equal(load_good(w)->database.max_packet, 3 << 20);
	put(w, "conf.d/40-d.conf", "[cluster]\n\ndead interval = 200\n");
	assert_string_equal(
		load_bad(w),
		"conf.d/40-d.conf:3: [cluster] dead interval (200 ms) must be at least three times the heartbeat "
		"interval (250 ms)");
	put(w, "conf.d/40-d.conf", "[cluster]\nzzz = 1\n");
	assert_string_equal(load_bad(w), "conf.d/40-d.conf:2: unknown option \"zzz\" in [cluster]");
}

static void test_update(void **state)
{
	struct world *w = *state;
	struct conf *now, *fresh;

	now = load_good(w);
	assert_null(conf_update(w, now, load_good(w)));
	put(w, "ctdb.conf",
	    "[logging]\nlog level = DEBUG\nstall warning = 7\n[cluster]\nnode address = 10.0.0.1\ndead interval = "
	    "5s\n");
	fresh = load_good(w);
	assert_string_equal(conf_update(w, now, fresh), "[cluster] node address, [cluster] dead interval");
	assert_int_equal(now->logging.level, LOG_LVL_DEBUG);
	assert_int_equal(now->logging.stall_warning, 7);
	assert_int_equal(now->cluster.dead_interval, 1000);
	assert_null(now->cluster.node_address);
}

static struct conf_nodes *nodes_good(struct world *w, const char *text)
{
	struct conf_nodes *nodes = NULL;
	char *err = NULL;

	put(w, "nodes", text);
	if (conf_nodes_load(w, talloc_asprintf(w, "%s/nodes", w->base), &nodes, &err) != 0) {
		fail_msg("conf_nodes_load: %s", err);
	}
	return nodes;
}

static void test_nodes(void **state)
{
	struct world *w = *state;
	struct conf_nodes *n = nodes_good(w, "\n 10.0.0.1\t\r\n\n#10.0.0.2\nFD00:0::0003\n  # 10.0.0.4\n\n10.0.0.2");

	assert_int_equal(n->n, 5);
	assert_string_equal(n->v[0].text, "10.0.0.1");
	assert_false(n->v[0].deleted);
	assert_int_equal(n->v[0].addr.ss_family, AF_INET);
	assert_string_equal(n->v[1].text, "10.0.0.2");
	assert_true(n->v[1].deleted);
	assert_string_equal(n->v[2].text, "fd00::3");
	assert_int_equal(n->v[2].addr.ss_family, AF_INET6);
	assert_true(n->v[3].deleted);
	assert_string_equal(n->v[4].text, "10.0.0.2");
	assert_false(n->v[4].deleted);
	assert_null(n->notice);
}

static void test_second_addresses(void **state)
{
	struct world *w = *state;
	struct conf_nodes *n = nodes_good(w, "10.0.0.1 , FD00::0:1\n#10.0.0.2,10.1.0.2\n10.0.0.3\n# us, them\n");

	assert_int_equal(n->n, 4);
	assert_int_equal(n->v[0].n_addrs, 2);
	assert_string_equal(n->v[0].text, "10.0.0.1");
	assert_string_equal(n->v[0].texts[0], "10.0.0.1");
	assert_string_equal(n->v[0].texts[1], "fd00::1");
	assert_int_equal(n->v[0].addr.ss_family, AF_INET);
	assert_int_equal(n->v[0].addrs[1].ss_family, AF_INET6);
	assert_true(n->v[1].deleted);
	assert_int_equal(n->v[1].n_addrs, 2);
	assert_string_equal(n->v[1].texts[1], "10.1.0.2");
	assert_int_equal(n->v[2].n_addrs, 1);
	assert_true(n->v[3].deleted);
	assert_int_equal(n->v[3].n_addrs, 1);
	assert_string_equal(n->v[3].text, "0.0.0.0");
	assert_non_null(n->notice);
}

static void test_nodes_comment(void **state)
{
	struct world *w = *state;
	struct conf_nodes *n = nodes_good(w, "# our nodes\n10.0.0.1\n");

	assert_int_equal(n->n, 2);
	assert_true(n->v[0].deleted);
	assert_string_equal(n->v[0].text, "0.0.0.0");
	assert_string_equal(
		n->notice + strlen(w->base) + 1,
		"nodes:1: this comment counts as a deleted node and takes node number 0: the nodes file has no other "
		"comments");
}

static void test_too_many_nodes(void **state)
{
	struct world *w = *state;
	char *text = talloc_strdup(w, "10.0.0.1\n#10.0.0.2\n"), *err = NULL;
	struct conf_nodes *nodes = NULL;

	for (int i = 2; i < CONF_NODES_MAX; i++) {
		text = talloc_asprintf_append(text, "10.0.1.%d\n", i - 1);
	}
	assert_int_equal(nodes_good(w, text)->n, CONF_NODES_MAX);
	put(w, "nodes", talloc_asprintf_append(text, "\n10.0.0.3\n"));
	assert_int_equal(conf_nodes_load(w, talloc_asprintf(w, "%s/nodes", w->base), &nodes, &err), EINVAL);
	assert_string_equal(err + strlen(w->base) + 1,
			    "nodes:258: more than 256 nodes are not possible: remove the rest");
}

static void test_bad_nodes(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *text, *error;
	} bad[] = {
		{"10.0.0.1,10.0.0.1\n",
		 "nodes:1: address 10.0.0.1 is twice in this line: give another one, or only one"},
		{"10.0.0.1,10.1.0.1\n#10.0.0.9\n10.0.0.3, 10.1.0.1\n",
		 "nodes:3: address 10.1.0.1 is already in line 1: each address once"},
		{"10.0.0.1,10.1.0.1,10.2.0.1\n", "nodes:1: more than 2 addresses of one node are not possible"},
		{"10.0.0.1,\n", "nodes:1: \"\" is not an IPv4 or IPv6 address: write one address per line, the same "
				"file on all nodes"},
		{"10.0.0.1,::ffff:10.0.0.2\n", "nodes:1: \"::ffff:10.0.0.2\" cannot be the address of a node"},
		{"", "nodes: holds no node: write one address per line, the same file on all nodes"},
		{"\n#10.0.0.1\n", "nodes: holds no node: write one address per line, the same file on all nodes"},
		{"10.0.0.1\n10.0.0.2:4379\n", "nodes:2: \"10.0.0.2:4379\" is not an IPv4 or IPv6 address: write one "
					      "address per line, the same file on all nodes"},
		{"host1\n", "nodes:1: \"host1\" is not an IPv4 or IPv6 address: write one address per line, the same "
			    "file on all nodes"},
		{"0.0.0.0\n", "nodes:1: \"0.0.0.0\" cannot be the address of a node"},
		{"::\n", "nodes:1: \"::\" cannot be the address of a node"},
		{"224.0.0.1\n", "nodes:1: \"224.0.0.1\" cannot be the address of a node"},
		{"ff02::1\n", "nodes:1: \"ff02::1\" cannot be the address of a node"},
		{"fd00::1\n10.0.0.2\n#10.0.0.3\n\nfd00:0::1\n",
		 "nodes:5: address fd00::1 is already in line 1: each address once"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct conf_nodes *nodes = NULL;
		char *err = NULL;

		put(w, "nodes", bad[i].text);
		assert_int_equal(conf_nodes_load(w, talloc_asprintf(w, "%s/nodes", w->base), &nodes, &err), EINVAL);
		assert_null(nodes);
		assert_string_equal(err + strlen(w->base) + 1, bad[i].error);
	}
}

static void test_no_nodes_file(void **state)
{
	struct world *w = *state;
	struct conf_nodes *nodes = NULL;
	char *err = NULL;

	assert_int_equal(conf_nodes_load(w, "/does/not/exist", &nodes, &err), ENOENT);
	assert_string_equal(err,
			    "/does/not/exist: does not exist: write one address per line, the same file on all nodes");
}

static void test_self(void **state)
{
	struct world *w = *state;
	struct conf *conf = load_good(w);
	uint32_t pnn = 99;
	char *err = NULL;

	assert_int_equal(conf_nodes_self(w, conf, nodes_good(w, "192.0.2.1\n#127.0.0.1\n127.0.0.1\n"), &pnn, &err), 0);
	assert_int_equal(pnn, 2);
	assert_int_equal(conf_nodes_self(w, conf, nodes_good(w, "192.0.2.1\n192.0.2.2,127.0.0.1\n"), &pnn, &err), 0);
	assert_int_equal(pnn, 1);
	assert_int_equal(conf_nodes_self(w, conf, nodes_good(w, "192.0.2.1\n#127.0.0.1\n"), &pnn, &err), ENOENT);
	assert_non_null(strstr(err, "/nodes: none of its addresses is on an interface of this machine"));
	conf->cluster.node_address = talloc_strdup(conf, "192.0.2.1");
	assert_int_equal(conf_nodes_self(w, conf, nodes_good(w, "127.0.0.1\n192.0.2.1\n"), &pnn, &err), 0);
	assert_int_equal(pnn, 1);
	assert_int_equal(conf_nodes_self(w, conf, nodes_good(w, "127.0.0.1\n#192.0.2.1\n"), &pnn, &err), ENOENT);
	assert_non_null(strstr(err, "/nodes: the node address 192.0.2.1 of [cluster] in "));
}

static char *read_manual(struct world *w)
{
	FILE *f = fopen(MANUAL, "r");
	char *text = talloc_zero_array(w, char, 1 << 17);

	assert_non_null(f);
	assert_true(fread(text, 1, (1 << 17) - 1, f) > 0);
	fclose(f);
	return text;
}

/* The line of the manual that introduces an option. */
static char *manual_line(struct world *w, const struct conf_option *opt)
{
	if (opt->instead != NULL) {
		return talloc_asprintf(w, "\n.It Cm %s Pq old name of Cm %s\n", opt->name, opt->instead);
	}
	if (opt->offset == CONF_NO_EFFECT && opt->type != CONF_TRANSPORT) {
		return talloc_asprintf(w, "\n.It Cm %s Pq no effect\n", opt->name);
	}
	if (opt->initial != NULL) {
		return talloc_asprintf(w, "\n.It Cm %s Pq default %s\n", opt->name, opt->initial);
	}
	return talloc_asprintf(w, "\n.It Cm %s\n", opt->name);
}

/* The manual has each option in its section with its default, and no other. */
static void test_manual(void **state)
{
	struct world *w = *state;
	char *manual = read_manual(w);
	size_t n = 0;

	for (size_t i = 0; i < conf_n_options; i++) {
		char *head = talloc_asprintf(w, "\n.Ss Section [%s]\n", conf_options[i].section);
		char *begin = strstr(manual, head), *end, *line;

		if (begin == NULL) {
			fail_msg("ctdb.conf.5 has no section [%s]", conf_options[i].section);
		}
		end = strstr(begin + 1, "\n.S");
		line = strstr(begin, manual_line(w, &conf_options[i]));
		if (line == NULL || (end != NULL && line > end)) {
			fail_msg("ctdb.conf.5, section [%s], has no line: %s", conf_options[i].section,
				 manual_line(w, &conf_options[i]));
		}
	}
	for (char *p = manual; (p = strstr(p, "\n.It Cm ")) != NULL; p++) {
		n++;
	}
	assert_int_equal(n, conf_n_options);
}

/* One line of the example: "#name = value" must be an option and its default. True if it is such a line. */
static bool check_example_line(const char *section, const char *line)
{
	char name[64], value[128];
	const struct conf_option *opt;

	if (sscanf(line, "#%63[a-z ]= %127[^\n]", name, value) != 2) {
		return false;
	}
	name[strlen(name) - 1] = '\0'; /* the blank before '=' */
	opt = conf_option_find(section, name);
	if (opt == NULL) {
		fail_msg("the example has \"%s\" in [%s], which does not exist", name, section);
	}
	if (opt->initial == NULL) {
		return false;
	}
	assert_string_equal(value, opt->initial);
	return true;
}

/* The example has every option that has a fixed default, commented out, with that default; and it is accepted. */
static void test_example(void **state)
{
	struct world *w = *state;
	FILE *f = fopen(EXAMPLE, "r");
	char line[256], section[64] = "", *err = NULL;
	size_t n = 0, expect = 0;
	struct conf *conf = NULL;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		(void)sscanf(line, "[%63[^]]]", section);
		n += check_example_line(section, line) ? 1 : 0;
	}
	fclose(f);
	for (size_t i = 0; i < conf_n_options; i++) {
		expect += conf_options[i].initial != NULL ? 1 : 0;
	}
	assert_int_equal(n, expect);
	if (conf_load(w, EXAMPLE, &conf, &err) != 0) {
		fail_msg("the example is refused: %s", err);
	}
}

static void test_in_memory(void **state)
{
	struct world *w = *state;
	struct conf *c;

	put(w, "ctdb.conf", "[database]\nvolatile in memory = true\n");
	c = load_good(w);
	assert_true(c->database.volatile_in_memory);
	assert_string_equal(c->path.db_volatile, talloc_asprintf(w, "%s/run/volatile", w->base));
	put(w, "ctdb.conf",
	    talloc_asprintf(w, "[database]\nvolatile in memory = true\nvolatile database directory = %s\n", w->base));
	assert_string_equal(load_good(w)->path.db_volatile, w->base);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_defaults),
		T(test_system_paths),
		T(test_values),
		T(test_in_memory),
		T(test_existing_file),
		T(test_present_name_wins),
		T(test_bad_files),
		T(test_unreadable),
		T(test_long_value),
		T(test_arbitration),
		T(test_fragments),
		T(test_update),
		T(test_nodes),
		T(test_nodes_comment),
		T(test_second_addresses),
		T(test_too_many_nodes),
		T(test_bad_nodes),
		T(test_no_nodes_file),
		T(test_self),
		T(test_manual),
		T(test_example),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
