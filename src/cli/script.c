/* Scripts of transactions. */
#include "script.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX     3U
#define OLD_LINE_MAX  1024U
#define KEY_BYTES_MAX (64U * 1024 * 1024)

struct scan {
	TALLOC_CTX *mem;
	const char *p, *end; /* of the line */
	const char *problem;
	bool no_memory;
};

static int hex_value(int c)
{
	return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* -1: not two digits before end. */
static int hex_byte(const char *p, const char *end)
{
	if (end - p < 2 || hex_value((unsigned char)p[0]) < 0 || hex_value((unsigned char)p[1]) < 0) {
		return -1;
	}
	return hex_value((unsigned char)p[0]) * 16 + hex_value((unsigned char)p[1]);
}

static bool fail(struct scan *s, const char *problem)
{
	s->problem = problem;
	return false;
}

/* Room for as many bytes as are left of the line. */
static uint8_t *room(struct scan *s)
{
	uint8_t *data = talloc_size(s->mem, (size_t)(s->end - s->p) + 1);

	s->no_memory = s->no_memory || data == NULL;
	return data;
}

static bool word_quoted(struct scan *s, struct bytes *out)
{
	uint8_t *data = room(s);
	size_t n = 0;
	int byte;

	if (data == NULL) {
		return false;
	}
	for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
		if (*s->p != '\\') {
			data[n++] = (uint8_t)*s->p;
		} else if (s->end - s->p > 1 && (s->p[1] == '"' || s->p[1] == '\\')) {
			data[n++] = (uint8_t) * ++s->p;
		} else if (s->end - s->p > 1 && s->p[1] == 'x' && (byte = hex_byte(s->p + 2, s->end)) >= 0) {
			data[n++] = (uint8_t)byte;
			s->p += 3;
		} else {
			return fail(s, "after a backslash only xNN, a quote or another backslash");
		}
	}
	if (s->p == s->end) {
		return fail(s, "a quote is missing at its end");
	}
	s->p++;
	*out = (struct bytes){.data = data, .len = n};
	return true;
}

static bool word_hex(struct scan *s, struct bytes *out)
{
	uint8_t *data = room(s);
	size_t n = 0;

	if (data == NULL) {
		return false;
	}
	for (s->p += 2; s->p < s->end && !isspace((unsigned char)*s->p); s->p += 2) {
		int byte = hex_byte(s->p, s->end);

		if (byte < 0) {
			return fail(s, "after 0x only pairs of hexadecimal digits");
		}
		data[n++] = (uint8_t)byte;
	}
	*out = (struct bytes){.data = data, .len = n};
	return true;
}

static bool word_bare(struct scan *s, struct bytes *out)
{
	uint8_t *data = room(s);
	size_t n = 0;

	if (data == NULL) {
		return false;
	}
	for (; s->p < s->end && !isspace((unsigned char)*s->p); s->p++) {
		if (*s->p == '"' || *s->p == '\\') {
			return fail(s, "quotes and backslashes only in quoted words");
		}
		data[n++] = (uint8_t)*s->p;
	}
	*out = (struct bytes){.data = data, .len = n};
	return true;
}

static bool word(struct scan *s, struct bytes *out)
{
	bool ok;

	if (*s->p == '"') {
		ok = word_quoted(s, out);
	} else if (s->end - s->p >= 2 && s->p[0] == '0' && s->p[1] == 'x') {
		ok = word_hex(s, out);
	} else {
		ok = word_bare(s, out);
	}
	if (ok && s->p < s->end && !isspace((unsigned char)*s->p)) {
		return fail(s, "white space is missing between two words");
	}
	return ok;
}

static void skip_space(struct scan *s)
{
	while (s->p < s->end && isspace((unsigned char)*s->p)) {
		s->p++;
	}
}

static const struct {
	const char *name;
	enum script_verb verb;
	unsigned int words;
	const char *usage;
} verbs[] = {
	{"get", SCRIPT_GET, 1, "get KEY"},          {"set", SCRIPT_SET, 2, "set KEY VALUE"},
	{"delete", SCRIPT_DELETE, 1, "delete KEY"}, {"expect", SCRIPT_EXPECT, 2, "expect KEY VALUE"},
	{"absent", SCRIPT_ABSENT, 1, "absent KEY"},
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static bool check(struct scan *s, const struct script_step *step)
{
	if (step->key.len == 0) {
		return fail(s, "the key is empty");
	}
	if (step->key.len > KEY_BYTES_MAX || step->value.len > KEY_BYTES_MAX) {
		return fail(s, "more than 64 MiB");
	}
	if (step->verb == SCRIPT_SET && step->value.len == 0) {
		return fail(s, "the value is empty, which means that the record does not exist: use delete");
	}
	if (step->verb == SCRIPT_EXPECT && step->value.len == 0) {
		return fail(s, "the value is empty, which means that the record does not exist: use absent");
	}
	return true;
}

/* Verb and words of a line that has some. */
static bool line(struct scan *s, struct script_step *step)
{
	struct bytes words[WORDS_MAX] = {{.len = 0}};
	unsigned int n = 0;
	size_t i;

	while (s->p < s->end) {
		if (n == WORDS_MAX) {
			return fail(s, "too many words");
		}
		if (!word(s, &words[n++])) {
			return false;
		}
		skip_space(s);
	}
	for (i = 0; i < N_VERBS; i++) {
		if (strlen(verbs[i].name) == words[0].len && memcmp(verbs[i].name, words[0].data, words[0].len) == 0) {
			break;
		}
	}
	if (i == N_VERBS) {
		return fail(s, "it begins with none of get, set, delete, expect, absent");
	}
	if (n != verbs[i].words + 1) {
		return fail(s, verbs[i].usage);
	}
	step->verb = verbs[i].verb;
	step->key = words[1];
	step->value = words[2];
	return check(s, step);
}

static bool add(struct script *script, TALLOC_CTX *mem, const struct script_step *step)
{
	struct script_step *steps = script->steps;

	if ((script->n & (script->n - 1)) == 0) {
		steps = talloc_realloc(mem, steps, struct script_step, script->n == 0 ? 1 : 2 * script->n);
		if (steps == NULL) {
			return false;
		}
		script->steps = steps;
	}
	steps[script->n++] = *step;
	return true;
}

int script_parse(TALLOC_CTX *mem, const char *text, size_t len, struct script *out, char *error, size_t error_len)
{
	const char *p = text, *end = text + len;
	unsigned int number = 1;

	*out = (struct script){.n = 0};
	for (; p < end; number++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		struct scan s = {.mem = mem, .p = p, .end = newline != NULL ? newline : end};
		struct script_step step = {.line = number};

		p = newline != NULL ? newline + 1 : end;
		skip_space(&s);
		if (s.p == s.end || *s.p == '#') {
			continue;
		}
		if (!line(&s, &step)) {
			snprintf(error, error_len, "line %u: %s", number,
				 s.problem != NULL ? s.problem : "out of memory");
			return s.no_memory ? ENOMEM : EINVAL;
		}
		if (!add(out, mem, &step)) {
			return ENOMEM;
		}
	}
	return 0;
}

/* ---- ptrans ---- */

static bool old_word(struct scan *s, struct bytes *out)
{
	uint8_t *data = room(s);
	size_t n = 0;
	int byte;

	if (data == NULL || s->p == s->end || *s->p != '"') {
		return false;
	}
	for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
		if (*s->p != '\\') {
			data[n++] = (uint8_t)*s->p;
			continue;
		}
		byte = hex_byte(s->p + 1, s->end);
		if (byte < 0) {
			return false;
		}
		data[n++] = (uint8_t)byte;
		s->p += 2;
	}
	*out = (struct bytes){.data = data, .len = n};
	return s->p++ < s->end;
}

static bool old_line(struct scan *s, struct script_step *step)
{
	skip_space(s);
	if (!old_word(s, &step->key) || step->key.len == 0) {
		return false;
	}
	skip_space(s);
	if (!old_word(s, &step->value)) {
		return false;
	}
	step->verb = step->value.len == 0 ? SCRIPT_DELETE : SCRIPT_SET;
	return true;
}

int script_parse_pairs(TALLOC_CTX *mem, char *text, struct script *out,
		       void (*bad)(unsigned int line, const char *text))
{
	unsigned int number = 1;
	char *next;

	*out = (struct script){.n = 0};
	for (; *text != '\0'; text = next, number++) {
		size_t len = strcspn(text, "\n");
		struct scan s = {.mem = mem, .p = text, .end = text + len};
		struct script_step step = {.line = number};
		bool ok;

		next = text + len + (text[len] == '\n');
		text[len] = '\0';
		ok = len <= OLD_LINE_MAX && old_line(&s, &step);
		if (s.no_memory || (ok && !add(out, mem, &step))) {
			return ENOMEM;
		}
		if (!ok && len > 0) {
			bad(number, text);
		}
	}
	return 0;
}
