/* Records as text: as ctdb db dump prints them, and as the old forms do. */
#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include "walk.h"

/* A line that ctdb transaction run reads, or a JSON document. 0 or exit code. */
int dump_print(struct cli *cli, const struct walk_record *r);
int dump_print_old(struct cli *cli, const struct walk_record *r);
/* The last line. code: of the walk; returned, or the exit code of printing. checked: whether records are missing is
 * known. */
int dump_end(struct cli *cli, uint64_t n, int code, bool checked);

#endif
