/*
 * Worker program: which processes hold locks of a file, looked up without taking any.
 *
 * Locks of a TDB are either byte ranges (fcntl), which the kernel knows: F_GETLK. Or, in files made for it, robust
 * mutexes that lie in the file behind its header, one for all, one for the free list, one for each chain; the lowest
 * word of such a mutex is the number of the thread that has it, as that of every futex that the kernel cleans up. A
 * transaction is always a byte range. (Layout of TDB 1.3.4 and later, for the size of pthread_mutex_t that this program
 * was compiled with; others cannot share the file anyway.)
 */
#include "dbd/worker_prog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbd/holders.h"

#define TDB_HEADER_SIZE 168
#define TDB_OPEN_LOCK   0
#define TDB_TRANSACTION 8
#define TDB_FREE_LIST   (TDB_HEADER_SIZE - 4)
#define TDB_CHAIN(n)    (TDB_HEADER_SIZE + 4 * (off_t)(n))
#define MUTEXES_AT_ONCE 1024U

/* Behind the header. */
struct mutexes_head {
	pthread_mutex_t all;
	int16_t all_type;
	/* pthread_mutex_t of the free list, then of chains 0, 1, ... */
};
#define MUTEX_ALL       TDB_HEADER_SIZE
#define MUTEX_FREE_LIST (TDB_HEADER_SIZE + (off_t)sizeof(struct mutexes_head))

struct search {
	struct wjob *job;
	struct stat file;
	struct holder_entry found[HOLDERS_MAX];
	unsigned n;
};

/* Of /proc/N/status. */
struct process {
	unsigned tgid, ppid;
	bool stopped;
	char name[HOLDER_NAME_LEN];
};

static bool process_read(unsigned id, struct process *p)
{
	char path[64], line[256], state = '?';
	FILE *f;

	*p = (struct process){.tgid = 0};
	snprintf(path, sizeof(path), "/proc/%u/status", id);
	f = fopen(path, "re");
	if (f == NULL) {
		return false;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		(void)sscanf(line, "Name: %15s", p->name);
		(void)sscanf(line, "State: %c", &state);
		(void)sscanf(line, "Tgid: %u", &p->tgid);
		(void)sscanf(line, "PPid: %u", &p->ppid);
	}
	fclose(f);
	p->stopped = state == 'T' || state == 't';
	return p->tgid != 0;
}

/* A thread number in a mutex is that of the holder's own container: it may be somebody else's here. */
static bool has_file_open(const struct search *s, unsigned pid)
{
	char path[64], entry[400];
	struct dirent *e;
	bool open = false;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = opendir(path);
	if (dir == NULL) {
		return false;
	}
	while (!open && (e = readdir(dir)) != NULL) {
		snprintf(entry, sizeof(entry), "%s/%s", path, e->d_name);
		open = stat(entry, &st) == 0 && st.st_dev == s->file.st_dev && st.st_ino == s->file.st_ino;
	}
	closedir(dir);
	return open;
}

/* dbd itself and its workers do not stand in their own way for long. */
static bool is_ours(unsigned tgid, unsigned ppid)
{
	unsigned dbd = (unsigned)getppid();

	return tgid == dbd || ppid == dbd;
}

static void found(struct search *s, unsigned id, unsigned thread, enum holder_lock lock, uint32_t chain)
{
	struct holder_entry *e = &s->found[s->n];
	struct process p;
	bool known = process_read(id, &p) && has_file_open(s, p.tgid);

	if (s->n == HOLDERS_MAX || (known && is_ours(p.tgid, p.ppid))) {
		return;
	}
	*e = (struct holder_entry){.thread = thread, .lock = lock, .chain = chain};
	if (known) {
		e->pid = p.tgid;
		e->stopped = p.stopped;
		memcpy(e->name, p.name, sizeof(e->name));
	}
	s->n++;
}

/* ---- byte ranges ---- */

static void found_range(struct search *s, const struct flock *l)
{
	uint32_t chains = (uint32_t)tdb_hash_size(s->job->tdb);

	if (l->l_len == 0) {
		found(s, (unsigned)l->l_pid, 0, HOLDER_WHOLE, 0);
	} else if (l->l_start == TDB_FREE_LIST) {
		found(s, (unsigned)l->l_pid, 0, HOLDER_FREE_LIST, 0);
	} else if (l->l_start >= TDB_CHAIN(0) && l->l_start < TDB_CHAIN(chains)) {
		found(s, (unsigned)l->l_pid, 0, HOLDER_CHAIN, (uint32_t)(l->l_start - TDB_CHAIN(0)) / 4);
	}
	/* Behind the chains: single records that a traverse stands at; they keep nobody from anything. */
}

static bool get_lock(struct search *s, struct flock *l)
{
	return fcntl(tdb_fd(s->job->tdb), F_GETLK, l) == 0 && l->l_type != F_UNLCK;
}

static void search_ranges(struct search *s)
{
	off_t end = TDB_CHAIN(tdb_hash_size(s->job->tdb));
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = TDB_TRANSACTION, .l_len = 1};
	off_t from = TDB_FREE_LIST;

	if (get_lock(s, &l)) {
		found(s, (unsigned)l.l_pid, 0, HOLDER_TRANSACTION, 0);
	}
	while (from < end && s->n < HOLDERS_MAX) {
		l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = from, .l_len = end - from};
		if (!get_lock(s, &l)) {
			return;
		}
		found_range(s, &l);
		if (l.l_len == 0) {
			return;
		}
		from = l.l_start + l.l_len > from ? l.l_start + l.l_len : from + 1;
	}
}

/* ---- mutexes ---- */

static uint32_t mutex_owner(const pthread_mutex_t *mutex)
{
	uint32_t word;

	memcpy(&word, mutex, sizeof(word));
	return word & FUTEX_TID_MASK;
}

static bool mutexes_read(struct search *s, pthread_mutex_t *m, size_t n, off_t at)
{
	return pread(tdb_fd(s->job->tdb), m, n * sizeof(*m), at) == (ssize_t)(n * sizeof(*m));
}

static void search_mutexes(struct search *s)
{
	static pthread_mutex_t m[MUTEXES_AT_ONCE];
	uint32_t n = (uint32_t)tdb_hash_size(s->job->tdb) + 1; /* with the free list */

	if (mutexes_read(s, m, 1, MUTEX_ALL) && mutex_owner(m) != 0) {
		found(s, mutex_owner(m), mutex_owner(m), HOLDER_WHOLE, 0);
	}
	for (uint32_t i = 0; i < n; i += MUTEXES_AT_ONCE) {
		uint32_t part = n - i < MUTEXES_AT_ONCE ? n - i : MUTEXES_AT_ONCE;

		if (!mutexes_read(s, m, part, MUTEX_FREE_LIST + (off_t)(i * sizeof(m[0])))) {
			return;
		}
		for (uint32_t k = 0; k < part; k++) {
			uint32_t owner = mutex_owner(&m[k]);
			bool free_list = i + k == 0;

			if (owner != 0) {
				found(s, owner, owner, free_list ? HOLDER_FREE_LIST : HOLDER_CHAIN,
				      free_list ? 0 : i + k - 1);
			}
		}
	}
}

int wjob_holders(struct wjob *job)
{
	struct search *s = talloc_zero(job, struct search);

	if (s == NULL || fstat(tdb_fd(job->tdb), &s->file) != 0) {
		return s == NULL ? ENOMEM : errno;
	}
	s->job = job;
	if ((tdb_get_flags(job->tdb) & TDB_MUTEX_LOCKING) != 0) {
		search_mutexes(s);
	}
	search_ranges(s);
	if (s->n > 0) {
		wjob_send_batch(job, (uint8_t *)s->found, s->n * sizeof(s->found[0]));
	}
	return 0;
}
