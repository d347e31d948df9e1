/* ctdb-bench stream: the measure of things: GnuTLS over a blocking socket. */
#include "bench.h"
#include "stream.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD 16384

static const char priority[] = "NONE:+VERS-TLS1.3:+AES-128-GCM:+AEAD:+SHA256:+ECDHE-PSK:+GROUP-X25519:+SIGN-ALL:"
			       "%DISABLE_TLS13_COMPAT_MODE";
static uint8_t secret[STREAM_KEY_BYTES] = "the key of both sides of a run";

static void check(int ret, const char *what)
{
	if (ret < 0) {
		fprintf(stderr, "ctdb-bench stream: %s: %s\n", what, gnutls_strerror(ret));
		exit(1);
	}
}

static void check_socket(int ret, const char *what)
{
	if (ret < 0) {
		perror(what);
		exit(1);
	}
}

static int find_key(gnutls_session_t session, const char *identity, gnutls_datum_t *key)
{
	(void)session;
	(void)identity;
	key->data = gnutls_malloc(sizeof(secret));
	if (key->data == NULL) {
		return -1;
	}
	memcpy(key->data, secret, sizeof(secret));
	key->size = sizeof(secret);
	return 0;
}

/* TLS 1.3 with the key, over a connected socket; the handshake is done. */
static gnutls_session_t session(int fd, bool server)
{
	gnutls_psk_client_credentials_t client;
	gnutls_psk_server_credentials_t accepting;
	gnutls_datum_t key = {secret, sizeof(secret)};
	gnutls_session_t s;
	int ret;

	check(gnutls_init(&s, (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_TICKETS), "session");
	check(gnutls_priority_set_direct(s, priority, NULL), "priority");
	if (server) {
		check(gnutls_psk_allocate_server_credentials(&accepting), "credentials");
		gnutls_psk_set_server_credentials_function(accepting, find_key);
		check(gnutls_credentials_set(s, GNUTLS_CRD_PSK, accepting), "credentials");
	} else {
		check(gnutls_psk_allocate_client_credentials(&client), "credentials");
		check(gnutls_psk_set_client_credentials(client, "bench", &key, GNUTLS_PSK_KEY_RAW), "key");
		check(gnutls_credentials_set(s, GNUTLS_CRD_PSK, client), "credentials");
	}
	gnutls_transport_set_int(s, fd);
	do {
		ret = gnutls_handshake(s);
	} while (ret < 0 && gnutls_error_is_fatal(ret) == 0);
	check(ret, "handshake");
	return s;
}

static struct sockaddr_in address(uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

static void no_delay(int fd)
{
	int on = 1;

	check_socket(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "TCP_NODELAY");
}

static ssize_t take(const struct stream_args *args, gnutls_session_t s, int fd, uint8_t *buf)
{
	return args->plain ? read(fd, buf, RECORD) : gnutls_record_recv(s, buf, RECORD);
}

static ssize_t give(const struct stream_args *args, gnutls_session_t s, int fd, const uint8_t *buf, size_t len)
{
	return args->plain ? write(fd, buf, len) : gnutls_record_send(s, buf, len);
}

int stream_bare_receiver(const struct stream_args *args, uint16_t port, int ready)
{
	struct sockaddr_in addr = address(port);
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, fd;
	static uint8_t buf[RECORD];
	gnutls_session_t s = NULL;
	uint64_t got = 0;

	check_socket(listener, "socket");
	check_socket(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "SO_REUSEADDR");
	check_socket(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	check_socket(listen(listener, 1), "listen");
	check_socket((int)write(ready, "R", 1), "pipe");
	fd = accept(listener, NULL, NULL);
	check_socket(fd, "accept");
	no_delay(fd);
	if (!args->plain) {
		s = session(fd, true);
	}
	while (got < args->bytes) {
		ssize_t n = take(args, s, fd, buf);

		if (n <= 0) {
			fprintf(stderr, "ctdb-bench stream: bare receiver: %s\n",
				n == 0 ? "end of file" : "read failed");
			return 1;
		}
		got += (uint64_t)n;
	}
	return give(args, s, fd, buf, 1) == 1 ? 0 : 1;
}

int stream_bare_sender(const struct stream_args *args, uint16_t port, int ready, struct stream_report *report)
{
	struct sockaddr_in addr = address(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	static uint8_t buf[RECORD];
	gnutls_session_t s = NULL;
	uint64_t begin;
	uint8_t byte;

	if (read(ready, &byte, 1) != 1) {
		return 1;
	}
	check_socket(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), "connect");
	no_delay(fd);
	if (!args->plain) {
		s = session(fd, false);
	}
	begin = bench_now();
	for (uint64_t sent = 0; sent < args->bytes;) {
		uint64_t left = args->bytes - sent;
		ssize_t n = give(args, s, fd, buf, left < RECORD ? left : RECORD);

		if (n <= 0) {
			fprintf(stderr, "ctdb-bench stream: bare sender: write failed\n");
			return 1;
		}
		sent += (uint64_t)n;
	}
	/* The receiver has it all. */
	if (take(args, s, fd, buf) != 1) {
		return 1;
	}
	report->seconds = (double)(bench_now() - begin) / 1e9;
	return 0;
}
