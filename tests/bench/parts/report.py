# SPDX-License-Identifier: GPL-2.0-or-later
"""Results as tables, CSV and plots."""

import csv
from pathlib import Path

from .closed import Cost, Key, Result
from .plan import BASE, Contender
from .svg import Plot, document

WHAT_IT_SHOWS = """\
What these figures show and what they do not
- Whole guest: instructions of fio, kernel and server together, per request, as the closed guest
  counted them: to 0.2 % for these programs on this kernel, on a busy host too. A ratio above 1
  means fewer instructions than the kernel's loop (null_blk for null).
- Server: what its threads executed, the kernel's work in their context included. Work that a design
  moves from the server into fio's context leaves this figure, not the whole one.
- Another build shifts all of it by 0.2 %, null at depth by 1 to 2 % (the scheduler switches a
  little earlier or later).
- Instructions are not time: no caches, no memory bandwidth, no second processor, no mitigations.
  A copy of 4 KiB is some 500 to 1600 instructions here. With several queues the guest's
  processors take turns: the figure is the work per request, and says nothing of scaling.
- fio is a third to a half of the small cells, so ratios here are nearer to 1 than the servers are.
"""


def table(head: list[str], rows: list[list[str]]) -> None:
    """Columns aligned: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    for row in [head, *rows]:
        print("  ".join(text.rjust(w) if i else text.ljust(w)
                        for i, (text, w) in enumerate(zip(row, widths))).rstrip())


def spread_name(cell: str, queues: int, count: int) -> str:
    """A cell with its number of queues and disks, where these are not one."""
    return (cell + (f" {queues} queues" if queues > 1 else "")
            + (f" {count} disks" if count > 1 else ""))


class Comparison:
    """The results of one group (null or loop), each with what it is compared to."""

    def __init__(self, group: str, contenders: list[Contender], results: dict[Key, Cost]):
        self.base = BASE[group]
        self.contenders = [c for c in contenders if c.group == group]
        names = {c.name for c in self.contenders}
        self.costs = {k: v for k, v in results.items() if k.name in names}
        self.cells = list(dict.fromkeys((k.cell, k.queues, k.count) for k in self.costs))

    def cost(self, name: str, cell: tuple[str, int, int]) -> Cost | None:
        return self.costs.get(Key(name, cell[1], cell[2], cell[0]))

    def to_base(self, name: str, cell: tuple[str, int, int]) -> float | None:
        mine, base = self.cost(name, cell), self.cost(self.base, cell)
        return base.whole / mine.whole if mine and base else None

    def _best(self, cell, chosen) -> tuple[float, str] | None:
        found = [(cost.whole, c.name) for c in self.contenders
                 if chosen(c) and (cost := self.cost(c.name, cell))]
        return min(found) if found else None

    def best_peer(self, cell) -> tuple[float, str] | None:
        return self._best(cell, lambda c: c.peer)

    def best_by_hand(self, cell) -> tuple[float, str] | None:
        return self._best(cell, lambda c: c.ours and c.settings != "-")


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _whole(c: Comparison, name: str, cell) -> str:
    cost, ratio = c.cost(name, cell), c.to_base(name, cell)
    return f"{cost.whole:.0f} ({ratio:.2f})" if cost and ratio else _number(cost and cost.whole)


def print_comparison(c: Comparison) -> None:
    head = ["", *(spread_name(*cell) for cell in c.cells)]
    names = [x.name for x in c.contenders if any(c.cost(x.name, cell) for cell in c.cells)]
    if not names:
        return
    print(f"Whole guest, instructions per request ({c.base}'s / these)")
    table(head, [[n, *(_whole(c, n, cell) for cell in c.cells)] for n in names])
    best = [c.best_peer(cell) for cell in c.cells]
    if any(best):
        print("\nOurs to the best peer (its instructions / ours)")
        table(head, [["best peer", *(b[1].split("-", 1)[1] if b else "-" for b in best)],
                     *([x.name, *(_number(b and mine and b[0] / mine.whole, 2)
                                  for b, cell in zip(best, c.cells)
                                  for mine in [c.cost(x.name, cell)])]
                       for x in c.contenders if x.ours)])
    hand = [c.best_by_hand(cell) for cell in c.cells]
    auto = next((x.name for x in c.contenders if x.ours and x.settings == "-"), None)
    if any(hand) and auto:
        print("\nauto to the best mode asked for by name (its instructions / auto's)")
        table(head, [["best mode", *(h[1].partition(":")[2] if h else "-" for h in hand)],
                     ["auto", *(_number(h and mine and h[0] / mine.whole, 3)
                                for h, cell in zip(hand, c.cells)
                                for mine in [c.cost(auto, cell)])]])
    servers = [n for n in names if any((x := c.cost(n, cell)) and x.server for cell in c.cells)]
    for title, show in (("The servers' threads of it", lambda x: _number(x and x.server)),
                        ("Times these were switched to, per request",
                         lambda x: _number(x and x.switches, 3))):
        if servers:
            print(f"\n{title}")
            table(head, [[n, *(show(c.cost(n, cell)) for cell in c.cells)] for n in servers])
    print()


def print_all(contenders: list[Contender], results: list[Result], where: str) -> None:
    for result in results:
        print(f"{where}, {result.cpus} processor{'s' if result.cpus > 1 else ''}\n")
        for group in BASE:
            print_comparison(Comparison(group, contenders, result.costs))
        auto = [f"{name} {path}" for name, path in result.paths.items() if ":" not in name]
        if auto:
            print(f"auto took: {', '.join(auto)}")
        for skip in result.skips:
            print(f"skipped: {skip}")
        print()
    print(WHAT_IT_SHOWS, end="")


def _csv_rows(c: Comparison):
    for k, cost in c.costs.items():
        cell = (k.cell, k.queues, k.count)
        ratio, best = c.to_base(k.name, cell), c.best_peer(cell)
        yield [k.name, k.cell, k.queues, k.count, f"{cost.whole:.1f}", f"{cost.server:.1f}",
               f"{cost.switches:.4f}", f"{ratio:.4f}" if ratio else "",
               f"{best[0] / cost.whole:.4f}" if best else ""]


def write_csv(path: Path, contenders: list[Contender], results: list[Result]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["processors", "group", "contender", "cell", "queues", "disks",
                      "whole_instructions", "server_instructions", "server_switches",
                      "ratio_to_base", "ratio_to_best_peer"])
        for result in results:
            for group in BASE:
                for row in _csv_rows(Comparison(group, contenders, result.costs)):
                    out.writerow([result.cpus, group, *row])


def _plot(c: Comparison, title: str, where: str) -> Plot | None:
    rows = {spread_name(*cell): {x.name: r for x in c.contenders if x.name != c.base
                                 and (r := c.to_base(x.name, cell))} for cell in c.cells}
    rows = {cell: ratios for cell, ratios in rows.items() if ratios}
    return Plot(title, f"{where}; instructions of {c.base} / these: to the right is cheaper; "
                "instructions are not time", rows) if rows else None


def write_svg(path: Path, contenders: list[Contender], results: list[Result], where: str) -> None:
    plots = []
    for result in results:
        for group, base in BASE.items():
            cpus = f", {result.cpus} processors" if result.cpus > 1 else ""
            plots.append(_plot(Comparison(group, contenders, result.costs),
                               f"{group}: cost of a request, {base} = 1{cpus}", where))
    path.write_text(document([p for p in plots if p]), encoding="utf-8")
