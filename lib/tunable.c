/* Tunables: numbers of a daemon by name. */
#include "internal.h"

#include <errno.h>

#include "protocol/classic_native.h"

/* What the daemon refuses without a reason is a name that it does not know. */
static int unknown_name(struct tevent_req *req, int err)
{
	return err == EREMOTEIO ? client_fail(request_client(req), ENOENT, "the CTDB daemon knows no such tunable")
				: err;
}

static bool name_fits(const char *name)
{
	return strlen(name) < CLASSIC_NAME_MAX;
}

static struct tevent_req *encoded_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode, int err,
				       struct ctdb_blob payload)
{
	struct tevent_req *req;

	if (err != 0) {
		return NULL;
	}
	req = control_send(mem, c, node, opcode, 0, data_of_blob(payload));
	talloc_free(payload.data);
	return req;
}

/* A name that no daemon can know is sent as "": the answer is the same, and comes as for others. */
static char *name_of(const char *name)
{
	return string_of(name_fits(name) ? name : "");
}

struct tevent_req *ctdb_get_tunable_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, const char *name)
{
	struct classic_tunable_name p = {.name = name_of(name)};
	struct ctdb_blob payload;
	int err = classic_tunable_name_nencode(mem, &p, &payload);

	return encoded_send(mem, c, node, CLASSIC_CONTROL_GET_TUNABLE, err, payload);
}

int ctdb_get_tunable_recv(struct tevent_req *req, uint32_t *value)
{
	return unknown_name(req, control_u32_recv(req, value));
}

int ctdb_get_tunable(struct ctdb_client *c, uint32_t node, const char *name, uint32_t *value)
{
	SYNC_RETURN(c, ctdb_get_tunable_send(c, c, node, name), ctdb_get_tunable_recv(req, value));
}

struct tevent_req *ctdb_set_tunable_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, const char *name,
					 uint32_t value)
{
	struct classic_tunable p = {.value = value, .name = name_of(name)};
	struct ctdb_blob payload;
	int err = classic_tunable_nencode(mem, &p, &payload);

	return encoded_send(mem, c, node, CLASSIC_CONTROL_SET_TUNABLE, err, payload);
}

int ctdb_set_tunable_recv(struct tevent_req *req, bool *obsolete)
{
	int32_t status;
	int err = unknown_name(req, control_status_recv(req, &status));

	if (err == 0 && obsolete != NULL) {
		*obsolete = status == 1;
	}
	return err;
}

int ctdb_set_tunable(struct ctdb_client *c, uint32_t node, const char *name, uint32_t value, bool *obsolete)
{
	SYNC_RETURN(c, ctdb_set_tunable_send(c, c, node, name, value), ctdb_set_tunable_recv(req, obsolete));
}

/* ---- names ---- */

struct tevent_req *ctdb_list_tunables_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_LIST_TUNABLES, 0, (struct ctdb_data){0});
}

/* ":A:B": text becomes the storage of the names. */
static int names_split(struct ctdb_tunable_list *list, char *text)
{
	char *save = NULL, *name;
	uint32_t n = 0;

	for (name = text; *name != '\0'; name++) {
		n += *name == ':';
	}
	list->names = talloc_zero_array(list, char *, n + 1);
	if (list->names == NULL) {
		return ENOMEM;
	}
	for (name = strtok_r(text, ":", &save); name != NULL; name = strtok_r(NULL, ":", &save)) {
		list->names[list->n++] = name;
	}
	return 0;
}

int ctdb_list_tunables_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_tunable_list **out)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_tunable_name in;
	struct ctdb_tunable_list *list;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	list = talloc_zero(mem, struct ctdb_tunable_list);
	if (list == NULL) {
		return ENOMEM;
	}
	if (classic_tunable_name_ndecode(list, data.data, data.len, &in, NULL) != 0) {
		talloc_free(list);
		return control_malformed(req);
	}
	err = names_split(list, in.name);
	if (err != 0) {
		talloc_free(list);
		return err;
	}
	*out = list;
	return 0;
}

int ctdb_list_tunables(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_tunable_list **list)
{
	SYNC_RETURN(c, ctdb_list_tunables_send(mem, c, node), ctdb_list_tunables_recv(req, mem, list));
}
