/* The table of all options, and the reading of values by type. */
#include "shared/conf_options.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "shared/log_sink.h"

#define AT(member) offsetof(struct conf, member)
#define NUMBER(sec, nam, typ, member, def, lo, hi)                                                                     \
	{                                                                                                              \
		.section = sec, .name = nam, .type = typ, .offset = AT(member), .initial = def, .min = lo, .max = hi   \
	}
#define NUMBER_RELOAD(sec, nam, typ, member, def, lo, hi)                                                              \
	{                                                                                                              \
		.section = sec, .name = nam, .type = typ, .offset = AT(member), .initial = def, .min = lo, .max = hi,  \
		.reload = true                                                                                         \
	}
#define OPTION(sec, nam, typ, member, def)                                                                             \
	{                                                                                                              \
		.section = sec, .name = nam, .type = typ, .offset = AT(member), .initial = def                         \
	}
#define OLD_NAME(sec, nam, typ, member, now)                                                                           \
	{                                                                                                              \
		.section = sec, .name = nam, .type = typ, .offset = AT(member), .instead = now                         \
	}
#define NO_EFFECT(sec, nam, typ)                                                                                       \
	{                                                                                                              \
		.section = sec, .name = nam, .type = typ, .offset = CONF_NO_EFFECT, .max = INT32_MAX                   \
	}

const struct conf_option conf_options[] = {
	OPTION("logging", "location", CONF_LOCATION, logging.location, NULL),
	{.section = "logging",
	 .name = "log level",
	 .type = CONF_LEVEL,
	 .offset = AT(logging.level),
	 .initial = "NOTICE",
	 .reload = true},
	NUMBER_RELOAD("logging", "stall warning", CONF_MS, logging.stall_warning, "100", 1, 60000),

	NO_EFFECT("cluster", "transport", CONF_TRANSPORT),
	OPTION("cluster", "node address", CONF_ADDRESS, cluster.node_address, NULL),
	OPTION("cluster", "nodes file", CONF_FILE, path.nodes, NULL),
	OLD_NAME("cluster", "nodes list", CONF_FILE, path.nodes, "nodes file"),
	OPTION("cluster", "arbitration", CONF_ARBITRATION, cluster.arbitration, "majority"),
	NUMBER("cluster", "heartbeat interval", CONF_MS, cluster.heartbeat_interval, "250", 20, 10000),
	NUMBER("cluster", "dead interval", CONF_MS, cluster.dead_interval, "1000", 100, 60000),
	NUMBER_RELOAD("cluster", "callback timeout", CONF_MS, cluster.callback_timeout, "30000", 100, 3600000),
	OPTION("cluster", "leader capability", CONF_BOOL, cluster.leader_capability, "true"),
	OPTION("cluster", "lmaster capability", CONF_BOOL, cluster.lmaster_capability, "true"),
	OLD_NAME("legacy", "lmaster capability", CONF_BOOL, cluster.lmaster_capability, "lmaster capability"),
	OPTION("cluster", "cluster lock", CONF_LOCK, cluster.cluster_lock, NULL),
	OLD_NAME("cluster", "recovery lock", CONF_LOCK, cluster.cluster_lock, "cluster lock"),
	NUMBER("cluster", "lock timeout", CONF_MS, cluster.lock_timeout, "10000", 500, 600000),
	OPTION("cluster", "etcd endpoints", CONF_ENDPOINTS, cluster.etcd_endpoints, NULL),
	OPTION("cluster", "etcd key", CONF_STRING, cluster.etcd_key, "/ctdb/lock"),
	NUMBER("cluster", "etcd ttl", CONF_MS, cluster.etcd_ttl, "5000", 2000, 60000),
	OPTION("cluster", "etcd ca file", CONF_FILE, cluster.etcd_ca, NULL),
	OPTION("cluster", "etcd certificate file", CONF_FILE, cluster.etcd_cert, NULL),
	OPTION("cluster", "etcd private key file", CONF_FILE, cluster.etcd_cert_key, NULL),
	OPTION("cluster", "etcd user file", CONF_FILE, cluster.etcd_user, NULL),
	NO_EFFECT("cluster", "leader timeout", CONF_U32),

	NUMBER("transport", "port", CONF_U16, transport.port, "4379", 1, 65535),
	NUMBER("transport", "db port", CONF_U16, transport.db_port, "4380", 1, 65535),
	OPTION("transport", "security", CONF_SECURITY, transport.security, "tls"),
	OPTION("transport", "key file", CONF_FILE, transport.key_file, NULL),
	OPTION("transport", "carrier", CONF_CARRIER, transport.carrier, "links"),
	OPTION("transport", "tunnel socket", CONF_FILE, transport.tunnel_socket, NULL),
	NUMBER("transport", "interface version", CONF_U32, transport.interface_version, "2", 1, 2),

	OPTION("database", "volatile database directory", CONF_DIRECTORY, path.db_volatile, NULL),
	OPTION("database", "persistent database directory", CONF_DIRECTORY, path.db_persistent, NULL),
	OPTION("database", "state database directory", CONF_DIRECTORY, path.db_state, NULL),
	OPTION("database", "volatile in memory", CONF_BOOL, database.volatile_in_memory, "false"),
	OPTION("database", "tdb mutexes", CONF_BOOL, database.tdb_mutexes, "true"),
	NUMBER("database", "hash size", CONF_U32, database.hash_size, "100001", 1, 100000000),
	NUMBER("database", "transaction hash size", CONF_U32, database.transaction_hash_size, "10007", 1, 100000000),
	OPTION("database", "journal", CONF_BOOL, database.journal, "true"),
	NUMBER("database", "slots", CONF_U32, database.slots, "1024", 1, 65536),
	NUMBER_RELOAD("database", "attach timeout", CONF_MS, database.attach_timeout, "120000", 1000, 3600000),
	NUMBER_RELOAD("database", "control timeout", CONF_MS, database.control_timeout, "60000", 1000, 3600000),
	NUMBER_RELOAD("database", "max packet", CONF_BYTES, database.max_packet, "64MiB", 1024 * 1024, 1U << 30),
	NUMBER_RELOAD("database", "max queue", CONF_BYTES, database.max_queue, "256MiB", 1024 * 1024, UINT32_MAX),
	NO_EFFECT("database", "lock debug script", CONF_STRING),

	NUMBER("supervisor", "ready timeout", CONF_MS, supervisor.ready_timeout, "30000", 100, 600000),
	NUMBER("supervisor", "stop timeout", CONF_MS, supervisor.stop_timeout, "10000", 100, 600000),
	NUMBER("supervisor", "restart delay", CONF_MS, supervisor.restart_delay, "200", 10, 60000),
	NUMBER("supervisor", "restart delay limit", CONF_MS, supervisor.restart_delay_limit, "10000", 10, 600000),
	NUMBER("supervisor", "restart short life", CONF_MS, supervisor.restart_short_life, "10000", 10, 3600000),
	NUMBER("supervisor", "restart attempts", CONF_U32, supervisor.restart_attempts, "10", 1, 1000000),

	NO_EFFECT("event", "debug script", CONF_STRING),
	NO_EFFECT("failover", "disabled", CONF_BOOL),
	NO_EFFECT("failover", "shutdown extra timeout", CONF_U32),
	NO_EFFECT("failover", "shutdown failover timeout", CONF_U32),
	NO_EFFECT("legacy", "realtime scheduling", CONF_BOOL),
	NO_EFFECT("legacy", "start as stopped", CONF_BOOL),
	NO_EFFECT("legacy", "start as disabled", CONF_BOOL),
	NO_EFFECT("legacy", "script log level", CONF_LEVEL),
};
const size_t conf_n_options = sizeof(conf_options) / sizeof(conf_options[0]);

bool conf_section_known(const char *section)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		if (strcasecmp(conf_options[i].section, section) == 0) {
			return true;
		}
	}
	return false;
}

const struct conf_option *conf_option_find(const char *section, const char *name)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		const struct conf_option *opt = &conf_options[i];

		if (strcasecmp(opt->section, section) == 0 && strcmp(opt->name, name) == 0) {
			return opt;
		}
	}
	return NULL;
}

/* Levenshtein distance; names longer than the row count as far away. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], la = strlen(a), lb = strlen(b);

	if (lb >= 64) {
		return SIZE_MAX;
	}
	for (size_t j = 0; j <= lb; j++) {
		row[j] = j;
	}
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal + (tolower((unsigned char)a[i - 1]) == b[j - 1] ? 0 : 1);

			diagonal = row[j];
			best = row[j] + 1 < best ? row[j] + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[lb];
}

const struct conf_option *conf_option_guess(const char *section, const char *name)
{
	const struct conf_option *best = NULL;
	size_t best_distance = 1 + strlen(name) / 3;

	for (size_t i = 0; i < conf_n_options; i++) {
		const struct conf_option *opt = &conf_options[i];
		size_t d = strcasecmp(opt->section, section) == 0 ? distance(name, opt->name) : SIZE_MAX;

		if (d <= best_distance) {
			best_distance = d;
			best = opt;
		}
	}
	return best;
}

struct unit {
	const char *name;
	uint32_t factor;
};

static const struct unit units_ms[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {NULL, 0}};
static const struct unit units_bytes[] = {{"", 1}, {"KiB", 1U << 10}, {"MiB", 1U << 20}, {"GiB", 1U << 30}, {NULL, 0}};
static const struct unit units_none[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum conf_type type)
{
	return type == CONF_MS ? units_ms : type == CONF_BYTES ? units_bytes : units_none;
}

static const char *unit_hint(enum conf_type type)
{
	return type == CONF_MS      ? " milliseconds, or with one of the units ms, s, min"
	       : type == CONF_BYTES ? " bytes, or with one of the units KiB, MiB, GiB"
				    : "";
}

static int parse_number(const struct conf_option *opt, TALLOC_CTX *mem, const char *value, uint64_t *result, char **err)
{
	const struct unit *unit = units_of(opt->type);
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 0);
	if (errno == 0 && end != value && isdigit((unsigned char)value[0])) {
		end += strspn(end, " ");
		while (unit->name != NULL && strcmp(unit->name, end) != 0) {
			unit++;
		}
		if (unit->name != NULL && n <= UINT32_MAX && n * unit->factor >= opt->min &&
		    n * unit->factor <= opt->max) {
			*result = n * unit->factor;
			return 0;
		}
	}
	*err = talloc_asprintf(mem, "give a number from %u to %u%s", opt->min, opt->max, unit_hint(opt->type));
	return EINVAL;
}

static int parse_bool(TALLOC_CTX *mem, const char *value, bool *result, char **err)
{
	if (strcasecmp(value, "true") == 0 || strcasecmp(value, "yes") == 0) {
		*result = true;
	} else if (strcasecmp(value, "false") == 0 || strcasecmp(value, "no") == 0) {
		*result = false;
	} else {
		*err = talloc_strdup(mem, "give true or false");
		return EINVAL;
	}
	return 0;
}

static int parse_arbitration(TALLOC_CTX *mem, const char *value, enum conf_arbitration *result, char **err)
{
	if (strcasecmp(value, "majority") == 0) {
		*result = CONF_ARBITRATION_MAJORITY;
	} else if (strcasecmp(value, "none") == 0) {
		*result = CONF_ARBITRATION_NONE;
	} else if (strcasecmp(value, "lock") == 0) {
		*result = CONF_ARBITRATION_LOCK;
	} else if (strcasecmp(value, "etcd") == 0) {
		*result = CONF_ARBITRATION_ETCD;
	} else {
		*err = talloc_strdup(mem, "give majority or none, or lock or etcd for one outside of the cluster");
		return EINVAL;
	}
	return 0;
}

static int parse_security(TALLOC_CTX *mem, const char *value, enum conf_security *result, char **err)
{
	if (strcasecmp(value, "tls") == 0) {
		*result = CONF_SECURITY_TLS;
	} else if (strcasecmp(value, "none") == 0) {
		*result = CONF_SECURITY_NONE;
	} else {
		*err = talloc_strdup(mem, "give tls, or none for links that anybody on the network may read and forge");
		return EINVAL;
	}
	return 0;
}

static int parse_carrier(TALLOC_CTX *mem, const char *value, enum conf_carrier *result, char **err)
{
	if (strcasecmp(value, "links") == 0) {
		*result = CONF_CARRIER_LINKS;
	} else if (strcasecmp(value, "tunnel") == 0) {
		*result = CONF_CARRIER_TUNNEL;
	} else {
		*err = talloc_strdup(mem, "give links, or tunnel for packets through an existing ctdbd");
		return EINVAL;
	}
	return 0;
}

static int check_location(TALLOC_CTX *mem, const char *value, char **err)
{
	struct log_sink *sink;
	struct stat st;
	char *dir;
	int ret;

	ret = log_sink_parse(mem, value, &sink, err);
	if (ret != 0) {
		return ret;
	}
	if (sink->kind == LOG_SINK_FILE) {
		dir = talloc_strndup(sink, sink->path, (size_t)(strrchr(sink->path, '/') - sink->path) + 1);
		if (dir == NULL || stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
			*err = talloc_asprintf(mem, "there is no directory %s: create it", dir);
			ret = EINVAL;
		}
	}
	talloc_free(sink);
	return ret;
}

static bool endpoint_valid(const char *s, size_t len)
{
	static const char *const schemes[] = {"http://", "https://"};
	const char *end = s + len, *port;
	char *last;
	long n;

	for (size_t i = 0; i < 2; i++) {
		size_t l = strlen(schemes[i]);

		s += len >= l && strncmp(s, schemes[i], l) == 0 ? l : 0;
	}
	port = memrchr(s, ':', (size_t)(end - s));
	if (port == NULL || port == s || memchr(s, '/', (size_t)(end - s)) != NULL ||
	    !isdigit((unsigned char)port[1]) ||
	    (memchr(s, ':', (size_t)(port - s)) != NULL && (s[0] != '[' || port[-1] != ']'))) {
		return false;
	}
	n = strtol(port + 1, &last, 10);
	return last == end && n > 0 && n <= UINT16_MAX;
}

static bool endpoints_valid(const char *list)
{
	for (;;) {
		size_t len;

		list += strspn(list, " ");
		len = strcspn(list, ", ");
		if (!endpoint_valid(list, len)) {
			return false;
		}
		list += len;
		list += strspn(list, " ");
		if (*list == '\0') {
			return true;
		}
		if (*list++ != ',') {
			return false;
		}
	}
}

static int check_string(const struct conf_option *opt, TALLOC_CTX *mem, const char *value, char **err)
{
	unsigned char addr[16];
	struct stat st;

	if (opt->type == CONF_LOCATION) {
		return check_location(mem, value, err);
	}
	if (opt->type == CONF_TRANSPORT && strcmp(value, "tcp") != 0) {
		*err = talloc_strdup(mem, "tcp is the only transport");
	} else if (opt->type == CONF_ADDRESS && inet_pton(AF_INET, value, addr) != 1 &&
		   inet_pton(AF_INET6, value, addr) != 1) {
		*err = talloc_strdup(mem, "give a numeric IPv4 or IPv6 address without port");
	} else if ((opt->type == CONF_DIRECTORY || opt->type == CONF_FILE) && value[0] != '/' &&
		   (value[0] != '!' || strncmp(opt->name, "nodes ", 6) != 0)) {
		*err = talloc_strdup(mem, "give an absolute path");
	} else if (opt->type == CONF_DIRECTORY && (stat(value, &st) != 0 || !S_ISDIR(st.st_mode))) {
		*err = talloc_asprintf(mem, "there is no directory %s: create it", value);
	} else if (opt->type == CONF_FILE && value[0] == '!') {
		*err = talloc_strdup(mem, "a command is not supported: write the nodes to a file and name it here");
	} else if (opt->type == CONF_LOCK && value[0] != '/' &&
		   (value[0] != '!' || value[1 + strspn(value + 1, " \t")] == '\0')) {
		*err = talloc_strdup(mem, "give the absolute path of a file, or \"!COMMAND ARGUMENTS\"");
	} else if (opt->type == CONF_ENDPOINTS && !endpoints_valid(value)) {
		*err = talloc_strdup(mem, "give one or more of HOST:PORT, http://HOST:PORT or https://HOST:PORT, "
					  "divided by commas");
	} else {
		return 0;
	}
	return EINVAL;
}

static int set_string(const struct conf_option *opt, struct conf *conf, void *field, const char *value, char **err)
{
	char **s = field;
	int ret;

	ret = check_string(opt, conf, value, err);
	if (ret != 0 || field == NULL) {
		return ret;
	}
	talloc_free(*s);
	*s = talloc_strdup(conf, value);
	return *s == NULL ? ENOMEM : 0;
}

static int set_number(const struct conf_option *opt, struct conf *conf, void *field, const char *value, char **err)
{
	uint64_t n = 0;
	int ret;

	ret = parse_number(opt, conf, value, &n, err);
	if (ret != 0 || field == NULL) {
		return ret;
	}
	if (opt->type == CONF_U16) {
		*(uint16_t *)field = (uint16_t)n;
	} else {
		*(uint32_t *)field = (uint32_t)n;
	}
	return 0;
}

int conf_option_set(const struct conf_option *opt, struct conf *conf, const char *value, char **err)
{
	void *field = opt->offset == CONF_NO_EFFECT ? NULL : (char *)conf + opt->offset;
	union {
		enum conf_arbitration arbitration;
		enum conf_security security;
		enum conf_carrier carrier;
		enum log_level level;
		bool b;
	} none;

	if (value[0] == '\0') {
		*err = talloc_strdup(conf, "give a value, or remove the line");
		return EINVAL;
	}
	switch (opt->type) {
	case CONF_STRING:
	case CONF_LOCATION:
	case CONF_ADDRESS:
	case CONF_DIRECTORY:
	case CONF_FILE:
	case CONF_LOCK:
	case CONF_ENDPOINTS:
	case CONF_TRANSPORT:
		return set_string(opt, conf, field, value, err);
	case CONF_BOOL:
		return parse_bool(conf, value, field != NULL ? field : &none.b, err);
	case CONF_ARBITRATION:
		return parse_arbitration(conf, value, field != NULL ? field : &none.arbitration, err);
	case CONF_SECURITY:
		return parse_security(conf, value, field != NULL ? field : &none.security, err);
	case CONF_CARRIER:
		return parse_carrier(conf, value, field != NULL ? field : &none.carrier, err);
	case CONF_LEVEL:
		if (!log_level_parse(value, field != NULL ? field : &none.level)) {
			*err = talloc_strdup(conf,
					     "give ERROR, WARNING, NOTICE, INFO or DEBUG, or a number from 0 to 10");
			return EINVAL;
		}
		return 0;
	case CONF_U16:
	case CONF_U32:
	case CONF_MS:
	case CONF_BYTES:
		return set_number(opt, conf, field, value, err);
	}
	return EINVAL;
}

/* Bytes of a field that holds no pointer; 0 for a string. */
static size_t plain_size(enum conf_type type)
{
	switch (type) {
	case CONF_BOOL:
		return sizeof(bool);
	case CONF_U16:
		return sizeof(uint16_t);
	case CONF_U32:
	case CONF_MS:
	case CONF_BYTES:
		return sizeof(uint32_t);
	case CONF_ARBITRATION:
		return sizeof(enum conf_arbitration);
	case CONF_SECURITY:
		return sizeof(enum conf_security);
	case CONF_CARRIER:
		return sizeof(enum conf_carrier);
	case CONF_LEVEL:
		return sizeof(enum log_level);
	case CONF_STRING:
	case CONF_LOCATION:
	case CONF_ADDRESS:
	case CONF_DIRECTORY:
	case CONF_FILE:
	case CONF_LOCK:
	case CONF_ENDPOINTS:
	case CONF_TRANSPORT:
		return 0;
	}
	return 0;
}

bool conf_option_equal(const struct conf_option *opt, const struct conf *a, const struct conf *b)
{
	size_t size = plain_size(opt->type);
	const char *pa, *pb, *sa, *sb;

	if (opt->offset == CONF_NO_EFFECT) {
		return true;
	}
	pa = (const char *)a + opt->offset;
	pb = (const char *)b + opt->offset;
	if (size > 0) {
		return memcmp(pa, pb, size) == 0;
	}
	memcpy(&sa, pa, sizeof(sa));
	memcpy(&sb, pb, sizeof(sb));
	return sa == sb || (sa != NULL && sb != NULL && strcmp(sa, sb) == 0);
}

void conf_option_copy(const struct conf_option *opt, struct conf *dst, const struct conf *src)
{
	if (opt->offset != CONF_NO_EFFECT) {
		memcpy((char *)dst + opt->offset, (const char *)src + opt->offset, plain_size(opt->type));
	}
}
