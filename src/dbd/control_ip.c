/* Controls about public addresses: this node serves none, so the lists are empty and no address is a public one. */
#include "dbd/control.h"

/* Public addresses, interfaces: a count of 0. */
void control_empty_list(struct control *ctl)
{
	control_reply_u32(ctl, 0);
}

/* Status 1: not a public address. */
void control_tickle_list(struct control *ctl)
{
	control_reply(ctl, 1, NULL, 0, NULL);
}
