"""How the stages speak: progress and words on standard error, one JSON object on standard output."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from spinloom.device_models import files
from spinloom.workflows import status

console = Console(stderr=True, highlight=False)
_quiet = False


def hush(quiet: bool) -> None:
    """Whether progress and words are left out; warnings and errors are always told, and a log has all of it."""
    global _quiet
    _quiet = quiet


@contextmanager
def progress(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """A progress bar with the time left; yields what is to be called with every advance.

    Where standard error is not a terminal, a line is written at the start, at the end, and
    with every further fifth if that takes more than a few seconds. 'spinloom status' tells it in another terminal.
    """
    told = status.follow(what, total)
    if _quiet or not console.is_terminal:
        say(f"{what} ...")
        yield _both(_fifths(what, total), told)
        say(f"{what}: done")
        return
    status.log(f"{what} ...")
    # Markup off everywhere: brackets in paths and in other programs' words are brackets.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(what, total=total)
        yield _both(partial(bar.advance, task), told)
    status.log(f"{what}: done")


def _both(*advances: Callable[[float], None]) -> Callable[[float], None]:
    def advance(n: float) -> None:
        for one in advances:
            one(n)

    return advance


def _fifths(what: str, total: float) -> Callable[[float], None]:
    done, told, began = 0.0, 0, time.monotonic()

    def advance(n: float) -> None:
        nonlocal done, told
        done += n
        fifths, passed = int(5 * done / total), time.monotonic() - began
        if told < fifths < 5 and passed > 3:
            told = fifths
            say(f"{what}: {20 * fifths} %, {passed * (total / done - 1):.0f} s left")

    return advance


def say(text: str) -> None:
    """A line for the person at the keyboard."""
    text = printable(text)
    status.log(text)
    if not _quiet:
        console.print(text, markup=False, soft_wrap=True)


def show(table: Any) -> None:
    """A table of rich, for the person at the keyboard."""
    if not _quiet:
        console.print(table)


def printable(text: str) -> str:
    r"""Words from a file without what a terminal would obey.

    Examples
    --------
    >>> printable("µ\x1b[2J\n")
    'µ\\x1b[2J\n'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


@contextmanager
def spoken_to(path: Path) -> Iterator[None]:
    """Let all that is said within the block go into a file: who works beside others does not speak between them."""
    with path.open("a", encoding="utf-8") as file, redirect_stderr(file):
        yield


def emit(result: dict[str, Any], as_json: bool) -> None:
    """The outcome of a stage: JSON on standard output if asked for, else a table on standard error."""
    if as_json:
        print(files.to_json(result))
    if as_json or _quiet:
        return
    width = max((len(key) for key in result), default=0)
    for key, value in result.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        console.print(printable(f"  {key:<{width}}  {text}"), markup=False, soft_wrap=True)


@contextmanager
def told_warnings() -> Iterator[None]:
    """Show this project's warnings as lines on standard error instead of Python's two-line form."""

    def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        text = printable(f"warning: {message}")
        status.log(text)
        console.print(text, style="yellow", markup=False, soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield
