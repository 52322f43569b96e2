#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""replay_probe.py FROM TO PORT: waits for an ICMP error that quotes a probe (a data message of 32
bytes with the counter 2**64 - 1), and sends the quoted message from the address FROM to TO."""

import socket
import sys

source, to, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
errors = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind((source, 9999))
while True:
    packet = errors.recv(65536)
    icmp = packet[(packet[0] & 15) * 4 :]
    quoted = icmp[8:]
    message = quoted[20 + 8 :]
    if icmp[0] == 3 and len(message) == 32 and message[8:16] == bytes([255] * 8):
        sender.sendto(message, (to, port))
        print("sent", message.hex())
        break
