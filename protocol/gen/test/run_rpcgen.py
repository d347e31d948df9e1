#!/usr/bin/env python3
"""Runs rpcgen on a copy of an interface file that has another name, so that its output does not meet ctdb-gen's."""

import os
import shutil
import subprocess
import sys


def main():
    rpcgen, source, header, code = sys.argv[1:]
    directory, name = os.path.split(header)
    copy = name[:-2] + '.x'
    shutil.copyfile(source, os.path.join(directory, copy))
    for option, out in (('-h', header), ('-c', code)):
        # rpcgen refuses to overwrite. -i 0: its inlined loops over bool do not compile.
        if os.path.exists(out):
            os.unlink(out)
        subprocess.run([rpcgen, '-i', '0', option, '-o', os.path.basename(out), copy], check=True, cwd=directory)


if __name__ == '__main__':
    main()
