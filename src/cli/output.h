/* What commands print: fields and tables, as text for people, framed tables, or one JSON document. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * A command gives its results as JSON values; the format decides how they look. Values: strings, numbers, booleans,
 * null (shown as "-"), arrays of strings. Each function takes over its value, also when memory runs out (which ends the
 * program).
 */
struct output;

struct output_column {
	const char *key;   /* in JSON */
	const char *title; /* for people */
};

/* One format. Text and table print at once, json at the end. */
struct output_ops {
	const char *name;
	void (*line)(struct output *o, const char *key, const char *text);
	void (*field)(struct output *o, const char *key, const char *title, json_t *value);
	void (*table)(struct output *o, const char *key, const struct output_column *columns, size_t n, json_t *rows);
	void (*end)(struct output *o);
};

struct output {
	const struct output_ops *ops;
	FILE *f;
	json_t *doc; /* json only */
};

extern const struct output_ops output_text, output_json, output_table;

/* NULL: no format of that name */
const struct output_ops *output_find(const char *name);
void output_begin(struct output *o, const struct output_ops *ops, FILE *f);
/* A sentence: alone on a line for people; a member in JSON. */
void output_line(struct output *o, const char *key, const char *text);
void output_field(struct output *o, const char *key, const char *title, json_t *value);
/* rows: array of objects with the keys of the columns; missing ones are shown as "-". */
void output_rows(struct output *o, const char *key, const struct output_column *columns, size_t n, json_t *rows);
/* Prints what is left. 0 or errno if standard output failed. */
int output_end(struct output *o);
/* After output_end() or instead of it. */
void output_free(struct output *o);

/* Never NULL: ends the program when memory runs out. */
json_t *output_check(json_t *value);
/* Text from elsewhere (names, reasons): control characters and what is not UTF-8 are escaped as \xNN. Never NULL. */
json_t *output_string(const char *text);
/* A sentence of ours that may have such texts in it: as it is, line ends as well, unless it is not UTF-8. Never NULL.
 */
json_t *output_sentence(const char *text);
/* Text of a value for people, to be freed with free(). */
char *output_value(const json_t *value);

#endif
