"""The command line ``spinloom``: each stage alone, and all together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated, Any

import typer

from spinloom.device_models.errors import SpinloomError
from spinloom.workflows import failures
from spinloom.workflows.commands import app, bench, device, export, measured, network, refine, store, sweep, whole
from spinloom.workflows.console import console, hush, printable, say, told_warnings

COMMANDS = (device, measured, network, refine, whole, sweep, bench, export, store)
"""Importing them adds their commands to the app, in this order."""


def _version(value: bool) -> None:
    if value:
        print(version("spinloom"))
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Before a command: tell warnings and errors alone.")
    ] = False,
) -> None:
    hush(quiet)


class Stopped(BaseException):
    """Ctrl-C or a signal to end, kept apart from KeyboardInterrupt so that it is told in our own words."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop(*_: Any) -> None:
    # Another one must not interrupt the cleaning up.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Stopped


@contextlib.contextmanager
def _never_lost() -> Iterator[None]:
    """Stop a moment later where Python had to ignore it: raised within a garbage collection, it reaches nobody."""
    hook = sys.unraisablehook

    def ignored(lost: Any) -> None:
        if not isinstance(lost.exc_value, Stopped):
            return hook(lost)
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    sys.unraisablehook = ignored
    try:
        yield
    finally:
        sys.unraisablehook = hook


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a user's mistake ends with a message and exit code 2."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _stop)
    try:
        with _never_lost(), told_warnings():
            app(args=arguments)
    except Exception as error:
        message = str(error) if isinstance(error, SpinloomError) else failures.told(error)
        if message is None:
            raise
        console.print(printable(f"error: {message}"), style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code if isinstance(error, SpinloomError) else 2)
    except Stopped:
        say("stopped; files are whole, no process is left, the same command goes on from what is finished")
        # Everything is cleaned up by now. JAX may still compile in a thread, and then crashes Python's own way out.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)
