/* ctdb-sim: what was asked for, what one run is, what all runs come to. */
#ifndef SIM_CTDB_SIM_H
#define SIM_CTDB_SIM_H

#include "cluster_sim.h"

/* From the command line. */
struct sim_args {
	uint64_t seed, runs, steps; /* steps 0: disturbed for SIM_CHAOS_D dead intervals */
	uint32_t nodes_min, nodes_max;
	int arbitration; /* enum sim_arbitration; -1: any */
	unsigned profile;
	unsigned plant; /* enum cluster_fault */
	unsigned jobs;
	bool trace;
};

enum sim_arbitration { SIM_MAJORITY, SIM_NONE, SIM_LOCKED, SIM_ETCD, SIM_ARBITRATIONS };
const char *sim_arbitration_name(enum sim_arbitration arbitration);
const char *sim_plant_name(unsigned fault); /* of one bit */

#define SIM_CHAOS_D    10 /* dead intervals of disturbances */
#define SIM_CONVERGE_D 12 /* dead intervals in which everybody has to agree once all is well */
#define SIM_LOCK_D     24 /* with a lock: it is free 3 after its holder crashed, and asked for again after 5 */
#define SIM_THIN_D     20 /* dead intervals in which it settles who can be a member where links are missing */
#define SIM_PEACE_D    3  /* so long it has to last */

/* A number with its mean and greatest value. Units are in the name of what it counts. */
struct sim_figure {
	uint64_t n, sum, most;
	uint64_t seed; /* of the greatest */
};

/* Sums over runs; equal however the runs were shared among processes. */
struct sim_stats {
	uint64_t runs, steps, packets;
	uint64_t simulated_ms;
	uint64_t by_arbitration[SIM_ARBITRATIONS];
	uint64_t troubles[SIM_TROUBLES];
	uint64_t elections, elections_packets; /* in all troubles */
	struct sim_figure
		packets_centi; /* of an election with nothing else wrong: hundredths of a packet for each node */
	struct sim_figure leaderless_milli; /* its time, in thousandths of a dead interval */
	struct sim_figure converge_milli;   /* from all is well to everybody agrees, likewise */
};

/* What a run is like is drawn from its seed, as far as the arguments leave it open. */
struct sim_options sim_options_of(const struct sim_args *args, uint64_t seed, enum sim_arbitration *arbitration);
/* True: all invariants held, and stats has it in; else failure says what happened. */
bool sim_one_run(const struct sim_args *args, uint64_t seed, struct sim_stats *stats, char failure[256]);
void sim_stats_add(struct sim_stats *to, const struct sim_stats *from);

/* 0: go on; else the program's exit status + 1, and what is to be said was said. */
int sim_args_parse(int argc, char **argv, struct sim_args *args);
/* The command line that repeats the run of this seed, with its story. */
void sim_replay(char *buf, size_t len, const char *program, const struct sim_args *args, uint64_t seed);

#endif
