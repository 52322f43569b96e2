#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compares the test vectors of the handshake with the results of independent implementations.

Reads the arrays of transcript.h, test_noise.c and test_cookie.c, and computes them by
  - dissononce, an implementation of the Noise protocol framework (the handshake),
  - OpenSSL, by python3-cryptography (its primitives, and the session keys),
  - PyCryptodome (XChaCha20-Poly1305 of cookie replies) and Python's BLAKE2s (the macs).
The unit tests compare the daemon with the same arrays. Prints each comparison. The exit code is 1
if one differs.
"""

import hashlib
import os
import re
import sys

from Cryptodome.Cipher import ChaCha20_Poly1305
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.private import PrivateKey
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from dissononce.processing.modifiers.psk import PSKPatternModifier

PROLOGUE = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
PATTERN = PSKPatternModifier(2).modify(IKHandshakePattern())


def arrays():
    """Returns the constant arrays of the unit tests by their names."""
    found = {}
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("transcript.h", "test_noise.c", "test_cookie.c"):
        with open(os.path.join(here, name), encoding="ascii") as f:
            for array, length, values in re.findall(
                r"^static const uint8_t (\w+)\[(\d+)\] = \{([0-9a-fx,\s]+)\};", f.read(), re.M
            ):
                found[array] = bytes(int(v, 16) for v in values.replace(",", " ").split())
                assert len(found[array]) == int(length)
    return found


def sequence(first):
    return bytes(range(first, first + 32))


class FixedDH(X25519DH):
    """Generates the key pair of a known private key."""

    def __init__(self, private):
        super().__init__()
        self.private = private

    def generate_keypair(self, privatekey=None):
        return super().generate_keypair(privatekey or PrivateKey(self.private))


class Side:
    def __init__(self, private, ephemeral):
        self.dh = FixedDH(ephemeral)
        self.pair = self.dh.generate_keypair(PrivateKey(private))
        self.state = HandshakeState(
            SymmetricState(CipherState(ChaChaPolyCipher()), Blake2sHash()), self.dh
        )

    def begin(self, initiator, psk, remote=None):
        self.state.initialize(PATTERN, initiator, PROLOGUE, s=self.pair, rs=remote, psks=[psk])


def handshake(timestamp, psk):
    """Returns both Noise messages, and the first ciphertext of each direction's session."""
    initiator, responder = Side(sequence(0x01), sequence(0x81)), Side(sequence(0x41), sequence(0xC1))
    first, second, payload = bytearray(), bytearray(), bytearray()
    initiator.begin(True, psk, responder.pair.public)
    responder.begin(False, psk)
    initiator.state.write_message(timestamp, first)
    responder.state.read_message(bytes(first), payload)
    assert payload == timestamp
    assert responder.state.rs.data == initiator.pair.public.data
    responder.state.write_message(b"", second)
    states = initiator.state.read_message(bytes(second), bytearray())
    return bytes(first), bytes(second), [s.encrypt_with_ad(b"", b"data") for s in states]


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def labelled(label, key):
    return hashlib.blake2s(label + key).digest()


class Comparison:
    def __init__(self):
        self.code = 0

    def same(self, what, ours, theirs):
        print(f"{what}: {'same' if ours == theirs else 'DIFFERS'}, {len(ours)} bytes")
        if ours != theirs:
            self.code = 1


def compare_handshakes(a, c):
    for name, psk in (("plain", bytes(32)), ("psk", sequence(0xE0))):
        first, second, sealed = handshake(a["timestamp"], psk)
        c.same(f"{name}: initiation", a["initiation"][8:-32], first)
        c.same(f"{name}: response", a[f"{name}_response"][12:-32], second)
        for key, data in zip(("first_key", "second_key"), sealed):
            ours = ChaCha20Poly1305(a[f"{name}_{key}"]).encrypt(bytes(12), b"data", b"")
            c.same(f"{name}: sealed under {key}", ours, data)


def compare_macs(a, c):
    receiver = a["responder_public"]
    body = a["initiation"][:-32]
    mac1 = mac(labelled(b"mac1----", receiver), body)
    reply, cookie = a["cookie_reply"], bytes(range(0x10, 0x20))
    box = ChaCha20_Poly1305.new(key=labelled(b"cookie--", receiver), nonce=reply[8:32])
    box.update(mac1)
    c.same("mac1", a["mac1"], mac1)
    c.same("mac2", a["mac2"], mac(cookie, body + mac1))
    c.same("cookie reply", reply[32:], b"".join(box.encrypt_and_digest(cookie)))


def main():
    comparison = Comparison()
    compare_handshakes(arrays(), comparison)
    compare_macs(arrays(), comparison)
    return comparison.code


if __name__ == "__main__":
    sys.exit(main())
