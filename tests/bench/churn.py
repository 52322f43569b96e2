#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Changes of a host's own network that concern no tunnel, at a steady rate:

  churn.py links|addresses|rules|routes DEVICE RATE SECONDS

DEVICE is no device of a tunnel's. Each thing that is made is removed right after.
"""
import subprocess
import sys
import time

LINES = {
    "links": ("link set {device} down", "link set {device} up"),
    "addresses": (
        "address add 198.51.100.{n}/32 dev {device}",
        "address del 198.51.100.{n}/32 dev {device}",
    ),
    "rules": (
        "rule add pref {pref} to 203.0.113.{n}/32 lookup 200",
        "rule del pref {pref} to 203.0.113.{n}/32 lookup 200",
    ),
    "routes": (
        "route add 203.0.113.{n}/32 dev {device}",
        "route del 203.0.113.{n}/32 dev {device}",
    ),
}


def main(kind, device, rate, seconds):
    ip = subprocess.Popen(["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True)
    began = time.monotonic()
    for i in range(int(float(rate) * float(seconds))):
        n = i // 2 % 200 + 1
        print(LINES[kind][i % 2].format(device=device, n=n, pref=5000 + n), file=ip.stdin, flush=True)
        time.sleep(max(0, began + (i + 1) / float(rate) - time.monotonic()))
    ip.stdin.close()
    return ip.wait()


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] not in LINES:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
