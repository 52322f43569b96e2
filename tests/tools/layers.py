#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints which folders and files of daemon/ include which; fails on an upward arrow or a circle.

    layers.py SOURCES OBJECTS "FOLDER: FOLDER..."...

SOURCES is daemon/, OBJECTS the directory with its object files. Each further argument is a line of
the Makefile's table: a folder and the folders that it may include. main.c is the folder `main`.

An arrow goes from a file to each header that it includes, and from NAME.c to each file that defines
a symbol which NAME.c's object uses, because NAME.c may declare a function without its header.
"""

import os
import re
import subprocess
import sys

INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def file_of(path, top):
    """Returns ('FOLDER', 'NAME.c')."""
    folder, name = os.path.split(os.path.relpath(path, top))
    return (folder or "main", name)


def files_below(top, *endings):
    for folder, _, names in sorted(os.walk(top)):
        for name in sorted(names):
            if name.endswith(endings):
                yield os.path.join(folder, name)


def arrows_by_include(sources, bad):
    """Yields (file, file, place) per #include of a header of SOURCES."""
    headers = {}
    for path in files_below(sources, ".h"):
        name = os.path.basename(path)
        if name in headers:
            bad.append(f"two headers of one name: {headers[name]} and {path}")
        headers[name] = path
    for path in files_below(sources, ".c", ".h"):
        with open(path, encoding="utf-8") as text:
            for number, line in enumerate(text, 1):
                found = INCLUDE.match(line)
                name = os.path.basename(found.group(1)) if found else None
                if name and name != found.group(1):
                    bad.append(f"{path}:{number}: an include by path: {found.group(1)}")
                if name in headers:
                    yield (file_of(path, sources), file_of(headers[name], sources),
                           f"{path}:{number}")


def arrows_by_symbol(sources, objects):
    """Yields (file, file, place) per symbol that one object uses and another defines."""
    used, defined, made_of = [], {}, {}
    for source in files_below(sources, ".c"):
        path = os.path.join(objects, os.path.relpath(source, sources))[:-1] + "o"
        if os.path.exists(path):  # an AEAD engine may not be built on this machine
            made_of[path] = file_of(source, sources)
    out = subprocess.run(["nm", "-gA", *made_of], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        path, _, rest = line.partition(":")
        kind, symbol = rest.split()[-2:]
        if kind in "Uw":
            used.append((made_of[path], symbol))
        else:
            defined[symbol] = made_of[path]
    for file, symbol in used:
        if symbol in defined:
            yield (file, defined[symbol], f"{symbol}()")


def circle_in(graph):
    """Returns a list of nodes, each of which points to the next and the last to the first; or
    None."""
    done = set()

    def visit(node, way):
        if node in way:
            return way[way.index(node):]
        if node in done:
            return None
        for other in sorted(graph.get(node, ())):
            found = visit(other, way + [node])
            if found:
                return found
        done.add(node)
        return None

    for node in sorted(graph):
        found = visit(node, [])
        if found:
            return found
    return None


def name_circle(circle, why=None):
    """Returns the circle as a line, followed by a line per arrow with its reasons."""
    pairs = list(zip(circle, circle[1:] + circle[:1]))
    return "\n    ".join([" > ".join(circle + circle[:1])] +
                         [f"{a} > {b}: {', '.join(sorted(why[a, b]))}" for a, b in pairs if why])


def check(sources, objects, may):
    bad = []
    between = {folder: set() for folder in may}
    inside = {folder: {} for folder in may}
    why = {folder: {} for folder in may}
    for one, other, place in [*arrows_by_include(sources, bad), *arrows_by_symbol(sources, objects)]:
        folder, target = one[0], other[0]
        if folder == target:
            if one != other:
                inside[folder].setdefault(one[1], set()).add(other[1])
                why[folder].setdefault((one[1], other[1]), set()).add(place)
        elif target in may.get(folder, ()):
            between[folder].add(target)
        else:
            bad.append(f"upward arrow: {'/'.join(one)} > {'/'.join(other)} ({place})")
    circle = circle_in(may)
    if circle:
        bad.append(f"circle in the table: {name_circle(circle)}")
    for folder, graph in inside.items():
        circle = circle_in(graph)
        if circle:
            bad.append(f"circle in {folder}: {name_circle(circle, why[folder])}")
    return between, inside, bad


def main():
    may = {}
    for line in sys.argv[3:]:
        folder, _, others = line.partition(":")
        may[folder.strip()] = others.split()
    between, inside, bad = check(sys.argv[1], sys.argv[2], may)
    # The folder that may include most comes first.
    for folder in sorted(may, key=lambda f: -len(may[f])):
        print(f"{folder:10} > {' '.join(o for o in may[folder] if o in between[folder]) or '-'}")
        for file, others in sorted(inside[folder].items()):
            others = sorted(others - {file[:-1] + "h"})
            if others:
                print(f"    {file} > {' '.join(others)}")
    print("\n".join(bad) or "no upward arrow, no circle")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
