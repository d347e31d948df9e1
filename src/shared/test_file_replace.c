/* Tests of files whose contents change at once. */
#include "shared/file_replace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
	char dir[64], path[96], temp[128], temp1[128];
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		return -1;
	}
	alarm(60); /* a test that hangs ends */
	strcpy(w->dir, "/tmp/test_file_replace.XXXXXX");
	if (mkdtemp(w->dir) == NULL) {
		free(w);
		return -1;
	}
	snprintf(w->path, sizeof(w->path), "%s/file", w->dir);
	snprintf(w->temp, sizeof(w->temp), "%s.new", w->path);
	snprintf(w->temp1, sizeof(w->temp1), "%s.new1", w->path);
	*state = w;
	return 0;
}

static int count(const struct world *w)
{
	DIR *d = opendir(w->dir);
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		n += e->d_name[0] != '.' ? 1 : 0;
	}
	closedir(d);
	return n;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char name[PATH_MAX];
	DIR *d = opendir(w->dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(name, sizeof(name), "%s/%s", w->dir, e->d_name);
		(void)remove(name);
	}
	if (d != NULL) {
		closedir(d);
	}
	rmdir(w->dir);
	free(w);
	alarm(0);
	return 0;
}

static void put(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void expect(const char *path, const char *text, mode_t mode)
{
	char buf[256];
	struct stat st;
	FILE *f = fopen(path, "re");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	buf[n] = '\0';
	assert_string_equal(buf, text);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, mode);
}

static int replace(const char *path, const char *text, mode_t mode, unsigned flags)
{
	return file_replace(path, text, strlen(text), mode, flags);
}

static void test_contents(void **state)
{
	struct world *w = *state;
	mode_t mask = umask(077);

	assert_int_equal(replace(w->path, "one\n", 0644, 0), 0);
	expect(w->path, "one\n", 0644);
	assert_int_equal(replace(w->path, "longer than one\n", 0600, FILE_REPLACE_DURABLE), 0);
	expect(w->path, "longer than one\n", 0600);
	umask(0);
	assert_int_equal(replace(w->path, "", 0640, FILE_REPLACE_DURABLE), 0);
	expect(w->path, "", 0640);
	umask(mask);
	assert_int_equal(count(w), 1);
}

/* A name without a directory is one in the working directory. */
static void test_relative(void **state)
{
	struct world *w = *state;
	int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(chdir(w->dir), 0);
	assert_int_equal(replace("file", "here\n", 0600, FILE_REPLACE_DURABLE), 0);
	assert_int_equal(fchdir(back), 0);
	close(back);
	expect(w->path, "here\n", 0600);
}

/* A link is replaced; what it points to, and other names of the old file, are left alone. */
static void test_links(void **state)
{
	struct world *w = *state;
	char other[160], third[160];

	snprintf(other, sizeof(other), "%s/other", w->dir);
	snprintf(third, sizeof(third), "%s/third", w->dir);
	put(other, "other\n", 0644);
	assert_int_equal(symlink(other, w->path), 0);
	assert_int_equal(replace(w->path, "new\n", 0600, 0), 0);
	expect(w->path, "new\n", 0600);
	assert_int_equal(link(w->path, third), 0);
	assert_int_equal(replace(w->path, "newer\n", 0600, 0), 0);
	expect(w->path, "newer\n", 0600);
	expect(third, "new\n", 0600);
	expect(other, "other\n", 0644);
	assert_int_equal(count(w), 3);
}

/* What killed writers have left is gone afterwards, whatever it is; nothing is written to where it points. */
static void test_leftovers(void **state)
{
	struct world *w = *state;
	char other[160];

	snprintf(other, sizeof(other), "%s/other", w->dir);
	put(other, "other\n", 0644);
	put(w->temp, "half of a secr", 0666);
	put(w->temp1, "half", 0600);
	assert_int_equal(replace(w->path, "one\n", 0600, 0), 0);
	expect(w->path, "one\n", 0600);
	assert_int_equal(count(w), 2);
	assert_int_equal(symlink(other, w->temp), 0);
	assert_int_equal(mkfifo(w->temp1, 0600), 0);
	assert_int_equal(replace(w->path, "two\n", 0600, 0), 0);
	assert_int_equal(link(other, w->temp), 0);
	assert_int_equal(replace(w->path, "three\n", 0600, 0), 0);
	expect(w->path, "three\n", 0600);
	expect(other, "other\n", 0644);
	assert_int_equal(count(w), 2);
}

/* Another process that writes at this moment keeps its file, and nobody waits for it. */
static void test_writer_beside(void **state)
{
	struct world *w = *state;
	int fd[FILE_REPLACE_WRITERS];

	for (int i = 0; i < FILE_REPLACE_WRITERS; i++) {
		char temp[160], text[32];

		snprintf(text, sizeof(text), "%d\n", i);
		assert_int_equal(replace(w->path, text, 0600, 0), 0);
		expect(w->path, text, 0600);
		assert_int_equal(count(w), 1 + i);
		snprintf(temp, sizeof(temp), i == 0 ? "%s" : "%s%d", w->temp, i);
		put(temp, "beside", 0600);
		fd[i] = open(temp, O_WRONLY | O_CLOEXEC);
		assert_int_equal(flock(fd[i], LOCK_EX | LOCK_NB), 0);
	}
	assert_int_equal(replace(w->path, "too many\n", 0600, 0), EBUSY);
	expect(w->path, "7\n", 0600);
	expect(w->temp, "beside", 0600);
	for (int i = 0; i < FILE_REPLACE_WRITERS; i++) {
		close(fd[i]);
	}
	/* as if they had been killed */
	assert_int_equal(replace(w->path, "last\n", 0600, 0), 0);
	expect(w->path, "last\n", 0600);
	assert_int_equal(count(w), 1);
}

/* What cannot be written leaves everything as it was. */
static void test_fails(void **state)
{
	struct world *w = *state;
	char name[PATH_MAX + 8];
	struct rlimit limit, small;

	put(w->path, "old\n", 0640);
	assert_int_equal(mkdir(w->temp, 0700), 0);
	assert_int_equal(replace(w->path, "new\n", 0600, 0), EISDIR);
	rmdir(w->temp);
	snprintf(name, sizeof(name), "%s/none/file", w->dir);
	assert_int_equal(replace(name, "new\n", 0600, FILE_REPLACE_DURABLE), ENOENT);
	assert_int_equal(replace(w->dir, "new\n", 0600, 0), EISDIR);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(replace(name, "new\n", 0600, 0), ENAMETOOLONG);
	/* in the middle of the contents */
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(replace(w->path, "new\n", 0600, 0), EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	signal(SIGXFSZ, SIG_DFL);
	expect(w->path, "old\n", 0640);
	assert_int_equal(count(w), 1);
}

#define THREADS 4
#define ROUNDS  100
#define LENGTH  20000

static const char *shared_path;
static atomic_int errors;

static void *write_often(void *arg)
{
	static const char letters[] = "abcdefgh";
	char letter = letters[*(int *)arg], *text = malloc(LENGTH);

	if (text == NULL) {
		atomic_fetch_add(&errors, 1);
		return NULL;
	}
	memset(text, letter, LENGTH);
	for (int i = 0; i < ROUNDS; i++) {
		if (file_replace(shared_path, text, LENGTH, 0600, 0) != 0) {
			atomic_fetch_add(&errors, 1);
		}
	}
	free(text);
	return NULL;
}

/* fork(); it does not outlive this process. */
static pid_t child(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	}
	return pid;
}

/* All of one writer's letters. */
static void look(const char *path)
{
	static char text[LENGTH + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof(text)), LENGTH);
	close(fd);
	for (int i = 1; i < LENGTH; i++) {
		assert_int_equal(text[i], text[0]);
	}
}

/* What fits, what is cut, what is not there, and a pipe that nobody writes to. */
static void test_read_text(void **state)
{
	struct world *w = *state;
	char text[8] = "before";

	assert_int_equal(file_read_text(w->path, text, sizeof(text)), ENOENT);
	assert_int_equal(file_replace(w->path, "1234567", 7, 0600, 0), 0);
	assert_int_equal(file_read_text(w->path, text, sizeof(text)), 0);
	assert_string_equal(text, "1234567");
	assert_int_equal(file_read_text(w->path, text, 4), 0);
	assert_string_equal(text, "123");
	assert_int_equal(unlink(w->path), 0);
	assert_int_equal(mkdir(w->path, 0700), 0);
	assert_int_equal(file_read_text(w->path, text, sizeof(text)), EISDIR);
	assert_int_equal(rmdir(w->path), 0);
	assert_int_equal(mkfifo(w->path, 0600), 0);
	assert_int_equal(file_read_text(w->path, text, sizeof(text)), 0);
	assert_string_equal(text, "");
	assert_int_equal(unlink(w->path), 0);
}

/* Threads of two processes write the same file: no error, never half of it, nothing left. */
static void test_parallel(void **state)
{
	struct world *w = *state;
	pthread_t thread[THREADS];
	int number[THREADS], status;
	pid_t pid;

	shared_path = w->path;
	atomic_store(&errors, 0);
	number[0] = 0;
	write_often(&number[0]);
	pid = child();
	for (int i = 0; i < THREADS; i++) {
		number[i] = pid == 0 ? i : THREADS + i;
		assert_int_equal(pthread_create(&thread[i], NULL, write_often, &number[i]), 0);
	}
	for (int i = 0; pid != 0 && i < ROUNDS; i++) {
		look(w->path);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	}
	if (pid == 0) {
		_exit(atomic_load(&errors) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(atomic_load(&errors), 0);
	look(w->path);
	assert_int_equal(count(w), 1);
}

/* Killed anywhere: the file is whole, and the next writer tidies up. */
static void test_killed(void **state)
{
	struct world *w = *state;

	shared_path = w->path;
	for (int i = 0; i < 20; i++) {
		int number = i % 8, status;
		pid_t pid = child();

		if (pid == 0) {
			for (;;) {
				write_often(&number);
			}
		}
		usleep((useconds_t)(2000 + 300 * i));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (access(w->path, F_OK) == 0) {
			look(w->path);
		}
	}
	assert_int_equal(replace(w->path, "after\n", 0600, FILE_REPLACE_DURABLE), 0);
	expect(w->path, "after\n", 0600);
	assert_int_equal(count(w), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relative, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leftovers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writer_beside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parallel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
	};

	return cmocka_run_group_tests_name("replaced files", tests, NULL, NULL);
}
