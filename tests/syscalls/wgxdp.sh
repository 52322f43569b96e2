#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs $TRACED, a wgxdp, and writes what it calls to a new file in the directory $TRACES. A test
# takes it for wgxdp if WGXDP names this script. The tracer is no parent: PID and signals are
# the daemon's.

case ${1:-} in
status | release | attach | help | version | --help | --version | '') exec "$TRACED" "$@" ;;
esac
exec strace -D -f -qq -s 32 -o "$(mktemp "$TRACES/XXXXXXXX")" "$TRACED" "$@"
