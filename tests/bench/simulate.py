#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What one peer's packets would get on more cores than there are here.

simulate.py SERIAL_NS AEAD_NS [CORES...]: packets a second, by the costs that were measured:
SERIAL_NS of a worker's time a packet that only it can spend (reading, numbering, delivering in
order), AEAD_NS that helpers share. Plays what daemon/batch.c and crew.c do, batch by batch and
chunk by chunk, for a worker that always finds more to read. Memory bandwidth and a busy
machine's other work are not in it.
"""
import collections
import heapq
import sys

BATCH = 64
BATCHES = 8  # under way at a time
CHUNK = 16
ROUND = 8  # batches that a worker reads before its round ends
WAKE_NS = 5000  # until a sleeping helper looks at the job
POST_NS = 300  # of the owner's time
LINGER_NS = 20000
PACKETS = 200_000


class Helpers:
    """Each is free from a time on, and asleep if that is long ago."""

    def __init__(self, n):
        self.free = [0.0] * n

    def run(self, chunks, before, cost):
        """They do chunks, (when posted, batch), that they can begin before that time."""
        while chunks and self.free:
            posted, batch = chunks[0]
            begin = max(self.free[0], posted)
            if posted - self.free[0] > LINGER_NS:
                begin = posted + WAKE_NS
            if begin >= before:
                return
            chunks.popleft()
            heapq.heapreplace(self.free, begin + cost)
            batch.done = max(batch.done, begin + cost)
            batch.left -= 1


class Batch:
    def __init__(self):
        self.left = BATCH // CHUNK  # chunks that nobody took
        self.done = 0.0


def simulate(serial_ns, aead_ns, cores):
    """Packets a second."""
    read_ns = deliver_ns = serial_ns / 2 * BATCH
    chunk_ns = aead_ns * CHUNK
    helpers, chunks = Helpers(cores - 1), collections.deque()
    now, delivered, ring = 0.0, 0, collections.deque()

    def deliver_first():
        nonlocal now, delivered
        batch = ring.popleft()
        helpers.run(chunks, now, chunk_ns)
        while batch.left:  # the owner does what nobody took
            for i, (_, of) in enumerate(chunks):
                if of is batch:
                    del chunks[i]
                    break
            batch.left -= 1
            now += chunk_ns
            helpers.run(chunks, now, chunk_ns)
        now = max(now, batch.done) + deliver_ns
        delivered += BATCH

    while delivered < PACKETS:
        for _ in range(ROUND):
            now += read_ns + (POST_NS if cores > 1 else 0)
            helpers.run(chunks, now, chunk_ns)
            batch = Batch()
            ring.append(batch)
            chunks.extend([(now, batch)] * batch.left)
            while ring and (len(ring) == BATCHES or (not ring[0].left and ring[0].done <= now)):
                deliver_first()
        while ring:
            deliver_first()
    return delivered / now * 1e9


def main():
    serial, aead = float(sys.argv[1]), float(sys.argv[2])
    for cores in map(int, sys.argv[3:] or ["1", "2", "4", "8", "16", "32"]):
        print(f"simulated_{cores} {simulate(serial, aead, cores):.0f}")


if __name__ == "__main__":
    main()
