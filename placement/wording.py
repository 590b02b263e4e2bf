"""Numbers as people read them: durations, sizes, shares, and rows of a plain table."""

from collections.abc import Sequence

from placement.problem import Objective


def duration(seconds: float) -> str:
    """Three digits in the unit that suits: 1.23 s, 45.6 ms, 789 µs."""
    if seconds >= 1:
        return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} µs"


def size(count: float) -> str:
    """Mebibytes below ten gibibytes, else gibibytes."""
    return f"{count / 2**20:,.0f} MiB" if count < 10 * 2**30 else f"{count / 2**30:,.1f} GiB"


def amount(objective: Objective, value: float) -> str:
    """An objective's figure, as it is made small, in words: throughput turns back into requests a second."""
    if objective is Objective.THROUGHPUT:
        return f"{1 / value:.4g} requests/s" if value else "no limit"
    if objective is Objective.ENERGY:
        return f"{value:.4g} J a request"
    return duration(value) + (" a request" if objective is Objective.LATENCY else " to the first token")


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows in columns as wide as their widest cell, two spaces apart; the columns `right` stand to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
