/* The lock in etcd: lease, key, renewal. */
#include "etcd_lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of 1000: two clocks do not differ in speed by more than 1 %. */
#define DRIFT      990
#define TTL_MOST_S 600

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const uint8_t *p = data;
	char *text = malloc((len + 2) / 3 * 4 + 1), *out = text;

	for (size_t i = 0; text != NULL && i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);

		for (size_t k = 0; k < 4; k++) {
			*out++ = k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=';
		}
	}
	if (text != NULL) {
		*out = '\0';
	}
	return text;
}

char *base64_decode(const char *text)
{
	char *data = malloc(strlen(text) / 4 * 3 + 4), *out = data;
	uint32_t bits = 0;
	unsigned n = 0;

	for (; data != NULL && *text != '\0' && *text != '='; text++) {
		const char *digit = strchr(digits, *text);

		if (digit == NULL) {
			free(data);
			return NULL;
		}
		bits = bits << 6 | (uint32_t)(digit - digits);
		n += 6;
		if (n >= 8) {
			n -= 8;
			*out++ = (char)(bits >> n & 255);
		}
	}
	if (data != NULL) {
		*out = '\0';
	}
	return data;
}

bool etcd_lock_init(struct etcd_lock *l)
{
	l->key64 = base64_encode(l->key, strlen(l->key));
	l->value64 = base64_encode(l->value, strlen(l->value));
	return l->key64 != NULL && l->value64 != NULL;
}

static json_t *lease_body(uint64_t lease)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, lease);
	return json_pack("{s:s}", "ID", text);
}

/* Seconds; 0: it has ended, or it is no time ("-1"). Longer than anybody asks for is not believed. */
static uint64_t ttl_of(const json_t *answer)
{
	uint64_t ttl_s = etcd_number(answer, "TTL");

	if (ttl_s > INT64_MAX) {
		return 0;
	}
	return ttl_s < TTL_MOST_S ? ttl_s : TTL_MOST_S;
}

static struct mono lasts(struct mono sent, uint64_t ttl_s)
{
	return mono_add_ms(sent, ttl_s * DRIFT);
}

static enum etcd_lock_result result_of(enum etcd_result ret)
{
	return ret == ETCD_ENDED ? ETCD_LOCK_ENDED : ETCD_LOCK_FAILED;
}

/* Printable, whatever somebody put there. */
static void note_holder(struct etcd_lock *l, const json_t *kv)
{
	const char *text = json_string_value(json_object_get(kv, "value"));
	char *value = text != NULL ? base64_decode(text) : NULL;

	snprintf(l->holder, sizeof(l->holder), "%s", value != NULL && value[0] != '\0' ? value : "somebody");
	for (char *p = l->holder; *p != '\0'; p++) {
		*p = *p < ' ' || *p > '~' ? '?' : *p;
	}
	free(value);
}

/* The key as a range answer has it: who has it? */
static enum etcd_lock_result judge(struct etcd_lock *l, const json_t *range)
{
	const json_t *kv = json_array_get(json_object_get(range, "kvs"), 0);

	if (kv == NULL) {
		snprintf(l->holder, sizeof(l->holder), "nobody");
		return ETCD_LOCK_CONTENDED;
	}
	if (l->lease != 0 && etcd_number(kv, "lease") == l->lease) {
		return ETCD_LOCK_HELD;
	}
	note_holder(l, kv);
	return ETCD_LOCK_CONTENDED;
}

/* ---- taking ---- */

/* CONTENDED with a holder, or HELD here: the key is free. */
static enum etcd_lock_result look(struct etcd_lock *l, struct mono limit)
{
	enum etcd_lock_result ret;
	json_t *reply;
	enum etcd_result call =
		etcd_call_any(l->etcd, "/v3/kv/range", json_pack("{s:s}", "key", l->key64), limit, &reply);

	if (call != ETCD_OK) {
		return result_of(call);
	}
	ret = json_array_size(json_object_get(reply, "kvs")) == 0 ? ETCD_LOCK_HELD : judge(l, reply);
	json_decref(reply);
	return ret;
}

static enum etcd_lock_result grant(struct etcd_lock *l, struct mono limit)
{
	struct mono sent = mono_now();
	json_t *reply;
	enum etcd_result call =
		etcd_call_any(l->etcd, "/v3/lease/grant", json_pack("{s:i}", "TTL", (int)l->ttl_s), limit, &reply);

	if (call != ETCD_OK) {
		return result_of(call);
	}
	l->lease = etcd_number(reply, "ID");
	l->until = lasts(sent, ttl_of(reply));
	json_decref(reply);
	return ETCD_LOCK_HELD;
}

static json_t *put_if_free(const struct etcd_lock *l)
{
	char lease[24];

	snprintf(lease, sizeof(lease), "%" PRIu64, l->lease);
	return json_pack("{s:[{s:s, s:s, s:s, s:s}], s:[{s:{s:s, s:s, s:s}}], s:[{s:{s:s}}]}", "compare", "key",
			 l->key64, "target", "CREATE", "create_revision", "0", "result", "EQUAL", "success",
			 "request_put", "key", l->key64, "value", l->value64, "lease", lease, "failure",
			 "request_range", "key", l->key64);
}

/* An answer that got lost may have been yes; so the key may be ours already. */
static enum etcd_lock_result put(struct etcd_lock *l, struct mono limit)
{
	enum etcd_lock_result ret = ETCD_LOCK_HELD;
	json_t *reply;
	enum etcd_result call = etcd_call_any(l->etcd, "/v3/kv/txn", put_if_free(l), limit, &reply);

	if (call != ETCD_OK) {
		return result_of(call);
	}
	if (!json_is_true(json_object_get(reply, "succeeded"))) {
		const json_t *first = json_array_get(json_object_get(reply, "responses"), 0);

		ret = judge(l, json_object_get(first, "response_range"));
	}
	json_decref(reply);
	return ret;
}

enum etcd_lock_result etcd_lock_take(struct etcd_lock *l, struct mono limit)
{
	enum etcd_lock_result ret = look(l, limit);

	if (ret == ETCD_LOCK_HELD) {
		ret = grant(l, limit);
	}
	if (ret == ETCD_LOCK_HELD) {
		ret = put(l, mono_min(limit, l->until));
	}
	return ret;
}

/* ---- renewing ---- */

/* Both of the same server and raft term: see etcd_lock.h. */
static bool same_reign(const json_t *a, const json_t *b)
{
	const json_t *ha = json_object_get(a, "header"), *hb = json_object_get(b, "header");
	uint64_t member = etcd_number(ha, "member_id"), term = etcd_number(ha, "raft_term");

	return member != 0 && term != 0 && etcd_number(hb, "member_id") == member &&
	       etcd_number(hb, "raft_term") == term;
}

static enum etcd_lock_result confirm(struct etcd_lock *l, unsigned server, struct mono sent, const json_t *renewed)
{
	enum etcd_lock_result ret;
	json_t *reply;
	enum etcd_result call =
		etcd_call(l->etcd, server, "/v3/kv/range", json_pack("{s:s}", "key", l->key64), l->until, &reply);

	if (call != ETCD_OK) {
		return result_of(call);
	}
	ret = judge(l, reply);
	if (ret == ETCD_LOCK_HELD && !same_reign(renewed, reply)) {
		ret = ETCD_LOCK_FAILED; /* its leader has just changed: again */
	} else if (ret == ETCD_LOCK_HELD) {
		l->until = lasts(sent, ttl_of(renewed));
		etcd_set_server(l->etcd, server);
	}
	json_decref(reply);
	return ret;
}

static enum etcd_lock_result renew_at(struct etcd_lock *l, unsigned server)
{
	struct mono sent = mono_now();
	enum etcd_lock_result ret;
	const json_t *result;
	json_t *reply;
	enum etcd_result call =
		etcd_call(l->etcd, server, "/v3/lease/keepalive", lease_body(l->lease), l->until, &reply);

	if (call != ETCD_OK) {
		return result_of(call);
	}
	result = json_object_get(reply, "result");
	if (ttl_of(result) == 0) {
		snprintf(l->holder, sizeof(l->holder), "nobody for certain, the lease has ended in etcd");
		ret = ETCD_LOCK_CONTENDED;
	} else {
		ret = confirm(l, server, sent, result);
	}
	json_decref(reply);
	return ret;
}

enum etcd_lock_result etcd_lock_renew(struct etcd_lock *l)
{
	unsigned n = etcd_servers(l->etcd), first = etcd_server(l->etcd);
	enum etcd_lock_result ret = ETCD_LOCK_FAILED;

	for (unsigned i = 0; i < n && ret == ETCD_LOCK_FAILED && mono_before(mono_now(), l->until); i++) {
		ret = renew_at(l, (first + i) % n);
	}
	return ret;
}

/* ---- giving back ---- */

void etcd_lock_release(struct etcd_lock *l, struct mono limit)
{
	json_t *reply;

	if (l->lease != 0 &&
	    etcd_call_any(l->etcd, "/v3/lease/revoke", lease_body(l->lease), limit, &reply) == ETCD_OK) {
		json_decref(reply);
	}
	l->lease = 0;
}
