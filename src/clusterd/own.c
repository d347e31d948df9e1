/* What this node says of itself because somebody asked it to: stopped, banned for a while, disabled, its capabilities.
 */
#include "clusterd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/file_replace.h"
#include "shared/log.h"

#define FLAGS   (NODE_FLAG_DISABLED | NODE_FLAG_BANNED | NODE_FLAG_STOPPED | NODE_FLAG_UNHEALTHY | NODE_FLAG_PARTIAL)
#define CAPS    (NODE_CAP_LEADER | NODE_CAP_LMASTER)
#define BAN_MAX (30U * 24 * 3600)

struct own {
	struct clusterd *cd;
	uint32_t flags, capabilities;
	struct mono ban_until; /* while banned */
	struct mono_timer *timer;
};

/* ---- the file ---- */

/* The supervisor's process id is in it: what another ctdbd's clusterd wrote, or one before the machine was started,
 * does not count. */
static char *file_path(TALLOC_CTX *mem, const struct clusterd *cd)
{
	return talloc_asprintf(mem, "%s/cluster-own.%u", cd->d->conf->path.run, (unsigned)cd->d->pnn);
}

static int file_save(const struct own *o)
{
	char *path = file_path(o->cd, o->cd), text[128];
	int len = snprintf(text, sizeof(text), "%d %" PRIu32 " %" PRIu32 " %" PRIu64 "\n", (int)getppid(), o->flags,
			   o->capabilities, o->ban_until.ns);
	int ret = path == NULL ? ENOMEM : file_replace(path, text, (size_t)len, 0600, 0);

	if (ret != 0) {
		log_error("%s/cluster-own.%u cannot be written: %s", o->cd->d->conf->path.run, (unsigned)o->cd->d->pnn,
			  strerror(ret));
	}
	talloc_free(path);
	return ret;
}

static void file_load(struct own *o)
{
	char *path = file_path(o, o->cd);
	FILE *f = path == NULL ? NULL : fopen(path, "re");
	uint32_t flags, capabilities;
	uint64_t until;
	int pid;

	if (f != NULL && fscanf(f, "%d %" SCNu32 " %" SCNu32 " %" SCNu64, &pid, &flags, &capabilities, &until) == 4 &&
	    pid == (int)getppid()) {
		o->flags = flags & FLAGS;
		o->capabilities = capabilities & CAPS;
		o->ban_until.ns = until;
	}
	if (f != NULL) {
		fclose(f);
	}
	talloc_free(path);
}

/* ---- changes ---- */

static bool banned(const struct own *o)
{
	return (o->flags & NODE_FLAG_BANNED) != 0;
}

static const char *flag_names(TALLOC_CTX *mem, uint32_t flags)
{
	return talloc_asprintf(mem, "%s%s%s%s%s%s", (flags & NODE_FLAG_STOPPED) != 0 ? " stopped" : "",
			       (flags & NODE_FLAG_BANNED) != 0 ? " banned" : "",
			       (flags & NODE_FLAG_DISABLED) != 0 ? " disabled" : "",
			       (flags & NODE_FLAG_UNHEALTHY) != 0 ? " unhealthy" : "",
			       (flags & NODE_FLAG_PARTIAL) != 0 ? " partially online" : "",
			       flags == 0 ? " neither stopped, banned, disabled nor unhealthy" : "");
}

static void apply(struct own *o)
{
	struct clusterd *cd = o->cd;
	const char *names = flag_names(o, o->flags);

	log_notice("this node is%s from now on", names != NULL ? names : "...");
	talloc_free((void *)(uintptr_t)names);
	mono_timer_set(o->timer, banned(o) ? o->ban_until : MONO_NEVER);
	cluster_set_flags(cd->core, mono_now(), o->flags);
	clusterd_after(cd);
}

static void ban_over(void *priv)
{
	struct own *o = priv;

	if (!banned(o)) {
		return;
	}
	if (mono_before(mono_now(), o->ban_until)) {
		mono_timer_set(o->timer, o->ban_until);
		return;
	}
	log_notice("the ban of this node is over");
	o->flags &= ~(uint32_t)NODE_FLAG_BANNED;
	(void)file_save(o);
	apply(o);
}

/* What cannot be kept over a restart of this daemon is not done. */
static int keep(struct own *o, const struct own *before)
{
	int ret = file_save(o);

	if (ret != 0) {
		*o = *before;
	}
	return ret;
}

static struct cluster_own tell(const struct own *o)
{
	struct mono now = mono_now();
	struct cluster_own own = {.flags = o->flags, .capabilities = o->capabilities};

	if (banned(o)) {
		own.ban_seconds =
			(uint32_t)(mono_before(now, o->ban_until) ? mono_ms_between(now, o->ban_until) / 1000 + 1 : 1);
	}
	return own;
}

/* ---- requests ---- */

static void on_get(void *priv, struct rpc_call *call)
{
	struct clusterd *cd = priv;
	struct cluster_own own = tell(cd->own);

	cluster_get_own_reply(call, &own);
}

static bool flags_ok(const struct cluster_flags_args *arg)
{
	bool ban = (arg->set & NODE_FLAG_BANNED) != 0;

	return ((arg->set | arg->clear) & ~(uint32_t)FLAGS) == 0 && (arg->set & arg->clear) == 0 &&
	       (!ban || (arg->ban_seconds > 0 && arg->ban_seconds <= BAN_MAX));
}

static void on_set_flags(void *priv, struct rpc_call *call, const struct cluster_flags_args *arg)
{
	struct clusterd *cd = priv;
	struct own *o = cd->own, before = *o;
	struct cluster_own own;
	int ret = flags_ok(arg) ? 0 : EINVAL;

	if (ret == 0) {
		o->flags = (o->flags | arg->set) & ~arg->clear;
		if ((arg->set & NODE_FLAG_BANNED) != 0) {
			o->ban_until = mono_add_ms(mono_now(), (uint64_t)arg->ban_seconds * 1000);
		}
		ret = keep(o, &before);
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	log_notice("%s@%u sets flags of this node: 0x%x, clears 0x%x%s%s", call->source_endpoint, call->source_node,
		   arg->set, arg->clear, arg->reason[0] != '\0' ? ": " : "", arg->reason);
	own = tell(o);
	cluster_set_own_flags_reply(call, &own);
	apply(o);
}

static void on_set_capabilities(void *priv, struct rpc_call *call, const struct cluster_capabilities_args *arg)
{
	struct clusterd *cd = priv;
	struct own *o = cd->own, before = *o;
	struct cluster_own own;
	int ret = ((arg->set | arg->clear) & ~(uint32_t)CAPS) == 0 && (arg->set & arg->clear) == 0 ? 0 : EINVAL;

	if (ret == 0) {
		o->capabilities = (o->capabilities | arg->set) & ~arg->clear;
		ret = keep(o, &before);
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	log_notice("%s@%u changes what this node can do: it %s lead and %s be a location master", call->source_endpoint,
		   call->source_node, (o->capabilities & NODE_CAP_LEADER) != 0 ? "may" : "may not",
		   (o->capabilities & NODE_CAP_LMASTER) != 0 ? "may" : "may not");
	own = tell(o);
	cluster_set_own_capabilities_reply(call, &own);
	cluster_set_capabilities(cd->core, mono_now(), o->capabilities);
	clusterd_after(cd);
}

void own_fill(struct cluster_server *server)
{
	server->get_own = on_get;
	server->set_own_flags = on_set_flags;
	server->set_own_capabilities = on_set_capabilities;
}

int own_start(struct clusterd *cd, struct cluster_config *config)
{
	struct own *o = talloc_zero(cd, struct own);

	if (o == NULL) {
		return ENOMEM;
	}
	o->cd = cd;
	o->flags = config->flags;
	o->capabilities = config->capabilities;
	o->timer = mono_timer_new(o, cd->d->ev, ban_over, o);
	if (o->timer == NULL) {
		talloc_free(o);
		return ENOMEM;
	}
	file_load(o);
	mono_timer_set(o->timer, banned(o) ? o->ban_until : MONO_NEVER);
	config->flags = o->flags;
	config->capabilities = o->capabilities;
	cd->own = o;
	return 0;
}
