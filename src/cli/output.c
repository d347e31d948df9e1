/* The formats of output by name, and what they share. */
#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

static const struct output_ops *const formats[] = {&output_text, &output_json, &output_table};

const struct output_ops *output_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(formats[i]->name, name) == 0) {
			return formats[i];
		}
	}
	return NULL;
}

static void *need(void *p)
{
	if (p == NULL) {
		fputs("ctdb: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

json_t *output_check(json_t *value)
{
	return need(value);
}

json_t *output_string(const char *text)
{
	const char *p = text;
	json_t *v;
	char *escaped;

	while ((unsigned char)*p >= 0x20 && *p != 0x7F) {
		p++;
	}
	v = *p == '\0' ? json_string(text) : NULL;
	if (v != NULL) {
		return v;
	}
	escaped = need(text_escape((const uint8_t *)text, strlen(text)));
	v = output_check(json_string(escaped));
	free(escaped);
	return v;
}

json_t *output_sentence(const char *text)
{
	json_t *v = json_string(text);

	return v != NULL ? v : output_string(text);
}

void output_begin(struct output *o, const struct output_ops *ops, FILE *f)
{
	*o = (struct output){.ops = ops, .f = f, .doc = output_check(json_pack("{s:i}", "schema", 1))};
}

void output_line(struct output *o, const char *key, const char *text)
{
	char *copy = need(strdup(text));

	text_make_printable(copy);
	o->ops->line(o, key, copy);
	free(copy);
}

void output_field(struct output *o, const char *key, const char *title, json_t *value)
{
	o->ops->field(o, key, title, output_check(value));
	json_decref(value);
}

void output_rows(struct output *o, const char *key, const struct output_column *columns, size_t n, json_t *rows)
{
	o->ops->table(o, key, columns, n, output_check(rows));
	json_decref(rows);
}

int output_end(struct output *o)
{
	o->ops->end(o);
	errno = 0;
	return fflush(o->f) != 0 || ferror(o->f) ? (errno != 0 ? errno : EIO) : 0;
}

void output_free(struct output *o)
{
	json_decref(o->doc);
	o->doc = NULL;
}

static char *join(const json_t *array)
{
	char *text = NULL;
	size_t size = 0, i;
	FILE *f = need(open_memstream(&text, &size));

	for (i = 0; i < json_array_size(array); i++) {
		fprintf(f, "%s%s", i == 0 ? "" : "|", json_string_value(json_array_get(array, i)));
	}
	fclose(f);
	return need(text);
}

char *output_value(const json_t *v)
{
	char *text = NULL;

	switch (json_typeof(v)) {
	case JSON_STRING:
		return need(strdup(json_string_value(v)));
	case JSON_INTEGER:
		if (asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(v)) == -1) {
			text = NULL;
		}
		return need(text);
	case JSON_TRUE:
		return need(strdup("yes"));
	case JSON_FALSE:
		return need(strdup("no"));
	case JSON_ARRAY:
		return json_array_size(v) == 0 ? need(strdup("-")) : join(v);
	case JSON_OBJECT:
	case JSON_REAL:
	case JSON_NULL:
	default:
		return need(strdup("-"));
	}
}
