/* Requests to etcd: libcurl, with its own waiting so that a signal ends it. */
#include "etcd_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define REPLY_MAX (256 * 1024)
#define END_FDS   (HELPER_PARENT_FDS + 1)

/* Of gRPC, as the gateway tells them. */
enum { CODE_DEADLINE = 4, CODE_PERMISSION = 7, CODE_UNAVAILABLE = 14, CODE_UNAUTHENTICATED = 16 };

struct etcd {
	const struct etcd_config *config;
	const struct helper_parent *parent;
	int end_fd;
	bool ignore_end;
	unsigned server;
	CURLM *multi;
	CURL *easy;
	char *user, *password, *token; /* token NULL: not yet authenticated */
	char *reply;                   /* of the present call */
	size_t reply_len;
	char curl_error[CURL_ERROR_SIZE];
	char error[900];
	bool stale_token; /* the last refusal was about it */
};

uint64_t etcd_number(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);

	return json_is_string(v) ? strtoull(json_string_value(v), NULL, 10) : (uint64_t)json_integer_value(v);
}

unsigned etcd_servers(const struct etcd *e)
{
	return e->config->n_servers;
}

unsigned etcd_server(const struct etcd *e)
{
	return e->server;
}

void etcd_set_server(struct etcd *e, unsigned server)
{
	e->server = server % e->config->n_servers;
}

const char *etcd_error(const struct etcd *e)
{
	return e->error;
}

static void __attribute__((format(printf, 2, 3))) set_error(struct etcd *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->error, sizeof(e->error), fmt, ap);
	va_end(ap);
}

/* ---- the end of this process ---- */

static void end_fds(const struct etcd *e, struct pollfd *fds)
{
	helper_parent_poll(e->parent, fds);
	fds[HELPER_PARENT_FDS] = (struct pollfd){.fd = e->end_fd, .events = POLLIN};
}

void etcd_ignore_end(struct etcd *e)
{
	e->ignore_end = true;
}

bool etcd_wait_end(const struct etcd *e, int ms)
{
	struct pollfd fds[END_FDS];

	end_fds(e, fds);
	if (e->ignore_end) {
		return false;
	}
	(void)poll(fds, END_FDS, ms);
	return fds[HELPER_PARENT_FDS].revents != 0 || helper_parent_gone(e->parent, fds);
}

/* ---- one request ---- */

static size_t take_reply(char *data, size_t size, size_t n, void *priv)
{
	struct etcd *e = priv;
	char *grown;

	n *= size;
	if (n > REPLY_MAX - e->reply_len) {
		return 0;
	}
	grown = realloc(e->reply, e->reply_len + n + 1);
	if (grown == NULL) {
		return 0;
	}
	memcpy(grown + e->reply_len, data, n);
	e->reply = grown;
	e->reply_len += n;
	e->reply[e->reply_len] = '\0';
	return n;
}

/* Waits for the transfer. False: this process has to end. */
static bool run(struct etcd *e, CURLcode *result)
{
	struct pollfd fds[END_FDS];
	struct curl_waitfd extra[END_FDS];
	int running = 1, left;
	const CURLMsg *m;
	bool end = false;

	*result = CURLE_FAILED_INIT;
	if (curl_multi_add_handle(e->multi, e->easy) != CURLM_OK) {
		return true;
	}
	end_fds(e, fds);
	for (size_t i = 0; i < END_FDS && !e->ignore_end; i++) {
		extra[i] = (struct curl_waitfd){.fd = fds[i].fd, .events = fds[i].events != 0 ? CURL_WAIT_POLLIN : 0};
	}
	while (running > 0 && !end) {
		if (curl_multi_perform(e->multi, &running) != CURLM_OK) {
			break;
		}
		if (running > 0) {
			(void)curl_multi_poll(e->multi, extra, e->ignore_end ? 0 : END_FDS, 1000, NULL);
			end = etcd_wait_end(e, 0);
		}
	}
	while ((m = curl_multi_info_read(e->multi, &left)) != NULL) {
		if (m->msg == CURLMSG_DONE) {
			*result = m->data.result;
		}
	}
	curl_multi_remove_handle(e->multi, e->easy);
	return !end;
}

static const char *hint_for(CURLcode code)
{
	switch ((int)code) {
	case CURLE_PEER_FAILED_VERIFICATION:
		return ": its certificate is not trusted: check etcd ca file, and the name in etcd endpoints";
	case CURLE_SSL_CONNECT_ERROR:
		return ": TLS fails: does it speak https, and is the certificate of this node one that it accepts?";
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
		return ": check etcd ca file, etcd certificate file and etcd private key file";
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
		return ": does it want https, or a certificate of this node?";
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		return ": does etcd run there? Check etcd endpoints";
	default:
		return "";
	}
}

/* Short: it is part of a line of status. */
static const char *transfer_error(struct etcd *e, CURLcode code)
{
	long os_errno = 0;

	if (code == CURLE_COULDNT_CONNECT && curl_easy_getinfo(e->easy, CURLINFO_OS_ERRNO, &os_errno) == CURLE_OK &&
	    os_errno != 0) {
		return strerror((int)os_errno);
	}
	return e->curl_error[0] != '\0' ? e->curl_error : curl_easy_strerror(code);
}

static enum etcd_result post(struct etcd *e, unsigned server, const char *path, const char *body, uint64_t ms,
			     long *status)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	const char *base = e->config->servers[server];
	char url[600], *auth = NULL;
	CURLcode code;
	bool go_on;

	snprintf(url, sizeof(url), "%s%s", base, path);
	headers = curl_slist_append(headers, "Expect:");
	/* signed tokens can be long */
	if (e->token != NULL && asprintf(&auth, "Authorization: %s", e->token) >= 0) {
		headers = curl_slist_append(headers, auth);
		free(auth);
	}
	e->reply_len = 0;
	e->curl_error[0] = '\0';
	curl_easy_setopt(e->easy, CURLOPT_URL, url);
	curl_easy_setopt(e->easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(e->easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(e->easy, CURLOPT_TIMEOUT_MS, (long)ms);
	go_on = run(e, &code);
	curl_easy_getinfo(e->easy, CURLINFO_RESPONSE_CODE, status);
	curl_easy_setopt(e->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	if (!go_on) {
		set_error(e, "told to end");
		return ETCD_ENDED;
	}
	if (code != CURLE_OK) {
		set_error(e, "%s: %s%s", base, transfer_error(e, code), hint_for(code));
		return ETCD_UNREACHABLE;
	}
	return ETCD_OK;
}

/* Text and code of an error in one of the forms that the gateway's versions have. */
static const char *error_of(const json_t *reply, uint64_t *code)
{
	const json_t *inner = json_object_get(reply, "error");
	const json_t *holder = json_is_object(inner) ? inner : reply;
	const char *text = json_string_value(json_object_get(holder, "message"));

	*code = etcd_number(holder, "code");
	if (*code == 0) {
		*code = etcd_number(holder, "grpc_code");
	}
	return text != NULL ? text : json_is_string(inner) ? json_string_value(inner) : NULL;
}

static enum etcd_result refused(struct etcd *e, const char *base, const char *text, uint64_t code)
{
	const char *hint = "";

	e->stale_token = code == CODE_UNAUTHENTICATED || strstr(text, "auth store is old") != NULL;
	if (code == CODE_PERMISSION) {
		hint = ": give the user of etcd user file read and write access to etcd key";
	} else if (strstr(text, "user name is empty") != NULL) {
		hint = ": it has authentication: set etcd user file";
	} else if (strstr(text, "authentication failed") != NULL) {
		hint = ": check etcd user file";
	}
	set_error(e, "%s: etcd refuses: %s%s", base, text, hint);
	return code == CODE_UNAVAILABLE || code == CODE_DEADLINE ? ETCD_UNREACHABLE : ETCD_REFUSED;
}

/* What the server said, as an object without error. */
static enum etcd_result understand(struct etcd *e, const char *base, long status, json_t **reply)
{
	json_t *object = e->reply_len > 0 ? json_loadb(e->reply, e->reply_len, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	enum etcd_result ret;
	const char *text;
	uint64_t code;

	if (!json_is_object(object)) {
		bool https = e->reply_len > 0 && strstr(e->reply, "HTTPS server") != NULL;

		set_error(e, "%s: answers HTTP status %ld, but not as etcd 3.4 or later does: %s", base, status,
			  https ? "it speaks https: write https://HOST:PORT in etcd endpoints"
				: "check etcd endpoints");
		json_decref(object);
		return ETCD_UNREACHABLE;
	}
	text = error_of(object, &code);
	if (text != NULL || status != 200) {
		char status_text[40];

		snprintf(status_text, sizeof(status_text), "HTTP status %ld", status);
		ret = refused(e, base, text != NULL ? text : status_text, code);
		json_decref(object);
		return ret;
	}
	*reply = object;
	return ETCD_OK;
}

static enum etcd_result exchange(struct etcd *e, unsigned server, const char *path, const char *body, struct mono until,
				 json_t **reply)
{
	uint64_t ms = mono_ms_between(mono_now(), until);
	enum etcd_result ret;
	long status = 0;

	ms = ms < e->config->try_ms ? ms : e->config->try_ms;
	if (ms == 0) {
		set_error(e, "%s: no time left", e->config->servers[server]);
		return ETCD_UNREACHABLE;
	}
	e->stale_token = false;
	ret = post(e, server, path, body, ms, &status);
	return ret == ETCD_OK ? understand(e, e->config->servers[server], status, reply) : ret;
}

/* ---- authentication ---- */

static enum etcd_result authenticate(struct etcd *e, unsigned server, struct mono until)
{
	json_t *request = json_pack("{s:s, s:s}", "name", e->user, "password", e->password), *reply = NULL;
	char *body = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
	enum etcd_result ret = ETCD_REFUSED;
	const char *token;

	free(e->token);
	e->token = NULL;
	if (body == NULL) {
		set_error(e, "the user or password is no UTF-8 text: check etcd user file");
	} else {
		ret = exchange(e, server, "/v3/auth/authenticate", body, until, &reply);
	}
	if (ret == ETCD_OK) {
		token = json_string_value(json_object_get(reply, "token"));
		e->token = token != NULL ? strdup(token) : NULL;
		if (e->token == NULL) {
			set_error(e, "%s: the answer to authentication has no token", e->config->servers[server]);
			ret = ETCD_REFUSED;
		}
	}
	json_decref(reply);
	json_decref(request);
	free(body);
	return ret;
}

static enum etcd_result call_text(struct etcd *e, unsigned server, const char *path, const char *body,
				  struct mono until, json_t **reply)
{
	enum etcd_result ret = ETCD_OK;
	bool fresh = false;

	for (;;) {
		if (e->user != NULL && e->token == NULL) {
			ret = authenticate(e, server, until);
			if (ret == ETCD_REFUSED && strstr(e->error, "authentication is not enabled") != NULL) {
				ret = ETCD_OK; /* not yet, or not any more: it does not ask for it */
			}
			fresh = true;
		}
		if (ret == ETCD_OK) {
			ret = exchange(e, server, path, body, until, reply);
		}
		if (ret != ETCD_REFUSED || !e->stale_token || fresh || e->user == NULL) {
			return ret;
		}
		/* etcd forgets tokens, at the latest when it is started again */
		free(e->token);
		e->token = NULL;
		ret = ETCD_OK;
	}
}

/* ---- calls ---- */

enum etcd_result etcd_call(struct etcd *e, unsigned server, const char *path, json_t *body, struct mono until,
			   json_t **reply)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	enum etcd_result ret = ETCD_REFUSED;

	json_decref(body);
	if (text == NULL) {
		set_error(e, "out of memory, or the key is no UTF-8 text");
		return ret;
	}
	ret = call_text(e, server, path, text, until, reply);
	free(text);
	return ret;
}

enum etcd_result etcd_call_any(struct etcd *e, const char *path, json_t *body, struct mono until, json_t **reply)
{
	char all[sizeof(e->error) + 4] = "";
	enum etcd_result ret = ETCD_REFUSED;

	for (unsigned i = 0; i < e->config->n_servers; i++) {
		unsigned server = (e->server + i) % e->config->n_servers;
		size_t len = strlen(all);

		ret = etcd_call(e, server, path, json_incref(body), until, reply);
		if (ret != ETCD_UNREACHABLE) {
			e->server = ret == ETCD_OK ? server : e->server;
			json_decref(body);
			return ret;
		}
		snprintf(all + len, sizeof(all) - len, "%s%s", len > 0 ? "; " : "", e->error);
	}
	json_decref(body);
	set_error(e, "%.*s", (int)sizeof(e->error) - 1, all);
	return ret;
}

/* ---- preparation ---- */

static bool read_user(struct etcd *e, const char *path, char **err)
{
	char line[512] = "";
	FILE *f = fopen(path, "re");
	struct stat st;
	char *colon;

	if (f == NULL || fstat(fileno(f), &st) != 0) {
		(void)!asprintf(err, "%s: cannot be read: %s", path, strerror(errno));
	} else if ((st.st_mode & 077) != 0) {
		(void)!asprintf(err, "%s: others may read it: chmod 600 it", path);
	} else if (fgets(line, sizeof(line), f) == NULL || (colon = strchr(line, ':')) == NULL || colon == line) {
		(void)!asprintf(err, "%s: give one line USER:PASSWORD", path);
	} else {
		colon[1 + strcspn(colon + 1, "\r\n")] = '\0';
		*colon = '\0';
		e->user = strdup(line);
		e->password = strdup(colon + 1);
	}
	if (f != NULL) {
		fclose(f);
	}
	explicit_bzero(line, sizeof(line));
	return e->user != NULL && e->password != NULL;
}

static bool file_readable(const char *path, char **err)
{
	FILE *f = path != NULL ? fopen(path, "re") : NULL;

	if (path != NULL && f == NULL) {
		(void)!asprintf(err, "%s: cannot be read: %s", path, strerror(errno));
		return false;
	}
	if (f != NULL) {
		fclose(f);
	}
	return true;
}

static bool start_curl(struct etcd *e)
{
	const struct etcd_config *c = e->config;
	CURL *h;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (e->multi = curl_multi_init()) == NULL ||
	    (h = e->easy = curl_easy_init()) == NULL) {
		return false;
	}
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h, CURLOPT_ERRORBUFFER, e->curl_error);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_reply);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, e);
	curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L); /* a name server that hangs is not waited for */
#endif
	if (c->ca != NULL) {
		curl_easy_setopt(h, CURLOPT_CAINFO, c->ca);
	}
	if (c->cert != NULL) {
		curl_easy_setopt(h, CURLOPT_SSLCERT, c->cert);
		curl_easy_setopt(h, CURLOPT_SSLKEY, c->cert_key);
	}
	return true;
}

struct etcd *etcd_new(const struct etcd_config *config, const struct helper_parent *parent, int end_fd, char **err)
{
	struct etcd *e = calloc(1, sizeof(*e));

	*err = NULL;
	if (e == NULL) {
		return NULL;
	}
	e->config = config;
	e->parent = parent;
	e->end_fd = end_fd;
	if (!file_readable(config->ca, err) || !file_readable(config->cert, err) ||
	    !file_readable(config->cert_key, err) ||
	    (config->user_file != NULL && !read_user(e, config->user_file, err)) || !start_curl(e)) {
		return NULL; /* the program ends */
	}
	return e;
}
