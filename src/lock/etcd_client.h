/* Requests to etcd (3.4 and later) by its JSON gateway: one at a time, each with a limit, given up at once when this process has to end. */
#ifndef LOCK_ETCD_CLIENT_H
#define LOCK_ETCD_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"
#include "helper.h"

#define ETCD_SERVERS_MAX 32

struct etcd_config {
	char *servers[ETCD_SERVERS_MAX]; /* URLs without path */
	unsigned n_servers;
	const char *ca, *cert, *cert_key;  /* files, NULL: none */
	const char *user_file;             /* NULL: no authentication */
	uint32_t try_ms;                   /* one server may take so long to answer */
};

enum etcd_result {
	ETCD_OK,
	ETCD_REFUSED,     /* etcd's answer is an error that another server would give as well */
	ETCD_UNREACHABLE, /* no answer, or not one of a working etcd */
	ETCD_ENDED,       /* this process has to end */
};

struct etcd;

/* config and parent have to stay. end_fd: readable when the process has to end. NULL: *err says what and what to do. */
struct etcd *etcd_new(const struct etcd_config *config, const struct helper_parent *parent, int end_fd, char **err);

/* POST to one server; body is taken over. *reply only with ETCD_OK. until: the limit, if that comes before try_ms. */
enum etcd_result etcd_call(struct etcd *e, unsigned server, const char *path, json_t *body, struct mono until,
			   json_t **reply);
/* The same to the servers in turn, until one answers; the one that answered last comes first. */
enum etcd_result etcd_call_any(struct etcd *e, const char *path, json_t *body, struct mono until, json_t **reply);
unsigned etcd_servers(const struct etcd *e); /* how many */
unsigned etcd_server(const struct etcd *e);  /* that answered last */
void etcd_set_server(struct etcd *e, unsigned server);

/* Why the last call did not succeed: servers, reasons, what to do. */
const char *etcd_error(const struct etcd *e);

/* From now on nothing but time ends a call: for what has to be done at the end. */
void etcd_ignore_end(struct etcd *e);
/* Whether this process has to end; waits up to ms for that. */
bool etcd_wait_end(const struct etcd *e, int ms);

/* Members of a reply. Numbers are strings there; what is 0 or false is left out. */
uint64_t etcd_number(const json_t *object, const char *name);

#endif
