/* What the fake daemon says: a cluster as a text file. */
#ifndef TEST_FAKE_STATE_H
#define TEST_FAKE_STATE_H

#include <ctdb/ctdb.h>

/*
 * One thing a line, words apart by spaces, # begins a comment. What is left out is as in "default".
 *
 *	pnn 1					own node number; default 0
 *	node 10.0.0.1 [unhealthy,banned]	the next node: address, flags; "ok" is none. Default: none
 *	generation 17 | none			default none
 *	vnnmap 0 1 2				location masters; default none
 *	recmode normal | active			default normal
 *	runstate RUNNING			default RUNNING
 *	leader 2 | none				told each 200 ms to who listens; default none
 *	uptime NOW STARTED BEGUN ENDED		seconds; default 0
 *	iface 1 eth0 up|down [3]		of node 1; references
 *	ip 10.0.0.9 1|- [eth0,eth1] [eth1]	public address: where it is, interfaces of the own node, the one in use
 *	db NAME FLAGS [SEQNUM [REASON ...]]	FLAGS: volatile,readonly,sticky,persistent,replicated; unhealthy for
 *that reason tunable NAME VALUE debug 3 capabilities 3 verdict TEXT ...			line of the membership
 *daemon; default: no such control exists PID [SRVID]			a process refuse NUMBER [TEXT ...]
 *that control is answered with status -1 and text silent NUMBER				that control is not
 *answered garbage NUMBER				that control is answered with 3 bytes
 */

#define STATE_MAX 64U /* of each kind */

struct fake_iface {
	uint32_t pnn;
	struct ctdb_iface iface;
};

struct fake_ip {
	struct ctdb_public_ip ip;
	uint32_t n_ifaces, active; /* index, or UINT32_MAX */
	char ifaces[4][17];
};

struct fake_db {
	char name[128];
	struct ctdb_db_entry entry;
	uint64_t seqnum;
	char reason[128];
};

struct fake_tunable {
	char name[64];
	uint32_t value;
};

struct fake_process {
	int32_t pid;
	uint64_t srvid;
};

enum fake_fault_kind { FAKE_REFUSE, FAKE_SILENT, FAKE_GARBAGE };

struct fake_fault {
	uint32_t opcode;
	enum fake_fault_kind kind;
	char text[128];
};

struct fake_state {
	uint32_t pnn, generation, n_slots, slots[STATE_MAX];
	enum ctdb_recmode recmode;
	enum ctdb_runstate runstate;
	uint32_t leader; /* CTDB_NODE_UNKNOWN: none */
	struct ctdb_uptime uptime;
	uint32_t n_nodes, n_ifaces, n_ips, n_dbs, n_tunables, n_processes, n_faults;
	struct ctdb_node nodes[STATE_MAX];
	struct fake_iface ifaces[STATE_MAX];
	struct fake_ip ips[STATE_MAX];
	struct fake_db dbs[STATE_MAX];
	struct fake_tunable tunables[STATE_MAX];
	struct fake_process processes[STATE_MAX];
	struct fake_fault faults[STATE_MAX];
	int32_t debug;
	uint32_t capabilities;
	uint32_t ban_seconds;
	char verdict[256];
};

/* True; or false with a message "FILE:LINE: what" in error. */
bool fake_state_read(const char *path, struct fake_state *state, char *error, size_t error_len);

#endif
