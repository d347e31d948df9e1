/* Messages of the classic tools that want an answer from the daemon: what its recovery daemon did. */
#include "dbd/srvid.h"
#include "protocol/classic_native.h"
#include "shared/log.h"

#include <stdio.h>
#include <stdlib.h>

static void answer(struct dbd *dbd, uint32_t pnn, uint64_t srvid, const void *data, size_t len)
{
	/* 0: none is wanted. Only to a node: an answer to all would be one to itself, too. */
	if (srvid != 0 && pnn < dbd->d->nodes->n) {
		srvids_send(dbd->srvids, pnn, srvid, data, len);
	}
}

static void answer_i32(struct dbd *dbd, uint32_t pnn, uint64_t srvid, int32_t value)
{
	uint8_t data[4];

	poke_u32(data, (uint32_t)value);
	answer(dbd, pnn, srvid, data, sizeof(data));
}

static void memory_report(struct dbd *dbd, const struct classic_srvid_message *m)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL) {
		return;
	}
	talloc_report_depth_file(dbd->d, 0, 2, f);
	if (fclose(f) == 0) {
		answer(dbd, m->pnn, m->srvid, text, len + 1);
	}
	free(text);
}

/* There are no addresses to distribute: done at once. Everybody hears the question, the leader answers. */
static void takeover_run(struct dbd *dbd, const struct classic_srvid_message *m)
{
	if (view_leader(dbd) == dbd->d->pnn) {
		answer_i32(dbd, m->pnn, m->srvid, (int32_t)dbd->d->pnn);
	}
}

/*
 * Recoveries cannot be put off: a node that is lost would keep its records from the others. The tools ask for it only
 * around the reload of the nodes file, where nobody has to be kept from recovering here: the list changes on all nodes
 * in one step. So they are told to go on.
 */
static void disable_recoveries(struct dbd *dbd, const struct classic_disable_message *m)
{
	if (m->timeout != 0) {
		log_info("node %u wants no recoveries for %u s: there is no need for that, they go on", m->pnn,
			 m->timeout);
	}
	answer_i32(dbd, m->pnn, m->srvid, (int32_t)dbd->d->pnn);
}

static void on_srvid_message(struct dbd *dbd, uint64_t srvid, const uint8_t *data, size_t len)
{
	struct classic_srvid_message m;

	if (classic_srvid_message_nview(data, len, &m, NULL) != 0) {
		log_debug("message 0x%016llx of %zu bytes is too short", (unsigned long long)srvid, len);
	} else if (srvid == CLASSIC_SRVID_MEM_DUMP) {
		memory_report(dbd, &m);
	} else {
		takeover_run(dbd, &m);
	}
}

static void on_disable_message(struct dbd *dbd, uint64_t srvid, const uint8_t *data, size_t len)
{
	struct classic_disable_message m;

	if (classic_disable_message_nview(data, len, &m, NULL) != 0) {
		log_debug("message 0x%016llx of %zu bytes is too short", (unsigned long long)srvid, len);
	} else if (srvid == CLASSIC_SRVID_DISABLE_RECOVERIES) {
		disable_recoveries(dbd, &m);
	} else {
		answer_i32(dbd, m.pnn, m.srvid, (int32_t)dbd->d->pnn); /* no takeover run is ever under way */
	}
}

void srvids_own(struct dbd *dbd, uint64_t srvid, const uint8_t *data, size_t len)
{
	switch (srvid) {
	case CLASSIC_SRVID_MEM_DUMP:
	case CLASSIC_SRVID_TAKEOVER_RUN:
		on_srvid_message(dbd, srvid, data, len);
		break;
	case CLASSIC_SRVID_DISABLE_TAKEOVER_RUNS:
	case CLASSIC_SRVID_DISABLE_RECOVERIES:
		on_disable_message(dbd, srvid, data, len);
		break;
	default:
		break;
	}
}
