/* Scripts of ctdb transaction run: what is to be read, expected and changed, one thing a line. */
#ifndef CLI_SCRIPT_H
#define CLI_SCRIPT_H

#include <stdint.h>
#include <talloc.h>

#include "text.h"

/*
 * A line: a verb and its words. A word is bare (no white space, quotes or backslashes), "quoted" (\xNN a byte, \\ and
 *\" themselves), or 0x and hexadecimal digits in pairs. Lines that are empty or begin with # count for nothing.
 *
 *	get KEY			the value is told at the end
 *	set KEY VALUE
 *	delete KEY		the record has to exist
 *	expect KEY VALUE	the record has that value now
 *	absent KEY		there is no such record now
 */
enum script_verb { SCRIPT_GET, SCRIPT_SET, SCRIPT_DELETE, SCRIPT_EXPECT, SCRIPT_ABSENT };

struct script_step {
	enum script_verb verb;
	unsigned int line;
	struct bytes key, value; /* below the script */
};

struct script {
	size_t n;
	struct script_step *steps;
};

/* 0; EINVAL: error says in which line and what; ENOMEM. */
int script_parse(TALLOC_CTX *mem, const char *text, size_t len, struct script *out, char *error, size_t error_len);

/* The input of the old form ptrans: "KEY" "VALUE" a line, \HH a byte, an empty value deletes. Lines of another form go
 * to bad(), with their number, and are left out. 0 or ENOMEM. */
int script_parse_pairs(TALLOC_CTX *mem, char *text, struct script *out,
		       void (*bad)(unsigned int line, const char *text));

#endif
