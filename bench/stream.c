/* ctdb-bench stream: bulk data between two nodes, against GnuTLS alone. */
#include "stream.h"
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS_MAX 20

/* One way of sending, and what its runs said. */
struct contender {
	const char *name, *what;
	stream_receiver_fn receiver;
	stream_sender_fn sender;
	struct stream_run run[ROUNDS_MAX];
};

/* ---- two processes ---- */

static pid_t start_receiver(const struct stream_args *args, stream_receiver_fn receiver, uint16_t port,
			    const int pipe_fd[2])
{
	pid_t pid = fork();

	if (pid == 0) {
		close(pipe_fd[0]);
		_exit(receiver(args, port, pipe_fd[1]));
	}
	return pid;
}

static pid_t start_sender(const struct stream_args *args, stream_sender_fn sender, uint16_t port, const int ready[2],
			  const int report[2])
{
	pid_t pid = fork();

	if (pid == 0) {
		struct stream_report r = {0};
		int status;

		close(ready[1]);
		status = sender(args, port, ready[0], &r);
		_exit(status == 0 && write(report[1], &r, sizeof(r)) == sizeof(r) ? 0 : 1);
	}
	return pid;
}

/* CPU seconds of the process; negative: it failed. */
static double finish(pid_t pid)
{
	struct rusage use;
	int status;

	if (pid < 0 || wait4(pid, &status, 0, &use) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		return -1;
	}
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

bool stream_run(const struct stream_args *args, stream_receiver_fn receiver, stream_sender_fn sender,
		struct stream_run *run)
{
	static uint16_t next;
	uint16_t port = (uint16_t)(20000 + ((unsigned)getpid() * 16 + next++) % 12000);
	struct stream_report report = {0};
	int ready[2], told[2];
	pid_t r, s;
	bool got;

	if (pipe(ready) != 0 || pipe(told) != 0) {
		perror("pipe");
		return false;
	}
	fflush(stdout);
	r = start_receiver(args, receiver, port, ready);
	s = start_sender(args, sender, port, ready, told);
	close(ready[0]);
	close(ready[1]);
	close(told[1]);
	got = read(told[0], &report, sizeof(report)) == sizeof(report);
	close(told[0]);
	run->cpu_sender = finish(s);
	run->cpu_receiver = finish(r);
	if (!got || run->cpu_sender < 0 || run->cpu_receiver < 0) {
		fprintf(stderr, "ctdb-bench stream: a process failed\n");
		return false;
	}
	run->seconds = report.seconds;
	run->rtts = report.rtts;
	run->rtt_p50 = report.rtt_p50;
	run->rtt_p99 = report.rtt_p99;
	run->rtt_max = report.rtt_max;
	return true;
}

/* ---- results ---- */

static double mb_per_s(const struct stream_args *args, const struct stream_run *run)
{
	return (double)args->bytes / 1e6 / run->seconds;
}

static double median_of(const struct stream_args *args, const struct contender *c, size_t rounds, bool cpu)
{
	double v[ROUNDS_MAX];

	for (size_t i = 0; i < rounds; i++) {
		v[i] = cpu ? c->run[i].cpu_sender + c->run[i].cpu_receiver : mb_per_s(args, &c->run[i]);
	}
	return bench_median(v, rounds);
}

static double worst(const struct contender *c, size_t rounds, double (*get)(const struct stream_run *))
{
	double max = 0;

	for (size_t i = 0; i < rounds; i++) {
		max = get(&c->run[i]) > max ? get(&c->run[i]) : max;
	}
	return max;
}

static double get_p50(const struct stream_run *r)
{
	return r->rtt_p50;
}

static double get_p99(const struct stream_run *r)
{
	return r->rtt_p99;
}

static double get_max(const struct stream_run *r)
{
	return r->rtt_max;
}

static void print_text(const struct stream_args *args, const struct contender *c, size_t n, size_t rounds)
{
	printf("%llu MiB a run, %s, frames of %llu KiB\n\n%-6s %-6s %9s %12s %12s   %s\n",
	       (unsigned long long)(args->bytes >> 20), args->plain ? "not encrypted" : "TLS 1.3, AES-128-GCM",
	       (unsigned long long)(args->chunk >> 10), "what", "run", "MB/s", "CPU s sender", "CPU s recv.",
	       "round trips meanwhile, us: p50, p99, max (number)");
	for (size_t i = 0; i < rounds; i++) {
		for (size_t k = 0; k < n; k++) {
			const struct stream_run *r = &c[k].run[i];

			printf("%-6s %-6zu %9.0f %12.2f %12.2f", c[k].name, i + 1, mb_per_s(args, r), r->cpu_sender,
			       r->cpu_receiver);
			if (r->rtts > 0) {
				printf("   %.0f, %.0f, %.0f (%llu)", r->rtt_p50, r->rtt_p99, r->rtt_max,
				       (unsigned long long)r->rtts);
			}
			printf("\n");
		}
	}
	for (size_t k = 1; k < n; k++) {
		printf("\n%s (%s) against %s (%s): %.1f %% of the rate (medians), %.1f %% of the CPU time", c[k].name,
		       c[k].what, c[0].name, c[0].what,
		       100 * median_of(args, &c[k], rounds, false) / median_of(args, &c[0], rounds, false),
		       100 * median_of(args, &c[k], rounds, true) / median_of(args, &c[0], rounds, true));
	}
	printf("\n");
}

static void print_json(const struct stream_args *args, const struct contender *c, size_t n, size_t rounds)
{
	printf("{\"benchmark\": \"stream\", \"bytes\": %llu, \"chunk\": %llu, \"tls\": %s, \"runs\": [\n",
	       (unsigned long long)args->bytes, (unsigned long long)args->chunk, args->plain ? "false" : "true");
	for (size_t i = 0; i < rounds * n; i++) {
		const struct stream_run *r = &c[i % n].run[i / n];

		printf("  {\"what\": \"%s\", \"run\": %zu, \"mb_per_s\": %.1f, \"cpu_sender_s\": %.3f, "
		       "\"cpu_receiver_s\": %.3f, \"rtts\": %llu, "
		       "\"rtt_us_p50\": %.1f, \"rtt_us_p99\": %.1f, \"rtt_us_max\": %.1f}%s\n",
		       c[i % n].name, i / n + 1, mb_per_s(args, r), r->cpu_sender, r->cpu_receiver,
		       (unsigned long long)r->rtts, r->rtt_p50, r->rtt_p99, r->rtt_max, i + 1 < rounds * n ? "," : "");
	}
	printf("], \"summary\": [\n");
	for (size_t k = 1; k < n; k++) {
		printf("  {\"what\": \"%s\", \"mb_per_s\": %.1f, \"bare_mb_per_s\": %.1f, \"ratio\": %.3f, "
		       "\"cpu_ratio\": %.3f, "
		       "\"rtt_us_p50\": %.1f, \"rtt_us_p99\": %.1f, \"rtt_us_max\": %.1f}%s\n",
		       c[k].name, median_of(args, &c[k], rounds, false), median_of(args, &c[0], rounds, false),
		       median_of(args, &c[k], rounds, false) / median_of(args, &c[0], rounds, false),
		       median_of(args, &c[k], rounds, true) / median_of(args, &c[0], rounds, true),
		       worst(&c[k], rounds, get_p50), worst(&c[k], rounds, get_p99), worst(&c[k], rounds, get_max),
		       k + 1 < n ? "," : "");
	}
	printf("]}\n");
}

int bench_stream(int argc, char **argv)
{
	static struct contender contenders[] = {
		{.name = "bare",
		 .what = "GnuTLS, records of 16 KiB",
		 .receiver = stream_bare_receiver,
		 .sender = stream_bare_sender},
		{.name = "link",
		 .what = "class bulk of a link",
		 .receiver = stream_link_receiver,
		 .sender = stream_link_sender},
		{.name = "msg",
		 .what = "msg_stream, two ctdb-transportd",
		 .receiver = stream_msg_receiver,
		 .sender = stream_msg_sender},
	};
	size_t n = sizeof(contenders) / sizeof(contenders[0]);
	uint64_t mib = 1024, rounds = 2, kib = 60;
	struct stream_args args = {0};
	bool json = false, no_messages = false;
	const struct bench_option options[] = {
		{.name = "--mib", .value = &mib, .low = 1, .high = 65536},
		{.name = "--rounds", .value = &rounds, .low = 1, .high = ROUNDS_MAX},
		{.name = "--frame-kib", .value = &kib, .low = 1, .high = 1024},
		{.name = "--plain", .flag = &args.plain},
		{.name = "--no-messages", .flag = &no_messages},
		{.name = "--json", .flag = &json},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	args.bytes = mib << 20;
	args.chunk = kib << 10;
	n -= no_messages;
	/* One after the other, again and again: what changes on the machine meets both. */
	for (size_t i = 0; i < rounds; i++) {
		for (size_t k = 0; k < n; k++) {
			if (!stream_run(&args, contenders[k].receiver, contenders[k].sender, &contenders[k].run[i])) {
				return 1;
			}
		}
	}
	(json ? print_json : print_text)(&args, contenders, n, rounds);
	return 0;
}
