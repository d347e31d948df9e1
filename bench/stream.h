/* ctdb-bench stream: what its parts share. Each runs a sender and a receiver, both processes of their own. */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#define STREAM_KEY_BYTES 32
#define STREAM_RTTS      65536 /* round trips that are kept */

struct stream_args {
	uint64_t bytes; /* of a run */
	uint64_t chunk; /* of a frame */
	bool plain;     /* without TLS: what encryption costs */
};

/* Of one run. */
struct stream_run {
	double seconds;
	double cpu_sender, cpu_receiver;  /* seconds */
	double rtt_p50, rtt_p99, rtt_max; /* microseconds; of round trips on the control class meanwhile */
	uint64_t rtts;
};

/* What the sender process tells. */
struct stream_report {
	double seconds;
	double rtt_p50, rtt_p99, rtt_max;
	uint64_t rtts;
};

/* Runs in a process of its own: returns its exit status; the sender fills report. ready: read by the sender, one byte
 * when the receiver is. */
typedef int (*stream_receiver_fn)(const struct stream_args *args, uint16_t port, int ready);
typedef int (*stream_sender_fn)(const struct stream_args *args, uint16_t port, int ready, struct stream_report *report);

/* Two processes; false and a message: one of them failed. */
bool stream_run(const struct stream_args *args, stream_receiver_fn receiver, stream_sender_fn sender,
		struct stream_run *run);

/* Two nodes of a mesh of links. */
int stream_link_receiver(const struct stream_args *args, uint16_t port, int ready);
int stream_link_sender(const struct stream_args *args, uint16_t port, int ready, struct stream_report *report);

/* A stream of messages between two nodes, each with its ctdb-transportd. The CPU time is that of all four processes. */
int stream_msg_receiver(const struct stream_args *args, uint16_t port, int ready);
int stream_msg_sender(const struct stream_args *args, uint16_t port, int ready, struct stream_report *report);

/* GnuTLS alone, blocking sockets, records of 16 KiB, the same cipher. */
int stream_bare_receiver(const struct stream_args *args, uint16_t port, int ready);
int stream_bare_sender(const struct stream_args *args, uint16_t port, int ready, struct stream_report *report);

#endif
