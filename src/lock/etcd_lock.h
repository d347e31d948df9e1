/* A key in etcd that one process has, by a lease: taken, renewed, given back. */
#ifndef LOCK_ETCD_LOCK_H
#define LOCK_ETCD_LOCK_H

#include "etcd_client.h"

/*
 * WHY the times are safe. A lease ends in etcd at the earliest TTL after it was granted or renewed, by the clock of etcd's leader, and both happened after
 * the request was sent; so until = time of sending + TTL, less what clocks may drift. A change of etcd's leader gives every lease its whole TTL again. But a
 * server that has been deposed and does not know may still say that it renewed a lease. So each renewal is followed by a linearizable read of the key, from
 * the same server, and counts only if both answers are of the same server and the same raft term: a term has one leader, the read proves that it was still
 * the leader afterwards, and the server passed the renewal on to no other.
 */
struct etcd_lock {
	struct etcd *etcd;
	const char *key;   /* as it is */
	const char *value; /* who holds it, for people */
	char *key64, *value64;
	uint32_t ttl_s;    /* as asked for; etcd may make it longer */
	uint64_t lease;    /* 0: none */
	struct mono until; /* while held */
	char holder[200];  /* CONTENDED: the value of who has it */
};

enum etcd_lock_result {
	ETCD_LOCK_HELD,
	ETCD_LOCK_CONTENDED, /* somebody else has it; renewing: it is lost */
	ETCD_LOCK_FAILED,    /* etcd_error() */
	ETCD_LOCK_ENDED,     /* this process has to end */
};

/* False: out of memory. */
bool etcd_lock_init(struct etcd_lock *l);
enum etcd_lock_result etcd_lock_take(struct etcd_lock *l, struct mono limit);
/* Once with each server in turn; FAILED: tried again while until has not come. */
enum etcd_lock_result etcd_lock_renew(struct etcd_lock *l);
/* Gives key and lease back, if there is a lease. */
void etcd_lock_release(struct etcd_lock *l, struct mono limit);

/* Talloc'ed nowhere: malloc. NULL: no memory, or what is decoded is not base 64. */
char *base64_encode(const void *data, size_t len);
char *base64_decode(const char *text);

#endif
