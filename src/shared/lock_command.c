/* The helper's command line from the options; nothing of it goes through a shell. */
#include "shared/lock_command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLANKS    " \t"
#define WORDS_MAX 256
/* What existing installations name. */
#define OLD_FCNTL_HELPER "ctdb_mutex_fcntl_helper"

struct words {
	char **v; /* ends with NULL */
	size_t n;
};

static int add(struct words *w, const char *word)
{
	char *copy = talloc_strdup(w->v, word);

	if (copy == NULL || w->n == WORDS_MAX) {
		return copy == NULL ? ENOMEM : E2BIG;
	}
	w->v[w->n++] = copy;
	w->v[w->n] = NULL;
	return 0;
}

static int add_option(struct words *w, const char *name, const char *value)
{
	int ret = value != NULL ? add(w, name) : 0;

	return ret == 0 && value != NULL ? add(w, value) : ret;
}

static int add_program(struct words *w, const struct conf *conf, const char *name)
{
	char *path = talloc_asprintf(w->v, "%s/%s", conf->path.libexec, name);

	return path == NULL ? ENOMEM : add(w, path);
}

/* A name without '/': beside the daemons, else in PATH, else as it is. */
static int add_found(struct words *w, const struct conf *conf, const char *name)
{
	char *path = talloc_asprintf(w->v, "%s/%s", conf->path.libexec, name), *save = NULL, *list;
	const char *env = getenv("PATH");

	if (path == NULL) {
		return ENOMEM;
	}
	if (strchr(name, '/') != NULL) {
		return add(w, name);
	}
	if (access(path, X_OK) == 0) {
		return add(w, path);
	}
	list = talloc_strdup(w->v, env != NULL ? env : "");
	for (char *dir = list == NULL ? NULL : strtok_r(list, ":", &save); dir != NULL;
	     dir = strtok_r(NULL, ":", &save)) {
		path = talloc_asprintf(w->v, "%s/%s", dir, name);
		if (path != NULL && access(path, X_OK) == 0) {
			return add(w, path);
		}
	}
	return add(w, name);
}

static int lock_words(struct words *w, const struct conf *conf)
{
	const char *lock = conf->cluster.cluster_lock;
	char *text, *save = NULL;
	int ret = 0;

	if (lock[0] != '!') {
		ret = add_program(w, conf, "ctdb-lock-fcntl");
		return ret == 0 ? add(w, lock) : ret;
	}
	text = talloc_strdup(w->v, lock + 1);
	if (text == NULL) {
		return ENOMEM;
	}
	for (char *word = strtok_r(text, BLANKS, &save); ret == 0 && word != NULL;
	     word = strtok_r(NULL, BLANKS, &save)) {
		ret = w->n == 0 ? add_found(w, conf, word) : add(w, word);
	}
	return ret;
}

static int etcd_words(struct words *w, const struct conf *conf, const char *holder)
{
	char ttl[16];
	int ret = add_program(w, conf, "ctdb-lock-etcd");

	snprintf(ttl, sizeof(ttl), "%u", conf->cluster.etcd_ttl / 1000);
	ret = ret == 0 ? add_option(w, "--endpoints", conf->cluster.etcd_endpoints) : ret;
	ret = ret == 0 ? add_option(w, "--key", conf->cluster.etcd_key) : ret;
	ret = ret == 0 ? add_option(w, "--ttl", ttl) : ret;
	ret = ret == 0 ? add_option(w, "--ca", conf->cluster.etcd_ca) : ret;
	ret = ret == 0 ? add_option(w, "--cert", conf->cluster.etcd_cert) : ret;
	ret = ret == 0 ? add_option(w, "--cert-key", conf->cluster.etcd_cert_key) : ret;
	ret = ret == 0 ? add_option(w, "--user-file", conf->cluster.etcd_user) : ret;
	return ret == 0 ? add_option(w, "--name", holder) : ret;
}

static int check_program(TALLOC_CTX *mem, const struct conf *conf, const char *program, char **err)
{
	const char *slash = strrchr(program, '/');
	int ret = slash == NULL ? ENOENT : access(program, X_OK) == 0 ? 0 : errno;

	if (ret != 0 && strcmp(slash == NULL ? program : slash + 1, OLD_FCNTL_HELPER) == 0) {
		*err = talloc_asprintf(mem,
				       "cannot run %s, which cluster lock in [cluster] names: %s: give the path of the "
				       "lock file alone, ctdb-lock-fcntl does the same",
				       program, strerror(ret));
	} else if (ret != 0 && conf->cluster.arbitration == CONF_ARBITRATION_LOCK &&
		   conf->cluster.cluster_lock[0] == '!') {
		*err = talloc_asprintf(
			mem,
			"cannot run %s, which cluster lock in [cluster] names: %s: install it, or correct "
			"the option",
			program, strerror(ret));
	} else if (ret != 0) {
		*err = talloc_asprintf(mem,
				       "cannot run %s: %s: install it, or name the directory of the daemons by "
				       "CTDB_LIBEXEC",
				       program, strerror(ret));
	}
	return ret;
}

static int check_files(TALLOC_CTX *mem, const struct conf *conf, char **err)
{
	const char *const files[][2] = {
		{"etcd ca file", conf->cluster.etcd_ca},
		{"etcd certificate file", conf->cluster.etcd_cert},
		{"etcd private key file", conf->cluster.etcd_cert_key},
		{"etcd user file", conf->cluster.etcd_user},
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (files[i][1] != NULL && access(files[i][1], R_OK) != 0) {
			int ret = errno;

			*err = talloc_asprintf(mem, "%s, the %s in [cluster], cannot be read: %s", files[i][1],
					       files[i][0], strerror(ret));
			return ret;
		}
	}
	return 0;
}

int lock_command(TALLOC_CTX *mem, const struct conf *conf, const char *holder, char ***argv, char **err)
{
	enum conf_arbitration arbitration = conf->cluster.arbitration;
	struct words w = {0};
	int ret;

	*argv = NULL;
	if (arbitration != CONF_ARBITRATION_LOCK && arbitration != CONF_ARBITRATION_ETCD) {
		return 0;
	}
	w.v = talloc_zero_array(mem, char *, WORDS_MAX + 1);
	if (w.v == NULL) {
		return ENOMEM;
	}
	ret = arbitration == CONF_ARBITRATION_ETCD ? etcd_words(&w, conf, holder) : lock_words(&w, conf);
	ret = ret == 0 ? check_program(mem, conf, w.v[0], err) : ret;
	if (ret == 0 && arbitration == CONF_ARBITRATION_ETCD) {
		ret = check_files(mem, conf, err);
	}
	if (ret != 0) {
		talloc_free(w.v);
		return ret;
	}
	*argv = w.v;
	return 0;
}
