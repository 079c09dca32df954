"""Tables and the figure of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from spinloom.device_models import files
from spinloom.workflows.figures import as_svg

COLUMNS = ("task", "figure", "higher", "kind", "nodes", "mean", "low", "high", "worst", "seeds")
STYLE = {"junctions": "C3", "memoryless": "C7", "leaky": "C0", "tanh": "C2", "register": "C1", "input": "C8"}
_MARKED = 40
_ACROSS = 3


def write_tables(result: dict[str, Any], out: Path) -> None:
    """``bench.csv``, ``bench.json``, ``bench.md`` and ``bench.svg`` in a folder, each whole or not at all."""
    table = pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in result["rows"] if "mean" in row])
    texts = {
        "bench.csv": table.to_csv(index=False),
        "bench.json": files.to_json(result, indent=1),
        "bench.md": markdown(result),
        "bench.svg": picture(result),
    }
    for name, text in texts.items():
        with files.written_whole(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def markdown(result: dict[str, Any]) -> str:
    """A line for each task and size, a column for each kind: mean ± half of its interval (worst seed).

    Bold is the best, and what lies within its interval.
    """
    kinds = [kind for kind in STYLE if any(row["kind"] == kind for row in result["rows"])]
    lines = [
        "| task | N | " + " | ".join(kinds) + " |",
        "|---|---|" + "---|" * len(kinds),
    ]
    places = dict.fromkeys((row["task"], row["figure"], row["higher"], row["nodes"]) for row in result["rows"])
    for task, figure, higher, nodes in places:
        cells = {row["kind"]: row for row in result["rows"] if (row["task"], row["nodes"]) == (task, nodes)}
        best = _best(cells, higher)
        told = [_cell(cells.get(kind), kind in best) for kind in kinds]
        what = f"{figure}, more is better" if higher else figure
        lines.append(f"| {task} ({what}) | {nodes} | " + " | ".join(told) + " |")
    if result["full"]:
        lines += ["", *_full(result["full"])]
    return "\n".join(lines) + "\n"


def _full(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each network that ran in full micromagnetics: reduced / full / how far their outputs are apart."""
    lines = [
        "| one network in full micromagnetics | N | sample | penalty as selected: reduced / full / apart "
        "| penalty that expects the model's error: reduced / full / apart |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        what = f"{row['task']} ({row['figure']}), {row['temperature']:g} K"
        told = f"{_sides(row, '')} | {_sides(row, 'expects_')}"
        lines.append(f"| {what} | {row['nodes']} | {row['samples']} {row['unit']} | {told} |")
    return lines


def _sides(row: dict[str, Any], prefix: str) -> str:
    """Reduced / full / apart, or how long both agree."""
    if f"{prefix}full" not in row:
        return "-"
    told = " / ".join(_number(row[f"{prefix}{name}"]) for name in ("reduced", "full"))
    together = row.get(f"{prefix}together")
    return f"{told} / {_number(row[f'{prefix}apart']) if together is None else f'together {_number(together)}'}"


def _best(cells: dict[str, dict[str, Any]], higher: bool) -> set[str]:
    """The kind with the best mean, and those whose means lie within its interval."""
    known = {kind: cell for kind, cell in cells.items() if cell.get("mean") is not None}
    if not known:
        return set()
    first = (max if higher else min)(known.values(), key=lambda cell: cell["mean"])
    bound = first["mean"] if first["low"] is None else first["low" if higher else "high"]
    return {kind for kind, cell in known.items() if (cell["mean"] >= bound if higher else cell["mean"] <= bound)}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _cell(cell: dict[str, Any] | None, best: bool) -> str:
    """Mean ± half of the interval (worst seed)."""
    if not cell or "mean" not in cell:
        return "-"
    if cell["mean"] is None:
        return "diverges"
    mean = f"**{cell['mean']:.3g}**" if best else f"{cell['mean']:.3g}"
    half = "" if cell["low"] is None else f" ± {cell['high'] - cell['mean']:.2g}"
    return f"{mean}{half} ({_number(cell['worst'])})"


def picture(result: dict[str, Any]) -> str:
    """Figures against the number of nodes, an axis for each task of several sizes, as SVG; forty nodes are marked."""
    sizes: dict[str, set[int]] = {}
    for row in result["rows"]:
        sizes.setdefault(row["task"], set()).add(row["nodes"])
    most = max(map(len, sizes.values()), default=0)
    tasks = [task for task, nodes in sizes.items() if len(nodes) > 1 or most == 1]
    across = max(1, min(_ACROSS, len(tasks)))
    down = max(1, -(-len(tasks) // across))
    figure = Figure(figsize=(4 * across, 2.9 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax, task in zip(axes, tasks, strict=False):
        rows = [row for row in result["rows"] if row["task"] == task and row.get("mean") is not None]
        for kind, colour in STYLE.items():
            points = sorted((row["nodes"], row["mean"], row["low"], row["high"]) for row in rows if row["kind"] == kind)
            if not points:
                continue
            nodes, mean, low, high = zip(*points, strict=True)
            ax.plot(nodes, mean, "o-", color=colour, label=kind, markersize=3)
            if None not in (*low, *high):
                ax.fill_between(nodes, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.axvline(_MARKED, color="0.8", zorder=0)
        ax.set(title=task, xlabel="nodes", ylabel=next((row["figure"] for row in rows), ""), xscale="log")
        ax.set_xticks(sorted(sizes[task]), [str(nodes) for nodes in sorted(sizes[task])])
        ax.minorticks_off()
        if rows and rows[0]["figure"].startswith("NRMSE"):
            ax.set_yscale("log")
    for ax in axes[len(tasks) :]:
        ax.set_axis_off()
    if tasks:
        axes[0].legend(fontsize="small")
    return as_svg(figure, "none")
