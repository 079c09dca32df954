"""Commands of one network: train, finish, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.commands import (
    Baselines,
    Beside,
    Bias,
    Density,
    Engine,
    Feedback,
    Gain,
    Json,
    Model,
    NetworkTemperature,
    Nodes,
    Oommf,
    Out,
    PeriodResonances,
    PeriodTicks,
    Scheduler,
    Seed,
    SpectralRadius,
    app,
    names_of,
    train_app,
)
from spinloom.workflows.console import emit


@train_app.command("generate")
def train_generate(
    model: Model,
    out: Out,
    task: Annotated[str, typer.Option(help="sine, triangle, harmonics, square, or FILE.csv with one period.")],
    nodes: Nodes = None,
    seed: Seed = 0,
    period_ticks: PeriodTicks = None,
    period_resonances: PeriodResonances = None,
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
    feedback: Feedback = None,
    bias: Bias = None,
    gain: Gain = None,
    clock: Annotated[
        float | None, typer.Option(help="Strength of an input at the period, which keeps the time. [default: 0]")
    ] = None,
    clock_shape: Annotated[str | None, typer.Option(help="sine, pulse or ramp. [default: sine]")] = None,
    clock_ahead: Annotated[
        float | None, typer.Option(help="Share of a period by which the clock leads the series. [default: 0]")
    ] = None,
    baselines: Baselines = False,
    as_json: Json = False,
) -> None:
    """Train a network to generate a periodic series, and let it run free.

    Examples: `spinloom train generate --task sine --model model.nc --nodes 40 --seed 0 --out sine.nc`,
    `spinloom train generate --task my_wave.csv --period-resonances 1.5 --model model.nc --out mine.nc`,
    `spinloom train generate --task my_wave.csv --clock 2 --clock-shape ramp --model model.nc --out mine.nc`
    """
    from spinloom.networks.tasks import task_name
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.baselines import without_magnets
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
    result = generate_stage(load_model(model), model, settings, {task: out})[0]
    if baselines:
        result["baselines"] = without_magnets(load_model(model), settings)[task_name(task)]
    emit(result, as_json)


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
    period_ticks: PeriodTicks = None,
    period_resonances: PeriodResonances = None,
    ridge: Annotated[float | None, typer.Option(help="Penalty of the classifier. [default: 0.003]")] = None,
    spectral_radius: SpectralRadius = None,
    density: Density = None,
    input_strength: Annotated[
        float | None, typer.Option("--input", help="Input weights are uniform within this. [default: 1.7]")
    ] = None,
    bias: Bias = None,
    gain: Gain = None,
    baselines: Baselines = False,
    as_json: Json = False,
) -> None:
    """Train a network to tell sine, triangle, square and sawtooth apart, whatever their phase.

    Examples: `spinloom train recognise --model model.nc --nodes 40 --seed 0 --out recognise.nc`,
    `spinloom train recognise --model warm.nc --periods 16 --averaged 15 --power --out warm-recognise.nc`
    """
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.baselines import baseline_results
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
    result = recognise_stage(load_model(model), model, settings, out)
    if baselines:
        kinds = baseline_results(load_model(model), None, None, settings)["recognise"]
        result["baselines"] = {kind: one["accuracy"] for kind, one in kinds.items()}
    emit(result, as_json)


@train_app.command("patterns")
def train_patterns(
    model: Model,
    out: Out,
    tasks: Annotated[
        str, typer.Option(help="Two or more tasks with as many outputs, commas between.")
    ] = "sine,triangle,harmonics",
    nodes: Nodes = None,
    seed: Seed = 0,
    period_ticks: PeriodTicks = None,
    period_resonances: PeriodResonances = None,
    tours: Annotated[int | None, typer.Option(help="How often each switch is judged. [default: 5]")] = None,
    dwell: Annotated[int | None, typer.Option(help="Periods between two switches. [default: 12]")] = None,
    force_tours: Annotated[int | None, typer.Option(help="Of all switches, in FORCE. [default: 40]")] = None,
    noise: Annotated[float | None, typer.Option(help="Rms of the noise on the teacher. [default: 0.004]")] = None,
    tries: Annotated[int | None, typer.Option(help="Noises, of which the best is kept. [default: 4]")] = None,
    spectral_radius: SpectralRadius = None,
    density: Density = None,
    feedback: Feedback = None,
    input_strength: Annotated[
        float | None, typer.Option("--input", help="Input weights are uniform within this. [default: 0.7]")
    ] = None,
    bias: Bias = None,
    gain: Gain = None,
    baselines: Baselines = True,
    as_json: Json = False,
) -> None:
    """Train a network to generate several patterns, and to switch between them as its input asks.

    Examples: `spinloom train patterns --model model.nc --out patterns.nc`,
    `spinloom train patterns --tasks circle,eight --model model.nc --seed 1 --out plane.nc`
    """
    from spinloom.reduced_models.model import load_model
    from spinloom.workflows.patterns import patterns_stage
    from spinloom.workflows.settings import PatternSettings, override

    base = PatternSettings()
    settings = override(
        base,
        patterns=tuple(names_of(tasks)),
        seed=seed,
        period_ticks=period_ticks,
        period_resonances=period_resonances,
        tours=tours,
        dwell=dwell,
        training=override(base.training, force_tours=force_tours, noise=noise, tries=tries).model_dump(),
        topology=override(
            base.topology,
            nodes=nodes,
            spectral_radius=spectral_radius,
            density=density,
            feedback=feedback,
            input=input_strength,
            bias=bias,
            gain=gain,
        ).model_dump(),
    )
    emit(patterns_stage(load_model(model), model, settings, out, baselines), as_json)


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
    workers: Beside = 1,
    scheduler: Scheduler = None,
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
    from spinloom.networks.store import PATTERNS
    from spinloom.workflows.cosimulate import Elsewhere, load_networks, verdict_generate, verdict_recognise
    from spinloom.workflows.full_runs import How
    from spinloom.workflows.patterns import verdict_patterns
    from spinloom.workflows.recalibrate import recalibrate_files
    from spinloom.workflows.settings import RECOGNISE
    from spinloom.workflows.workers import Team

    team = Team(workers, scheduler, oommf)
    how = How(method or "", WINDOW if window is None else window, node_limit, anyway, kick)
    (trained,), model = load_networks([network])
    if trained.task != RECOGNISE and not team.alone:
        raise SpinloomError(
            "workers: are for networks that recognise; junctions of others exchange signals all the time"
        )
    choice = choose_engine(engine, oommf)
    if trained.task == PATTERNS:
        if recalibrate or kick:
            raise SpinloomError("recalibrate and kick: are for networks that generate one series")
        emit(verdict_patterns(trained, model, choice, temperature=temperature), as_json)
        return
    if trained.task != "generate":
        if recalibrate or kick:
            raise SpinloomError("recalibrate and kick: are for networks that generate")
        elsewhere = Elsewhere(network, team)
        emit(verdict_recognise(trained, model, choice, trials, how, temperature, elsewhere=elsewhere), as_json)
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
