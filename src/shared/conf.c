/* Configuration: base directory, ctdb.conf, conf.d, and what must hold between options. */
#include "shared/conf.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "shared/conf_ini.h"
#include "shared/conf_options.h"
#include "shared/conf_private.h"

#define NOTICES_MAX 200

/* Where the value of an option comes from. */
struct origin {
	const char *file; /* NULL: default */
	unsigned line;
	const struct conf_option *by; /* the option itself, or the old name of it */
};

struct loader {
	struct conf *conf;
	const char *file; /* being read */
	struct origin *origin;
};

static size_t option_index(const struct conf_option *opt)
{
	return (size_t)(opt - conf_options);
}

/* The option that holds the value: itself, or the present one if this is an old name. */
static const struct conf_option *option_holder(const struct conf_option *opt)
{
	for (size_t i = 0; opt->instead != NULL && i < conf_n_options; i++) {
		if (conf_options[i].instead == NULL && conf_options[i].offset == opt->offset) {
			return &conf_options[i];
		}
	}
	return opt;
}

static int add_notice(struct loader *l, unsigned line, char *text)
{
	struct conf *conf = l->conf;
	char **v;

	if (conf->n_notices >= NOTICES_MAX) {
		return 0;
	}
	v = talloc_realloc(conf, conf->notices, char *, conf->n_notices + 1);
	if (v == NULL || text == NULL) {
		return ENOMEM;
	}
	conf->notices = v;
	v[conf->n_notices] = talloc_asprintf(v, "%s:%u: %s", l->file, line, text);
	if (v[conf->n_notices] == NULL) {
		return ENOMEM;
	}
	conf->n_notices++;
	return 0;
}

static int unknown_option(TALLOC_CTX *mem, const char *section, const char *name, char **err)
{
	const struct conf_option *guess;

	if (!conf_section_known(section)) {
		*err = talloc_asprintf(mem, "unknown section [%s]", section);
		return EINVAL;
	}
	guess = conf_option_guess(section, name);
	if (guess != NULL) {
		*err = talloc_asprintf(mem, "unknown option \"%s\" in [%s]: is \"%s\" meant?", name, section,
				       guess->name);
	} else {
		*err = talloc_asprintf(mem, "unknown option \"%s\" in [%s]", name, section);
	}
	return EINVAL;
}

static int notice_for(struct loader *l, const struct conf_option *opt, unsigned line)
{
	if (opt->instead != NULL) {
		return add_notice(l, line,
				  talloc_asprintf(l->conf, "\"%s\" in [%s] is an old name: use \"%s\" in [%s]",
						  opt->name, opt->section, opt->instead, option_holder(opt)->section));
	}
	if (opt->offset == CONF_NO_EFFECT && opt->type != CONF_TRANSPORT) {
		return add_notice(l, line,
				  talloc_asprintf(l->conf, "\"%s\" in [%s] has no effect in this version", opt->name,
						  opt->section));
	}
	return 0;
}

static int take_option(void *priv, TALLOC_CTX *mem, const char *section, const char *name, const char *value,
		       unsigned line, char **err)
{
	struct loader *l = priv;
	const struct conf_option *opt = conf_option_find(section, name);
	struct origin *own, *holder;
	char *why = NULL;
	int ret;

	if (opt == NULL) {
		return unknown_option(mem, section, name, err);
	}
	own = &l->origin[option_index(opt)];
	holder = &l->origin[option_index(option_holder(opt))];
	if (own->file == l->file && own->by == opt) {
		*err = talloc_asprintf(mem, "\"%s\" in [%s] was already given in line %u: remove one", name, section,
				       own->line);
		return EINVAL;
	}
	if (own != holder && holder->file == l->file && holder->by->instead == NULL) {
		/* the present name in the same file wins over the old one */
		*own = (struct origin){l->file, line, opt};
		return notice_for(l, opt, line);
	}
	ret = conf_option_set(opt, l->conf, value, &why);
	if (ret != 0) {
		*err = talloc_asprintf(mem, "[%s] %s = %s: %s", opt->section, name, value,
				       why != NULL ? why : strerror(ret));
		return ret;
	}
	*own = *holder = (struct origin){l->file, line, opt};
	return notice_for(l, opt, line);
}

static int read_file(struct loader *l, const char *path, char **err)
{
	l->file = talloc_strdup(l->conf, path);
	if (l->file == NULL) {
		return ENOMEM;
	}
	return conf_ini_read(l->conf, l->file, take_option, l, err);
}

static int wanted_fragment(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return e->d_name[0] != '.' && len > 5 && strcmp(e->d_name + len - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_fragments(struct loader *l, const char *config, char **err)
{
	const char *slash = strrchr(config, '/');
	char *dir = slash == NULL ? talloc_strdup(l->conf, "conf.d")
				  : talloc_asprintf(l->conf, "%.*s/conf.d", (int)(slash - config), config);
	struct dirent **list = NULL;
	int n, ret = 0;

	if (dir == NULL) {
		return ENOMEM;
	}
	n = scandir(dir, &list, wanted_fragment, by_bytes);
	if (n < 0 && errno != ENOENT) {
		ret = errno;
		*err = talloc_asprintf(l->conf, "%s: cannot be read: %s", dir, strerror(ret));
		return ret;
	}
	for (int i = 0; i < n; i++) {
		if (ret == 0) {
			ret = read_file(l, talloc_asprintf(l->conf, "%s/%s", dir, list[i]->d_name), err);
		}
		free(list[i]);
	}
	free(list);
	return ret;
}

static bool has_program(const char *dir, const char *name)
{
	char *path = talloc_asprintf(NULL, "%s/%s", dir, name);
	bool found = path != NULL && access(path, X_OK) == 0;

	talloc_free(path);
	return found;
}

/* Next to the running program, or in the folder of links that a build tree has, or where it was installed. */
static char *find_libexec(TALLOC_CTX *mem)
{
	const char *env = getenv("CTDB_LIBEXEC");
	char exe[PATH_MAX], dir[PATH_MAX], *slash;
	ssize_t n;

	if (env != NULL && env[0] != '\0') {
		return talloc_strdup(mem, env);
	}
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[n > 0 ? n : 0] = '\0';
	slash = strrchr(exe, '/');
	if (slash != NULL) {
		*slash = '\0';
		if (has_program(exe, "ctdb-transportd")) {
			return talloc_strdup(mem, exe);
		}
		strncat(exe, "/../../bin", sizeof(exe) - strlen(exe) - 1);
		if (realpath(exe, dir) != NULL && has_program(dir, "ctdb-transportd")) {
			return talloc_strdup(mem, dir);
		}
	}
	return talloc_strdup(mem, CTDB_LIBEXECDIR);
}

static int default_paths(struct conf *conf, char **err)
{
	struct conf_paths *p = &conf->path;
	const char *base = getenv("CTDB_BASE");
	bool own = base != NULL && base[0] != '\0' && strcmp(base, "/etc/ctdb") != 0 && strcmp(base, "/etc/ctdb/") != 0;

	if (own && base[0] != '/') {
		*err = talloc_asprintf(conf, "the environment variable CTDB_BASE is \"%s\": give an absolute path",
				       base);
		return EINVAL;
	}
	p->etc = talloc_strdup(conf, own ? base : "/etc/ctdb");
	p->run = own ? talloc_asprintf(conf, "%s/run", base) : talloc_strdup(conf, "/run/ctdb");
	p->var = own ? talloc_asprintf(conf, "%s/var", base) : talloc_strdup(conf, "/var/lib/ctdb");
	p->config = talloc_asprintf(conf, "%s/ctdb.conf", p->etc);
	p->nodes = talloc_asprintf(conf, "%s/nodes", p->etc);
	conf->transport.key_file = talloc_asprintf(conf, "%s/cluster.key", p->etc);
	p->socket = talloc_asprintf(conf, "%s/ctdbd.socket", p->run);
	p->msg_dir = talloc_asprintf(conf, "%s/msg", p->run);
	p->libexec = find_libexec(conf);
	p->db_volatile = talloc_asprintf(conf, "%s/volatile", p->var);
	p->db_persistent = talloc_asprintf(conf, "%s/persistent", p->var);
	p->db_state = talloc_asprintf(conf, "%s/state", p->var);
	conf->logging.location = own ? talloc_asprintf(conf, "file:%s/log.ctdb", base)
				     : talloc_strdup(conf, "file:/var/log/ctdb/log.ctdb");
	if (p->config == NULL || p->nodes == NULL || p->socket == NULL || p->msg_dir == NULL || p->libexec == NULL ||
	    p->db_volatile == NULL || p->db_persistent == NULL || p->db_state == NULL ||
	    conf->logging.location == NULL || conf->transport.key_file == NULL) {
		return ENOMEM;
	}
	return 0;
}

static int defaults(struct conf *conf, char **err)
{
	int ret = default_paths(conf, err);

	for (size_t i = 0; ret == 0 && i < conf_n_options; i++) {
		if (conf_options[i].initial != NULL) {
			ret = conf_option_set(&conf_options[i], conf, conf_options[i].initial, err);
		}
	}
	return ret;
}

/* The later of two lines is the one to complain about. */
static int conflict(struct loader *l, const char *section, const char *a, const char *b, const char *text, char **err)
{
	const struct origin *oa = &l->origin[option_index(conf_option_find(section, a))];
	const struct origin *ob = &l->origin[option_index(conf_option_find(section, b))];
	const struct origin *o = oa->file == NULL ? ob : oa;

	*err = o->file == NULL ? talloc_strdup(l->conf, text)
			       : talloc_asprintf(l->conf, "%s:%u: %s", o->file, o->line, text);
	return EINVAL;
}

static int check_together(struct loader *l, char **err)
{
	struct conf *conf = l->conf;

	if (conf->cluster.dead_interval / 3 < conf->cluster.heartbeat_interval) {
		return conflict(l, "cluster", "dead interval", "heartbeat interval",
				talloc_asprintf(conf,
						"[cluster] dead interval (%u ms) must be at least three times the "
						"heartbeat interval (%u ms)",
						conf->cluster.dead_interval, conf->cluster.heartbeat_interval),
				err);
	}
	if (conf->transport.port == conf->transport.db_port) {
		return conflict(l, "transport", "db port", "port",
				talloc_asprintf(conf, "[transport] port and db port are both %u: give two ports",
						conf->transport.port),
				err);
	}
	if (conf->supervisor.restart_delay_limit < conf->supervisor.restart_delay) {
		return conflict(l, "supervisor", "restart delay limit", "restart delay",
				talloc_strdup(conf, "[supervisor] restart delay limit is below restart delay"), err);
	}
	return 0;
}

/* Existing files have a cluster lock and nothing else that says how to arbitrate. */
static void default_arbitration(struct loader *l)
{
	const struct origin *o = &l->origin[option_index(conf_option_find("cluster", "arbitration"))];

	if (o->file == NULL && l->conf->cluster.cluster_lock != NULL) {
		l->conf->cluster.arbitration = CONF_ARBITRATION_LOCK;
	}
}

static int check_arbitration(struct loader *l, char **err)
{
	struct conf *conf = l->conf;
	enum conf_arbitration arbitration = conf->cluster.arbitration;

	if (arbitration == CONF_ARBITRATION_LOCK && conf->cluster.cluster_lock == NULL) {
		return conflict(l, "cluster", "arbitration", "cluster lock",
				talloc_strdup(conf, "[cluster] arbitration = lock needs cluster lock as well: the path "
						    "of a file in the cluster file system"),
				err);
	}
	if (arbitration == CONF_ARBITRATION_ETCD && conf->cluster.etcd_endpoints == NULL) {
		return conflict(l, "cluster", "arbitration", "etcd endpoints",
				talloc_strdup(conf, "[cluster] arbitration = etcd needs etcd endpoints as well: the "
						    "HOST:PORT of its servers"),
				err);
	}
	if (conf->cluster.etcd_ttl % 1000 != 0) {
		return conflict(l, "cluster", "etcd ttl", "etcd ttl",
				talloc_asprintf(conf, "[cluster] etcd ttl is %u ms: give whole seconds",
						conf->cluster.etcd_ttl),
				err);
	}
	if ((conf->cluster.etcd_cert == NULL) != (conf->cluster.etcd_cert_key == NULL)) {
		return conflict(l, "cluster", "etcd certificate file", "etcd private key file",
				talloc_strdup(conf, "[cluster] etcd certificate file and etcd private key file go "
						    "together: give both or none"),
				err);
	}
	return 0;
}

static int note_unused(struct loader *l, const char *name, enum conf_arbitration used_by)
{
	static const char *const names[] = {"majority", "none", "lock", "etcd"};
	const struct origin *o = &l->origin[option_index(conf_option_find("cluster", name))];

	if (o->file == NULL || l->conf->cluster.arbitration == used_by) {
		return 0;
	}
	l->file = o->file;
	return add_notice(l, o->line,
			  talloc_asprintf(l->conf, "\"%s\" in [cluster] has no effect: arbitration is %s", name,
					  names[l->conf->cluster.arbitration]));
}

static int load(struct loader *l, const char *path, char **err)
{
	struct conf *conf = l->conf;
	int ret;

	ret = defaults(conf, err);
	if (ret != 0) {
		return ret;
	}
	if (path != NULL) {
		talloc_free(conf->path.config);
		conf->path.config = talloc_strdup(conf, path);
		if (conf->path.config == NULL) {
			return ENOMEM;
		}
	}
	ret = read_file(l, conf->path.config, err);
	if (ret == ENOENT && path == NULL) {
		ret = 0;
	}
	if (ret == 0) {
		ret = read_fragments(l, conf->path.config, err);
	}
	default_arbitration(l);
	if (ret == 0) {
		ret = check_together(l, err);
	}
	if (ret == 0) {
		ret = check_arbitration(l, err);
	}
	if (ret == 0) {
		ret = note_unused(l, "cluster lock", CONF_ARBITRATION_LOCK);
	}
	return ret == 0 ? note_unused(l, "etcd endpoints", CONF_ARBITRATION_ETCD) : ret;
}

/* Where volatile databases are in memory unless another place was given. */
static int place_in_memory(struct conf *conf)
{
	char *usual = talloc_asprintf(conf, "%s/volatile", conf->path.var);

	if (usual == NULL) {
		return ENOMEM;
	}
	if (conf->database.volatile_in_memory && strcmp(conf->path.db_volatile, usual) == 0) {
		talloc_free(conf->path.db_volatile);
		conf->path.db_volatile = talloc_asprintf(conf, "%s/volatile", conf->path.run);
	}
	talloc_free(usual);
	return conf->path.db_volatile == NULL ? ENOMEM : 0;
}

int conf_load(TALLOC_CTX *mem, const char *path, struct conf **conf, char **err)
{
	struct loader l = {.conf = talloc_zero(mem, struct conf)};
	char *why = NULL;
	int ret = ENOMEM;

	if (l.conf != NULL) {
		l.origin = talloc_zero_array(l.conf, struct origin, conf_n_options);
		ret = l.origin == NULL ? ENOMEM : load(&l, path, &why);
		ret = ret == 0 ? place_in_memory(l.conf) : ret;
	}
	if (ret != 0) {
		*err = talloc_strdup(mem, why != NULL ? why : strerror(ret));
		talloc_free(l.conf);
		return ret;
	}
	TALLOC_FREE(l.origin);
	*conf = l.conf;
	return 0;
}

char *conf_update(TALLOC_CTX *mem, struct conf *conf, const struct conf *fresh)
{
	char *restart = NULL;

	for (size_t i = 0; i < conf_n_options; i++) {
		const struct conf_option *opt = &conf_options[i];

		if (opt->instead != NULL || conf_option_equal(opt, conf, fresh)) {
			continue;
		}
		if (opt->reload) {
			conf_option_copy(opt, conf, fresh);
		} else {
			restart = restart == NULL
					  ? talloc_asprintf(mem, "[%s] %s", opt->section, opt->name)
					  : talloc_asprintf_append(restart, ", [%s] %s", opt->section, opt->name);
		}
	}
	return restart;
}
