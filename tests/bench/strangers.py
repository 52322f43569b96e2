#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What strangers on the network send, at a steady rate.

  strangers.py advertise DEVICE MAC ADDRESS RATE SECONDS
                         spoofed neighbour advertisements to that host, by turns for 300
                         addresses 2001:db8:9::1:1 and so on, each with another MAC
  strangers.py absent PREFIX RATE SECONDS
                         UDP to hosts PREFIX.x.y that are not there
  strangers.py toobig DEVICE MAC ADDRESS PORT RATE SECONDS
                         ICMPv6 Packet Too Big, with a quote of a packet to nobody
  strangers.py routers DEVICE MAC RATE SECONDS
                         spoofed router advertisements, by turns of 64 routers that come and
                         go, each with a prefix
"""
import random
import socket
import struct
import sys
import time

ADDRESSES = 300


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(text):
    return socket.inet_pton(socket.AF_INET6, text)


def random_mac():
    return bytes([2] + [random.randrange(256) for _ in range(5)])


def ipv6(source, destination, header, payload, hops):
    return struct.pack("!IHBB", 6 << 28, len(payload), header, hops) + source + destination + payload


def frame(mac, source, destination, icmp):
    pseudo = source + destination + struct.pack("!II", len(icmp), 58)
    icmp = icmp[:2] + struct.pack("!H", checksum(pseudo + icmp)) + icmp[4:]
    to = bytes.fromhex(mac.replace(":", ""))
    return to + random_mac() + b"\x86\xdd" + ipv6(source, destination, 58, icmp, 255)


def steadily(rate, seconds, send):
    began = time.monotonic()
    for n in range(int(rate * seconds)):
        send(n)
        time.sleep(max(0, began + (n + 1) / rate - time.monotonic()))


def packets(device):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((device, 0))
    return s


def advertise(device, mac, to, rate, seconds):
    s = packets(device)

    def send(n):
        target = address("2001:db8:9::1:%x" % (n % ADDRESSES + 1))
        icmp = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + target + b"\x02\x01" + random_mac()
        s.send(frame(mac, target, address(to), icmp))

    steadily(float(rate), float(seconds), send)


def absent(prefix, rate, seconds):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    steadily(
        float(rate),
        float(seconds),
        lambda n: s.sendto(b"x", ("%s.%d.%d" % (prefix, random.randrange(256), random.randrange(2, 255)), 9)),
    )


def toobig(device, mac, to, port, rate, seconds):
    s = packets(device)

    def send(n):
        udp = struct.pack("!HHHH", int(port), 1024 + n, 8 + 32, 0) + bytes(32)
        quote = ipv6(address(to), address("2001:db8:77::%x" % n), 17, udp, 64)
        icmp = struct.pack("!BBHI", 2, 0, 0, 1280) + quote
        s.send(frame(mac, address("2001:db8:66::1"), address(to), icmp))

    steadily(float(rate), float(seconds), send)


def routers(device, mac, rate, seconds):
    s = packets(device)

    def send(n):
        lifetime = 0 if n // 64 % 2 else 1800
        prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0)
        prefix += address("2001:db8:%x::" % (0x1000 + n % 64))
        icmp = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, lifetime, 0, 0) + prefix
        s.send(frame(mac, address("fe80::%x" % (n % 64 + 1)), address("ff02::1"), icmp))

    steadily(float(rate), float(seconds), send)


MODES = {"advertise": advertise, "absent": absent, "toobig": toobig, "routers": routers}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in MODES:
        sys.exit(__doc__)
    MODES[sys.argv[1]](*sys.argv[2:])
