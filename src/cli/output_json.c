/* Output for programs: one JSON document. "schema" changes when a member goes away or means something else. */
#include "output.h"

static void json_line_set(struct output *o, const char *key, const char *text)
{
	if (key != NULL) {
		json_object_set_new(o->doc, key, output_sentence(text));
	}
}

static void json_field(struct output *o, const char *key, const char *title, json_t *value)
{
	json_object_set(o->doc, key, value);
}

static void json_table(struct output *o, const char *key, const struct output_column *columns, size_t n, json_t *rows)
{
	json_object_set(o->doc, key, rows);
}

static void json_end(struct output *o)
{
	json_dumpf(o->doc, o->f, JSON_COMPACT);
	fputc('\n', o->f);
}

const struct output_ops output_json = {"json", json_line_set, json_field, json_table, json_end};
