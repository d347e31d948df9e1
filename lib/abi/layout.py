#!/usr/bin/python3
"""layout.py OUT.c HEADER.h...: a C program that prints size and offsets of everything public in the headers, and the values of constants."""

import os
import re
import sys

DEFINITION = re.compile(r"^(struct|union|enum) (\w+) \{(.*?)\};", re.S | re.M)
CONSTANT = re.compile(r"^#define (CTDB_\w+)[ \t]+(?!\")\S", re.M)


def strip_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def declarations(body):
    """The members of a struct's body, divided at semicolons outside of braces."""
    depth, start = 0, 0
    for n, char in enumerate(body):
        depth += (char == "{") - (char == "}")
        if char == ";" and depth == 0:
            yield body[start:n].strip()
            start = n + 1


def member_names(declarators):
    """Names in "uint32_t *a, b[3]", "void (*fn)(int x)"."""
    function = re.search(r"\(\*(\w+)\)", declarators)
    if function:
        return [function.group(1)]
    return [re.search(r"(\w+)\s*(\[[^]]*\]\s*)*$", part.strip()).group(1) for part in declarators.split(",")]


def members(body, prefix=""):
    for declaration in declarations(body):
        nested = re.match(r"(?:struct|union)\s*\w*\s*\{(.*)\}\s*(.*)$", declaration, re.S)
        if not nested:
            yield from (prefix + name for name in member_names(declaration))
            continue
        names = member_names(nested.group(2)) if nested.group(2).strip() else [""]
        for name in names:
            if name:
                yield prefix + name
            yield from members(nested.group(1), f"{prefix}{name}." if name else prefix)


def statements(text):
    for kind, name, body in DEFINITION.findall(text):
        if kind == "enum":
            for constant in re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", body.strip()):
                yield f'\tprintf("enum {name} {constant} %lld\\n", (long long){constant});'
            continue
        yield f'\tprintf("{kind} {name} size %zu\\n", sizeof({kind} {name}));'
        for member in members(body):
            where = f"{kind} {name}, {member}"
            yield f'\tprintf("{kind} {name} {member} offset %zu size %zu\\n", offsetof({where}), sizeof((({kind} {name} *)0)->{member}));'
    for name in CONSTANT.findall(text):
        yield f'\tprintf("define {name} %#llx\\n", (unsigned long long){name});'


def main():
    out, *headers = sys.argv[1:]
    lines = []
    for path in headers:
        with open(path, encoding="utf-8") as f:
            lines += statements(strip_comments(f.read()))
    includes = "".join(f"#include <ctdb/{os.path.basename(path)}>\n" for path in headers)
    with open(out, "w", encoding="utf-8") as f:
        f.write("/* Made by layout.py from the public headers. */\n#include <stddef.h>\n#include <stdio.h>\n\n" + includes)
        f.write("\nint main(void)\n{\n" + "\n".join(sorted(lines)) + "\n\treturn 0;\n}\n")


if __name__ == "__main__":
    main()
