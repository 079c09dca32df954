"""The command that benchmarks a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinloom.workflows.commands import Engine, Json, NetworkTemperature, Oommf, app
from spinloom.workflows.console import emit, say


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(metavar="MODEL.nc", help="Reduced model, from 'spinloom fit'.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; what is finished there is not done again.")],
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Some of narma10, memory, parity, mackey-glass, lorenz, sine-square, ipc, mackey-glass-free, "
            "lorenz-free, shape, frequency, japanese-vowels. [default: all]"
        ),
    ] = None,
    nodes: Annotated[str, typer.Option(help="Numbers of nodes.")] = "40,100",
    seeds: Annotated[int, typer.Option(help="Weights and series that are reported.")] = 10,
    budget: Annotated[
        int, typer.Option(help="Candidates for every kind of node and task, on seeds of their own.")
    ] = 16,
    tune_at: Annotated[int, typer.Option(help="Most nodes that settings are chosen with.")] = 40,
    virtual: Annotated[int, typer.Option(help="Virtual nodes: parts of a sample whose states are all read.")] = 1,
    levels: Annotated[int, typer.Option(help="Levels of the mask on the input of the parts; 1: no mask.")] = 1,
    full: Annotated[int, typer.Option(help="Samples that are run in full micromagnetics too.")] = 0,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    temperature: NetworkTemperature = None,
    as_json: Json = False,
) -> None:
    """The field's benchmarks on junctions, beside what needs none: a table with intervals over seeds.

    Examples: `spinloom bench model.nc --out runs/bench`,
    `spinloom bench model.nc --tasks narma10,memory --nodes 40,100,200,400 --out runs/narma`,
    `spinloom bench model.nc --tasks narma10 --nodes 40 --full 100 --temperature 300 --out runs/warm`
    """
    from spinloom.device_models.engines import choose_engine
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.bench import Plan, bench_stage
    from spinloom.workflows.settings import override

    plan = override(
        Plan(),
        tasks=None if tasks is None else tuple(name.strip() for name in tasks.split(",")),
        nodes=tuple(number.strip() for number in nodes.split(",")),
        seeds=seeds,
        budget=budget,
        tune_at=tune_at,
        full=full,
        temperature=temperature,
        virtual=virtual,
        levels=levels,
    )
    choice = choose_engine(engine, oommf) if full else None
    result = bench_stage(load_model(model), model, plan, out, choice)
    if as_json:
        emit(result, True)
        return
    say((out / "bench.md").read_text(encoding="utf-8"))
