/* Going to the background. */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int done_fd = -1;
static volatile pid_t child_pid;

static void forward(int sig)
{
	kill(child_pid, sig);
}

static void __attribute__((noreturn)) parent(pid_t pid, int fd)
{
	struct sigaction sa = {.sa_handler = forward};
	int status = 0;
	ssize_t n;
	char c;

	child_pid = pid;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	do {
		n = read(fd, &c, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1) {
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
		continue;
	}
	/* a stop while it was starting is no success */
	_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

int background_begin(void)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0) {
		return errno;
	}
	pid = fork();
	if (pid < 0) {
		int ret = errno;

		close(fds[0]);
		close(fds[1]);
		return ret;
	}
	if (pid > 0) {
		close(fds[1]);
		parent(pid, fds[0]);
	}
	close(fds[0]);
	done_fd = fds[1];
	setsid();
	return 0;
}

void background_done(int keep_stderr)
{
	int null_fd;

	if (done_fd < 0) {
		return;
	}
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd >= 0) {
		dup2(null_fd, STDIN_FILENO);
		dup2(null_fd, STDOUT_FILENO);
		if (!keep_stderr) {
			dup2(null_fd, STDERR_FILENO);
		}
		close(null_fd);
	}
	(void)!write(done_fd, "R", 1);
	close(done_fd);
	done_fd = -1;
}
