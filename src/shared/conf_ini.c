/* INI files with line numbers: inih gets logical lines one by one; this file knows which physical line each began on.
 */
#include "shared/conf_ini.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX       (1024 * 1024)
#define LINE_MAX_BYTES 4096

struct reader {
	TALLOC_CTX *mem;
	const char *path;
	char *next;       /* not yet read */
	unsigned line;    /* physical number of the line read last */
	unsigned begin;   /* physical number of the first line of the present logical line */
	unsigned *begins; /* physical number by logical number - 1 */
	unsigned n_logical;
	unsigned error_line; /* of the first error that is not of inih's making, 0: none */
	char *error;
	int error_code;
	conf_ini_fn fn;
	void *priv;
};

static int slurp_fd(TALLOC_CTX *mem, int fd, char **text)
{
	char *buf = talloc_array(mem, char, FILE_MAX + 1);
	size_t len = 0;
	ssize_t n;

	if (buf == NULL) {
		return ENOMEM;
	}
	while ((n = read(fd, buf + len, FILE_MAX + 1 - len)) > 0) {
		len += (size_t)n;
		if (len > FILE_MAX) {
			talloc_free(buf);
			return EFBIG;
		}
	}
	if (n < 0 || memchr(buf, '\0', len) != NULL) {
		talloc_free(buf);
		return n < 0 ? errno : EINVAL;
	}
	buf[len] = '\0';
	*text = talloc_realloc(mem, buf, char, len + 1);
	return 0;
}

int conf_slurp(TALLOC_CTX *mem, const char *path, char **text, char **err)
{
	int ret = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		ret = errno;
	} else {
		ret = slurp_fd(mem, fd, text);
		close(fd);
	}
	if (ret == EINVAL) {
		*err = talloc_asprintf(mem, "%s: is not a text file: it holds NUL bytes", path);
	} else if (ret == EFBIG) {
		*err = talloc_asprintf(mem, "%s: is longer than %d bytes", path, FILE_MAX);
	} else if (ret != 0) {
		*err = talloc_asprintf(mem, "%s: cannot be read: %s", path, strerror(ret));
	}
	return ret;
}

static void reader_error(struct reader *r, unsigned line, int code, char *msg)
{
	if (r->error_line == 0) {
		r->error_line = line;
		r->error_code = code;
		r->error = msg;
	}
}

/* Cuts the next physical line out of the text, without the newline; NULL at the end. */
static char *next_line(struct reader *r)
{
	char *line = r->next, *end;

	if (*line == '\0') {
		return NULL;
	}
	r->line++;
	end = strchr(line, '\n');
	if (end == NULL) {
		r->next = line + strlen(line);
	} else {
		*end = '\0';
		r->next = end + 1;
	}
	return line;
}

static void trim_end(char *s)
{
	size_t len = strlen(s);

	while (len > 0 && isspace((unsigned char)s[len - 1])) {
		s[--len] = '\0';
	}
}

static bool is_comment(const char *line)
{
	return *line == '#' || *line == ';';
}

/* A logical line into buf, a newline at its end: leading blanks removed (inih would take the line for a continuation).
 */
static bool logical_line(struct reader *r, char *buf, size_t size)
{
	size_t len = 0;
	bool more = true;

	for (bool first = true; more; first = false) {
		char *line = next_line(r);
		size_t n;

		if (line == NULL) {
			buf[len] = '\0';
			return !first;
		}
		if (first) {
			r->begin = r->line;
		}
		trim_end(line);
		line += strspn(line, " \t");
		n = strlen(line);
		more = n > 0 && line[n - 1] == '\\' && !(first && is_comment(line));
		if (more) {
			line[--n] = '\0';
		}
		if (len + n + 3 > size) {
			reader_error(r, r->begin, EINVAL,
				     talloc_asprintf(r->mem, "the line is longer than %zu bytes", size - 3));
			n = 0;
		}
		memcpy(buf + len, line, n);
		len += n;
		if (more && len + 3 < size) {
			buf[len++] = ' ';
		}
	}
	buf[len++] = '\n';
	buf[len] = '\0';
	return true;
}

/* inih's fgets(). */
static char *read_line(char *buf, int size, void *stream)
{
	struct reader *r = stream;

	if (!logical_line(r, buf, (size_t)size)) {
		return NULL;
	}
	r->begins = talloc_realloc(r->mem, r->begins, unsigned, r->n_logical + 1);
	if (r->begins == NULL) {
		reader_error(r, r->begin, ENOMEM, NULL);
		return NULL;
	}
	r->begins[r->n_logical++] = r->begin;
	return buf;
}

static char *collapse(TALLOC_CTX *mem, const char *s)
{
	char *out = talloc_strdup(mem, s);
	char *w = out;

	if (out == NULL) {
		return NULL;
	}
	for (const char *p = s + strspn(s, " \t"); *p != '\0'; p++) {
		if (isblank((unsigned char)*p)) {
			if (p[1] == '\0' || isblank((unsigned char)p[1])) {
				continue;
			}
			*w++ = ' ';
		} else {
			*w++ = *p;
		}
	}
	*w = '\0';
	return out;
}

static int handle(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;
	char *n = collapse(r->mem, name), *v = collapse(r->mem, value), *err = NULL;
	int ret;

	if (r->error_line != 0) {
		return 1;
	}
	if (n == NULL || v == NULL) {
		reader_error(r, r->begin, ENOMEM, NULL);
		return 1;
	}
	if (section[0] == '\0') {
		reader_error(r, r->begin, EINVAL,
			     talloc_asprintf(r->mem, "option \"%s\" stands before the first [section]", n));
		return 1;
	}
	ret = r->fn(r->priv, r->mem, section, n, v, r->begin, &err);
	if (ret != 0) {
		reader_error(r, r->begin, ret, err);
	}
	return 1;
}

static int run_inih(struct reader *r)
{
	int bad;

#ifdef HAVE_INI_RUNTIME_OPTIONS
	/* inih as built by the distribution: what others choose when they build it can be chosen here */
	ini_use_stack = false;
	ini_max_line = LINE_MAX_BYTES;
	ini_initial_alloc = LINE_MAX_BYTES;
	ini_allow_multiline = false;
	ini_allow_inline_comments = false;
#endif
	bad = ini_parse_stream(read_line, r, handle, r);
	if (bad < 0) {
		return ENOMEM;
	}
	if (bad > 0 && (unsigned)bad <= r->n_logical) {
		unsigned line = r->begins[bad - 1];

		if (r->error_line == 0 || line < r->error_line) {
			r->error_line = 0;
			reader_error(r, line, EINVAL,
				     talloc_strdup(r->mem, "is neither \"[section]\" nor \"name = value\""));
		}
	}
	return r->error_line == 0 ? 0 : r->error_code;
}

int conf_ini_read(TALLOC_CTX *mem, const char *path, conf_ini_fn fn, void *priv, char **err)
{
	struct reader r = {.path = path, .fn = fn, .priv = priv};
	char *text;
	int ret;

	ret = conf_slurp(mem, path, &text, err);
	if (ret != 0) {
		return ret;
	}
	r.mem = talloc_new(mem);
	r.next = text;
	ret = r.mem == NULL ? ENOMEM : run_inih(&r);
	if (ret != 0 && r.error != NULL) {
		*err = talloc_asprintf(mem, "%s:%u: %s", path, r.error_line, r.error);
	} else if (ret != 0) {
		*err = talloc_asprintf(mem, "%s: %s", path, strerror(ret));
	}
	talloc_free(r.mem);
	talloc_free(text);
	return ret;
}
