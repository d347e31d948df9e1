/* Which records a scan shall find, on its way from dbd to a worker process of the same machine. */
#ifndef DBD_SCAN_FILTER_H
#define DBD_SCAN_FILTER_H

#include "base/xdr.h"
#include "core/recovery.h"

/* ENOMEM. out->data below mem. */
int scan_filter_encode(TALLOC_CTX *mem, const struct rec_scan_filter *f, struct ctdb_blob *out);
/* EBADMSG, ENOMEM. f points into in, and below mem. */
int scan_filter_decode(TALLOC_CTX *mem, const struct ctdb_blob *in, struct rec_scan_filter *f);

#endif
