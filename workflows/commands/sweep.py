"""The command that runs an experiment at many points."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinloom.workflows.commands import Json, Oommf, Scheduler, Temperature, app
from spinloom.workflows.console import emit, show

Workers = Annotated[
    int | None, typer.Option(help="Processes on this machine. [default: a core each; one where there is a GPU]")
]


@app.command()
def sweep(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT.toml", help="Experiment with a table [sweep] of what is varied.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    points: Annotated[int | None, typer.Option(help="Only the first so many points. [default: all]")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the points and what they cost, and run nothing.")
    ] = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    engine: Annotated[str | None, typer.Option(help="Instead of the experiment's; see 'calibrate --help'.")] = None,
    oommf: Oommf = None,
    finish: Annotated[str | None, typer.Option(help="Instead of the experiment's: embedded, oommf or none.")] = None,
    temperature: Temperature = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Verify in full micromagnetics even what does not work on reduced nodes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run an experiment at every point of a grid, or at random ones, and gather all figures in one table.

    The same command goes on from what is finished, and tries again what failed. Exit code 3: no network of any point
    was verified; 4: some points failed, or the workers were lost.

    Examples: `spinloom sweep my_sweep.toml --dry-run --out runs/sweep`,
    `spinloom sweep my_sweep.toml --workers 4 --out runs/sweep`,
    `spinloom sweep my_sweep.toml --scheduler tcp://10.0.0.1:8786 --out runs/sweep`
    """
    from spinloom.workflows.sweep import plan_stage, plan_table, sweep_stage

    options = {"engine": engine, "oommf": oommf, "finish": finish, "temperature": temperature, "anyway": anyway}
    given = {name: value for name, value in options.items() if value not in (None, False)}
    if dry_run:
        plan = plan_stage(experiment, points, given)
        if as_json:
            emit(plan, True)
        else:
            show(plan_table(plan))
        return
    result = sweep_stage(experiment, out, first=points, workers=workers, scheduler=scheduler, **given)
    emit(result, as_json)
    if result["failed"]:
        raise typer.Exit(4)
    if not result["verified"]:
        raise typer.Exit(3)
