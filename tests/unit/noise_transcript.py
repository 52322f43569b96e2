#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A second implementation of the WireGuard handshake, for test vectors.

Written from the whitepaper (sections 5.4.2 to 5.4.7), RFC 7748, RFC 8439 and the XChaCha draft,
with only Python's standard library; it shares no code with the daemon. Prints the C arrays of
test_noise.c, test_cookie.c and test_aead.c. Slow and not constant-time: for test vectors only.

usage: noise_transcript.py [noise|cookie|aead]
"""

import hashlib
import hmac
import struct
import sys


def x25519(scalar, point):
    """RFC 7748 section 5, the Montgomery ladder."""
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little")
    k = (k & ~7 & ~(1 << 255)) | (1 << 254)
    x1 = (int.from_bytes(point, "little") & ~(1 << 255)) % p
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        k_bit = (k >> bit) & 1
        if swap ^ k_bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = k_bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % p, b * b % p
        e = aa - bb
        da, cb = (x3 - z3) * a % p, (x3 + z3) * b % p
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def public(private):
    return x25519(private, (9).to_bytes(32, "little"))


def chacha_rounds(state):
    def quarter(s, a, b, c, d):
        for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & 0xFFFFFFFF
            s[z] ^= s[x]
            s[z] = ((s[z] << n) | (s[z] >> (32 - n))) & 0xFFFFFFFF

    s = list(state)
    for _ in range(10):
        for i in range(4):
            quarter(s, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return s


def chacha_state(key, tail):
    return struct.unpack("<16I", b"expand 32-byte k" + key + tail)


def chacha20(key, counter, nonce, data):
    out = b""
    for i in range(0, len(data), 64):
        state = chacha_state(key, struct.pack("<I", counter + i // 64) + nonce)
        words = [(a + b) & 0xFFFFFFFF for a, b in zip(state, chacha_rounds(state))]
        stream = struct.pack("<16I", *words)
        out += bytes(a ^ b for a, b in zip(data[i : i + 64], stream))
    return out


def hchacha20(key, nonce16):
    s = chacha_rounds(chacha_state(key, nonce16))
    return struct.pack("<8I", *s[0:4], *s[12:16])


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc = 0
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i : i + 16] + b"\x01", "little")) * r
        acc %= 2**130 - 5
    tag = (acc + int.from_bytes(key[16:], "little")) % 2**128
    return tag.to_bytes(16, "little")


def seal(key, nonce, data, ad):
    def pad(b):
        return b + bytes(-len(b) % 16)

    one_time = chacha20(key, 0, nonce, bytes(32))
    c = chacha20(key, 1, nonce, data)
    return c + poly1305(one_time, pad(ad) + pad(c) + struct.pack("<QQ", len(ad), len(c)))


def xseal(key, nonce24, data, ad):
    return seal(hchacha20(key, nonce24[:16]), bytes(4) + nonce24[16:], data, ad)


def counter_nonce(counter):
    return bytes(4) + struct.pack("<Q", counter)


def hash_(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def hmac_(key, data):
    return hmac.new(key, data, hashlib.blake2s).digest()


def kdf(n, key, data):
    prk = hmac_(key, data)
    out, last = [], b""
    for i in range(n):
        last = hmac_(prk, last + bytes([i + 1]))
        out.append(last)
    return out


def self_test():
    """Known answers of the RFCs: a mistake here must not become a vector."""
    nine = (9).to_bytes(32, "little")
    assert x25519(nine, nine).hex() == (
        "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    )
    sealed = seal(
        bytes(range(0x80, 0xA0)),
        bytes.fromhex("070000004041424344454647"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one "
        b"tip for the future, sunscreen would be it.",
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
    )
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"
    assert hchacha20(
        bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")
    ).hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


INITIATOR = bytes(range(0x01, 0x21))
RESPONDER = bytes(range(0x41, 0x61))
INITIATOR_EPHEMERAL = bytes(range(0x81, 0xA1))
RESPONDER_EPHEMERAL = bytes(range(0xC1, 0xE1))
PSK = bytes(range(0xE0, 0x100))
TIMESTAMP = bytes.fromhex("400000005f5e10ff12000000")
INITIATOR_INDEX = bytes.fromhex("11223344")
RESPONDER_INDEX = bytes.fromhex("55667788")


def handshake(psk):
    """Returns initiation and response with zero macs, and both session keys."""
    zero = bytes(12)
    spub_i, spub_r = public(INITIATOR), public(RESPONDER)
    epub_i, epub_r = public(INITIATOR_EPHEMERAL), public(RESPONDER_EPHEMERAL)

    c = hash_(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    h = hash_(c, b"WireGuard v1 zx2c4 Jason@zx2c4.com")
    h = hash_(h, spub_r)
    (c,) = kdf(1, c, epub_i)
    h = hash_(h, epub_i)
    c, k = kdf(2, c, x25519(INITIATOR_EPHEMERAL, spub_r))
    static = seal(k, zero, spub_i, h)
    h = hash_(h, static)
    c, k = kdf(2, c, x25519(INITIATOR, spub_r))
    stamp = seal(k, zero, TIMESTAMP, h)
    h = hash_(h, stamp)
    initiation = b"\x01\0\0\0" + INITIATOR_INDEX + epub_i + static + stamp + bytes(32)

    (c,) = kdf(1, c, epub_r)
    h = hash_(h, epub_r)
    (c,) = kdf(1, c, x25519(RESPONDER_EPHEMERAL, epub_i))
    (c,) = kdf(1, c, x25519(RESPONDER_EPHEMERAL, spub_i))
    c, tau, k = kdf(3, c, psk)
    h = hash_(h, tau)
    empty = seal(k, zero, b"", h)
    response = (
        b"\x02\0\0\0" + RESPONDER_INDEX + INITIATOR_INDEX + epub_r + empty + bytes(32)
    )
    first, second = kdf(2, c, b"")
    return initiation, response, first, second


def add_macs(msg, receiver, cookie=None):
    body = msg[:-32]
    body += mac(hash_(b"mac1----", receiver), body)
    return body + (mac(cookie, body) if cookie else bytes(16))


def show(name, data):
    print(f"static const uint8_t {name}[{len(data)}] = {{")
    for i in range(0, len(data), 12):
        print("\t" + " ".join(f"0x{b:02x}," for b in data[i : i + 12]))
    print("};\n")


def noise():
    show("initiator_public", public(INITIATOR))
    show("responder_public", public(RESPONDER))
    for name, psk in (("plain", bytes(32)), ("psk", PSK)):
        initiation, response, first, second = handshake(psk)
        if name == "plain":
            show("initiation", initiation)
        show(f"{name}_response", response)
        show(f"{name}_first_key", first)
        show(f"{name}_second_key", second)
    show("hmac_short_key", hmac_(b"key", b"message"))
    show("hmac_long_key", hmac_(bytes(range(100)), bytes(range(200))))
    one, two, three = kdf(3, bytes(range(32)), b"input")
    show("kdf_first", one)
    show("kdf_second", two)
    show("kdf_third", three)


def cookie():
    receiver = public(RESPONDER)
    initiation = handshake(bytes(32))[0]
    with_mac1 = add_macs(initiation, receiver)
    value, nonce = bytes(range(0x10, 0x20)), bytes(range(0x30, 0x48))
    sealed = xseal(hash_(b"cookie--", receiver), nonce, value, with_mac1[-32:-16])
    show("public_key", receiver)
    show("initiation", initiation)
    show("mac1", with_mac1[-32:-16])
    show("cookie_reply", b"\x03\0\0\0" + INITIATOR_INDEX + nonce + sealed)
    show("mac2", add_macs(initiation, receiver, value)[-16:])


def aead():
    key = bytes(range(0x80, 0xA0))
    for length, counter in ((0, 0), (1, 1), (64, 2**64 - 8194), (131, 0x0102030405060708)):
        data = bytes((7 * i + 1) & 0xFF for i in range(length))
        show(f"sealed_{length}", seal(key, counter_nonce(counter), data, b""))


if __name__ == "__main__":
    self_test()
    for which in sys.argv[1:] or ["noise", "cookie", "aead"]:
        {"noise": noise, "cookie": cookie, "aead": aead}[which]()
