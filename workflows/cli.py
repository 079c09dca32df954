"""The command line ``spinloom``: each stage alone, and all together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.console import console, emit, say, told_warnings

app = typer.Typer(
    name="spinloom",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From the card of one magnetic tunnel junction to a trained network of them, verified in full micromagnetics.",
)
train_app = typer.Typer(no_args_is_help=True, help="Train a network of reduced nodes.")
app.add_typer(train_app, name="train")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Engine = Annotated[
    str,
    typer.Option(help="oommf, embedded, oommf-reference (what OOMMF computed, shipped), or auto (oommf if it works)."),
]
Oommf = Annotated[
    str | None,
    typer.Option(
        envvar="SPINLOOM_OOMMF",
        help="Command that starts OOMMF, or the path of oommf.tcl. [default: as oommfc: OOMMFTCL, PATH, docker]",
    ),
]
Device = Annotated[Path, typer.Argument(metavar="DEVICE.toml", help="Device card, all values in SI units.")]
Model = Annotated[Path, typer.Option(help="Reduced model, from 'spinloom fit'.")]
Nodes = Annotated[int | None, typer.Option(help="Number of junctions in the network. [default: 40]")]
Temperature = Annotated[
    float | None, typer.Option(help="Of the free layer (K). [default: the experiment's, or the card's]")
]
NetworkTemperature = Annotated[
    float | None, typer.Option(min=0.0, max=1500.0, help="Of all nodes (K). [default: the model's]")
]
Seed = Annotated[int, typer.Option(help="Seed of the fixed weights.")]
Out = Annotated[Path, typer.Option(help="Where the result goes.")]
SpectralRadius = Annotated[float | None, typer.Option(help="Of the recurrent weights.")]
Density = Annotated[float | None, typer.Option(help="Share of recurrent weights that are not zero. [default: 0.3]")]
Bias = Annotated[float | None, typer.Option(help="Biases are uniform within this.")]
Gain = Annotated[float | None, typer.Option(help="Drive, in units of the reach, for v = 1.")]


def _version(value: bool) -> None:
    if value:
        print(version("spinloom"))
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


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
    as_json: Json = False,
) -> None:
    """Drive a device in full micromagnetics and keep how it answered (NetCDF).

    Examples: `spinloom calibrate data/devices/disc60.toml --engine embedded --out cal.nc`,
    `spinloom calibrate data/devices/disc60.toml --engine oommf --out cal.nc`,
    `spinloom calibrate data/devices/disc60.toml --temperature 300 --spread 0.05 --engine embedded --out wafer.nc`
    """
    from spinloom.device_models.calibration import Protocol
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.workflows.calibrate import calibrate_stage, read_grades, read_spread
    from spinloom.workflows.settings import override

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
    emit(calibrate_stage(card, choose_engine(engine, oommf), protocol, out, probe=probe, spread=differ), as_json)


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
    as_json: Json = False,
) -> None:
    """Fit a reduced model, chosen and judged by roll-outs on held-out trajectories.

    Examples: `spinloom fit cal.nc --out model.nc`, `spinloom fit cal.nc --reach 0.5 --out model.nc`
    """
    from spinloom.workflows.fit import fit_stage, read_reach

    emit(fit_stage(calibration, kind, out, read_reach(reach)), as_json)


@train_app.command("generate")
def train_generate(
    model: Model,
    out: Out,
    task: Annotated[str, typer.Option(help="sine, triangle, harmonics, square, or FILE.csv with one period.")],
    nodes: Nodes = None,
    seed: Seed = 0,
    period_ticks: Annotated[int | None, typer.Option(help="Ticks in a period.")] = None,
    period_resonances: Annotated[
        float | None, typer.Option(help="Instead: periods of the device's resonance in a period.")
    ] = None,
    free_periods: Annotated[int | None, typer.Option(help="Periods of each free run. [default: 1000]")] = None,
    method: Annotated[str | None, typer.Option(help="force or ridge. [default: force]")] = None,
    teacher_periods: Annotated[int | None, typer.Option(help="Periods of teacher forcing. [default: 100]")] = None,
    noise: Annotated[float | None, typer.Option(help="Rms of the noise on the teacher. [default: 0.004]")] = None,
    ridge: Annotated[float | None, typer.Option(help="Penalty on the read-out, per tick. [default: 6e-06]")] = None,
    force_periods: Annotated[int | None, typer.Option(help="Periods of FORCE. [default: 200]")] = None,
    prior_ticks: Annotated[
        float | None, typer.Option(help="Ticks that teacher forcing counts for in FORCE. [default: 2000]")
    ] = None,
    trim_rounds: Annotated[int | None, typer.Option(help="Free runs for the trim of the phase. [default: 6]")] = None,
    trim_periods: Annotated[int | None, typer.Option(help="Periods in each of them. [default: 100]")] = None,
    tries: Annotated[int | None, typer.Option(help="Noises, of which the best is kept. [default: 4]")] = None,
    noise_seed: Annotated[int | None, typer.Option(help="Seed of the noise. [default: 0]")] = None,
    washouts: Annotated[
        str | None, typer.Option(help="Periods before the free runs that are judged. [default: 5,7,10]")
    ] = None,
    spectral_radius: SpectralRadius = None,
    density: Density = None,
    feedback: Annotated[float | None, typer.Option(help="Feedback weights are uniform within this.")] = None,
    bias: Bias = None,
    gain: Gain = None,
    clock: Annotated[
        float | None, typer.Option(help="Strength of an input at the period, which keeps the time. [default: 0]")
    ] = None,
    clock_shape: Annotated[str | None, typer.Option(help="sine, pulse or ramp. [default: sine]")] = None,
    clock_ahead: Annotated[
        float | None, typer.Option(help="Share of a period by which the clock leads the series. [default: 0]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a network to generate a periodic series, and let it run free.

    Examples: `spinloom train generate --task sine --model model.nc --nodes 40 --seed 0 --out sine.nc`,
    `spinloom train generate --task my_wave.csv --period-resonances 1.5 --model model.nc --out mine.nc`,
    `spinloom train generate --task my_wave.csv --clock 2 --clock-shape ramp --model model.nc --out mine.nc`
    """
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.settings import GenerateSettings, override
    from spinloom.workflows.train import generate_stage, read_washouts

    base = GenerateSettings()
    settings = override(
        base,
        tasks=(task,),
        seed=seed,
        period_ticks=period_ticks,
        period_resonances=period_resonances,
        free_periods=free_periods,
        washouts=None if washouts is None else read_washouts(washouts),
        training=override(
            base.training,
            method=method,
            teacher_periods=teacher_periods,
            noise=noise,
            ridge=ridge,
            force_periods=force_periods,
            prior_ticks=prior_ticks,
            trim_rounds=trim_rounds,
            trim_periods=trim_periods,
            tries=tries,
            seed=noise_seed,
        ).model_dump(),
        topology=override(
            base.topology,
            nodes=nodes,
            spectral_radius=spectral_radius,
            density=density,
            feedback=feedback,
            bias=bias,
            gain=gain,
            clock=clock,
            clock_shape=clock_shape,
            clock_ahead=clock_ahead,
        ).model_dump(),
    )
    emit(generate_stage(load_model(model), model, settings, {task: out})[0], as_json)


@train_app.command("recognise")
def train_recognise(
    model: Model,
    out: Out,
    nodes: Nodes = None,
    seed: Seed = 0,
    train_trials: Annotated[int | None, typer.Option(help="Trials to train on. [default: 400]")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials to test on. [default: 400]")] = None,
    periods: Annotated[int | None, typer.Option(help="Periods after onset. [default: 2]")] = None,
    averaged: Annotated[
        int | None, typer.Option(help="Last of them over which signals are averaged. [default: 1]")
    ] = None,
    power: Annotated[
        bool | None, typer.Option("--power/--no-power", help="Read mean squares beside the means. [default: no]")
    ] = None,
    period_ticks: Annotated[int | None, typer.Option(help="Ticks in a period.")] = None,
    period_resonances: Annotated[
        float | None, typer.Option(help="Instead: periods of the device's resonance in a period.")
    ] = None,
    ridge: Annotated[float | None, typer.Option(help="Penalty of the classifier. [default: 0.003]")] = None,
    spectral_radius: SpectralRadius = None,
    density: Density = None,
    input_strength: Annotated[
        float | None, typer.Option("--input", help="Input weights are uniform within this. [default: 1.7]")
    ] = None,
    bias: Bias = None,
    gain: Gain = None,
    as_json: Json = False,
) -> None:
    """Train a network to tell sine, triangle, square and sawtooth apart, whatever their phase.

    Examples: `spinloom train recognise --model model.nc --nodes 40 --seed 0 --out recognise.nc`,
    `spinloom train recognise --model warm.nc --periods 16 --averaged 15 --power --out warm-recognise.nc`
    """
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.settings import RecogniseSettings, override
    from spinloom.workflows.train import recognise_stage

    base = RecogniseSettings()
    topology = override(
        base.topology,
        nodes=nodes,
        spectral_radius=spectral_radius,
        density=density,
        input=input_strength,
        bias=bias,
        gain=gain,
    ).model_dump()
    settings = override(
        base,
        seed=seed,
        train_trials=train_trials,
        ridge=ridge,
        test_trials=trials,
        periods=periods,
        averaged=averaged,
        power=power,
        period_ticks=period_ticks,
        period_resonances=period_resonances,
        topology=topology,
    )
    emit(recognise_stage(load_model(model), model, settings, out), as_json)


@app.command()
def cosimulate(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Trained network.")],
    engine: Engine = "embedded",
    oommf: Oommf = None,
    method: Annotated[
        str | None, typer.Option(help="How the loop is closed: lock-step, or relaxation. [default: lock-step]")
    ] = None,
    window: Annotated[int | None, typer.Option(help="Ticks that relaxation iterates together. [default: 42]")] = None,
    node_limit: Annotated[float, typer.Option(help="A live node silent for longer is taken to hang (s).")] = 120.0,
    periods: Annotated[int, typer.Option(min=1, help="Periods in free run.")] = 20,
    trials: Annotated[int, typer.Option(min=4, help="Trials, for a network that recognises.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Keep outputs and node traces (NetCDF).")] = None,
    temperature: NetworkTemperature = None,
    seeds: Annotated[int, typer.Option(min=1, help="Noises, of a warm network that generates.")] = 4,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Run on where the model turns out to be wrong after a few periods.")
    ] = False,
    kick: Annotated[
        bool, typer.Option("--kick", help="Turn every node by 0.1 at the end, and see whether the output returns.")
    ] = False,
    recalibrate: Annotated[
        int, typer.Option(min=0, help="At most so often, calibrate on the network's own nodes and train again first.")
    ] = 0,
    calibration: Annotated[
        Path | None, typer.Option(help="For --recalibrate: the set that its model was fitted to.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a trained network with every node in full micromagnetics.

    Examples: `spinloom cosimulate sine.nc --engine embedded --periods 20`,
    `spinloom cosimulate sine.nc --engine oommf --periods 10 --out sine.oommf.nc`,
    `spinloom cosimulate sine.nc --recalibrate 2 --calibration cal.nc --kick`

    Above 0 K no two runs are alike, and statistics over several noises are compared instead of nodes:
    `spinloom cosimulate sine.nc --temperature 300 --seeds 8`
    """
    from spinloom.device_models.engines import choose_engine
    from spinloom.networks.relaxation import WINDOW
    from spinloom.workflows.cosimulate import load_networks, verdict_generate, verdict_recognise
    from spinloom.workflows.full_runs import How
    from spinloom.workflows.recalibrate import recalibrate_files

    how = How(method or "", WINDOW if window is None else window, node_limit, anyway, kick)
    (trained,), model = load_networks([network])
    choice = choose_engine(engine, oommf)
    if trained.task != "generate":
        if recalibrate or kick:
            raise SpinloomError("recalibrate and kick: are for networks that generate")
        emit(verdict_recognise(trained, model, choice, trials, how, temperature), as_json)
        return
    salvage = (out or network).with_name(f"{(out or network).stem}.partial.nc")
    rounds: dict[str, Any] = {}
    if recalibrate:
        if calibration is None:
            raise SpinloomError("recalibrate: needs the set that the model was fitted to; give --calibration CAL.nc")
        network, told = recalibrate_files(network, calibration, choice, recalibrate, how)
        (trained,), model = load_networks([network])
        rounds = {"network": str(network), "recalibrated": told}
    warm: dict[str, Any] = {"temperature": temperature, "seeds": seeds}
    result = verdict_generate([trained], model, choice, periods, out, how, salvage, **warm)[0]
    emit({**result, **rounds}, as_json)


@app.command("finish")
def finish(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Trained network, one that generates.")],
    out: Out,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    rounds: Annotated[int | None, typer.Option(help="How often the phase is trimmed afterwards. [default: 2]")] = None,
    node_limit: Annotated[float, typer.Option(help="A live node silent for longer is taken to hang (s).")] = 120.0,
    as_json: Json = False,
) -> None:
    """Train a network again for full micromagnetics, on reduced nodes corrected by 8 to 20 periods of full ones.

    Example: `spinloom finish sine.nc --engine embedded --out sine-finished.nc`
    """
    from spinloom.device_models import files
    from spinloom.device_models.engines import choose_engine
    from spinloom.networks.finish import Plan
    from spinloom.workflows.finish import finish_file
    from spinloom.workflows.settings import override

    files.check_writable(out)
    plan = override(Plan(), rounds=rounds)
    emit(finish_file(network, choose_engine(engine, oommf), out, plan, node_limit), as_json)


@app.command()
def replay(
    device: Device,
    waveform: Annotated[Path, typer.Argument(metavar="WAVEFORM.csv", help="Columns t_s,u, or u alone with --tick.")],
    out: Out,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    tick: Annotated[float | None, typer.Option(help="Duration of a row (s), for files without t_s.")] = None,
    initial: Annotated[Path | None, typer.Option(help="OVF field to start from, instead of relaxing.")] = None,
    temperature: Temperature = None,
    seed: Annotated[int, typer.Option(help="Of the thermal field.")] = 0,
    as_json: Json = False,
) -> None:
    """Drive one device with a waveform of yours (zero-order hold) and write t_s,u,mx,my,mz.

    Examples: `spinloom replay data/devices/disc60.toml wave.csv --engine embedded --out m.csv`

    `spinloom replay data/devices/disc60.toml wave.csv --temperature 300 --seed 1 --engine embedded --out warm.csv`
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.workflows.replay import replay_stage

    card = load_card(device, temperature)
    emit(replay_stage(card, waveform, choose_engine(engine, oommf), tick, initial, out, seed), as_json)


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
    as_json: Json = False,
) -> None:
    """All stages: calibrate, fit, train, finish, cosimulate, report. What is done is not done again.

    Exit code 3: nothing works well enough to be verified in full micromagnetics; everything is saved.

    Examples: `spinloom run demo --out runs/demo`, `spinloom run my_experiment.toml --out runs/mine`,
    `spinloom run data/experiments/demo.toml --engine oommf-reference --out runs/anchored`,
    `spinloom run room --out runs/room`
    """
    from spinloom.workflows.run import run_experiment

    summary = run_experiment(experiment, out, engine, oommf, finish=finish, temperature=temperature, anyway=anyway)
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
    as_json: Json = False,
) -> None:
    """Find an operating point for a device, judge it on fresh seeds, and write it as an experiment.

    Examples: `spinloom tune data/devices/disc60.toml --out runs/tuned.toml`,
    `spinloom tune my_device.toml --task my_wave.csv --budget 600 --out mine.toml`; then `spinloom run mine.toml`
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.workflows.tune import Wish, tune_stage

    wish = Wish(tuple(task or Wish.tasks), budget, seed, Wish.nodes if nodes is None else nodes, clock, longest)
    result = tune_stage(load_card(device), device, choose_engine(engine, oommf), out, wish, model)
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
    as_json: Json = False,
) -> None:
    """Errors of many chips against the spread of their junctions: each trained, or a read-out copied to all.

    Examples: `spinloom yield runs/room/model.nc --out runs/yield.csv`,
    `spinloom yield wafer-model.nc --experiment my.toml --spread diameter=0.03,RA=0.05 --chips 100 --out yield.csv`
    """
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.calibrate import read_spread
    from spinloom.workflows.settings import load_experiment, override
    from spinloom.workflows.yields import read_factors, yield_stage

    wanted, _ = load_experiment(experiment)
    settings = wanted.generate
    settings = override(settings, topology=override(settings.topology, nodes=nodes).model_dump())
    differ = wanted.spread if spread is None else read_spread(spread)
    how: dict[str, Any] = {"seed": seed, "nrmse": tuple(nrmse or ())}
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
    except SpinloomError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except Stopped:
        say("stopped; files are whole, no process is left, the same command goes on from what is finished")
        # Everything is cleaned up by now. JAX may still compile in a thread, and then crashes Python's own way out.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)
