"""Commands of what is kept: the store of trajectories."""

from __future__ import annotations

from typing import Annotated

import typer

from spinloom.workflows.commands import Json, app
from spinloom.workflows.console import emit, show

store_app = typer.Typer(no_args_is_help=True, help="Calibration trajectories that are kept for all runs.")
app.add_typer(store_app, name="store")


@store_app.command("list")
def list_(as_json: Json = False) -> None:
    """What the store holds, card by card: how many trajectories, how large, when used last.

    Its place is the environment variable SPINLOOM_STORE, or `off`; its limit SPINLOOM_STORE_LIMIT. [default: the
    platform's folder for caches, 4 GB]

    Example: `spinloom store list`
    """
    from spinloom.workflows.kept import held, held_table

    found = held()
    if as_json:
        emit(found, True)
        return
    show(held_table(found))
    emit({key: value for key, value in found.items() if key != "cards"}, False)


@store_app.command()
def verify(as_json: Json = False) -> None:
    """Read every entry and compare it with its digest. Exit code 3: some are damaged; `prune --damaged` removes them.

    Example: `spinloom store verify`
    """
    from spinloom.workflows.kept import verified

    found = verified()
    emit(found, as_json)
    if found["damaged"]:
        raise typer.Exit(3)


@store_app.command()
def prune(
    limit: Annotated[
        str | None, typer.Option(help="What may stay, such as 2 GB; least recently used go first. [default: the limit]")
    ] = None,
    older: Annotated[str | None, typer.Option(help="Remove what was not used for so long, such as 30 d.")] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Remove what cannot be read too.")] = False,
    as_json: Json = False,
) -> None:
    """Make room. Runs that want what was removed compute it again.

    Examples: `spinloom store prune --older "30 d"`, `spinloom store prune --limit "0 GB"`
    """
    from spinloom.workflows.kept import pruned

    emit(pruned(limit, older, damaged), as_json)
