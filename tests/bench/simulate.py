#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Estimates the packet rate of one peer on more cores than this machine has.

simulate.py SERIAL_NS AEAD_NS [CORES...]: prints packets per second from measured costs per packet.
Helpers share AEAD_NS. Half of SERIAL_NS is reading, which only the worker does; the other half is
delivery, in order, by one thread at a time. Simulates daemon/workers/batch.c and helpers.c for a
worker that always finds more to read. Each thread is a generator that yields the nanoseconds it
takes. Ignores memory bandwidth and all other work.
"""
import collections
import heapq
import sys

BATCH = 64
BATCHES = 8  # in flight at a time
CHUNKS = BATCH // 16
ROUND = 8  # batches that a worker reads before its round ends
WAKE_NS = 5000  # until a helper that slept looks at the job
SOON_NS = 100  # until a helper that spins, or a thread that waits for another, looks again
POST_NS = 300  # of the owner's time, to offer a batch to helpers
FUTEX_NS = 1500  # of the owner's time, to wake a helper that sleeps
LINGER_NS = 20000  # that a helper without work spins before it sleeps
PACKETS = 50_000


class Batch:
    def __init__(self):
        self.taken = self.done = 0  # chunks


class Simulation:
    def __init__(self, serial_ns, aead_ns, cores):
        self.half_ns = serial_ns / 2 * BATCH
        self.chunk_ns = aead_ns * BATCH / CHUNKS
        self.now, self.order, self.delivered = 0.0, 0, 0
        self.events = []  # (when, order, thread)
        self.ring = collections.deque()  # batches that were read and are not delivered
        self.delivering = False
        self.idle = [(0.0, self.helper()) for _ in range(cores - 1)]
        self.alone = cores == 1

    def at(self, when, thread):
        self.order += 1
        heapq.heappush(self.events, (when, self.order, thread))

    def run(self):
        self.at(0.0, self.owner())
        while self.delivered < PACKETS:
            self.now, _, thread = heapq.heappop(self.events)
            took = next(thread)
            if took is not None:
                self.at(self.now + took, thread)
            else:
                self.idle.append((self.now, thread))
        return self.delivered / self.now * 1e9

    def work(self, batch):
        """Returns true if it did the last chunk of the batch."""
        while batch.taken < CHUNKS:
            batch.taken += 1
            yield self.chunk_ns
            batch.done += 1
            if batch.done == CHUNKS:
                return True
        return False

    def deliver(self, wait):
        """Delivers finished batches, unless another thread does; with `wait`, all batches."""
        while self.delivering:
            if not wait:
                return
            yield SOON_NS
        self.delivering = True
        while self.ring and (wait or self.ring[0].done == CHUNKS):
            if self.ring[0].done < CHUNKS:
                yield SOON_NS
                continue
            yield self.half_ns
            self.ring.popleft()
            self.delivered += BATCH
        self.delivering = False

    def post(self):
        """Adds a batch; returns the nanoseconds that this costs the owner."""
        self.ring.append(Batch())
        if self.idle:
            since, thread = self.idle.pop()
            if self.now - since > LINGER_NS:
                self.at(self.now + WAKE_NS, thread)
                return POST_NS + FUTEX_NS
            self.at(self.now + SOON_NS, thread)
        return 0 if self.alone else POST_NS

    def drain(self):
        for batch in list(self.ring):
            yield from self.work(batch)
        yield from self.deliver(True)

    def owner(self):
        while True:
            for _ in range(ROUND):
                yield self.half_ns
                yield self.post()
                if len(self.ring) == BATCHES:
                    yield from self.drain()
            yield from self.drain()

    def helper(self):
        while True:
            batch = next((b for b in self.ring if b.taken < CHUNKS), None)
            if not batch:
                yield None
            elif (yield from self.work(batch)):
                yield from self.deliver(False)


def packets_a_second(serial_ns, aead_ns, cores):
    return Simulation(serial_ns, aead_ns, cores).run()


def main():
    serial, aead = float(sys.argv[1]), float(sys.argv[2])
    for cores in map(int, sys.argv[3:] or ["1", "2", "4", "8", "16", "32"]):
        print(f"simulated_{cores} {packets_a_second(serial, aead, cores):.0f}")


if __name__ == "__main__":
    main()
