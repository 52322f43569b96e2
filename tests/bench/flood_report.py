#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tables of the figures of flood.sh, with verdicts.

flood_report.py FIGURES [PAGE.md]: prints a table of the goals, and one per figure, of medians with
the least and the greatest value in brackets. Also puts the tables into PAGE.md, between its marks.
"""
import os
import re
import sys
import textwrap

import report

BEGIN = "<!-- figures of make bench-flood -->"
END = "<!-- end of flood figures -->"
FLOODS = {
    "none": "no flood",
    "a": "(a) UDP to another port",
    "b": "(b) random bytes",
    "c": "(c) initiations, wrong mac1",
    "d": "(d) initiations, right mac1, spoofed sources",
    "e": "(e) a replayed initiation",
    "f": "(f) data, unknown index",
    "g": "(g) data, known index, bad tag",
}
# The goals. Goodput is a share of that under (a) at the same rate, measured just before.
GOODPUT = 0.95
HANDSHAKE_MS = dict.fromkeys("bcefg", 50) | {"d": 5500}
CPU_PERCENT = 5
# Name, title.
TABLES = [
    ("goodput_ratio", f"goodput, of what (a) leaves at this rate (goal: ≥ {GOODPUT})"),
    ("goodput_mbit", "goodput, Mbit/s"),
    ("handshake_ms", "new session until the first answer, ms (goals: ≤ 50, of (d) ≤ 5500)"),
    ("cpu_percent", f"daemon's CPU, % of one, without the stream (goal: ≤ {CPU_PERCENT})"),
    ("cpu_us", "daemon's CPU, µs per packet sent"),
    ("machine_percent", "machine's CPUs, %, without the stream"),
    ("pps", "sent per second"),
]


def read(path):
    """Returns {(figure, flood, rate): {kind: {round: value}}}, and the kinds."""
    figures, kinds = report.read_figures(path)
    split = {}
    for name, by_kind in figures.items():
        flood, rate, figure = re.fullmatch(r"([a-z]+)_(\d+|max)_(\w+)", name).groups()
        split[figure, flood, rate] = by_kind
    return split, kinds


def add_ratio(figures, name, figure, base, factor=1):
    """Adds the ratios of one figure to another of the same round."""
    for _, flood, rate in [key for key in figures if key[0] == base]:
        bases = figures[base, flood, rate]
        figures[name, flood, rate] = {
            kind: {n: factor * value / bases[kind][n] for n, value in by_round.items()
                   if bases.get(kind, {}).get(n)}
            for kind, by_round in figures.get((figure, flood, rate), {}).items()}


def missed(figure, flood, value):
    """Returns true if there is a goal for this figure and the value misses it."""
    if figure == "goodput_ratio":
        return value < GOODPUT
    if figure == "handshake_ms" and flood in HANDSHAKE_MS:
        return value > HANDSHAKE_MS[flood]
    return figure == "cpu_percent" and flood in "bcdef" and value > CPU_PERCENT


def has_goal(figure, flood):
    return missed(figure, flood, 1e9) or missed(figure, flood, -1)


def number(figure, value):
    return f"{value:.2f}" if figure == "goodput_ratio" else report.short(value)


def cell(figure, flood, by_round):
    if not by_round:
        return ""
    middle = report.median(by_round)
    text = number(figure, middle)
    if len(by_round) > 1:
        least, most = min(by_round.values()), max(by_round.values())
        text += f" ({number(figure, least)}–{number(figure, most)})"
    if has_goal(figure, flood):
        text += ", **no**" if missed(figure, flood, middle) else ", yes"
    return text


def rows_of(figures, figure):
    """Returns the floods and rates of a figure, by rate."""
    rows = [(rate, flood) for name, flood, rate in figures if name == figure]
    return sorted(rows, key=lambda r: (float(r[0].replace("max", "inf")), list(FLOODS).index(r[1])))


def figure_table(figures, kinds, figure, title):
    yield f"| {title} | | " + " | ".join(kinds) + " |"
    yield "|---" * (len(kinds) + 2) + "|"
    for rate, flood in rows_of(figures, figure):
        cells = [cell(figure, flood, figures[figure, flood, rate].get(k)) for k in kinds]
        at = "" if flood == "none" else "most" if rate == "max" else f"{int(rate):,}"
        yield f"| {FLOODS[flood]} | {at} | " + " | ".join(cells) + " |"


def verdict(figures, kind, goal, floods):
    """Returns how many of the medians of these floods, at all rates, reach the goal."""
    medians = [(flood, report.median(by_kind[kind])) for (name, flood, _), by_kind in
               figures.items() if name == goal and flood in floods and by_kind.get(kind)]
    reached = sum(not missed(goal, flood, value) for flood, value in medians)
    return f"{reached} of {len(medians)}" if medians else ""


def verdict_table(figures, kinds):
    yield "| medians that reach the goal | " + " | ".join(kinds) + " |"
    yield "|---" * (len(kinds) + 1) + "|"
    for title, goal, floods in (
            (f"goodput ≥ {GOODPUT} of what (a) leaves, (b) to (g)", "goodput_ratio", "bcdefg"),
            ("new session ≤ 50 ms, (b), (c), (e), (f), (g)", "handshake_ms", "bcefg"),
            ("new session ≤ 5500 ms, (d)", "handshake_ms", "d"),
            (f"daemon's CPU ≤ {CPU_PERCENT} %, (b) to (f)", "cpu_percent", "bcdef")):
        yield f"| {title} | " + " | ".join(verdict(figures, k, goal, floods) for k in kinds) + " |"


def tables(figures, kinds, base):
    rounds = max(len(v) for by_kind in figures.values() for v in by_kind.values())
    yield from textwrap.wrap(f"{os.cpu_count()} × {report.cpu_model()}, "
                             f"{report.counted(rounds, 'rounds')}.{base} Medians, in brackets "
                             "the least and the greatest.", 100)
    yield ""
    yield from verdict_table(figures, kinds)
    for figure, title in TABLES:
        if rows_of(figures, figure):
            yield ""
            yield from figure_table(figures, kinds, figure, title)


def version_text(path):
    """Returns a sentence with the version of wireguard-go, or "" if the file does not exist."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as line:
        return f" wireguard-go is {line.read().strip()}."


def main():
    figures, kinds = read(sys.argv[1])
    add_ratio(figures, "goodput_ratio", "goodput_mbit", "beside_a_mbit")
    add_ratio(figures, "cpu_us", "cpu_percent", "pps", 1e4)
    base = version_text(os.path.join(os.path.dirname(sys.argv[1]), "wireguard-go"))
    text = "\n".join(tables(figures, kinds, base)) + "\n"
    sys.stdout.write(text)
    if len(sys.argv) > 2:
        before, after = report.read_page(sys.argv[2], [], BEGIN, END)
        with open(sys.argv[2], "w", encoding="utf-8") as f:
            f.write(before + BEGIN + "\n" + text + END + after)


main()
