#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tables and plots of the figures of bench.sh and the micro-benchmarks.

report.py FIGURES [MICRO SCALE PROFILE [PAGE.md]]: prints tables of medians and of ratios, with
their spread, to the kind $BASE (wireguard-go by default). Also writes the tables into PAGE.md,
between its marks, and plots by gnuplot into the directory PAGE; makes PAGE.md if it is missing. A
file named $BASE beside FIGURES has the version of that kind.
"""
import collections
import os
import platform
import re
import statistics
import subprocess
import sys
import textwrap

import simulate

BASE = os.environ.get("BASE", "wireguard-go")
# If a smaller share of datagrams was lost, the rate is that of the sender.
ALL_SENT = 0.05
BEGIN = "<!-- figures of make bench -->"
END = "<!-- end of figures -->"
TCG_NOTE = ("Emulated (TCG): each instruction costs about the same there, vector ones most, and "
            "a page fault or a switch to the kernel very much. These ratios say little about a "
            "real machine.")
# Name, title, true if more is better.
TITLES = [
    ("tcp_1", "TCP, 1 stream, Mbit/s", True),
    ("tcp_1_back", "TCP, 1 stream, back, Mbit/s", True),
    ("tcp_4", "TCP, 4 streams, Mbit/s", True),
    ("tcp_4_back", "TCP, 4 streams, back, Mbit/s", True),
    ("tcp_16", "TCP, 16 streams, Mbit/s", True),
    ("tcp_16_back", "TCP, 16 streams, back, Mbit/s", True),
    ("udp_64", "UDP, 64 B, received per second", True),
    ("udp_512", "UDP, 512 B, received per second", True),
    ("udp_1360", "UDP, 1360 B, received per second", True),
    ("lossfree_1360", "UDP, 1360 B, per second with at most 0.1 % lost", True),
    ("ping_p500", "ping, median, µs", False),
    ("ping_p990", "ping, 99 %, µs", False),
    ("ping_p999", "ping, 99.9 %, µs", False),
    ("ping_lost", "pings lost", False),
    ("ping_loaded_p500", "ping beside TCP, median, µs", False),
    ("ping_loaded_p990", "ping beside TCP, 99 %, µs", False),
    ("ping_loaded_p999", "ping beside TCP, 99.9 %, µs", False),
    ("ping_loaded_lost", "pings beside TCP lost", False),
    ("cpu_s_gbit", "CPU time of the machine, s/Gbit (1 stream)", False),
    ("handshakes_cpu_s", "handshakes answered per CPU second", True),
]
PLOTS = [
    ("tcp", "TCP, Mbit/s", ["tcp_1", "tcp_4", "tcp_16"]),
    ("udp", "UDP datagrams received per second", ["udp_64", "udp_512", "udp_1360"]),
    ("ping", "Round trip, µs", ["ping_p500", "ping_p990", "ping_loaded_p500"]),
]


def read_figures(path):
    """Returns {name: {kind: {round: value}}}, and the kinds in their order."""
    figures = collections.defaultdict(lambda: collections.defaultdict(dict))
    kinds = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            number, kind, name, value = line.split()
            figures[name][kind][number] = float(value)
            if kind not in kinds:
                kinds.append(kind)
    return figures, kinds


def read_pairs(path):
    with open(path, encoding="utf-8") as lines:
        return {name: float(value) for name, value in map(str.split, lines)}


def short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def median(by_round):
    return statistics.median(by_round.values())


def ratio_text(mine, base):
    """Returns the median of the rounds' ratios, and the least and the greatest of them."""
    ratios = [value / base[number] for number, value in mine.items() if base.get(number)]
    if not ratios:
        return ""
    return f" ({statistics.median(ratios):.2f} ×, {min(ratios):.2f}–{max(ratios):.2f})"


def nothing_lost(name, by_kind):
    return name.endswith("_lost") and not any(any(v.values()) for v in by_kind.values())


def sign(figures, name, kind):
    """Returns the sign for a rate that is the sender's, because hardly anything was lost."""
    lost = figures.get(name + "_lost_share", {}).get(kind)
    return "≥ " if lost and median(lost) < ALL_SENT else ""


def main_table(figures, kinds):
    yield "| | " + " | ".join(kinds) + " |"
    yield "|---" * (len(kinds) + 1) + "|"
    for name, title, _ in TITLES:
        if name not in figures or nothing_lost(name, figures[name]):
            continue
        cells = []
        for kind in kinds:
            values = figures[name].get(kind)
            if not values:
                cells.append("")
                continue
            text = sign(figures, name, kind) + short(median(values))
            if kind != BASE:
                text += ratio_text(values, figures[name].get(BASE, {}))
            cells.append(text)
        yield f"| {title} | " + " | ".join(cells) + " |"


def engines_of(micro):
    return sorted({re.match(r"seal_(.*)_\d+$", k)[1] for k in micro if k.startswith("seal_")})


def sizes_of(micro):
    return sorted({int(k.rsplit("_", 1)[1]) for k in micro if k.startswith("seal_")})


def interpolate(points, x):
    """Interpolates between the nearest two of the sorted points [(x, y), ...]."""
    (x0, y0), (x1, y1) = next((p for p in zip(points, points[1:]) if x <= p[1][0]),
                              points[-2:])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


# An engine that workers do not use; it shows how fast intel-ipsec-mb is on CPUs without AVX-512.
COMPARED = {"intel-ipsec-mb-avx2"}


def aead_ns(micro, size):
    """Returns the ns per packet of the fastest engine, which a worker would choose; the mean of
    encryption and decryption."""
    def cost(engine):
        points = [(s, (micro[f"seal_{engine}_{s}"] + micro[f"open_{engine}_{s}"]) / 2)
                  for s in sizes_of(micro)]
        return interpolate(points, size)
    return min(cost(e) for e in engines_of(micro) if e not in COMPARED)


def plaintext_len(what):
    """Returns the length that a worker encrypts: for "udp_64" payload, UDP, IPv4 and padding; for
    TCP the MTU, without regard to acknowledgements."""
    way, number = what.split("_")
    return (int(number) + 8 + 20 + 15) // 16 * 16 if way == "udp" else 1420


def worker_table(figures, micro):
    yield "| | of the worker, ns per packet | of it in the AEAD, about |"
    yield "|---|---|---|"
    names = [n[len("worker_ns_"):] for n in figures if n.startswith("worker_ns_")]
    for what in sorted(names, key=lambda n: (n.split("_")[0], int(n.split("_")[1]))):
        for kind, values in figures["worker_ns_" + what].items():
            cost = median(values)
            share = ""
            if micro:
                share = f"{100 * aead_ns(micro, plaintext_len(what)) / cost:.0f} %"
            yield f"| {kind}, {what.replace('_', ' ')} | {cost:.0f} | {share} |"


def engine_table(micro):
    sizes = sizes_of(micro)
    yield "| ns per packet | " + " | ".join(f"{s} B" for s in sizes) + " |"
    yield "|---" * (len(sizes) + 1) + "|"
    for engine in engines_of(micro):
        for way in ("seal", "open"):
            cells = [short(micro[f"{way}_{engine}_{s}"]) for s in sizes]
            yield f"| {engine}, {way} | " + " | ".join(cells) + " |"


def stage_table(micro):
    yield "| stage | ns per packet |"
    yield "|---|---|"
    for name, value in micro.items():
        if not re.match(r"(seal|open|threads)_", name):
            yield f"| {name.replace('_', ' ')} | {short(value)} |"


CORES = [1, 2, 4, 8, 16, 32]


def counted(n, plural):
    """`1 core`, `10,000 peers`, `1 peer at once`"""
    return f"{n:,} " + (re.sub(r"s\b", "", plural, count=1) if n == 1 else plural)


def gbits(packets):
    return short(packets * 1420 * 8 / 1e9)


def cores_table(figures, micro):
    """One peer: the measured rate of encryption alone, and the rate of a TCP stream that a
    simulation with its measured costs predicts."""
    yield "| one peer, Gbit/s | " + " | ".join(counted(n, "cores") for n in CORES) + " |"
    yield "|---" * (len(CORES) + 1) + "|"
    if "threads_1" not in micro:
        return
    cells = [gbits(1e9 / micro[f"threads_{n}"]) if f"threads_{n}" in micro else "" for n in CORES]
    yield "| sealing alone, best of nine | " + " | ".join(cells) + " |"
    aead = aead_ns(micro, 1420)
    for kind, values in figures.get("worker_ns_tcp_1", {}).items():
        serial = max(median(values) - aead, 1)
        cells = [gbits(simulate.packets_a_second(serial, aead, n)) for n in CORES]
        yield f"| {kind}, simulated | " + " | ".join(cells) + " |"


SCALE = ["config_ms", "daemon_bytes_each", "map_bytes_each", "udp_worker_ns", "tcp_worker_ns"]
STORM = ["half_s", "all_s", "cpu_s", "bytes_each", "sessions", "initiations", "cookies"]


def rows_table(scale, pattern, columns):
    """Rows in the order of their first line: `peers_100_config_ms 7`."""
    rows = dict.fromkeys(m[1] for m in (re.match(rf"({pattern}_\d+)_", k) for k in scale) if m)
    yield "| | " + " | ".join(c.replace("_", " ") for c in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for row in rows:
        what, number = row.rsplit("_", 1)
        cells = [short(scale[f"{row}_{c}"]) if f"{row}_{c}" in scale else "" for c in columns]
        yield f"| {counted(int(number), what.replace('_', ' '))} | " + " | ".join(cells) + " |"


def scale_table(scale):
    return rows_table(scale, "(?:peers|allowed_ips)", SCALE)


def storm_table(scale):
    return rows_table(scale, "peers_at_once", STORM)


PARTS = {"aead": "AEAD", "own": "our code", "copies": "kernel, copying",
         "kernel": "kernel, else", "load": "load and sink", "idle": "idle"}
TUNNELS = {"udp_sockets": "wgxdp-udp", "af_xdp": "wgxdp"}
LOADS = {"tcp": "TCP, 1 stream", "udp": "UDP, 1360 B"}


def profile_table(profile):
    """From lines like `af_xdp_tcp_aead 21`, in percent: idle of the whole time, the others of the
    rest."""
    yield "| of the machine's time | " + " | ".join(PARTS.values()) + " |"
    yield "|---" * (len(PARTS) + 1) + "|"
    for name in dict.fromkeys(k.rsplit("_", 1)[0] for k in profile):
        tunnel, load = name.rsplit("_", 1)
        cells = [f"{profile[f'{name}_{part}']:.0f} %" for part in PARTS]
        yield f"| {TUNNELS[tunnel]}, {LOADS[load]} | " + " | ".join(cells) + " |"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def base_text(path, kinds):
    """Returns a sentence about what the ratios are to."""
    if BASE not in kinds:
        return f" There is no {BASE} among them, so there are no ratios."
    which = BASE
    if os.path.exists(path):
        with open(path, encoding="utf-8") as line:
            which += f" ({line.read().strip()})"
    return (f" In brackets: the ratio to {which} in the same round, its median, least and "
            "greatest.")


def tables(figures, kinds, micro, scale, profile, base):
    rounds = max(len(v) for by_kind in figures.values() for v in by_kind.values())
    yield from textwrap.wrap(f"{os.cpu_count()} × {cpu_model()}, Linux {platform.release()}, "
                             f"{counted(rounds, 'rounds')}." + base, 100)
    for table in (main_table(figures, kinds), profile_table(profile),
                  worker_table(figures, micro), engine_table(micro), stage_table(micro),
                  cores_table(figures, micro), scale_table(scale), storm_table(scale)):
        lines = list(table)
        if len(lines) > 2:
            yield ""
            yield from lines
    if os.environ.get("VMTEST_ACCEL") == "tcg":
        yield ""
        yield from textwrap.wrap(TCG_NOTE, 100)


def plot(figures, kinds, out, name, title, groups):
    """Plots bars for the medians, whiskers for the spread."""
    rows = ["x " + " ".join(f"{k} lo hi" for k in kinds)]
    for group in groups:
        cells = []
        for kind in kinds:
            values = sorted(figures[group].get(kind, {"": 0}).values())
            cells.append(f"{statistics.median(values)} {values[0]} {values[-1]}")
        rows.append(f'"{group.replace("_", " ")}" ' + " ".join(cells))
    series = ", ".join(
        f'"$data" using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}:xtic(1) title "{kind}"'
        for i, kind in enumerate(kinds))
    script = "\n".join([
        "$data << END", *rows, "END",
        "set terminal svg size 800,360 font 'sans,12' background '#ffffff'",
        f"set output '{out}/{name}.svg'",
        f"set title '{title}'",
        "set style data histograms",
        "set style histogram errorbars gap 1 lw 1",
        "set style fill solid 0.8",
        "set bars front",
        "set yrange [0:*]",
        "set grid ytics",
        "set key outside right noenhanced",
        "set datafile columnheaders",
        f"plot {series}",
    ])
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def read_page(page, plots, begin=BEGIN, end=END):
    """Returns the text before and after the marks. A new page has the plots."""
    try:
        with open(page, encoding="utf-8") as f:
            before, _, rest = f.read().partition(begin)
            return before, rest.partition(end)[2]
    except FileNotFoundError:
        out = os.path.basename(page.removesuffix(".md"))
        return "".join(f"![{title}]({out}/{name}.svg)\n" for name, title, _ in plots) + "\n", "\n"


def write_page(page, text, figures, kinds):
    plots = [p for p in PLOTS if all(g in figures for g in p[2])]
    before, after = read_page(page, plots)
    with open(page, "w", encoding="utf-8") as f:
        f.write(before + BEGIN + "\n" + text + END + after)
    out = page.removesuffix(".md")
    os.makedirs(out, exist_ok=True)
    for name, title, groups in plots:
        plot(figures, kinds, out, name, title, groups)


def main():
    figures, kinds = read_figures(sys.argv[1])
    micro, scale, profile = map(read_pairs, sys.argv[2:5]) if len(sys.argv) > 4 else ({}, {}, {})
    base = base_text(os.path.join(os.path.dirname(sys.argv[1]), BASE), kinds)
    text = "\n".join(tables(figures, kinds, micro, scale, profile, base)) + "\n"
    sys.stdout.write(text)
    if len(sys.argv) > 5:
        write_page(sys.argv[5], text, figures, kinds)


if __name__ == "__main__":
    main()
