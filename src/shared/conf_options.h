/* The declaration of all options, and how a value is read. Private to src/shared. */
#ifndef SHARED_CONF_OPTIONS_H
#define SHARED_CONF_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

#include "shared/conf.h"

enum conf_type {
	CONF_STRING,
	CONF_BOOL,
	CONF_U16,
	CONF_U32,
	CONF_MS,    /* uint32_t milliseconds; units ms, s, min */
	CONF_BYTES, /* uint32_t bytes; units KiB, MiB, GiB */
	CONF_ARBITRATION,
	CONF_SECURITY,
	CONF_CARRIER,
	CONF_LEVEL,
	CONF_LOCATION,  /* of the log */
	CONF_ADDRESS,   /* numeric, without port */
	CONF_DIRECTORY, /* must exist */
	CONF_FILE,      /* a path; a command ("!...") is refused */
	CONF_LOCK,      /* an absolute path, or a command */
	CONF_ENDPOINTS, /* of etcd */
	CONF_TRANSPORT, /* "tcp" and nothing else */
};

/* offset of an option that existing files have and that nothing here depends on: checked, then left. */
#define CONF_NO_EFFECT SIZE_MAX

struct conf_option {
	const char *section, *name;
	enum conf_type type;
	size_t offset;       /* into struct conf */
	const char *initial; /* default as written in a file; NULL: none, or made from the base directory */
	uint32_t min, max;   /* numbers only */
	bool reload;         /* SIGHUP changes it */
	const char *instead; /* an old name: the present one, which wins if both are given */
};

extern const struct conf_option conf_options[];
extern const size_t conf_n_options;

bool conf_section_known(const char *section);
/* NULL if there is none. Sections compare without, options with regard to case. */
const struct conf_option *conf_option_find(const char *section, const char *name);
/* The option of that section whose name looks most like name, or NULL if none does. */
const struct conf_option *conf_option_guess(const char *section, const char *name);

/* Reads value into conf. 0; EINVAL with *err saying what is wrong with the value and what to do; ENOMEM. */
int conf_option_set(const struct conf_option *opt, struct conf *conf, const char *value, char **err);

/* True if both have the same value. */
bool conf_option_equal(const struct conf_option *opt, const struct conf *a, const struct conf *b);
/* Copies a number, enum or bool; never a string. */
void conf_option_copy(const struct conf_option *opt, struct conf *dst, const struct conf *src);

#endif
