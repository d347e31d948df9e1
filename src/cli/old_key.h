/* Keys and values as the old forms take them. */
#ifndef CLI_OLD_KEY_H
#define CLI_OLD_KEY_H

#include "cli.h"
#include "text.h"

/* "0x" and hexadecimal digits, or the text itself. Owned by cli. 0 or exit code. */
int old_key(struct cli *cli, const char *what, const char *text, struct bytes *out);

#endif
