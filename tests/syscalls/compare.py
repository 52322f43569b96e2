#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Compares what traced daemons called with daemon/kernel/syscall_list.h, or FILE:

    compare.py [--all] [--list FILE] TRACES_DIRECTORY

The traces are of tests/syscalls/wgxdp.sh. Prints each call that a thread made although the list does
not have it for threads of its kind. With --all, for traces of many tests, also each call of the list
that no thread made, unless it is marked as RARE. The exit code is 1 if anything was printed. The
last line counts.

Theory of operation: a thread is held to the list from the moment at which it installs its filter, or
from its start if the thread that started it has one. The name that it gave itself tells its kind. A
line may belong to a thread whose start the trace tells later: then the line waits for that.
"""
import argparse
import collections
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
LIST = HERE / "../../daemon/kernel/syscall_list.h"

LINE = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed>)(.*)$")
NAME = re.compile(r'^PR_SET_NAME, "(\w+)')
RESULT = re.compile(r"= (\d+)$")
KINDS = {"worker": "PACKETS", "helper": "PACKETS", "rcu": "RCU"}


def read_list(path):
    """Returns {call: set of kinds}, and the set of (call, kind) that need not be seen."""
    listed, rare = collections.defaultdict(set), set()
    text = path.read_text().replace("\\\n", "\n")
    for macro, name, kinds in re.findall(r"\b(CALL|RARE)\((\w+), ([A-Z |]+), \"", text):
        listed[name].update(kinds.split(" | "))
        if macro == "RARE":
            rare.update((name, kind) for kind in kinds.split(" | "))
    return listed, rare


class Thread:
    """kind: by whose list it is held. name: the kind that it will be when it has its own filter."""

    def __init__(self, kind, filtered):
        self.kind = self.name = kind
        self.filtered = filtered


class Trace:
    """A process and its threads. `made` gets (call, kind) of threads that have a filter."""

    def __init__(self, made):
        self.made = made
        self.threads = {}
        self.waiting = collections.defaultdict(list)

    def read(self, lines):
        for line in lines:
            m = LINE.match(line)
            if not m:
                continue
            if not self.threads:
                self.threads[m[1]] = Thread("CONTROL", False)
            self.take(m)

    def take(self, m):
        tid, call, how, rest = m.groups()
        thread = self.threads.get(tid)
        if not thread:
            self.waiting[tid].append(m)
            return
        if how == "(":
            self.begins(thread, call, rest)
        self.returns(thread, call, rest)

    def begins(self, thread, call, rest):
        if thread.filtered:
            self.made.add((call, thread.kind))
        name = NAME.match(rest) if call == "prctl" else None
        if name:
            thread.name = KINDS.get(name[1], thread.name)
        if call == "seccomp" and "SET_MODE_FILTER" in rest and "filter=" in rest:
            thread.filtered = True
            thread.kind = thread.name

    def returns(self, thread, call, rest):
        result = RESULT.search(rest)
        if not result or call not in ("clone", "clone3", "fork", "vfork"):
            return
        child = result[1]
        # The child of a fork is the daemon in the background.
        self.threads[child] = Thread(thread.kind, thread.filtered)
        for m in self.waiting.pop(child, []):
            self.take(m)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--list", type=pathlib.Path, default=LIST)
    parser.add_argument("directory", type=pathlib.Path)
    args = parser.parse_args()
    listed, rare = read_list(args.list)
    made = set()
    files = [f for f in args.directory.iterdir() if f.is_file()]
    for f in files:
        Trace(made).read(f.open(errors="replace"))
    # The control thread's filter also allows what other threads call, which inherit it.
    bad = sorted(
        (call, kind) for call, kind in made
        if kind not in listed.get(call, ()) and not (kind == "CONTROL" and call in listed)
    )
    for call, kind in bad:
        print(f"{kind} calls {call}, which the list does not allow")
    unused = [
        (call, kind) for call, kinds in listed.items() for kind in sorted(kinds)
        if (call, kind) not in made and (call, kind) not in rare
    ] if args.all else []
    for call, kind in unused:
        print(f"{call} is listed for {kind}, but not used")
    print(f"{len(made)} calls by kind of thread in {len(files)} traces, {len(bad)} not listed,"
          f" {len(unused)} not used")
    return 1 if bad or unused or not made else 0


sys.exit(main())
