/* Links: TLS of one connection. GnuTLS reads from lent memory and writes to a buffer. */
#include "shared/link_tls.h"

#include <ctype.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>

#include "shared/log.h"

#define LINK_TLS_MESSAGE 4096 /* longest handshake message taken */
#define LINK_TLS_GROW    4096

static const char link_tls_priority[] = "NONE:+VERS-TLS1.3:+AES-128-GCM:+CHACHA20-POLY1305:+AEAD:+SHA256:+ECDHE-PSK:"
					"+GROUP-X25519:+GROUP-SECP256R1:+SIGN-ALL:%DISABLE_TLS13_COMPAT_MODE";

struct link_tls_mesh {
	gnutls_priority_t priority;
	gnutls_psk_server_credentials_t server;
	struct cluster_keys *keys;
};

struct link_tls {
	struct link_tls_mesh *mesh;
	gnutls_session_t session;
	gnutls_psk_client_credentials_t client; /* of the connecting side */
	bool outgoing, known, done;
	char identity[sizeof(((struct cluster_key *)0)->id)]; /* offered by the connecting side */
	const uint8_t *in;
	size_t in_left;
	uint8_t *out; /* [out_start, out_end) waits */
	size_t out_capacity, out_start, out_end;
};

/* ---- keys ---- */

static int link_tls_keys_wipe(struct cluster_keys *keys)
{
	explicit_bzero(keys, sizeof(*keys));
	return 0;
}

int link_tls_mesh_set_keys(struct link_tls_mesh *mesh, const struct cluster_keys *keys)
{
	struct cluster_keys *copy;

	if (keys == NULL || keys->n == 0 || keys->n > CLUSTER_KEYS_MAX) {
		return EINVAL;
	}
	copy = talloc_memdup(mesh, keys, sizeof(*keys));
	if (copy == NULL) {
		return ENOMEM;
	}
	talloc_set_name_const(copy, "struct cluster_keys");
	talloc_set_destructor(copy, link_tls_keys_wipe);
	talloc_free(mesh->keys);
	mesh->keys = copy;
	return 0;
}

static void link_tls_printable(char *to, size_t room, const char *from)
{
	size_t i;

	for (i = 0; i + 1 < room && from[i] != '\0'; i++) {
		to[i] = isprint((unsigned char)from[i]) ? from[i] : '?';
	}
	to[i] = '\0';
}

/*
 * Looks at every key whatever it finds, and what is not found has a key that nobody knows: whether an id exists shows
 * neither in the answer nor in the time it takes.
 */
static int link_tls_find_key(gnutls_session_t session, const char *identity, gnutls_datum_t *key)
{
	struct link_tls *tls = gnutls_session_get_ptr(session);
	const struct cluster_keys *keys = tls->mesh->keys;
	uint8_t secret[CLUSTER_KEY_BYTES];
	char id[sizeof(tls->identity)] = {0};
	uint32_t i;
	size_t k;

	key->data = gnutls_malloc(sizeof(secret));
	if (key->data == NULL || gnutls_rnd(GNUTLS_RND_KEY, secret, sizeof(secret)) != 0) {
		gnutls_free(key->data);
		return -1;
	}
	memcpy(id, identity, strnlen(identity, sizeof(id))); /* a longer one has no NUL: not the same as any */
	for (i = 0; i < keys->n; i++) {
		bool same = gnutls_memcmp(id, keys->v[i].id, sizeof(id)) == 0;
		uint8_t mask = (uint8_t) - (int)same;

		for (k = 0; k < sizeof(secret); k++) {
			secret[k] = (uint8_t)((secret[k] & ~mask) | (keys->v[i].secret[k] & mask));
		}
		tls->known |= same;
	}
	memcpy(key->data, secret, sizeof(secret));
	key->size = sizeof(secret);
	explicit_bzero(secret, sizeof(secret));
	link_tls_printable(tls->identity, sizeof(tls->identity), identity);
	return 0;
}

static int link_tls_mesh_destructor(struct link_tls_mesh *mesh)
{
	if (mesh->server != NULL) {
		gnutls_psk_free_server_credentials(mesh->server);
	}
	if (mesh->priority != NULL) {
		gnutls_priority_deinit(mesh->priority);
	}
	return 0;
}

int link_tls_mesh_new(TALLOC_CTX *mem, const struct cluster_keys *keys, struct link_tls_mesh **result)
{
	struct link_tls_mesh *mesh = talloc_zero(mem, struct link_tls_mesh);
	const char *at = NULL;
	int ret;

	if (mesh == NULL) {
		return ENOMEM;
	}
	talloc_set_destructor(mesh, link_tls_mesh_destructor);
	ret = link_tls_mesh_set_keys(mesh, keys);
	if (ret == 0 && gnutls_psk_allocate_server_credentials(&mesh->server) != 0) {
		ret = ENOMEM;
	}
	if (ret == 0) {
		ret = gnutls_priority_init(&mesh->priority, link_tls_priority, &at);
		if (ret != 0) {
			log_error("TLS: the system's policy or library does not allow '%s': %s",
				  at != NULL ? at : link_tls_priority, gnutls_strerror(ret));
			ret = ENOTSUP;
		}
	}
	if (ret != 0) {
		talloc_free(mesh);
		return ret;
	}
	gnutls_psk_set_server_credentials_function(mesh->server, link_tls_find_key);
	*result = mesh;
	return 0;
}

/* ---- in and out ---- */

static ssize_t link_tls_pull(gnutls_transport_ptr_t priv, void *data, size_t len)
{
	struct link_tls *tls = priv;

	if (tls->in_left == 0) {
		gnutls_transport_set_errno(tls->session, EAGAIN);
		return -1;
	}
	len = len < tls->in_left ? len : tls->in_left;
	memcpy(data, tls->in, len);
	tls->in += len;
	tls->in_left -= len;
	return (ssize_t)len;
}

/* Doubling from what a quiet connection needs; it is kept. */
static int link_tls_out_room(struct link_tls *tls, size_t len)
{
	size_t capacity = tls->out_capacity;
	uint8_t *out;

	if (tls->out_start > 0) {
		memmove(tls->out, tls->out + tls->out_start, tls->out_end - tls->out_start);
		tls->out_end -= tls->out_start;
		tls->out_start = 0;
	}
	while (capacity - tls->out_end < len) {
		capacity = capacity == 0 ? LINK_TLS_GROW : capacity * 2;
	}
	if (capacity > tls->out_capacity) {
		out = talloc_realloc(tls, tls->out, uint8_t, capacity);
		if (out == NULL) {
			return ENOMEM;
		}
		tls->out = out;
		tls->out_capacity = capacity;
	}
	return 0;
}

static ssize_t link_tls_push(gnutls_transport_ptr_t priv, const void *data, size_t len)
{
	struct link_tls *tls = priv;

	if (tls->out_capacity - tls->out_end < len && link_tls_out_room(tls, len) != 0) {
		gnutls_transport_set_errno(tls->session, ENOMEM);
		return -1;
	}
	memcpy(tls->out + tls->out_end, data, len);
	tls->out_end += len;
	return (ssize_t)len;
}

void link_tls_feed(struct link_tls *tls, const uint8_t *data, size_t len)
{
	tls->in = data;
	tls->in_left = len;
}

size_t link_tls_out(const struct link_tls *tls, const uint8_t **data)
{
	*data = tls->out != NULL ? tls->out + tls->out_start : NULL;
	return tls->out_end - tls->out_start;
}

void link_tls_out_done(struct link_tls *tls, size_t n)
{
	tls->out_start += n;
	if (tls->out_start == tls->out_end) {
		tls->out_start = tls->out_end = 0;
	}
}

/* ---- a session ---- */

static int link_tls_destructor(struct link_tls *tls)
{
	if (tls->session != NULL) {
		gnutls_deinit(tls->session);
	}
	if (tls->client != NULL) {
		gnutls_psk_free_client_credentials(tls->client);
	}
	return 0;
}

static int link_tls_credentials(struct link_tls *tls)
{
	const struct cluster_key *own = &tls->mesh->keys->v[0];
	gnutls_datum_t key = {.data = (unsigned char *)(uintptr_t)own->secret, .size = sizeof(own->secret)};
	int ret;

	if (!tls->outgoing) {
		return gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK, tls->mesh->server);
	}
	memcpy(tls->identity, own->id, sizeof(tls->identity));
	ret = gnutls_psk_allocate_client_credentials(&tls->client);
	if (ret == 0) {
		ret = gnutls_psk_set_client_credentials(tls->client, own->id, &key, GNUTLS_PSK_KEY_RAW);
	}
	return ret != 0 ? ret : gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK, tls->client);
}

/* Otherwise GnuTLS writes the secrets of sessions to a file that everybody may read, if SSLKEYLOGFILE names one. */
static int link_tls_no_key_log(gnutls_session_t session, const char *label, const gnutls_datum_t *secret)
{
	return 0;
}

struct link_tls *link_tls_new(TALLOC_CTX *mem, struct link_tls_mesh *mesh, bool outgoing)
{
	unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS;
	struct link_tls *tls = talloc_zero(mem, struct link_tls);

	if (tls == NULL) {
		return NULL;
	}
	tls->mesh = mesh;
	tls->outgoing = outgoing;
	talloc_set_destructor(tls, link_tls_destructor);
	if (gnutls_init(&tls->session, flags | (outgoing ? GNUTLS_CLIENT : GNUTLS_SERVER)) != 0 ||
	    gnutls_priority_set(tls->session, mesh->priority) != 0 || link_tls_credentials(tls) != 0) {
		talloc_free(tls);
		return NULL;
	}
	gnutls_session_set_keylog_function(tls->session, link_tls_no_key_log);
	gnutls_session_set_ptr(tls->session, tls);
	gnutls_transport_set_ptr(tls->session, tls);
	gnutls_transport_set_pull_function(tls->session, link_tls_pull);
	gnutls_transport_set_push_function(tls->session, link_tls_push);
	gnutls_handshake_set_max_packet_length(tls->session, LINK_TLS_MESSAGE);
	return tls;
}

bool link_tls_looks_like(const uint8_t *data, size_t len)
{
	/* a record of a handshake or an alert, of version 3.x */
	return (len < 1 || data[0] == 0x16 || data[0] == 0x15) && (len < 2 || data[1] == 3);
}

static void link_tls_handshake_why(const struct link_tls *tls, int ret, char *why, size_t room)
{
	bool alert = ret == GNUTLS_E_FATAL_ALERT_RECEIVED;
	const char *name = alert ? gnutls_alert_get_name(gnutls_alert_get(tls->session)) : gnutls_strerror(ret);

	if (alert && tls->outgoing) {
		snprintf(why, room, "refused by it in the TLS handshake (%s): is our key %s in its key file?", name,
			 tls->identity);
	} else if (alert) {
		snprintf(why, room, "it gave the TLS handshake up (%s)", name);
	} else if (!tls->outgoing && tls->identity[0] != '\0' && !tls->known) {
		snprintf(why, room, "wrong key: it offers key %s, which is not in the key file", tls->identity);
	} else if (tls->identity[0] != '\0') {
		snprintf(why, room, "TLS handshake with key %s failed: %s", tls->identity, name);
	} else {
		snprintf(why, room, "TLS handshake failed before it offered a key: %s", name);
	}
}

int link_tls_handshake(struct link_tls *tls, char *why, size_t room)
{
	int ret;

	if (tls->done) {
		return 0;
	}
	do {
		ret = gnutls_handshake(tls->session);
	} while (ret == GNUTLS_E_INTERRUPTED || ret == GNUTLS_E_WARNING_ALERT_RECEIVED);
	if (ret == GNUTLS_E_AGAIN) {
		return EAGAIN;
	}
	/* Only a key of the cluster makes a session: nothing else was offered, but this is where it counts. */
	if (ret == 0 && gnutls_auth_get_type(tls->session) == GNUTLS_CRD_PSK && (tls->outgoing || tls->known)) {
		tls->done = true;
		return 0;
	}
	ret = ret == 0 ? GNUTLS_E_INSUFFICIENT_CREDENTIALS : ret;
	link_tls_handshake_why(tls, ret, why, room);
	if (ret != GNUTLS_E_FATAL_ALERT_RECEIVED) {
		(void)gnutls_alert_send_appropriate(tls->session, ret);
	}
	return EPROTO;
}

int link_tls_read(struct link_tls *tls, uint8_t *data, size_t room, size_t *n, char *why, size_t why_room)
{
	ssize_t ret;

	do {
		ret = gnutls_record_recv(tls->session, data, room);
	} while (ret == GNUTLS_E_INTERRUPTED || ret == GNUTLS_E_WARNING_ALERT_RECEIVED);
	if (ret > 0) {
		*n = (size_t)ret;
		return 0;
	}
	if (ret == GNUTLS_E_AGAIN) {
		return EAGAIN;
	}
	if (ret == 0) {
		return ECONNRESET;
	}
	snprintf(why, why_room, "TLS: %s", gnutls_strerror((int)ret));
	return EBADMSG;
}

int link_tls_write(struct link_tls *tls, const uint8_t *data, size_t len, size_t *taken)
{
	ssize_t ret;

	if (tls->out_end - tls->out_start >= LINK_TLS_OUT) {
		return ENOBUFS;
	}
	ret = gnutls_record_send(tls->session, data, len < LINK_TLS_RECORD ? len : LINK_TLS_RECORD);
	if (ret <= 0) {
		return EPROTO; /* the output took all, or there was no memory: then the session cannot go on */
	}
	*taken = (size_t)ret;
	return 0;
}

const char *link_tls_key_id(const struct link_tls *tls)
{
	return tls->done ? tls->identity : "";
}
