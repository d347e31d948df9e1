/* Writes first inputs for the fuzz targets, from random valid values: fuzz_seeds DIRECTORY makes DIRECTORY/TARGET/NAME.
 * What a fuzzer made of them is kept in corpus/. */
#include <errno.h>
#include <sys/stat.h>
#include <talloc.h>

#include "base/hash.h"
#include "fuzz.h"
#include "protocol/classic_native.h"
#include "protocol/gen_table.h"
#include "protocol/gen_test.h"
#include "protocol/lane.h"
#include "protocol/link.h"
#include "protocol/msg.h"
#include "tables.h"

#define SEED_MAX 1024

static const char *top;
static uint64_t rnd = 20261121;

/* An input that is being put together. */
struct seed {
	uint8_t data[64 * 1024];
	size_t len;
};

static void add(struct seed *s, const void *data, size_t len)
{
	MUST(s->len + len <= sizeof(s->data));
	if (len > 0) {
		memcpy(s->data + s->len, data, len);
	}
	s->len += len;
}

static void add_byte(struct seed *s, unsigned v)
{
	uint8_t byte = (uint8_t)v;

	add(s, &byte, 1);
}

static void add_u16(struct seed *s, size_t v)
{
	add_byte(s, (unsigned)(v >> 8));
	add_byte(s, (unsigned)v);
}

static void save(const char *target, const char *name, const struct seed *s)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, target);
	if (mkdir(path, 0755) != 0 && errno != EEXIST) {
		perror(path);
		exit(1);
	}
	snprintf(path, sizeof(path), "%s/%s/%s", top, target, name);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(s->data, 1, s->len, f) != s->len || fclose(f) != 0) {
		perror(path);
		exit(1);
	}
}

/* A random value of t, encoded, not too long. */
static struct ctdb_blob random_value(TALLOC_CTX *mem, const struct gen_type *t, bool native)
{
	struct ctdb_blob out;

	for (;;) {
		void *v = talloc_zero_size(mem, t->size);

		t->random(&rnd, mem, v);
		MUST((native ? t->nencode(mem, v, &out) : t->encode(mem, v, &out)) == 0);
		if (out.len <= SEED_MAX) {
			return out;
		}
	}
}

static void xdr_seed(unsigned interface, unsigned type, const struct gen_type *t, bool native)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct seed *s = talloc_zero(mem, struct seed);
	struct ctdb_blob value = random_value(mem, t, native);
	char name[128];

	add_byte(s, interface | (native ? 0x80 : 0));
	add_byte(s, type | 0x80);
	add(s, value.data, value.len);
	snprintf(name, sizeof(name), "%s%s", t->name, native ? "-native" : "");
	save("xdr", name, s);
	talloc_free(mem);
}

static void xdr_seeds(void)
{
	for (unsigned i = 0; i < FUZZ_TABLES; i++) {
		for (unsigned k = 0; fuzz_tables[i][k].name != NULL; k++) {
			/* Those of the classic protocol never go over XDR. */
			xdr_seed(i, k, &fuzz_tables[i][k], fuzz_tables[i][k].nencode != NULL);
		}
	}
}

static const struct gen_type *find_type(const char *name)
{
	for (unsigned i = 0; i < FUZZ_TABLES; i++) {
		for (unsigned k = 0; fuzz_tables[i][k].name != NULL; k++) {
			if (strcmp(fuzz_tables[i][k].name, name) == 0) {
				return &fuzz_tables[i][k];
			}
		}
	}
	fprintf(stderr, "no type %s\n", name);
	abort();
}

/* ---- lane ---- */

static void lane_seeds(void)
{
	static const struct {
		enum lane_proc proc;
		const char *type;
	} frames[] = {
		{LANE_PROC_CALL, "lane_call"},
		{LANE_PROC_GRANT, "lane_grant"},
		{LANE_PROC_RO_CALL, "lane_call"},
		{LANE_PROC_RO_COPY, "lane_grant"},
		{LANE_PROC_MESSAGE, "lane_message"},
		{LANE_PROC_CONTROL, "lane_control"},
		{LANE_PROC_CONTROL_REPLY, "lane_control_reply"},
		{LANE_PROC_ATTACH, "lane_attach"},
		{LANE_PROC_ATTACH_REPLY, "lane_attach_reply"},
		{LANE_PROC_UPDATE, "lane_update"},
		{LANE_PROC_UPDATE_REPLY, "lane_update_reply"},
		{LANE_PROC_TRAVERSE_START, "lane_traverse_start"},
		{LANE_PROC_TRAVERSE_DATA, "lane_traverse_data"},
		{LANE_PROC_TRAVERSE_END, "lane_traverse_end"},
		{LANE_PROC_TRAVERSE_KILL, "lane_traverse_id"},
		{LANE_PROC_REC_BEGIN, "rec_begin"},
		{LANE_PROC_REC_BEGIN_REPLY, "rec_begin_reply"},
		{LANE_PROC_REC_PLAN, "rec_plan"},
		{LANE_PROC_REC_CLAIMS, "rec_claims"},
		{LANE_PROC_REC_ACK, "rec_ack"},
		{LANE_PROC_REC_ORDERS, "rec_orders"},
		{LANE_PROC_REC_CONTENT_STATE, "rec_content_state"},
		{LANE_PROC_REC_CONTENT_PLAN, "rec_content_plan"},
		{LANE_PROC_REC_CONTENT_PARTS, "rec_content_parts"},
		{LANE_PROC_REC_CONTENT_BEGIN, "rec_content_begin"},
		{LANE_PROC_REC_CONTENT, "rec_content"},
		{LANE_PROC_REC_DB_PREPARED, "rec_db"},
		{LANE_PROC_REC_END, "rec_end"},
		{LANE_PROC_REC_WANTED, "rec_wanted"},
	};

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		TALLOC_CTX *mem = talloc_new(NULL);
		struct seed *s = talloc_zero(mem, struct seed);
		struct ctdb_blob value = random_value(mem, find_type(frames[i].type), false);

		add_byte(s, 4);
		add_byte(s, frames[i].proc);
		add_u16(s, value.len);
		add(s, value.data, value.len);
		save("lane", frames[i].type, s);
		talloc_free(mem);
	}
}

/* ---- classic ---- */

static void add_packet(struct seed *s, unsigned operation, unsigned destination, const struct ctdb_blob *body)
{
	MUST(body->len < 0x800);
	add_byte(s, operation);
	add_byte(s, destination);
	add_u16(s, body->len);
	add(s, body->data, body->len);
}

static void add_control(struct seed *s, uint32_t opcode, unsigned destination, struct ctdb_blob data)
{
	struct classic_req_control c = {.opcode = opcode, .data = data};
	struct ctdb_blob body;

	MUST(classic_req_control_nencode(NULL, &c, &body) == 0);
	add_packet(s, 2, destination, &body);
	talloc_free(body.data);
}

static uint32_t db_id(const char *name)
{
	return hash_lookup3((const uint8_t *)name, strlen(name) + 1);
}

/* Ten opcodes each, with payloads of a random type behind a database's id. */
static void control_seeds(void)
{
	for (uint32_t first = 0; first < 170; first += 10) {
		TALLOC_CTX *mem = talloc_new(NULL);
		struct seed *s = talloc_zero(mem, struct seed);
		char name[32];

		add_byte(s, 16);
		for (uint32_t opcode = first; opcode < first + 10; opcode++) {
			uint32_t id = db_id(opcode & 1 ? "vol.tdb" : "pers.tdb");
			uint8_t payload[40] = {0};

			memcpy(payload, &id, sizeof(id));
			payload[4] = 1;
			memcpy(payload + 8, "name.tdb", 9);
			add_control(s, opcode, opcode % 3, (struct ctdb_blob){sizeof(payload), payload});
		}
		snprintf(name, sizeof(name), "controls-%u", first);
		save("classic", name, s);
		talloc_free(mem);
	}
}

static void attach_and_call_seed(struct seed *s)
{
	struct classic_req_call call = {
		.flags = 1, .db_id = db_id("vol.tdb"), .callid = CLASSIC_CALLID_FETCH_WITH_HEADER};
	struct classic_req_message message = {.srvid = UINT64_C(0xfe00000000000001), .data = {4, (uint8_t *)"text"}};
	struct ctdb_blob body;

	*s = (struct seed){.len = 0};
	add_byte(s, 16);
	add_control(s, CLASSIC_CONTROL_DB_ATTACH, 0, (struct ctdb_blob){8, (uint8_t *)"new.tdb"});
	call.key = (struct ctdb_blob){3, (uint8_t *)"key"};
	MUST(classic_req_call_nencode(NULL, &call, &body) == 0);
	add_packet(s, 0, 0, &body);
	talloc_free(body.data);
	MUST(classic_req_message_nencode(NULL, &message, &body) == 0);
	add_packet(s, 1, 4, &body);
	talloc_free(body.data);
	save("classic", "attach-call-message", s);
}

static void commit_seed(struct seed *s)
{
	static uint8_t data[32] = {1};
	struct classic_rec_data record = {.key = {3, (uint8_t *)"key"}, .data = {sizeof(data), data}};
	struct classic_rec_buffer records = {.db_id = db_id("pers.tdb")};
	struct ctdb_blob payload;

	records.records.n = 1;
	records.records.v = &record;
	MUST(classic_rec_buffer_nencode(NULL, &records, &payload) == 0);
	*s = (struct seed){.len = 0};
	add_byte(s, 0);
	add_control(s, CLASSIC_CONTROL_TRANS3_COMMIT, 0, payload);
	talloc_free(payload.data);
	save("classic", "commit", s);
}

/* ---- messages ---- */

static void msg_seeds(void)
{
	static char source[] = "cli.4711", destination[] = "fuzz";
	struct seed *s = talloc_zero(NULL, struct seed);

	for (unsigned i = 0; i < 24; i++) {
		struct msg_header h = {.magic = MSG_MAGIC,
				       .version = MSG_VERSION,
				       .kind = (enum msg_kind)(1 + i % 3),
				       .source = source,
				       .source_node = 2,
				       .destination = destination,
				       .destination_node = 1,
				       .interface = 0x7000,
				       .interface_version = 1,
				       .procedure = i % 5,
				       .id = i + 1,
				       .payload_len = 8};
		struct ctdb_blob out;
		char name[32];

		MUST(msg_header_encode(NULL, &h, &out) == 0);
		*s = (struct seed){.len = 0};
		add_byte(s, i < 12 ? 1 : 2);
		add(s, out.data, out.len);
		add(s, "payload", 8);
		snprintf(name, sizeof(name), "packet-%u", i);
		save("msg", name, s);
		talloc_free(out.data);
	}
	*s = (struct seed){.len = 0};
	add(s, "\0db.17@2", 8);
	save("msg", "address", s);
	*s = (struct seed){.len = 0};
	add(s, "\0cluster@active", 15);
	save("msg", "group", s);
	talloc_free(s);
}

/* ---- links ---- */

static void add_frame(struct seed *s, unsigned kind, const void *payload, size_t len)
{
	add_byte(s, kind);
	add_u16(s, len);
	add(s, payload, len);
}

static void link_seeds(void)
{
	static const uint8_t eight[8] = {0, 0, 0, 0, 0, 0, 0, 1},
			     client_hello[] = {0x16, 3, 1, 0, 8, 1, 0, 0, 4, 3, 3, 0, 0};
	static char name[] = "fuzz";
	struct link_hello h = {.magic = LINK_MAGIC,
			       .version = LINK_VERSION,
			       .mesh = name,
			       .from_pnn = 1,
			       .to_pnn = 0,
			       .incarnation = 77,
			       .interface_version = 2,
			       .interface_oldest = 1,
			       .n_classes = 2,
			       .bundle = 5};
	struct seed *s = talloc_zero(NULL, struct seed);
	struct ctdb_blob blob;
	char path[32];

	MUST(link_hello_encode(s, &h, &blob) == 0);
	for (unsigned how = 0; how < 8; how++) {
		*s = (struct seed){.len = 0};
		add_byte(s, how);
		add_frame(s, 4, eight, sizeof(eight));
		add_frame(s, 4 | 0x80, eight, sizeof(eight));
		add_frame(s, 1, eight, sizeof(eight));
		add_frame(s, 2 | 0x80, eight, sizeof(eight));
		add_frame(s, 6, "payload", 7);
		add_frame(s, 0, blob.data, blob.len);
		snprintf(path, sizeof(path), "frames-%u", how);
		save("link_after", path, s);
		*s = (struct seed){.len = 0};
		add_byte(s, how);
		add(s, (how & 1) != 0 ? client_hello : blob.data, (how & 1) != 0 ? sizeof(client_hello) : blob.len);
		snprintf(path, sizeof(path), "hello-%u", how);
		save("link_before", path, s);
	}
	talloc_free(s);
}

/* ---- nodes that have moved ---- */

static void moved_seeds(void)
{
	static const char *const addresses[] = {"@", "@,10.0.0.7", "fd00::7,@", "@ ", "10.0.0.7", "#@", "@\n@", ""};
	static char address[] = "10.0.0.7";
	struct link_moved q = {.magic = LINK_MAGIC, .pnn = 2, .id = {1}, .address = address};
	struct seed *s = talloc_zero(NULL, struct seed);
	struct ctdb_blob blob;
	char path[32];

	MUST(link_moved_encode(s, &q, &blob) == 0);
	for (unsigned how = 0; how < 32; how++) {
		const char *text = addresses[how % 8];

		*s = (struct seed){.len = 0};
		add_byte(s, how);
		add_frame(s, 64, text, strlen(text));
		add_frame(s, how / 2, blob.data, blob.len);
		snprintf(path, sizeof(path), "question-%u", how);
		save("moved", path, s);
	}
	talloc_free(s);
}

static void moved_ask_seeds(void)
{
	static char why[] = "because", none[] = "", nodes[] = "10.0.0.1\n10.0.0.7\n";
	struct link_list list = {.text = why, .nodes = none};
	struct link_refused refused = {.reason = why};
	struct seed *s = talloc_zero(NULL, struct seed);
	struct ctdb_blob a, b;
	char path[32];

	MUST(link_refused_encode(s, &refused, &b) == 0);
	for (unsigned how = 0; how < 16; how++) {
		list.result = (enum link_moved_result)(how / 2 % 4);
		list.nodes = list.result == LINK_MOVED_DONE ? nodes : none;
		MUST(link_list_encode(s, &list, &a) == 0);
		*s = (struct seed){.len = 0};
		add_byte(s, how);
		add(s, (how & 6) == 4 ? b.data : a.data, (how & 6) == 4 ? b.len : a.len);
		snprintf(path, sizeof(path), "answer-%u", how);
		save("moved_ask", path, s);
	}
	talloc_free(s);
}

/* ---- files ---- */

static void text_seed(const char *target, const char *name, const char *text)
{
	struct seed *s = talloc_zero(NULL, struct seed);

	add(s, text, strlen(text));
	save(target, name, s);
	talloc_free(s);
}

static void file_seeds(void)
{
	text_seed("conf", "cluster",
		  "[cluster]\nnode address = 10.0.0.1\narbitration = majority\nheartbeat interval = 250\ndead interval "
		  "= 1000\n"
		  "leader capability = true\nlmaster capability = no\nrecovery lock = !/bin/true\n");
	text_seed("conf", "transport",
		  "# comment\n[transport]\nport = 4379\ndb port = 4380\nsecurity = none\nkey file = /etc/key\ncarrier "
		  "= tunnel\n"
		  "interface version = 1\n");
	text_seed("conf", "database",
		  "[database]\ntdb mutexes = true\nhash size = 100001\nslots = 1024\nmax packet = 1048576\n"
		  "\n%%\n[logging]\nlocation = file:/tmp/log\nlog level = DEBUG\nstall warning = 100\n");
	text_seed("conf", "supervisor",
		  "[supervisor]\nready timeout = 30000\nrestart attempts = 10\n  continued\n[legacy]\nrealtime "
		  "scheduling = no\n");
	text_seed("nodes", "two", "010.0.0.1\n10.0.0.2,10.1.0.2\n# 10.0.0.3\n#comment\n\nfd00::1,fd01::1\n");
	text_seed("nodes", "keys",
		  "1# keys\n00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n\n"
		  "ffeeddccbbaa99887766554433221100FFEEDDCCBBAA99887766554433221100 # old\n");
}

int main(int argc, char **argv)
{
	struct seed *s = talloc_zero(NULL, struct seed);

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	top = argv[1];
	if (mkdir(top, 0755) != 0 && errno != EEXIST) {
		perror(top);
		return 1;
	}
	xdr_seeds();
	lane_seeds();
	control_seeds();
	attach_and_call_seed(s);
	commit_seed(s);
	msg_seeds();
	link_seeds();
	moved_seeds();
	moved_ask_seeds();
	file_seeds();
	talloc_free(s);
	return 0;
}
