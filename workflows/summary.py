"""What a run found, in figures and in words: ``summary.json``, and the table at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.provenance import stamp, versions
from spinloom.networks.measures import least_share
from spinloom.networks.record import TWO_ENGINES
from spinloom.networks.tasks import task_name
from spinloom.workflows.settings import Experiment

Result = dict[str, Any]
CHIP = ", chip "
"""What stands between the name of a task and the number of a chip."""


def summarise(experiment: Experiment, card: DeviceCard, done: Mapping[str, Any], wall_s: Mapping[str, float]) -> Result:
    """The figures of a run, as ``summary.json`` holds them; those of full micromagnetics only of what ran there.

    Parameters
    ----------
    experiment : Experiment
    card : DeviceCard
        at the experiment's temperature
    done : mapping
        results of the stages; of several chips, figures are medians over them, and ``chips`` has those of each
    wall_s : mapping of str to float
        what stages took (s)

    Returns
    -------
    summary : dict
    """
    calibration, fit = done["calibrate"], done["fit"]
    verdicts = by_task(done.get("cosimulate-generate", []))
    finishes = by_task(done.get("finish", []))
    generated = {}
    for name, chips in by_task(done.get("train-generate", [])).items():
        full = verdicts.get(name, [])
        generated[name] = {
            **_reduced(median_of(chips)),
            "finish": finishes[name][0] if name in finishes else None,
            "verified": bool(full) and not any(one["stopped"] for one in full),
            **(_in_full(median_of(full)) if full else {}),
        }
        if experiment.chips > 1:
            nrmse = {
                "nrmse_reduced": [one["nrmse"] for one in chips],
                "nrmse_full": [one["nrmse_full"] for one in full],
            }
            generated[name]["chips"] = nrmse
    recognised = _recognised(done["train-recognise"], done.get("cosimulate-recognise", []), experiment.chips)
    verified = recognised["verified"] or any(one["verified"] for one in generated.values())
    return {
        "name": experiment.name,
        "outcome": "verified" if verified else "nothing to verify",
        "words": _words(fit, generated, recognised, verified, card.conditions.temperature),
        "temperature": card.conditions.temperature,
        "chips": experiment.chips,
        "device": json.loads(card.to_json()),
        "engine": {"name": calibration["engine"], "version": calibration["engine_version"]},
        "calibration": {key: calibration[key] for key in ("device_ns", "wall_s", "trajectories", "tick_s")},
        "reduced_model": {key: fit[key] for key in FIT_FIGURES},
        "generate": generated,
        "recognise": recognised,
        "foretold": done.get("foretell"),
        "baselines": _beside(generated, recognised, done.get("baselines")),
        "wall_s": dict(wall_s),
        "experiment": experiment.model_dump(mode="json"),
        "versions": versions(),
        "made": {key: value for key, value in stamp().items() if key != "versions"},
    }


def by_task(results: list[Result]) -> dict[str, list[Result]]:
    """Results of networks by the name of their task, those of each chip in turn."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(task_name(result["task"]).split(CHIP)[0], []).append(result)
    return found


def median_of(results: list[Result]) -> Result:
    """One result of several chips: medians of numbers, whether all are true, the sum of tables; else the first's.

    Examples
    --------
    >>> median_of([{"nrmse": 0.1, "ok": True, "task": "sine"}, {"nrmse": 0.3, "ok": False, "task": "sine"}])
    {'nrmse': 0.2, 'ok': False, 'task': 'sine'}
    """
    first = results[0]
    return first if len(results) == 1 else {key: _middle([one[key] for one in results]) for key in first}


def _middle(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict) and all(isinstance(value, dict) and value.keys() == first.keys() for value in values):
        return median_of(values)
    if any(value is None for value in values):
        return None
    if isinstance(first, bool):
        return all(values)
    if isinstance(first, (int, float)):
        return type(first)(np.median(values))
    if isinstance(first, list) and first and isinstance(first[0], list):
        return np.sum(values, axis=0).tolist()
    return first


def _reduced(result: Result) -> Result:
    """What reduced nodes did, of a generator."""
    same = ("seed", "period_s", "generates", "words", "nrmse_taught")
    renamed = ("nrmse", "nrmse_mean", "shape_error", "phase_drift_per_period", "periods", "washouts", "outside_share")
    return {**{key: result[key] for key in same}, **{f"{key}_reduced": result[key] for key in renamed}}


def _recognised(trained: list[Result], full: list[Result], chips: int) -> Result:
    """What was recognised, reduced and full."""
    one = median_of(trained)
    result = {
        "classes": one["classes"],
        "seed": one["seed"],
        "accuracy_reduced": one["accuracy"],
        "trials_reduced": one["trials"],
        "chance": one["chance"],
        "above_chance": one["above_chance"],
        "words": one["words"],
        "confusion_reduced": one["confusion"],
        "outside_share_reduced": one["outside_share"],
        "verified": bool(full),
    }
    if full:
        verdict = median_of(full)
        result |= {
            "engine_full": verdict["engine"],
            "accuracy_full": verdict["accuracy_full"],
            "trials_full": verdict["trials"],
            "confusion_full": verdict["confusion"],
            "outside_share_full": verdict["outside_share"],
            **_sure(verdict["confusion"]),
        }
    if chips > 1:
        each = {
            "accuracy_reduced": [t["accuracy"] for t in trained],
            "accuracy_full": [v["accuracy_full"] for v in full],
        }
        result["chips"] = each
    return result


def _sure(confusion: list[list[int]]) -> Result:
    """Right answers of all trials and chips, and the least share that they leave likely."""
    right, trials = int(np.trace(confusion)), int(np.sum(confusion))
    return {"right_full": right, "of_full": trials, "accuracy_full_least": least_share(right, trials)}


FIT_FIGURES = (
    "kind",
    "verdict",
    "words",
    "reach",
    "reach_curve",
    "holdout_nrmse",
    "us_per_device_tick",
    "outside_share",
    "params",
    "scale",
)


def _in_full(verdict: Result) -> Result:
    """What full micromagnetics said about a generator."""
    return {
        "engine_full": verdict["engine"],
        "nrmse_full": verdict["nrmse_full"],
        "shape_error_full": verdict["shape_error_full"],
        "nrmse_reduced_over_periods_full": verdict["nrmse_reduced"],
        "periods_full": verdict["periods"],
        "phase_drift_per_period": verdict["phase_drift_per_period"],
        "max_node_difference": verdict.get("max_node_difference"),
        "outside_share_full": verdict["outside_share"],
        "stopped": verdict["stopped"],
        "model_error": verdict.get("model_error"),
        "kick": verdict.get("kick"),
        **{key: verdict[key] for key in ("noise", "seeds", "seeds_reduced", "agrees") if key in verdict},
        **{key: verdict[key] for key in TWO_ENGINES if key in verdict},
    }


def _words(fit: Result, generated: Result, recognised: Result, verified: bool, temperature: float) -> list[str]:
    """What a reader has to know, the most important first."""
    told = [] if verified else ["Nothing to verify in full micromagnetics: everything is saved; what to change:"]
    told += [] if fit["verdict"] == "good" else [fit["words"]]
    told += [one["words"] for one in generated.values() if not one["generates"]]
    told += [
        f"{name}: the reduced model is wrong where this network goes"
        for name, g in generated.items()
        if g.get("stopped")
    ]
    kicks = {name: g["kick"] for name, g in generated.items() if g.get("kick")}
    told += [_kicked(name, kick) for name, kick in kicks.items() if not kick["returns"]]
    told += [
        f"{name}: at {temperature:g} K full micromagnetics does not do what the reduced model does (see the noise of "
        "both)"
        for name, g in generated.items()
        if g.get("agrees") is False
    ]
    told += [] if recognised["above_chance"] else [recognised["words"]]
    if not verified:
        told.append(
            "'spinloom tune DEVICE.toml --out EXPERIMENT.toml' finds an operating point, or says what to change"
        )
    return told


def _kicked(name: str, kick: Result) -> str:
    """What a kick from which a network does not return means."""
    errors = kick["shape_error_after"]
    return (
        f"{name}: does not return from a kick of {kick['size']:g} in m within {len(errors)} periods (shape error "
        f"{errors[-1]:.2g}); noise may throw it off too: try another --seed, or more --noise in training"
    )


def results_table(summary: Result) -> Table:
    """The outcome of a run, for a terminal."""
    table = Table(title=f"{summary['name']}: {summary['outcome']}", box=None, title_justify="left")
    for heading in ("task", "period (ns)", "NRMSE reduced", "NRMSE full", "drift (mrad/period)", "after a kick"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, g in summary["generate"].items():
        drift, kick = g.get("phase_drift_per_period"), g.get("kick")
        table.add_row(
            f"generate {name}",
            f"{g['period_s'] * 1e9:.3f}",
            f"{_number(g['nrmse_reduced'])} ({g['periods_reduced']} periods)",
            f"{_number(g['nrmse_full'])} ({g['periods_full']} periods)" if "nrmse_full" in g else "not verified",
            "" if drift is None else f"{1e3 * drift:+.2f}",
            "" if kick is None else "returns" if kick["returns"] else "does not return",
        )
    r = summary["recognise"]
    full = (
        f"{r['right_full']} of {r['of_full']} (≥ {r['accuracy_full_least']:.0%})" if r["verified"] else "not verified"
    )
    table.add_row("recognise", "", f"{r['accuracy_reduced']:.1%} of {r['trials_reduced']}", full, "", "")
    return table


def baselines_table(summary: Result) -> Table:
    """What the same networks do without magnets, for a terminal."""
    found, junctions = summary["baselines"], {**summary["generate"]}
    periods = next((kinds["leaky"]["periods"] for kinds in found["generate"].values()), 0)
    title = f"without magnets, the same training: NRMSE over {periods} periods, one seed"
    table = Table(title=title, box=None, title_justify="left")
    for heading in ("task", "junctions (reduced)", *found["kinds"]):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for task, kinds in found["generate"].items():
        errors = (_number(kinds[kind]["nrmse"]) for kind in found["kinds"])
        table.add_row(f"generate {task}", _number(junctions[task]["nrmse_reduced"]), *errors)
    right = (f"{found['recognise'][kind]['accuracy']:.1%}" for kind in found["kinds"])
    table.add_row("recognise", f"{summary['recognise']['accuracy_reduced']:.1%}", *right)
    return table


def _beside(generated: Result, recognised: Result, baselines: Result | None) -> Result | None:
    """Baselines, with words about where nodes without magnets do as well as junctions."""
    if baselines is None:
        return None
    rivals: dict[str, list[str]] = {}
    for name, one in generated.items():
        kinds = baselines["generate"][name].items()
        rivals[name] = [kind for kind, b in kinds if one["generates"] and _no_worse(b["nrmse"], one["nrmse_reduced"])]
    least = recognised["accuracy_reduced"] if recognised["above_chance"] else 2.0
    rivals["recognise"] = [kind for kind, b in baselines["recognise"].items() if b["accuracy"] >= least]
    told = [
        f"{name}: {' and '.join(kinds)} {'does' if len(kinds) == 1 else 'do'} as well without a junction: this task "
        "cannot tell what junctions are worth"
        for name, kinds in rivals.items()
        if kinds
    ]
    return {**baselines, "words": told}


def _no_worse(error: float | None, than: float | None) -> bool:
    return error is not None and (than is None or error <= than)


def _number(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}"
