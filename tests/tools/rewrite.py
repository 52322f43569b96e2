#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rewrite.py DEVICE MAC [FIELD=VALUE...]: copies the next WireGuard data message that leaves by
DEVICE, changes fields, sends it to MAC and prints "sent". Fields: source, sport, ip_check,
udp_check, udp_len_less. Checksums are right unless they are among the fields.

The test sends the original to a MAC that nobody has, so that the copy is no replay."""

import ipaddress
import socket
import struct
import sys

PORT = 51820


def fold(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_data(frame):
    ip = 20 if frame[12:14] == b"\x08\0" else 40
    udp = 14 + ip
    return (frame[12:14] in (b"\x08\0", b"\x86\xdd") and len(frame) >= udp + 40
            and struct.unpack_from("!H", frame, udp + 2)[0] == PORT and frame[udp + 8] == 4)


def next_data(device):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((device, 3))
    s.settimeout(20)
    while True:
        frame, addr = s.recvfrom(4096)
        if addr[2] == socket.PACKET_OUTGOING and is_data(frame):
            return bytearray(frame)


def finish(frame, fields):
    v4 = frame[12:14] == b"\x08\0"
    ip, udp = 14, 34 if v4 else 54
    at, size = (ip + 12, 4) if v4 else (ip + 8, 16)
    if "source" in fields:
        frame[at:at + size] = ipaddress.ip_address(fields["source"]).packed
    if "sport" in fields:
        struct.pack_into("!H", frame, udp, int(fields["sport"]))
    length = struct.unpack_from("!H", frame, udp + 4)[0] - int(fields.get("udp_len_less", 0))
    struct.pack_into("!HH", frame, udp + 4, length, 0)
    pseudo = bytes(frame[at:at + 2 * size]) + struct.pack("!HH", 17, length)
    check = fold(pseudo + bytes(frame[udp:udp + length])) or 0xFFFF
    if "udp_check" in fields:
        check = int(fields["udp_check"], 0) if fields["udp_check"] != "wrong" else check ^ 0x0101
    struct.pack_into("!H", frame, udp + 6, check)
    if v4:
        struct.pack_into("!H", frame, ip + 10, 0)
        check = fold(bytes(frame[ip:ip + 20]))
        struct.pack_into("!H", frame, ip + 10, check ^ (0x0101 if "ip_check" in fields else 0))


def main():
    device, mac = sys.argv[1:3]
    fields = dict(f.split("=") for f in sys.argv[3:])
    frame = next_data(device)
    frame[0:6] = bytes.fromhex(mac.replace(":", ""))
    finish(frame, fields)
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind((device, 0))
    out.send(frame)
    print("sent")


main()
