/* libctdbapi: everything. */
#ifndef CTDB_CTDB_H
#define CTDB_CTDB_H

#include <ctdb/client.h>
#include <ctdb/cluster.h>
#include <ctdb/control.h>
#include <ctdb/db.h>
#include <ctdb/event.h>
#include <ctdb/interface.h>
#include <ctdb/ip.h>
#include <ctdb/message.h>
#include <ctdb/node.h>
#include <ctdb/record.h>
#include <ctdb/server.h>
#include <ctdb/stats.h>
#include <ctdb/transaction.h>
#include <ctdb/tunnel.h>
#include <ctdb/wire.h>

#endif
