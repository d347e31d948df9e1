/* Remote procedure calls: how a server ends a call. */
#include "shared/rpc.h"

void rpc_call_reply(struct rpc_call *call, const uint8_t *buf, size_t len)
{
	call->answer(call, 0, buf, len);
	talloc_free(call);
}

void rpc_call_fail(struct rpc_call *call, int32_t status)
{
	/* A status that is not a positive errno would read as success or as nonsense on the other side. */
	call->answer(call, status > 0 ? status : EPROTO, NULL, 0);
	talloc_free(call);
}
