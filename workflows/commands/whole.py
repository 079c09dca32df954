"""Commands that do all of it: a run, a search, a design, a yield, the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spinloom.workflows.commands import (
    Baselines,
    Beside,
    Device,
    Engine,
    Json,
    Nodes,
    Oommf,
    Scheduler,
    Temperature,
    app,
)
from spinloom.workflows.console import emit, say


@app.command()
def run(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="TOML file with all choices of a run, or demo, or anchor.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    engine: Annotated[str | None, typer.Option(help="Instead of the experiment's; see 'calibrate --help'.")] = None,
    oommf: Oommf = None,
    finish: Annotated[
        str | None,
        typer.Option(
            help="Where networks are finished before the verdict: embedded, oommf or none. [default: embedded]"
        ),
    ] = None,
    temperature: Temperature = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Verify in full micromagnetics even what does not work on reduced nodes.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what each stage costs, and run nothing.")] = False,
    workers: Beside = 1,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """All stages: calibrate, fit, train, finish, cosimulate, report. What is done is not done again.

    Exit code 3: nothing works well enough to be verified in full micromagnetics; everything is saved.

    Examples: `spinloom run demo --out runs/demo`, `spinloom run my_experiment.toml --out runs/mine`,
    `spinloom run data/experiments/demo.toml --engine oommf-reference --out runs/anchored`,
    `spinloom run room --out runs/room`
    """
    if dry_run:
        from spinloom.workflows.cost import tell_cost

        given = {"engine": engine, "oommf": oommf, "finish": finish, "temperature": temperature}
        tell_cost(experiment, given, as_json)
        return
    from spinloom.workflows.run import run_experiment
    from spinloom.workflows.workers import Team

    team = Team(workers, scheduler, oommf)
    summary = run_experiment(
        experiment, out, engine, oommf, finish=finish, temperature=temperature, anyway=anyway, team=team
    )
    if as_json:
        emit(summary, True)
    if summary["outcome"] != "verified":
        raise typer.Exit(3)


@app.command()
def tune(
    device: Device,
    out: Annotated[
        Path, typer.Option(help="Where the experiment goes (TOML); the search's record and page go beside it.")
    ],
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task, or FILE.csv with one period; may be repeated. [default: sine, triangle, harmonics]"),
    ] = None,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    model: Annotated[Path | None, typer.Option(help="Reduced model of this card, instead of a calibration.")] = None,
    budget: Annotated[float, typer.Option(help="About how long it may take (s).")] = 300.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the search; what is reported is of fresh seeds.")] = 0,
    nodes: Nodes = None,
    clock: Annotated[
        bool | None,
        typer.Option("--clock/--no-clock", help="Give generators a clock. [default: tried for a CSV, and if Q > 3]"),
    ] = None,
    longest: Annotated[float | None, typer.Option(help="Longest period that is tried (s).")] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Train the same networks without magnets too.")
    ] = True,
    workers: Beside = 1,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Find an operating point for a device, judge it on fresh seeds, and write it as an experiment.

    Examples: `spinloom tune data/devices/disc60.toml --out runs/tuned.toml`,
    `spinloom tune my_device.toml --task my_wave.csv --budget 600 --out mine.toml`; then `spinloom run mine.toml`
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.workflows.tune import Wish, tune_stage
    from spinloom.workflows.workers import Team

    size = Wish.nodes if nodes is None else nodes
    wish = Wish(tuple(task or Wish.tasks), budget, seed, size, clock, longest, baselines)
    choice, team = choose_engine(engine, oommf), Team(workers, scheduler, oommf)
    result = tune_stage(load_card(device), device, choice, out, wish, model, team)
    if as_json:
        emit(result, True)
    if result["verdict"] == "unfit":
        raise typer.Exit(3)


@app.command()
def design(
    device: Device,
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    temperature: Annotated[float, typer.Option(help="Of the junctions (K).")] = 300.0,
    spread: Annotated[
        str, typer.Option(help="Of the junctions: one standard deviation for all parameters, or diameter=0.03,RA=0.05.")
    ] = "0.05",
    voltage: Annotated[float, typer.Option(help="Largest over a junction (V), below breakdown: J_max RA.")] = 0.6,
    diameters: Annotated[str, typer.Option(help="That are tried (nm).")] = "40,60,80,100,130",
    thicknesses: Annotated[str, typer.Option(help="Of the free layer, that are tried (nm).")] = "1.5,2,3",
    nodes: Annotated[str, typer.Option(help="Numbers of junctions that are tried.")] = "20,40,80",
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task, or FILE.csv with one period; may be repeated. [default: sine, triangle, harmonics]"),
    ] = None,
    nrmse: Annotated[
        list[float] | None,
        typer.Option(help="Largest error, for each task in turn. [default: 0.15, 0.17, 0.28; 0.15 for others]"),
    ] = None,
    accuracy: Annotated[float, typer.Option(help="Smallest share of waveforms recognised; 0: none asked.")] = 0.95,
    least_yield: Annotated[float, typer.Option("--yield", help="Share of chips that have to do it.")] = 0.9,
    chips: Annotated[int, typer.Option(help="That the yield is taken over.")] = 24,
    seed: Annotated[int, typer.Option(help="Of the chips.")] = 0,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Run the choice in full thermal micromagnetics.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Which junction, how many, how hard driven, for what accuracy at a temperature and with a spread.

    Maps error, power and energy over diameter, thickness, voltage, bias and period; judges the best with chips whose
    junctions differ; writes the card and the experiment of the cheapest that does what is asked, and verifies it. The
    same command goes on from what is finished. Exit code 3: nothing on the map does it; the nearest is written.

    Examples: `spinloom design data/devices/disc100.toml --temperature 300 --spread 0.05 --out runs/design`,
    `spinloom design my_device.toml --task sine --nrmse 0.1 --accuracy 0 --nodes 40,160 --no-verify --out runs/mine`
    """
    from spinloom.device_models.card import load_card
    from spinloom.workflows.calibrate import read_spread
    from spinloom.workflows.design import design_stage, read_lengths, read_numbers, wished

    wish = wished(
        tasks=task,
        nrmse=nrmse,
        temperature=temperature,
        spread=read_spread(spread),
        voltage=voltage,
        diameters=read_lengths("diameters", diameters),
        thicknesses=read_lengths("thicknesses", thicknesses),
        nodes=read_numbers("nodes", nodes),
        accuracy=accuracy,
        least_yield=least_yield,
        chips=chips,
        seed=seed,
    )
    result = design_stage(load_card(device), out, wish, verify)
    if as_json:
        emit(result, True)
    if result["outcome"] != "found":
        raise typer.Exit(3)


@app.command("yield")
def yield_(
    model: Annotated[Path, typer.Argument(metavar="MODEL.nc", help="Reduced model of a population.")],
    out: Annotated[Path, typer.Option(help="Table of all errors (CSV); the curves are drawn beside it (SVG).")],
    experiment: Annotated[
        Path, typer.Option(help="Where tasks, networks and training come from: TOML, or the name of a shipped one.")
    ] = Path("room"),
    spread: Annotated[
        str | None, typer.Option(help="One standard deviation for all, or by name. [default: the experiment's]")
    ] = None,
    factors: Annotated[str, typer.Option(help="Multiples of the spread that are tried.")] = "0.2,0.4,0.6,1,1.4",
    chips: Annotated[int, typer.Option(help="Of each spread.")] = 50,
    nrmse: Annotated[
        list[float] | None,
        typer.Option(help="Largest error, for each task in turn. [default: 1.25 times that of equal junctions]"),
    ] = None,
    nodes: Nodes = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the chips.")] = 0,
    baselines: Baselines = True,
    workers: Beside = 1,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Errors of many chips against the spread of their junctions: each trained, or a read-out copied to all.

    Examples: `spinloom yield runs/room/model.nc --out runs/yield.csv`,
    `spinloom yield wafer-model.nc --experiment my.toml --spread diameter=0.03,RA=0.05 --chips 100 --out yield.csv`
    """
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.calibrate import read_spread
    from spinloom.workflows.settings import load_experiment, override
    from spinloom.workflows.workers import Team
    from spinloom.workflows.yields import Elsewhere, read_factors, yield_stage

    wanted, _ = load_experiment(experiment)
    settings = wanted.generate
    settings = override(settings, topology=override(settings.topology, nodes=nodes).model_dump())
    differ = wanted.spread if spread is None else read_spread(spread)
    how: dict[str, Any] = {"seed": seed, "nrmse": tuple(nrmse or ()), "baselines": baselines}
    team = Team(workers, scheduler)
    if not team.alone:
        how["elsewhere"] = Elsewhere(model, team)
    emit(yield_stage(load_model(model), settings, differ, read_factors(factors), chips, out, **how), as_json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    as_json: Json = False,
) -> None:
    """Draw the page of a run again (DIR/report.html).

    Example: `spinloom report runs/demo`
    """
    from spinloom.workflows.report import report_stage

    emit(report_stage(folder), as_json)


@app.command()
def status(
    place: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a run or a sweep, or the experiment (TOML) of a tuning.")
    ],
    as_json: Json = False,
) -> None:
    """How far a run, a sweep or a tuning is: what is done, what is computed now, how fast, and how long it will take.

    From another terminal, or after the end. Examples: `spinloom status runs/demo`, `spinloom status runs/tuned.toml`
    """
    from spinloom.workflows.status import read_status

    found = read_status(place)
    if as_json:
        emit(found, True)
        return
    for one in found.pop("finished"):
        say(f"{one['stage']}: done" + (f" in {one['wall_s']:.3g} s" if one["wall_s"] is not None else ""))
    emit(found, False)
