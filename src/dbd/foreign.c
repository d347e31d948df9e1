/* Native structures on their way between nodes: byte order. */
#include "dbd/foreign.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "dbd/recdata.h"
#include "protocol/classic.h"

static const char seqnum_key[] = "__db_sequence_number__";

static void turn(uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n / 2; i++) {
		uint8_t byte = p[i];

		p[i] = p[n - 1 - i];
		p[n - 1 - i] = byte;
	}
}

/* A length field in host order, whichever way it goes; turned. */
static uint32_t turn_length(uint8_t *p, enum foreign_dir dir)
{
	uint32_t before, after;

	memcpy(&before, p, sizeof(before));
	turn(p, sizeof(before));
	memcpy(&after, p, sizeof(after));
	return dir == FOREIGN_OUT ? before : after;
}

/* ---- records ---- */

static void turn_header(uint8_t *p)
{
	turn(p, 8);
	turn(p + 8, 4);
	turn(p + 12, 4);
	turn(p + 16, 4);
}

static void turn_value(const uint8_t *key, size_t keylen, uint8_t *value, size_t len)
{
	if (len >= REC_HEADER_SIZE) {
		turn_header(value);
	}
	if (len == REC_HEADER_SIZE + 8 && keylen == sizeof(seqnum_key) && memcmp(key, seqnum_key, keylen) == 0) {
		turn(value + REC_HEADER_SIZE, 8);
	}
}

int foreign_turn_recdata(uint8_t *p, size_t len, enum foreign_dir dir)
{
	while (len > 0) {
		uint32_t length, keylen, datalen;

		if (len < RECDATA_HEAD) {
			return EBADMSG;
		}
		length = turn_length(p, dir);
		turn(p + 4, 4);
		keylen = turn_length(p + 8, dir);
		datalen = turn_length(p + 12, dir);
		if (length > len || (uint64_t)RECDATA_HEAD + keylen + datalen != length) {
			return EBADMSG;
		}
		turn_value(p + RECDATA_HEAD, keylen, p + RECDATA_HEAD + keylen, datalen);
		p += length;
		len -= length;
	}
	return 0;
}

int foreign_turn_recbuf(uint8_t *p, size_t len, enum foreign_dir dir)
{
	if (len < RECBUF_HEAD) {
		return EBADMSG;
	}
	turn(p, 4);
	turn(p + 4, 4);
	return foreign_turn_recdata(p + RECBUF_HEAD, len - RECBUF_HEAD, dir);
}

/* ---- controls ---- */

/*
 * A form says what to turn, field by field: 2, 4, 8: an integer (or double) of so many bytes; '.': a byte that stays;
 * 'a': a sock_addr; '(': what follows up to ')' is repeated until the bytes end; 'R': a rec_buffer to the end. What is
 * behind the form stays: names, bytes.
 */
#define LATENCY "4....888"
#define BUCKETS "4444444444444444"
#define LOCKS   "4444" LATENCY BUCKETS
#define TIMEVAL "88"
#define HEADER  "8444...." /* the last four are padding; written as bytes */
#define IFACE                                                                                                          \
	".................."                                                                                           \
	"24"
#define STATISTICS                                                                                                     \
	"4444444444444444444444444...." LATENCY LATENCY LOCKS "4444444" BUCKETS "...." LATENCY LATENCY                 \
	"4...." TIMEVAL TIMEVAL "44"
#define HOT_KEY "4....88"

struct control_form {
	const char *request, *reply;
};

#define FORM(number, request_, reply_) [CLASSIC_CONTROL_##number] = {.request = (request_), .reply = (reply_)}

static const struct control_form forms[] = {
	FORM(PROCESS_EXISTS, "4", ""),
	FORM(STATISTICS, "", STATISTICS),
	FORM(GETDBPATH, "4", ""),
	FORM(GETVNNMAP, "", "(4)"),
	FORM(SETVNNMAP, "(4)", ""),
	FORM(GET_DEBUG, "", "4"),
	FORM(SET_DEBUG, "4", ""),
	FORM(GET_DBMAP, "", "4(4....)"),
	FORM(SET_RECMODE, "4", ""),
	FORM(DB_ATTACH, "", "4"),
	FORM(GET_DBNAME, "4", ""),
	FORM(ENABLE_SEQNUM, "4", ""),
	FORM(UPDATE_SEQNUM, "4", ""),
	FORM(TCP_ADD, "aa", ""),
	FORM(TCP_REMOVE, "aa", ""),
	FORM(TCP_ADD_DELAYED_UPDATE, "aa", ""),
	FORM(SET_TUNABLE, "44", ""),
	FORM(GET_TUNABLE, "4", "4"),
	FORM(LIST_TUNABLES, "", "4"),
	FORM(MODIFY_FLAGS, "444", ""),
	FORM(GET_ALL_TUNABLES, "", "(4)"),
	FORM(GET_TCP_TICKLE_LIST, "a", "a4(aa)"),
	FORM(SET_TCP_TICKLE_LIST, "a4(aa)", ""),
	FORM(DB_ATTACH_PERSISTENT, "", "4"),
	FORM(UPDATE_RECORD, "R", ""),
	FORM(SEND_GRATUITOUS_ARP, "a44", ""),
	FORM(WIPE_DATABASE, "44", ""),
	FORM(UPTIME, "", "(8)"),
	FORM(TRY_DELETE_RECORDS, "R", "R"),
	FORM(ADD_PUBLIC_IP, "a44", ""),
	FORM(DEL_PUBLIC_IP, "a44", ""),
	FORM(GET_CAPABILITIES, "", "4"),
	FORM(RELEASE_IP, "4a", ""),
	FORM(TAKEOVER_IP, "4a", ""),
	FORM(GET_PUBLIC_IPS, "", "4(4a)"),
	FORM(GET_NODEMAP, "", "4(44a)"),
	FORM(TRAVERSE_KILL, "448", ""),
	FORM(RECD_RECLOCK_LATENCY, "8", ""),
	FORM(SET_LMASTERROLE, "4", ""),
	FORM(SET_RECMASTERROLE, "4", ""),
	FORM(SET_BAN_STATE, "44", ""),
	FORM(GET_BAN_STATE, "", "44"),
	FORM(GET_DB_SEQNUM, "44", "8"),
	FORM(DB_SET_HEALTHY, "4", ""),
	FORM(DB_GET_HEALTH, "4", ""),
	FORM(GET_PUBLIC_IP_INFO, "a", "4a44(" IFACE ")"),
	FORM(GET_IFACES, "", "4(" IFACE ")"),
	FORM(SET_IFACE_LINK_STATE, IFACE, ""),
	FORM(GET_STAT_HISTORY, "", "4....(" STATISTICS ")"),
	FORM(SCHEDULE_FOR_DELETION, "4...." HEADER "4", ""),
	FORM(SET_DB_READONLY, "4", ""),
	FORM(GET_DB_STATISTICS, "4",
	     LOCKS LATENCY "44" BUCKETS
			   "4...." HOT_KEY HOT_KEY HOT_KEY HOT_KEY HOT_KEY HOT_KEY HOT_KEY HOT_KEY HOT_KEY HOT_KEY),
	FORM(SET_DB_STICKY, "4", ""),
	FORM(GET_RUNSTATE, "", "4"),
	FORM(DB_DETACH, "4", ""),
	FORM(GET_NODES_FILE, "", "4(44a)"),
	FORM(DB_FREEZE, "4", ""),
	FORM(DB_THAW, "4", ""),
	FORM(DB_TRANSACTION_START, "44", ""),
	FORM(DB_TRANSACTION_COMMIT, "44", ""),
	FORM(DB_TRANSACTION_CANCEL, "4", ""),
	FORM(DB_PULL, "448", "4"),
	FORM(DB_PUSH_START, "448", ""),
	FORM(DB_PUSH_CONFIRM, "4", "4"),
	FORM(DB_OPEN_FLAGS, "4", "4"),
	FORM(DB_ATTACH_REPLICATED, "", "4"),
	FORM(CHECK_PID_SRVID, "48", ""),
	FORM(VACUUM_FETCH, "R", ""),
	FORM(DB_VACUUM, "4", ""),
	FORM(ECHO_DATA, "44", "44"),
	FORM(PUSH_RECORD, "44" HEADER "4", ""),
};

static size_t field_size(char field)
{
	return field == 'a' ? sizeof(struct classic_sock_addr) : field == '.' ? 1 : (size_t)(field - '0');
}

/* Family, and the scope of an IPv6 address; port, flow and address are in network order everywhere. */
static void turn_address(uint8_t *p, enum foreign_dir dir)
{
	uint16_t before, after;

	memcpy(&before, p, sizeof(before));
	turn(p, sizeof(before));
	memcpy(&after, p, sizeof(after));
	if ((dir == FOREIGN_OUT ? before : after) == AF_INET6) {
		turn(p + 24, 4);
	}
}

static int turn_form(uint8_t *p, size_t len, enum foreign_dir dir, const char *form)
{
	const char *again = NULL;

	for (; *form != '\0'; form++) {
		if (*form == '(') {
			again = form;
			continue;
		}
		if (*form == ')') {
			form = again;
			continue;
		}
		if (*form == 'R') {
			return foreign_turn_recbuf(p, len, dir);
		}
		if (len < field_size(*form)) {
			return 0; /* all that is there was turned */
		}
		if (*form == 'a') {
			turn_address(p, dir);
		} else if (*form != '.') {
			turn(p, field_size(*form));
		}
		p += field_size(*form);
		len -= field_size(*form);
	}
	return 0;
}

/* Its value stands behind the key, after a length of its own. */
static void turn_push_record(uint8_t *p, size_t len, enum foreign_dir dir)
{
	const size_t fixed = 8 + REC_HEADER_SIZE + 4;
	uint32_t keylen;

	if (len < fixed) {
		return;
	}
	memcpy(&keylen, p + fixed - 4, sizeof(keylen)); /* already turned */
	if (dir == FOREIGN_OUT) {
		turn((uint8_t *)&keylen, sizeof(keylen));
	}
	if (keylen <= len - fixed && len - fixed - keylen >= 4) {
		turn(p + fixed + keylen, 4);
	}
}

int foreign_turn_control(uint8_t *p, size_t len, enum foreign_dir dir, uint32_t opcode, bool reply)
{
	const char *form = NULL;
	int rc;

	if (opcode < sizeof(forms) / sizeof(forms[0])) {
		form = reply ? forms[opcode].reply : forms[opcode].request;
	}
	if (form == NULL) {
		return 0;
	}
	rc = turn_form(p, len, dir, form);
	if (rc == 0 && opcode == CLASSIC_CONTROL_PUSH_RECORD && !reply) {
		turn_push_record(p, len, dir);
	}
	return rc;
}

/* ---- copies ---- */

static int copy(TALLOC_CTX *mem, const struct ctdb_blob *bytes, uint8_t **p)
{
	*p = talloc_memdup(mem, bytes->data, bytes->len);
	return *p != NULL ? 0 : ENOMEM;
}

static int keep(int rc, struct ctdb_blob *bytes, uint8_t *turned)
{
	if (rc == 0) {
		bytes->data = turned;
	} else {
		talloc_free(turned);
	}
	return rc;
}

int foreign_recdata(TALLOC_CTX *mem, enum foreign_dir dir, struct ctdb_blob *bytes)
{
	uint8_t *p;

	if (!FOREIGN_HOST || bytes->len == 0) {
		return 0;
	}
	return copy(mem, bytes, &p) != 0 ? ENOMEM : keep(foreign_turn_recdata(p, bytes->len, dir), bytes, p);
}

int foreign_recbuf(TALLOC_CTX *mem, enum foreign_dir dir, struct ctdb_blob *bytes)
{
	uint8_t *p;

	if (!FOREIGN_HOST || bytes->len == 0) {
		return 0;
	}
	return copy(mem, bytes, &p) != 0 ? ENOMEM : keep(foreign_turn_recbuf(p, bytes->len, dir), bytes, p);
}

int foreign_control(TALLOC_CTX *mem, enum foreign_dir dir, uint32_t opcode, bool reply, struct ctdb_blob *bytes)
{
	uint8_t *p;

	if (!FOREIGN_HOST || bytes->len == 0) {
		return 0;
	}
	return copy(mem, bytes, &p) != 0 ? ENOMEM
					 : keep(foreign_turn_control(p, bytes->len, dir, opcode, reply), bytes, p);
}
