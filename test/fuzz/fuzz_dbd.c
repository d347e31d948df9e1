/* The client side of a dbd, with everything behind it played as in dbd's unit tests. */
#include "fuzz_dbd.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/msg.h"

#define INPUTS_OF_ONE_DBD 256
#define TURNS_MAX         10000

static void loop(void)
{
	MUST(tevent_loop_once(fake->dbd->d->ev) == 0);
}

static void over(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(bool *)priv = true;
}

/* What is to be done at once, and timers that are due; no files. */
static void loop_immediate(void)
{
	bool done = false;

	MUST(tevent_add_timer(fake->dbd->d->ev, fake, tevent_timeval_current(), over, &done) != NULL);
	while (!done) {
		loop();
	}
}

static void last_dbd_ends(void)
{
	fake_teardown(NULL);
}

static void make_dbd(void)
{
	static unsigned inputs;
	char *err = NULL;

	if (fake != NULL && ++inputs % INPUTS_OF_ONE_DBD != 0) {
		return;
	}
	if (fake != NULL) {
		fake_teardown(NULL);
	} else {
		atexit(last_dbd_ends);
	}
	fake_setup(NULL);
	/* Requests to other daemons find nobody. */
	MUST(msg_open(fake->dbd->d, fake->dbd->d->ev, fake->dir, "db", 0, NULL, &fake->dbd->d->msg, &err) == 0);
	(void)fake_db("vol.tdb", 0);
	(void)fake_db("pers.tdb", DB_PERSISTENT);
}

int fuzz_dbd_begin(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint32_t before;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	make_dbd();
	before = fake->dbd->clients->n;
	fake->answer_at_once = false;
	fake->n_sent = 0;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", fake->dbd->clients->path);
	MUST(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	while (fake->dbd->clients->n == before) {
		loop();
	}
	return fd;
}

void fuzz_dbd_read(int fd)
{
	int unread = 1;

	/* While there is something to read, a turn does not wait. */
	for (int i = 0; i < TURNS_MAX && fake->dbd->clients->n > 0; i++) {
		MUST(ioctl(fd, SIOCOUTQ, &unread) == 0);
		if (unread == 0) {
			return;
		}
		loop();
	}
	MUST(fake->dbd->clients->n == 0);
}

void fuzz_dbd_finish_work(struct fuzz_in *in)
{
	static const uint8_t records[] = {20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 'k', 'a', 'b', 'c'};

	for (uint32_t i = 0; i < fake->n_jobs; i++) {
		uint8_t how = fuzz_byte(in);

		if (fake->jobs[i] != NULL && fake->jobs[i]->batch != NULL && (how & 2) != 0) {
			(void)fake->jobs[i]->batch(fake->jobs[i]->priv, (struct worker_job *)fake->jobs[i], records,
						   sizeof(records));
		}
		/* The batch may have ended it. */
		if (fake->jobs[i] != NULL) {
			fake_job_end(fake->jobs[i], (how & 1) != 0 ? EIO : 0);
		}
	}
	fake->n_jobs = 0;
	if (fake->call != NULL) {
		struct fake_call *call = fake->call;

		fake->call = NULL;
		call->reply(call->priv, fuzz_byte(in) & 1 ? EIO : 0, fake->header, fake->data, sizeof(fake->data));
		talloc_free(call);
	}
	loop_immediate();
}

void fuzz_dbd_end(int fd)
{
	close(fd);
	for (int i = 0; i < TURNS_MAX && fake->dbd->clients->n > 0; i++) {
		loop();
	}
	MUST(fake->dbd->clients->n == 0);
	for (uint32_t i = 0; i < fake->n_sent; i++) {
		talloc_free(fake->sent[i].buf.data);
	}
	fake->n_sent = 0;
}
