/* Output in frames: each table with rules and bars; fields as rows of two columns. */
#include "output.h"

#include <stdlib.h>
#include <string.h>

static char *cell(const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	return v == NULL ? strdup("-") : output_value(v);
}

static void widths(const struct output_column *columns, size_t n, const json_t *rows, size_t *width)
{
	size_t i, r;

	for (i = 0; i < n; i++) {
		width[i] = strlen(columns[i].title);
		for (r = 0; r < json_array_size(rows); r++) {
			char *v = cell(json_array_get(rows, r), columns[i].key);

			width[i] = v != NULL && strlen(v) > width[i] ? strlen(v) : width[i];
			free(v);
		}
	}
}

static void rule(FILE *f, const size_t *width, size_t n)
{
	size_t i, j;

	for (i = 0; i < n; i++) {
		fputc('+', f);
		for (j = 0; j < width[i] + 2; j++) {
			fputc('-', f);
		}
	}
	fputs("+\n", f);
}

static void table_table(struct output *o, const char *key, const struct output_column *columns, size_t n, json_t *rows)
{
	size_t *width = calloc(n, sizeof(*width)), i, r;

	if (width == NULL) {
		return;
	}
	widths(columns, n, rows, width);
	rule(o->f, width, n);
	for (r = 0; r <= json_array_size(rows); r++) {
		for (i = 0; i < n; i++) {
			char *v = r == 0 ? strdup(columns[i].title) : cell(json_array_get(rows, r - 1), columns[i].key);

			fprintf(o->f, "| %-*s ", (int)width[i], v != NULL ? v : "");
			free(v);
		}
		fputs("|\n", o->f);
		if (r == 0) {
			rule(o->f, width, n);
		}
	}
	rule(o->f, width, n);
	free(width);
}

/* Fields are kept in the document and shown together, before a table and at the end. */
static void table_field(struct output *o, const char *key, const char *title, json_t *value)
{
	json_object_set(o->doc, title[0] != '\0' ? title : key, value);
}

static void fields_flush(struct output *o)
{
	static const struct output_column columns[] = {{"name", "Name"}, {"value", "Value"}};
	json_t *rows = output_check(json_array()), *v;
	const char *key;

	json_object_foreach(o->doc, key, v)
	{
		if (strcmp(key, "schema") != 0) {
			json_array_append_new(rows, output_check(json_pack("{s:s, s:O}", "name", key, "value", v)));
		}
	}
	json_object_clear(o->doc);
	if (json_array_size(rows) > 0) {
		table_table(o, NULL, columns, 2, rows);
	}
	json_decref(rows);
}

static void table_line(struct output *o, const char *key, const char *text)
{
	fprintf(o->f, "%s\n", text);
}

static void table_rows(struct output *o, const char *key, const struct output_column *columns, size_t n, json_t *rows)
{
	fields_flush(o);
	table_table(o, key, columns, n, rows);
}

const struct output_ops output_table = {"table", table_line, table_field, table_rows, fields_flush};
