/* A small file whose contents change at once: whoever reads it sees all of the old or all of the new. */
#ifndef SHARED_FILE_REPLACE_H
#define SHARED_FILE_REPLACE_H

#include <stddef.h>
#include <sys/types.h>

/*
 * DURABLE: on return the contents have been synced, and so has the directory that names them: they outlive a power cut.
 * Takes as long as the disk wants: not for event loops, see shared/thread_job.h. Without it a power cut may leave the
 * old file, the new one or an empty one; a kill leaves the old or the new one in any case.
 */
enum file_replace_flags { FILE_REPLACE_DURABLE = 1 };

/*
 * Makes path a regular file with these contents and this mode (exactly: the umask does not count), of the own uid. 0 or
 * errno. After an error the old file is there as it was, or there is still none; only if the directory could not be
 * synced, the new one is there, but may not outlive a power cut. What is at path is replaced, not written to: a
 * symbolic link is not followed, other names of the old file keep the old contents.
 *
 * Written to path.new (path.new1 ... while others write the same path), then renamed. Writers of the same path, of one
 * process or several, do not disturb each other and do not wait for each other: the last rename counts, and which that
 * is, is up to them. What a killed writer has left is removed by the next; a directory of that name is an error. EBUSY:
 * more than FILE_REPLACE_WRITERS at a time.
 *
 * Neither allocates nor logs: may be called in any thread.
 */
#define FILE_REPLACE_WRITERS 8
int file_replace(const char *path, const void *data, size_t len, mode_t mode, unsigned flags);

/*
 * The contents of such a file as text: up to size - 1 bytes and a 0 (what is longer is cut: a check sum in it says so).
 * 0 or errno (ENOENT: there is none). Never waits for a writer of a named pipe.
 */
int file_read_text(const char *path, char *text, size_t size);

#endif
