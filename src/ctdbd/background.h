/* Going to the background, so that who started ctdbd learns whether the node is up. */
#ifndef CTDBD_BACKGROUND_H
#define CTDBD_BACKGROUND_H

/*
 * Forks; the child returns with 0 in a session of its own. The parent never returns: it waits and exits with 0 once the
 * child called background_done(), or with the child's status when that ended before. SIGINT and SIGTERM of the parent
 * go to the child. errno if there is no fork.
 */
int background_begin(void);

/* The node is up: the parent exits; standard input and output, and standard error unless keep_stderr, become /dev/null.
 */
void background_done(int keep_stderr);

#endif
