/* ctdb-bench codec: what it costs to encode and decode the messages that are sent for every record. */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "base/xdr_talloc.h"
#include "protocol/classic_native.h"
#include "protocol/lane.h"
#include "protocol/msg.h"

#define KEY_LEN  24
#define DATA_LEN 64
#define RECORDS  1000 /* of a classic_rec_buffer */

/*
 * ALLOC: the form that anybody may use: a talloc block made and freed for each message. REUSE: what the daemons do for
 * every record: into a buffer that is there already, and views of the input.
 */
enum form { ALLOC, REUSE };

/* What a case works on; the same for all runs. */
struct work {
	TALLOC_CTX *mem;
	struct ctdb_blob input; /* the encoded message */
	struct xdr_buf buf;
	uint8_t *room;
};

struct codec_case {
	const char *message;
	enum form form;
	bool decodes;
	unsigned records; /* the result is divided by it */
	void (*prepare)(struct work *w);
	int (*once)(struct work *w); /* 0, or the error that makes the measurement worthless */
};

static uint8_t key_bytes[KEY_LEN], data_bytes[DATA_LEN];

#define KEY                                                                                                            \
	{                                                                                                              \
		.len = KEY_LEN, .data = key_bytes                                                                      \
	}
#define DATA                                                                                                           \
	{                                                                                                              \
		.len = DATA_LEN, .data = data_bytes                                                                    \
	}

/* What both encodings have: a block for each message. decode: an expression. */
#define WITH_ALLOC(T, encode, decode)                                                                                  \
	static void T##_prepare(struct work *w)                                                                        \
	{                                                                                                              \
		if (encode(w->mem, &T##_value, &w->input) != 0) {                                                      \
			abort();                                                                                       \
		}                                                                                                      \
	}                                                                                                              \
	static int T##_alloc_encode(struct work *w)                                                                    \
	{                                                                                                              \
		struct ctdb_blob out;                                                                                  \
		int err = encode(w->mem, &T##_value, &out);                                                            \
                                                                                                                       \
		return err != 0 ? err : talloc_free(out.data);                                                         \
	}                                                                                                              \
	static int T##_alloc_decode(struct work *w)                                                                    \
	{                                                                                                              \
		struct T v;                                                                                            \
		int err = decode;                                                                                      \
                                                                                                                       \
		talloc_free_children(w->mem);                                                                          \
		return err;                                                                                            \
	}

/* ---- messages over XDR ---- */

#define XDR_BASIC(T)                                                                                                   \
	WITH_ALLOC(T, T##_encode, T##_decode(w->mem, w->input.data, w->input.len, &v))                                 \
	static int T##_reuse_encode(struct work *w)                                                                    \
	{                                                                                                              \
		struct ctdb_blob out;                                                                                  \
                                                                                                                       \
		return T##_encode_to(NULL, &w->buf, &T##_value, &out);                                                 \
	}

#define XDR_FLAT(T)                                                                                                    \
	XDR_BASIC(T)                                                                                                   \
	static int T##_reuse_decode(struct work *w)                                                                    \
	{                                                                                                              \
		struct T v;                                                                                            \
                                                                                                                       \
		return T##_view(w->input.data, w->input.len, &v);                                                      \
	}

#define XDR_TEXT(T, ROOM)                                                                                              \
	XDR_BASIC(T)                                                                                                   \
	static int T##_reuse_decode(struct work *w)                                                                    \
	{                                                                                                              \
		struct T v;                                                                                            \
		char room[ROOM];                                                                                       \
                                                                                                                       \
		return T##_view_at(w->input.data, w->input.len, &v, room);                                             \
	}

static const struct lane_call lane_call_value = {.db_id = 0x4ef4beb7, .generation = 77, .requester = 2, .key = KEY};
static const struct lane_grant lane_grant_value = {
	.db_id = 0x4ef4beb7, .generation = 77, .rsn = 12345, .flags = 1, .key = KEY, .data = DATA};
static const struct lane_message lane_message_value = {.srvid = UINT64_C(0xfe01000000000001), .data = DATA};
static const struct lane_control lane_control_value = {.id = 99, .opcode = 40, .client_id = 7, .data = DATA};
static const struct lane_control_reply lane_control_reply_value = {.id = 99, .data = DATA};
static char name_db[] = "db", name_cli[] = "cli.47110";
static const struct msg_header msg_header_value = {.magic = MSG_MAGIC,
						   .version = MSG_VERSION,
						   .kind = MSG_KIND_REQUEST,
						   .source = name_cli,
						   .source_node = 1,
						   .destination = name_db,
						   .destination_node = 2,
						   .interface = 0x20c70003,
						   .interface_version = 1,
						   .procedure = 4,
						   .id = 1234567,
						   .payload_len = 64};

XDR_FLAT(lane_call)
XDR_FLAT(lane_grant)
XDR_FLAT(lane_message)
XDR_FLAT(lane_control)
XDR_TEXT(lane_control_reply, LANE_CONTROL_REPLY_VIEW_ROOM)
XDR_TEXT(msg_header, MSG_HEADER_VIEW_ROOM)

/* ---- messages of the classic protocol ---- */

#define NATIVE(T)                                                                                                      \
	WITH_ALLOC(T, T##_nencode, T##_ndecode(w->mem, w->input.data, w->input.len, &v, NULL))                         \
	static int T##_reuse_encode(struct work *w)                                                                    \
	{                                                                                                              \
		return T##_nput(w->room, T##_nsize(&T##_value), &T##_value);                                           \
	}                                                                                                              \
	static int T##_reuse_decode(struct work *w)                                                                    \
	{                                                                                                              \
		struct T v;                                                                                            \
                                                                                                                       \
		return T##_nview(w->input.data, w->input.len, &v, NULL);                                               \
	}

static const struct classic_req_call classic_req_call_value = {
	.flags = 1, .db_id = 0x4ef4beb7, .callid = CLASSIC_CALLID_NULL, .key = KEY};
static const struct classic_reply_call classic_reply_call_value = {.data = DATA};
static const struct classic_req_control classic_req_control_value = {.opcode = 40, .client_id = 7, .data = DATA};
static const struct classic_reply_control classic_reply_control_value = {.data = DATA};
static const struct classic_req_message classic_req_message_value = {.srvid = UINT64_C(0xfe01000000000001),
								     .data = DATA};

NATIVE(classic_req_call)
NATIVE(classic_reply_call)
NATIVE(classic_req_control)
NATIVE(classic_reply_control)
NATIVE(classic_req_message)

static struct classic_rec_buffer records_value;

static void records_prepare(struct work *w)
{
	static struct classic_rec_data records[RECORDS];

	for (unsigned i = 0; i < RECORDS; i++) {
		records[i] = (struct classic_rec_data){.key = KEY, .data = DATA};
	}
	records_value.records.n = RECORDS;
	records_value.records.v = records;
	if (classic_rec_buffer_nencode(w->mem, &records_value, &w->input) != 0) {
		abort();
	}
}

static int records_encode(struct work *w)
{
	struct ctdb_blob out;
	int err = classic_rec_buffer_nencode(w->mem, &records_value, &out);

	return err != 0 ? err : talloc_free(out.data);
}

static int records_decode(struct work *w)
{
	struct classic_rec_buffer v;
	int err = classic_rec_buffer_ndecode(w->mem, w->input.data, w->input.len, &v, NULL);

	talloc_free_children(w->mem);
	return err;
}

/* ---- measuring ---- */

#define FOUR(T)                                                                                                        \
	{#T, ALLOC, false, 1, T##_prepare, T##_alloc_encode}, {#T, ALLOC, true, 1, T##_prepare, T##_alloc_decode},     \
		{#T, REUSE, false, 1, T##_prepare, T##_reuse_encode},                                                  \
	{                                                                                                              \
#T, REUSE, true, 1, T##_prepare, T##_reuse_decode                                                      \
	}

static const struct codec_case cases[] = {
	FOUR(lane_call),
	FOUR(lane_grant),
	FOUR(lane_message),
	FOUR(lane_control),
	FOUR(lane_control_reply),
	FOUR(msg_header),
	FOUR(classic_req_call),
	FOUR(classic_reply_call),
	FOUR(classic_req_control),
	FOUR(classic_reply_control),
	FOUR(classic_req_message),
	{"classic_rec_buffer, each record", ALLOC, false, RECORDS, records_prepare, records_encode},
	{"classic_rec_buffer, each record", ALLOC, true, RECORDS, records_prepare, records_decode},
};

#define N_CASES (sizeof(cases) / sizeof(cases[0]))

struct result {
	uint64_t iterations;
	double median, min;
};

static double run_ns(const struct codec_case *c, struct work *w, uint64_t iterations)
{
	uint64_t begin = bench_cpu_now();

	for (uint64_t i = 0; i < iterations; i++) {
		int err = c->once(w);

		if (err != 0) {
			fprintf(stderr, "ctdb-bench codec: %s: %s\n", c->message, strerror(err));
			exit(1);
		}
	}
	return (double)(bench_cpu_now() - begin) / (double)iterations / c->records;
}

static struct result measure(const struct codec_case *c, uint64_t iterations)
{
	struct work w = {.room = talloc_size(NULL, 4096)};
	struct work fresh = {0};
	struct result r = {.iterations = iterations / c->records > 0 ? iterations / c->records : 1};
	double ns[BENCH_RUNS];

	/* The input is no child of the context that is emptied after each decode. */
	fresh.mem = talloc_new(NULL);
	c->prepare(&fresh);
	w.mem = talloc_new(NULL);
	w.input = fresh.input;
	(void)run_ns(c, &w, r.iterations / 10 + 1);
	for (size_t i = 0; i < BENCH_RUNS; i++) {
		ns[i] = run_ns(c, &w, r.iterations);
	}
	r.median = bench_median(ns, BENCH_RUNS);
	r.min = ns[0];
	talloc_free(w.buf.data);
	talloc_free(w.room);
	talloc_free(w.mem);
	talloc_free(fresh.mem);
	return r;
}

static const char *form_name(enum form form)
{
	return form == ALLOC ? "alloc" : "reuse";
}

static void print_json(const struct result *r)
{
	printf("{\"benchmark\": \"codec\", \"key_bytes\": %d, \"data_bytes\": %d, \"runs\": %d, \"cases\": [\n",
	       KEY_LEN, DATA_LEN, BENCH_RUNS);
	for (size_t i = 0; i < N_CASES; i++) {
		printf("  {\"message\": \"%s\", \"form\": \"%s\", \"operation\": \"%s\", \"iterations\": %" PRIu64
		       ", \"ns_median\": %.1f, \"ns_min\": %.1f}%s\n",
		       cases[i].message, form_name(cases[i].form), cases[i].decodes ? "decode" : "encode",
		       r[i].iterations, r[i].median, r[i].min, i + 1 < N_CASES ? "," : "");
	}
	printf("]}\n");
}

/* Cases come in pairs, encode and decode. */
static void print_text(const struct result *r)
{
	printf("key %d bytes, data %d bytes; nanoseconds of CPU time, median (minimum) of %d runs\n"
	       "alloc: a talloc block for each message, freed again; reuse: caller's buffer and views, as the daemons "
	       "do for records\n\n",
	       KEY_LEN, DATA_LEN, BENCH_RUNS);
	printf("%-32s %-6s %10s  %16s %16s %10s\n", "message", "form", "iterations", "encode", "decode", "sum");
	for (size_t i = 0; i < N_CASES; i += 2) {
		char encode[32], decode[32];

		snprintf(encode, sizeof(encode), "%.1f (%.1f)", r[i].median, r[i].min);
		snprintf(decode, sizeof(decode), "%.1f (%.1f)", r[i + 1].median, r[i + 1].min);
		printf("%-32s %-6s %10" PRIu64 "  %16s %16s %10.1f\n", cases[i].message, form_name(cases[i].form),
		       r[i].iterations, encode, decode, r[i].median + r[i + 1].median);
	}
}

int bench_codec(int argc, char **argv)
{
	struct result results[N_CASES];
	uint64_t iterations = 200000;
	bool json = false;
	const struct bench_option options[] = {
		{.name = "--iterations", .value = &iterations, .low = 1000, .high = 100000000},
		{.name = "--json", .flag = &json},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	memset(key_bytes, 'k', sizeof(key_bytes));
	memset(data_bytes, 'd', sizeof(data_bytes));
	for (size_t i = 0; i < N_CASES; i++) {
		results[i] = measure(&cases[i], iterations);
	}
	if (json) {
		print_json(results);
	} else {
		print_text(results);
	}
	return 0;
}
