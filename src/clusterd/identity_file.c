/* Who the other nodes are: the file. */
#include "identity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/conf_ini.h"
#include "shared/file_replace.h"
#include "shared/log.h"
#include "shared/thread_job.h"

/* ---- text ---- */

char *identity_text(TALLOC_CTX *mem, const struct identity_node v[NODES_MAX])
{
	char *text = talloc_strdup(mem, "");

	for (uint32_t p = 0; text != NULL && p < NODES_MAX; p++) {
		char hex[NODE_ID_HEX + 1];

		if (v[p].known) {
			node_id_text(v[p].id, hex);
			text = talloc_asprintf_append_buffer(text, "%" PRIu32 " %s %s\n", p, hex, v[p].address);
		}
	}
	return text;
}

static int parse_line(TALLOC_CTX *mem, const char *line, struct identity_node v[NODES_MAX])
{
	char hex[NODE_ID_HEX + 1], address[128];
	uint32_t pnn;
	int end = 0;

	if (sscanf(line, "%4" SCNu32 " %32s %127s%n", &pnn, hex, address, &end) != 3 || line[end] != '\0' ||
	    pnn >= NODES_MAX || v[pnn].known || strlen(hex) != NODE_ID_HEX || node_id_parse(hex, v[pnn].id) != 0) {
		return EBADMSG;
	}
	v[pnn].address = talloc_strdup(mem, address);
	v[pnn].known = v[pnn].address != NULL;
	return v[pnn].known ? 0 : ENOMEM;
}

int identity_parse(TALLOC_CTX *mem, const char *text, struct identity_node v[NODES_MAX])
{
	char *copy = talloc_strdup(mem, text), *next;
	int ret = copy == NULL ? ENOMEM : 0;

	memset(v, 0, NODES_MAX * sizeof(*v));
	for (char *line = copy; ret == 0 && line[0] != '\0'; line = next) {
		next = strchr(line, '\n');
		if (next == NULL) {
			ret = EBADMSG; /* it was cut off */
			break;
		}
		*next++ = '\0';
		ret = parse_line(mem, line, v);
	}
	talloc_free(copy);
	if (ret != 0) {
		memset(v, 0, NODES_MAX * sizeof(*v));
	}
	return ret;
}

void identity_read(struct identity *t)
{
	char *text, *err = NULL;
	int ret = conf_slurp(t, t->path, &text, &err);

	if (ret == 0) {
		ret = identity_parse(t, text, t->v);
		talloc_free(text);
	}
	if (ret != 0 && ret != ENOENT) {
		log_warning("%s: %s: who the other nodes are is learned again from those that are linked", t->path,
			    ret == EBADMSG ? "damaged" : strerror(ret));
	}
	talloc_free(err);
}

/* ---- writing ---- */

struct write_job {
	char *path, *text;
};

static void job_free(void *arg)
{
	struct write_job *job = arg;

	free(job->path);
	free(job->text);
	free(job);
}

static int job_run(void *arg)
{
	const struct write_job *job = arg;

	return file_replace(job->path, job->text, strlen(job->text), 0600, FILE_REPLACE_DURABLE);
}

static struct write_job *job_new(const struct identity *t)
{
	struct write_job *job = calloc(1, sizeof(*job));
	char *text = identity_text(t->cd, t->v);

	if (job != NULL) {
		job->path = strdup(t->path);
		job->text = text == NULL ? NULL : strdup(text);
		if (job->path == NULL || job->text == NULL) {
			job_free(job);
			job = NULL;
		}
	}
	talloc_free(text);
	return job;
}

static void written(struct tevent_req *req)
{
	struct identity *t = tevent_req_callback_data(req, struct identity);
	int ret = thread_job_recv(req);

	TALLOC_FREE(t->writing);
	if (ret != 0) {
		log_error("%s cannot be written: %s: nodes that get another address while this one is off will not be "
			  "known",
			  t->path, strerror(ret));
	}
	if (t->dirty) {
		identity_write(t);
	}
}

void identity_write(struct identity *t)
{
	t->dirty = t->writing != NULL;
	if (t->dirty) {
		return;
	}
	t->writing = thread_job_send(t, t->cd->d->ev, job_run, job_new(t), job_free);
	if (t->writing == NULL) {
		log_error("out of memory: %s is not written", t->path);
		return;
	}
	tevent_req_set_callback(t->writing, written, t);
}
