/* Node identity: the file. */
#include "shared/node_id.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "shared/file_replace.h"

#define TEXT_SIZE (NODE_ID_HEX + 16)

void node_id_text(const uint8_t id[NODE_ID_BYTES], char hex[NODE_ID_HEX + 1])
{
	for (unsigned i = 0; i < NODE_ID_BYTES; i++) {
		snprintf(hex + (size_t)2 * i, 3, "%02x", id[i]);
	}
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int node_id_parse(const char *hex, uint8_t id[NODE_ID_BYTES])
{
	for (unsigned i = 0; i < NODE_ID_BYTES; i++, hex += 2) {
		int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);

		if (low < 0) {
			return EINVAL;
		}
		id[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static void text_make(const struct node_id *id, char text[TEXT_SIZE])
{
	char hex[NODE_ID_HEX + 1];

	node_id_text(id->id, hex);
	snprintf(text, TEXT_SIZE, "%s %" PRIu32 "\n", hex, id->pnn);
}

/* Nothing but what text_make() makes. */
static int text_parse(const char *text, struct node_id *id)
{
	char again[TEXT_SIZE];

	if (node_id_parse(text, id->id) != 0 || sscanf(text + NODE_ID_HEX, " %9" SCNu32, &id->pnn) != 1) {
		return EBADMSG;
	}
	text_make(id, again);
	return strcmp(text, again) == 0 ? 0 : EBADMSG;
}

static int file_read(const char *path, struct node_id *id)
{
	char text[TEXT_SIZE + 1];
	int ret = file_read_text(path, text, sizeof(text));

	return ret != 0 ? ret : text_parse(text, id);
}

static char *path_make(TALLOC_CTX *mem, const char *state)
{
	return talloc_asprintf(mem, "%s/node-id", state);
}

int node_id_load(TALLOC_CTX *mem, const char *state, struct node_id *id, char **err)
{
	char *path = path_make(mem, state);
	int ret = path == NULL ? ENOMEM : file_read(path, id);

	if (ret != 0 && ret != ENOENT) {
		*err = talloc_asprintf(
			mem, "%s: %s: %s", path == NULL ? "node-id" : path, ret == EBADMSG ? "damaged" : strerror(ret),
			ret == EBADMSG
				? "remove it: with the address that the nodes list has, the node starts all the same"
				: "make it a file that can be read");
	}
	talloc_free(path);
	return ret;
}

static int make(const char *path, uint32_t pnn)
{
	struct node_id id = {.pnn = pnn};
	char text[TEXT_SIZE];

	if (getrandom(id.id, sizeof(id.id), 0) != (ssize_t)sizeof(id.id)) {
		return errno;
	}
	text_make(&id, text);
	return file_replace(path, text, strlen(text), 0600, FILE_REPLACE_DURABLE);
}

int node_id_keep(TALLOC_CTX *mem, const char *state, uint32_t pnn, uint32_t *was, char **err)
{
	struct node_id id = {.pnn = UINT32_MAX};
	int ret = node_id_load(mem, state, &id, err);
	char *path;

	*was = id.pnn;
	if ((ret != 0 && ret != ENOENT) || (ret == 0 && id.pnn == pnn)) {
		return ret;
	}
	path = path_make(mem, state);
	ret = path == NULL ? ENOMEM : make(path, pnn);
	if (ret != 0) {
		*err = talloc_asprintf(mem, "%s/node-id: cannot be written: %s", state, strerror(ret));
	}
	talloc_free(path);
	return ret;
}
