"""Words of a netlist: names, numbers, sums, folded lines. Nothing of a user's text gets in as it came."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from spinloom.device_models.errors import SpinloomError

WIDTH = 110


def identifier(text: str, head: str) -> str:
    """A name for a netlist out of a user's: a letter, then small letters, digits and underscores, nothing else.

    SPICE reads names without regard to case, directives begin with a dot, ngspice's commands stand between .control
    and .endc or behind ``*#``: none of that survives.

    Examples
    --------
    >>> identifier("CoFeB.60-nm", "mtj")
    'mtj_cofeb_60_nm'
    >>> identifier("x" + chr(10) + ".control" + chr(10) + "shell ls", "mtj")
    'mtj_x_control_shell_ls'
    """
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40]
    return f"{head}_{plain}" if plain else head


def number(value: Any) -> str:
    """A finite number with all its digits.

    Raises
    ------
    SpinloomError
        for one that is not finite
    """
    if not math.isfinite(value):
        raise SpinloomError(
            f"export: expected finite numbers, got {float(value)!r}; the model or the network is damaged"
        )
    return repr(float(value))


def weighted(node: str, coefficients: Iterable[float], controls: Iterable[str], constant: float = 0.0) -> list[str]:
    """A node whose voltage is a linear combination of those of others, without what counts for nothing.

    Currents into 1 ohm: linear elements are far quicker than one behavioural source of many terms, all of whose
    derivatives are evaluated in every step.

    Examples
    --------
    >>> weighted("v", [1.0, 0.0, -2.5], ["a", "b", "c"], 0.5)
    ['Rv v 0 1', 'Iv 0 v 0.5', 'Gv_a 0 v a 0 1.0', 'Gv_c 0 v c 0 -2.5']
    """
    lines = [f"R{node} {node} 0 1"]
    if constant != 0:
        lines.append(f"I{node} 0 {node} {number(constant)}")
    pairs = zip(coefficients, controls, strict=True)
    return lines + [f"G{node}_{control} 0 {node} {control} 0 {number(c)}" for c, control in pairs if c != 0]


def card_line(text: str) -> str:
    """One statement, folded into continuation lines."""
    return "\n+ ".join(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False) or [""])


def pulse(node: str, first: int, delay: float, edge: float, width: float, period: float) -> str:
    """A source between 0 and 1."""
    times = " ".join(number(value) for value in (delay, edge, edge, width, period))
    return f"V{node} {node} 0 PULSE({first} {1 - first} {times})"
