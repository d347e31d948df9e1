/* Nodes lists as text. */
#include <string.h>

#include "nodes.h"

/* Length of the line, without its end; *next is where the one behind begins. Blank: no node. */
static size_t line_at(const char *s, const char **next, bool *blank)
{
	size_t len = strcspn(s, "\n");

	*next = s[len] == '\0' ? s + len : s + len + 1;
	*blank = strspn(s, " \t\r") >= len;
	return len;
}

char *nodes_text_set(TALLOC_CTX *mem, const char *text, uint32_t pnn, const char *line)
{
	char *out = talloc_strdup(mem, "");
	const char *next;
	uint32_t p = 0;
	bool set = false;

	for (const char *s = text; *s != '\0' && out != NULL; s = next) {
		bool blank;
		size_t len = line_at(s, &next, &blank);
		bool this = !blank && p++ == pnn;

		set = set || this;
		out = this ? talloc_asprintf_append_buffer(out, "%s\n", line)
			   : talloc_asprintf_append_buffer(out, "%.*s\n", (int)len, s);
	}
	return set || out == NULL ? out : talloc_asprintf_append_buffer(out, "%s\n", line);
}

char *nodes_line(TALLOC_CTX *mem, const struct conf_node *node)
{
	char *line = talloc_asprintf(mem, "%s%s", node->deleted ? "#" : "", node->texts[0]);

	for (uint32_t k = 1; k < node->n_addrs && line != NULL; k++) {
		line = talloc_asprintf_append_buffer(line, ",%s", node->texts[k]);
	}
	return line;
}

char *nodes_text_difference(TALLOC_CTX *mem, const struct conf_nodes *here, const struct conf_nodes *there)
{
	uint32_t n = here->n > there->n ? here->n : there->n;

	for (uint32_t p = 0; p < n; p++) {
		char *a, *b, *text = NULL;

		if (p < here->n && p < there->n && here->v[p].deleted && there->v[p].deleted) {
			continue;
		}
		a = p < here->n ? nodes_line(mem, &here->v[p]) : NULL;
		b = p < there->n ? nodes_line(mem, &there->v[p]) : NULL;
		if (a == NULL || b == NULL) {
			text = talloc_asprintf(mem, "node %u (\"%s\") is %s its nodes file", (unsigned)p,
					       a != NULL ? a : b, a != NULL ? "missing in" : "only in");
		} else if (strcmp(a, b) != 0) {
			text = talloc_asprintf(mem, "node %u is \"%s\" in its nodes file, \"%s\" here", (unsigned)p, b,
					       a);
		}
		talloc_free(a);
		talloc_free(b);
		if (text != NULL) {
			return text;
		}
	}
	return NULL;
}
