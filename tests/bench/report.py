#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Figures of bench.sh and the micro-benchmarks into tables and plots.

report.py FIGURES [MICRO SCALE [PAGE.md]]: prints tables (median, ratio to wireguard-go with
its spread). Puts them into that page, between its marks, and plots by gnuplot into the
directory PAGE.
"""
import collections
import os
import platform
import re
import statistics
import subprocess
import sys

BASE = "wireguard-go"
BEGIN = "<!-- figures of make bench -->"
END = "<!-- end of figures -->"
TCG_NOTE = ("Emulated (TCG): each instruction costs about the same there, vector ones most, and "
            "a page fault or a switch to the kernel very much. These ratios say little about a "
            "real machine.")
# Name, what it is, whether more is better.
TITLES = [
    ("tcp_1", "TCP, 1 stream, Mbit/s", True),
    ("tcp_1_back", "TCP, 1 stream, back, Mbit/s", True),
    ("tcp_4", "TCP, 4 streams, Mbit/s", True),
    ("tcp_4_back", "TCP, 4 streams, back, Mbit/s", True),
    ("tcp_16", "TCP, 16 streams, Mbit/s", True),
    ("tcp_16_back", "TCP, 16 streams, back, Mbit/s", True),
    ("udp_64", "UDP, 64 B, received a second", True),
    ("udp_512", "UDP, 512 B, received a second", True),
    ("udp_1360", "UDP, 1360 B, received a second", True),
    ("lossfree_1360", "UDP, 1360 B, a second with at most 0.1 % lost", True),
    ("ping_p500", "ping, median, µs", False),
    ("ping_p990", "ping, 99 %, µs", False),
    ("ping_p999", "ping, 99.9 %, µs", False),
    ("ping_loaded_p500", "ping beside TCP, median, µs", False),
    ("ping_loaded_p990", "ping beside TCP, 99 %, µs", False),
    ("ping_loaded_p999", "ping beside TCP, 99.9 %, µs", False),
    ("cpu_s_gbit", "CPU time of the machine, s/Gbit (1 stream)", False),
    ("handshakes_cpu_s", "handshakes answered per CPU second", True),
]
PLOTS = [
    ("tcp", "TCP, Mbit/s", ["tcp_1", "tcp_4", "tcp_16"]),
    ("udp", "UDP datagrams received a second", ["udp_64", "udp_512", "udp_1360"]),
    ("ping", "Round trip, µs", ["ping_p500", "ping_p990", "ping_loaded_p500"]),
]


def read_figures(path):
    """{name: {kind: [a value a round]}}, and the kinds in their order."""
    figures = collections.defaultdict(lambda: collections.defaultdict(list))
    kinds = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            _, kind, name, value = line.split()
            figures[name][kind].append(float(value))
            if kind not in kinds:
                kinds.append(kind)
    return figures, kinds


def read_pairs(path):
    with open(path, encoding="utf-8") as lines:
        return {name: float(value) for name, value in map(str.split, lines)}


def short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ratio_text(mine, base):
    """Median of the ratios of each round, and the least and the greatest of them."""
    ratios = [m / b for m, b in zip(mine, base) if b]
    if not ratios:
        return ""
    return f" ({statistics.median(ratios):.2f} ×, {min(ratios):.2f}–{max(ratios):.2f})"


def main_table(figures, kinds):
    yield "| | " + " | ".join(kinds) + " |"
    yield "|---" * (len(kinds) + 1) + "|"
    for name, title, _ in TITLES:
        if name not in figures:
            continue
        cells = []
        for kind in kinds:
            values = figures[name].get(kind)
            if not values:
                cells.append("")
                continue
            text = short(statistics.median(values))
            if kind != BASE:
                text += ratio_text(values, figures[name].get(BASE, []))
            cells.append(text)
        yield f"| {title} | " + " | ".join(cells) + " |"


def aead_ns(micro, size):
    """Of the fastest engine: what a worker would choose."""
    found = [v for k, v in micro.items() if re.fullmatch(rf"seal_.*_{size}", k)]
    return min(found) if found else 0


def worker_table(figures, micro):
    yield "| | of the worker, ns a packet | of it in the AEAD |"
    yield "|---|---|---|"
    for name in sorted(figures):
        if not name.startswith("worker_ns_"):
            continue
        what = name[len("worker_ns_"):]
        size = {"udp_64": 64, "udp_512": 512}.get(what, 1420)
        for kind, values in figures[name].items():
            cost = statistics.median(values)
            share = f"{100 * aead_ns(micro, size) / cost:.0f} %" if micro else ""
            yield f"| {kind}, {what.replace('_', ' ')} | {cost:.0f} | {share} |"


def engine_table(micro):
    engines = sorted({re.match(r"seal_(.*)_\d+$", k)[1] for k in micro if k.startswith("seal_")})
    sizes = sorted({int(k.rsplit("_", 1)[1]) for k in micro if k.startswith("seal_")})
    yield "| ns a packet | " + " | ".join(f"{s} B" for s in sizes) + " |"
    yield "|---" * (len(sizes) + 1) + "|"
    for engine in engines:
        for way in ("seal", "open"):
            cells = [short(micro[f"{way}_{engine}_{s}"]) for s in sizes]
            yield f"| {engine}, {way} | " + " | ".join(cells) + " |"


def stage_table(micro):
    yield "| stage | ns a packet |"
    yield "|---|---|"
    for name, value in micro.items():
        if not re.match(r"(seal|open)_", name):
            yield f"| {name.replace('_', ' ')} | {short(value)} |"


SCALE = ["config_ms", "daemon_bytes_each", "map_bytes_each", "udp_worker_ns", "tcp_worker_ns"]


def scale_table(scale):
    """Rows in the order of their first line: `peers_100_config_ms 7`."""
    rows = dict.fromkeys(re.match(r"(.*?_\d+)_", name)[1] for name in scale)
    yield "| | " + " | ".join(s.replace("_", " ") for s in SCALE) + " |"
    yield "|---" * (len(SCALE) + 1) + "|"
    for row in rows:
        what, number = row.rsplit("_", 1)
        cells = [short(scale[f"{row}_{s}"]) for s in SCALE]
        yield f"| {int(number):,} {what.replace('_', ' ')} | " + " | ".join(cells) + " |"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def tables(figures, kinds, micro, scale):
    rounds = max(len(v) for by_kind in figures.values() for v in by_kind.values())
    yield (f"{os.cpu_count()} × {cpu_model()}, Linux {platform.release()}, "
           f"{rounds} round{'s' if rounds > 1 else ''}. In brackets: the ratio to "
           f"{BASE} in the same round, its median, least and greatest.")
    for table in (main_table(figures, kinds), worker_table(figures, micro),
                  engine_table(micro), stage_table(micro), scale_table(scale)):
        lines = list(table)
        if len(lines) > 2:
            yield ""
            yield from lines
    if os.environ.get("VMTEST_ACCEL") == "tcg":
        yield ""
        yield TCG_NOTE


def plot(figures, kinds, out, name, title, groups):
    """Bars for the medians, whiskers for the spread."""
    rows = ["x " + " ".join(f"{k} lo hi" for k in kinds)]
    for group in groups:
        cells = []
        for kind in kinds:
            values = figures[group].get(kind, [0])
            cells.append(f"{statistics.median(values)} {min(values)} {max(values)}")
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


def main():
    figures, kinds = read_figures(sys.argv[1])
    micro, scale = map(read_pairs, sys.argv[2:4]) if len(sys.argv) > 3 else ({}, {})
    text = "\n".join(tables(figures, kinds, micro, scale)) + "\n"
    sys.stdout.write(text)
    if len(sys.argv) < 5:
        return
    page = sys.argv[4]
    with open(page, encoding="utf-8") as f:
        before, _, rest = f.read().partition(BEGIN)
    with open(page, "w", encoding="utf-8") as f:
        f.write(before + BEGIN + "\n" + text + END + rest.partition(END)[2])
    out = page.removesuffix(".md")
    os.makedirs(out, exist_ok=True)
    for name, title, groups in PLOTS:
        if all(g in figures for g in groups):
            plot(figures, kinds, out, name, title, groups)


main()
