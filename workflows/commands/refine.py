"""Commands that go on from a trained network by gradients, and say why one does not work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.commands import Engine, Json, Oommf, Out, app
from spinloom.workflows.console import emit


@app.command("refine")
def refine(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Trained network.")],
    out: Out,
    steps: Annotated[int | None, typer.Option(help="Steps downhill. [default: 300]")] = None,
    free: Annotated[
        str | None, typer.Option(help="Which weights move, of W,W_in,b,gain,w_fb. [default: all of them]")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="First step, in units of each array's rms value. [default: 0.02]")
    ] = None,
    noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Rms of the noise on what is fed back to a generator.")
    ] = 0.01,
    periods: Annotated[int, typer.Option(min=1, help="Periods of each step, of a generator.")] = 5,
    trials: Annotated[int, typer.Option(min=32, help="Trials of each step, of a recogniser.")] = 96,
    physics_aware: Annotated[
        bool, typer.Option("--physics-aware", help="Forward pass in full micromagnetics, the reduced model backward.")
    ] = False,
    refresh: Annotated[
        int | None, typer.Option(help="Steps that one forward pass in full micromagnetics serves. [default: 5]")
    ] = None,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    seed: Annotated[int | None, typer.Option(help="Seed of what is trained on. [default: 0]")] = None,
    as_json: Json = False,
) -> None:
    """Refine all weights of a trained network by gradients through its nodes, and train its read-out again.

    Examples: `spinloom refine square.nc --out better.nc`,
    `spinloom refine recognise.nc --steps 200 --free W,W_in,b --out better.nc`,
    `spinloom refine square.nc --steps 30 --physics-aware --engine embedded --out better.nc`

    Afterwards `spinloom finish better.nc` and `spinloom cosimulate` as for any other network.
    """
    from spinloom.device_models.engines import choose_engine
    from spinloom.networks.gradients import Descent
    from spinloom.workflows.refine import refine_file
    from spinloom.workflows.settings import override

    names = None if free is None else tuple(name.strip() for name in free.split(","))
    if names is not None and "w_out" in names:
        raise SpinloomError("free: the read-out is solved in every step and trained again; leave w_out out")
    how = override(Descent(), steps=steps, free=names, rate=rate, refresh=refresh, seed=seed)
    choice = choose_engine(engine, oommf) if physics_aware else None
    options = {"noise": noise, "periods": periods, "trials": trials}
    emit(refine_file(network, out, how, choice=choice, **options), as_json)


@app.command("floquet")
def floquet(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Trained network, one that generates.")],
    steps: Annotated[int, typer.Option(min=0, help="Steps of the search for a read-out whose loop is stable.")] = 100,
    as_json: Json = False,
) -> None:
    """Say whether a network's loop is stable beside its orbit; if not, whether another read-out makes it so.

    Example: `spinloom floquet square.nc`
    """
    from spinloom.workflows.refine import floquet_file

    emit(floquet_file(network, steps), as_json)
