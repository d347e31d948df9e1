/* Counters of a node as text: the tables of names. */
#ifndef CLI_STATISTICS_H
#define CLI_STATISTICS_H

#include "cli.h"

/* As the old forms print them. */
void statistics_print_old(const struct ctdb_statistics *s);
void statistics_print_old_machine_header(const char *separator);
void statistics_print_old_machine(const struct ctdb_statistics *s, const char *separator);
void statistics_print_old_db(const char *name, const struct ctdb_db_statistics *s);

/* "client_packets_sent" ...: whole numbers; group NULL or "node" ... Ends with name NULL. */
struct statistics_counter {
	const char *group, *name;
	size_t offset; /* in struct ctdb_statistics, a uint32_t */
};
extern const struct statistics_counter statistics_counters[];
uint32_t statistics_value(const struct ctdb_statistics *s, const struct statistics_counter *c);
double statistics_average(const struct ctdb_latency *l); /* seconds; 0 if there was none */

#endif
