/* Inside of dbd's transactions. service.h has what the other parts use. */
#ifndef DBD_COMMIT_H
#define DBD_COMMIT_H

#include "dbd/control.h"

/* A rec_buffer with at least one record, all complete, with keys and record headers, and nothing behind them. */
bool commit_buffer_ok(const uint8_t *buf, size_t len, uint32_t *db_id);

#endif
