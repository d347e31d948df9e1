/* Output for people: lines, "title: value", aligned columns. */
#include "output.h"

#include <stdlib.h>
#include <string.h>

static void text_line(struct output *o, const char *key, const char *text)
{
	fprintf(o->f, "%s\n", text);
}

static void text_field(struct output *o, const char *key, const char *title, json_t *value)
{
	char *v = output_value(value);

	if (title[0] == '\0') {
		fprintf(o->f, "%s\n", v);
	} else {
		fprintf(o->f, "%s: %s\n", title, v);
	}
	free(v);
}

static char *cell(const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	return v == NULL ? strdup("-") : output_value(v);
}

static size_t column_width(const struct output_column *c, const json_t *rows)
{
	size_t width = strlen(c->title), i;

	for (i = 0; i < json_array_size(rows); i++) {
		char *v = cell(json_array_get(rows, i), c->key);

		if (v != NULL && strlen(v) > width) {
			width = strlen(v);
		}
		free(v);
	}
	return width;
}

static void text_table(struct output *o, const char *key, const struct output_column *columns, size_t n, json_t *rows)
{
	size_t i, r, *width = calloc(n, sizeof(*width));

	if (json_array_size(rows) == 0 || width == NULL) {
		free(width);
		return;
	}
	for (i = 0; i + 1 < n; i++) { /* nothing stands behind the last one */
		width[i] = column_width(&columns[i], rows);
	}
	for (r = 0; r <= json_array_size(rows); r++) {
		for (i = 0; i < n; i++) {
			char *v = r == 0 ? strdup(columns[i].title) : cell(json_array_get(rows, r - 1), columns[i].key);

			fprintf(o->f, "%s%-*s", i == 0 ? "" : "  ", (int)width[i], v != NULL ? v : "");
			free(v);
		}
		fputc('\n', o->f);
	}
	free(width);
}

static void text_end(struct output *o)
{
}

const struct output_ops output_text = {"text", text_line, text_field, text_table, text_end};
