#!/usr/bin/python3
"""test_api_man.py MANDIR LIBRARY HEADER.h...: every exported function of libctdbapi has a manual page that says something, and groff finds
no fault with any."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP = 77


def fail(*lines):
    print("\n".join(lines), file=sys.stderr)
    sys.exit(1)


def exported(library):
    done = subprocess.run(["nm", "-D", "--defined-only", "--format=posix", library], capture_output=True, text=True, check=True)
    symbols = [line.split() for line in done.stdout.splitlines()]
    return sorted(words[0].partition("@")[0] for words in symbols if words[1] in "TW")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def check_functions(directory, functions):
    """Each function has a page; it leads to one that has the function's prototype."""
    for name in functions:
        path = os.path.join(directory, name + ".3")
        if not os.path.exists(path):
            fail(f"{name}() is exported, but has no manual page: declare it, with a comment, in a header that include/meson.build lists")
        link = read(path).split()
        if link[0] != ".so" or f"\\fB{name}\\fR(" not in read(os.path.join(os.path.dirname(directory), link[1])):
            fail(f"{path} does not lead to a page with {name}()")
    return len(functions)


def pages(directory):
    return sorted(name for name in os.listdir(directory) if name.startswith("ctdbapi"))


def check_groff(directory):
    for name in pages(directory):
        done = subprocess.run(["groff", "-man", "-ww", "-rLL=100n", "-Tutf8", "-K", "utf8", name], cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode != 0 or done.stderr or len(done.stdout.splitlines()) < 20:
            fail(f"{name}: groff says:", done.stderr)


def check_man(directory):
    """As a user would: man ctdb_record_fetch."""
    done = subprocess.run(["man", "-M", os.path.dirname(directory), "-P", "cat", "ctdb_record_fetch"], capture_output=True, text=True, check=False,
                          env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MANROFFOPT": "-rHY=0"}, stdin=subprocess.DEVNULL)
    if done.returncode != 0 or "Reads without locking" not in done.stdout:
        fail("man ctdb_record_fetch:", done.stderr, done.stdout[:500])


def main():
    directory, library, *headers = sys.argv[1:]
    functions = exported(library)
    if not functions:
        fail(f"{library} exports nothing")
    done = subprocess.run([os.path.join(HERE, "gen-api-man"), "--undocumented", *headers], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(done.stdout, done.stderr, "Write a comment above: what it does, who owns what it returns, units, errors beyond those of client.h.")
    print(f"{check_functions(directory, functions)} functions, {len(pages(directory))} pages")
    try:
        check_groff(directory)
        check_man(directory)
    except FileNotFoundError as missing:
        print(f"{missing.filename} is not installed (packages groff-base, man-db): the form of the pages is not checked")
        sys.exit(SKIP)


if __name__ == "__main__":
    main()
