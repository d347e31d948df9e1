/* INI files, line by line with true line numbers, on top of inih. Private to src/shared. */
#ifndef SHARED_CONF_INI_H
#define SHARED_CONF_INI_H

#include <talloc.h>

/* For each "name = value"; white space is trimmed and runs of it are one blank. 0, or errno with *err (below mem) set.
 */
typedef int (*conf_ini_fn)(void *priv, TALLOC_CTX *mem, const char *section, const char *name, const char *value,
			   unsigned line, char **err);

/*
 * Reads a file: comments start with '#' or ';' as first character of a line; a backslash at the end continues the line.
 * 0; errno if it cannot be read (ENOENT: *err is set as well); EINVAL. *err is "FILE: ..." or "FILE:LINE: ..." of the
 * first line that is wrong.
 */
int conf_ini_read(TALLOC_CTX *mem, const char *path, conf_ini_fn fn, void *priv, char **err);

/* The whole of a file of at most 1 MiB as a string; EINVAL if it holds NUL bytes or is longer. *err as above. */
int conf_slurp(TALLOC_CTX *mem, const char *path, char **text, char **err);

#endif
