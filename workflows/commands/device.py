"""Commands of one device: what is there, what it does, how it answers, its reduced model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinloom.workflows.commands import Beside, Device, Engine, Json, Oommf, Out, Scheduler, Temperature, app, names_of
from spinloom.workflows.console import emit, say


@app.command()
def doctor(oommf: Oommf = None, as_json: Json = False) -> None:
    """Say which engines are found, whether they run and how fast, and how to get what is missing.

    Examples: `spinloom doctor`, `spinloom doctor --oommf /opt/oommf/oommf.tcl`
    """
    from spinloom.workflows.doctor import doctor_stage

    report = doctor_stage(oommf)
    if as_json:
        emit(report, True)
        return
    for name, engine in report["engines"].items():
        say(f"{name}: {'works' if engine['works'] else 'found, does not run' if engine['found'] else 'not found'}")
        emit({key: value for key, value in engine.items() if key not in ("found", "works") and value}, False)
    machine = report["machine"]
    say(f"machine: {machine['cores']} cores, {machine['free_gb']} of {machine['memory_gb']} GB of memory free")
    for device in machine["jax"]:
        memory = "" if device["memory_gb"] is None else f", {device['memory_gb']} GB"
        say(f"JAX computes on: {device['kind']} ({device['platform']}{memory})")
    say("versions:")
    emit(report["versions"], False)


@app.command()
def probe(
    device: Device,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    out: Annotated[Path | None, typer.Option(help="Keep all that was found (JSON).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it (SVG).")] = None,
    temperature: Temperature = None,
    as_json: Json = False,
) -> None:
    """Try a device in full micromagnetics: what is quiet, what switches or precesses, resonance, response; and advise.

    All of that is of 0 K; at a temperature it is told too how the device fluctuates at rest, and whether it stays.

    Examples: `spinloom probe data/devices/rect100x60.toml --plot probe.svg`,
    `spinloom probe data/devices/disc60.toml --temperature 300`
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.workflows.probe import probe_stage

    emit(probe_stage(load_card(device, temperature), choose_engine(engine, oommf), out, plot), as_json)


@app.command()
def calibrate(
    device: Device,
    out: Out,
    engine: Engine = "auto",
    oommf: Oommf = None,
    tick: Annotated[float | None, typer.Option(help="Duration of a tick (s). [default: 7.5e-12]")] = None,
    trajectories: Annotated[int | None, typer.Option(help="Number of runs at full amplitude. [default: 40]")] = None,
    grades: Annotated[
        str | None,
        typer.Option(help="Smaller amplitudes, shares of J_max, or none. [default: 0.75,0.5,0.4,0.3,0.2,0.1]"),
    ] = None,
    per_grade: Annotated[int | None, typer.Option(help="Further runs for each of them. [default: 8]")] = None,
    duration: Annotated[float | None, typer.Option(help="Of each run (s). [default: 6e-9]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the drives, and of the thermal field. [default: 0]")] = None,
    temperature: Temperature = None,
    spread: Annotated[
        str | None,
        typer.Option(
            help="Calibrate a population instead: one standard deviation for all, or diameter=0.03,RA=0.05. Then "
            "[default: 128 runs of 3e-9 s, grades 0.85,0.7,0.5 of 32]"
        ),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="First try how hard the device can be driven, and say so.")
    ] = True,
    workers: Beside = 1,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Drive a device in full micromagnetics and keep how it answered (NetCDF).

    Examples: `spinloom calibrate data/devices/disc60.toml --engine embedded --out cal.nc`,
    `spinloom calibrate data/devices/disc60.toml --engine oommf --out cal.nc`,
    `spinloom calibrate data/devices/disc60.toml --temperature 300 --spread 0.05 --engine embedded --out wafer.nc`,
    `spinloom calibrate data/devices/disc60.toml --engine oommf --scheduler tcp://10.0.0.1:8786 --out cal.nc`
    """
    from spinloom.device_models.calibration import Protocol
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.workflows.calibrate import calibrate_stage, read_grades, read_spread
    from spinloom.workflows.settings import override
    from spinloom.workflows.workers import Team

    protocol = override(
        Protocol() if spread is None else Protocol.of_population(),
        tick=tick,
        trajectories=trajectories,
        duration=duration,
        seed=seed,
        grades=None if grades is None else read_grades(grades),
        per_grade=per_grade,
    )
    card = load_card(device, temperature)
    differ = None if spread is None else read_spread(spread)
    choice, team = choose_engine(engine, oommf), Team(workers, scheduler, oommf)
    emit(calibrate_stage(card, choice, protocol, out, probe=probe, spread=differ, team=team), as_json)


@app.command()
def fit(
    calibration: Annotated[Path, typer.Argument(metavar="CAL.nc", help="Calibration set.")],
    out: Out,
    kind: Annotated[
        str, typer.Option(help="flow_map, macrospin, another kind, or auto (what reaches farthest).")
    ] = "auto",
    reach: Annotated[
        str, typer.Option(help="Share of J_max that networks stay within, or auto (as far as the model is good).")
    ] = "auto",
    plot: Annotated[Path | None, typer.Option(help="Draw the worst held-out trajectory (SVG).")] = None,
    as_json: Json = False,
) -> None:
    """Fit a reduced model, chosen and judged by roll-outs on held-out trajectories.

    Examples: `spinloom fit cal.nc --out model.nc`, `spinloom fit cal.nc --reach 0.5 --out model.nc --plot worst.svg`
    """
    from spinloom.workflows.fit import fit_stage, read_reach

    emit(fit_stage(calibration, kind, out, read_reach(reach), plot), as_json)


@app.command()
def replay(
    device: Device,
    waveform: Annotated[
        Path,
        typer.Argument(metavar="WAVEFORM.csv", help="Columns t_s,u, or u alone with --tick; or an oscilloscope's."),
    ],
    out: Out,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    tick: Annotated[
        float | None, typer.Option(help="Duration of a row (s), for files without t_s, or of a tick.")
    ] = None,
    drive_unit: Annotated[
        str | None,
        typer.Option(
            help="u, A/m2, A or V (J = V / RA): average samples of an oscilloscope's CSV over ticks (--tick)."
        ),
    ] = None,
    columns: Annotated[
        str, typer.Option(help="Of such a file: time and drive, names or numbers. [default: the first two]")
    ] = "",
    initial: Annotated[Path | None, typer.Option(help="OVF field to start from, instead of relaxing.")] = None,
    temperature: Temperature = None,
    seed: Annotated[int, typer.Option(help="Of the thermal field.")] = 0,
    as_json: Json = False,
) -> None:
    """Drive one device with a waveform of yours (zero-order hold) and write t_s,u,mx,my,mz.

    Examples: `spinloom replay data/devices/disc60.toml wave.csv --engine embedded --out m.csv`

    `spinloom replay data/devices/disc60.toml scope.csv --tick 1e-11 --drive-unit V --columns TIME,CH1 --out m.csv`

    `spinloom replay data/devices/disc60.toml wave.csv --temperature 300 --seed 1 --engine embedded --out warm.csv`
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.workflows.replay import replay_stage

    card = load_card(device, temperature)
    sampled = None if drive_unit is None and not columns else (drive_unit or "u", names_of(columns))
    emit(replay_stage(card, waveform, choose_engine(engine, oommf), tick, initial, out, seed, sampled), as_json)
