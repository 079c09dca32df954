"""Stage: refine. All weights of a trained network go downhill, through its reduced nodes or through full ones."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.card import expect_cold
from spinloom.device_models.engines import Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.floquet import examine
from spinloom.networks.gradients import Descended, Descent, Objective, Taught, Told, descend
from spinloom.networks.seeds import JUDGES, stream
from spinloom.networks.store import TrainedNetwork, load_network, save_network
from spinloom.networks.tasks import CLASSES, inputs
from spinloom.networks.topology import Weights
from spinloom.networks.training import WASHOUT, learn, train_classifier
from spinloom.networks.trials import generate, recognise
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.chips import on_their_chips
from spinloom.workflows.console import progress, say
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings, override
from spinloom.workflows.train import judge

_FREE_PERIODS = 100
"""Periods of the free runs that figures before and after are of."""


def refine_network(
    network: TrainedNetwork,
    model: CalibratedModel,
    how: Descent,
    *,
    choice: Choice | None = None,
    noise: float = 0.01,
    periods: int = 5,
    trials: int = 96,
    ridge: float | None = None,
) -> tuple[TrainedNetwork, dict[str, Any]]:
    """Let the weights of a trained network go downhill, and train its read-out again.

    A generator's descent is through the teacher-forced ridge regression (:class:`spinloom.networks.gradients.Taught`),
    and what follows it is the training that the network had. A recogniser's is through the ridge classifier. The new
    network is kept if it does better on runs that neither it was trained on nor the figures are of.

    Parameters
    ----------
    network : TrainedNetwork
    model : CalibratedModel
    how : Descent
    choice : Choice, optional
        engine of the forward pass, for physics-aware training
    noise : float
        rms of the noise on what is fed back to a generator: more of it makes loops more stable, and shapes less exact
    periods : int
        that a generator is trained on in every step
    trials : int
        that a recogniser is trained on in every step
    ridge : float, optional
        penalty of the read-out within a step; that of the network's training if not given

    Returns
    -------
    network : TrainedNetwork
    result : dict
        ``task, refined, free, steps, physics_aware, loss_before, loss_after, wall_s``; of a generator ``nrmse_before,
        nrmse_after`` (the worst after each of its washouts), of a recogniser ``accuracy_before,
        accuracy_after``, both on runs that nothing was chosen on

    Raises
    ------
    SpinloomError
        for physics-aware training of warm networks, or with an engine that cannot run them side by side
    """
    began = time.perf_counter()
    given = network
    # The finish was of full nodes and of the weights as they were.
    (network,), model = on_their_chips([network.as_trained], model)
    kind = _Generator if network.task == "generate" else _Recogniser
    one = kind(network, model, noise, periods, trials, ridge)
    before = one.judged(network.weights)
    found = _descended(model, network, one.objective, how, choice)
    weights = one.trained(found.weights, how.seed)
    kept = one.selected(weights, how.seed) < one.selected(network.weights, how.seed)
    after = one.judged(weights) if kept else before
    result = {
        "task": network.name,
        "refined": bool(kept),
        "free": list(how.free),
        "steps": how.steps,
        "physics_aware": choice is not None,
        "loss_before": float(found.loss[0, 0]),
        "loss_after": float(found.loss.min()),
        f"{one.figure}_before": before,
        f"{one.figure}_after": after,
        "wall_s": time.perf_counter() - began,
    }
    if not kept:
        say(f"{network.name}: no better on fresh runs than before; left as it is")
        return given, result
    settings = {name: value for name, value in network.settings.items() if name != "finish"}
    reached = {**settings.get("reached", {}), one.figure: after}
    settings |= {"refine": {**result, "seed": how.seed}, "reached": reached}
    weights = replace(weights, devices=given.weights.devices)
    return replace(given, weights=weights, reduced=None, settings=settings), result


def _descended(
    model: CalibratedModel, network: TrainedNetwork, objective: Objective, how: Descent, choice: Choice | None
) -> Descended:
    what = f"refine {network.name}: {how.steps} steps"
    if choice is None:
        with progress(what, max(1, how.steps)) as bar:
            return descend(model.scaled, network.weights, objective, how, bar)
    expect_cold(model.card, "physics-aware training")
    if choice.recorded:
        raise SpinloomError(f"engine: physics-aware training needs one that computes, got {choice.name}; use embedded")
    say(choice.why)
    with open_engine(choice, model.cards, model.tick) as engine:
        if not (engine.live and engine.batched):
            raise SpinloomError(
                f"engine: physics-aware training starts many runs side by side, which {engine.name} "
                "cannot; use embedded"
            )
        with progress(f"{what}, forward in {engine.name} micromagnetics", max(1, how.steps)) as bar:
            return descend(model.scaled, network.weights, objective, how, bar, full=model.scale.of(engine.node))


class _Generator:
    """What refining a generator takes: its objective, its training, and two ways to look at it."""

    figure = "nrmse"

    def __init__(
        self,
        network: TrainedNetwork,
        model: CalibratedModel,
        noise: float,
        periods: int,
        trials: int,
        ridge: float | None,
    ) -> None:
        saved = {name: value for name, value in network.settings.items() if name in GenerateSettings.model_fields}
        settings = override(GenerateSettings(), **saved)
        self.settings = settings.model_copy(update={"free_periods": min(_FREE_PERIODS, settings.free_periods)})
        self.model, self.network = model, network
        self.node: Node = model.scaled
        how = self.settings.training
        self.objective: Objective = Taught(
            network.f[:, None], network.clock, periods=periods, noise=noise, ridge=ridge or how.ridge
        )

    def trained(self, weights: Weights, seed: int) -> Weights:
        """A new read-out, by the training that the network had."""
        how, f, clock = self.settings.training, self.network.f, self.network.clock
        with progress(f"train {self.network.name} again", how.lasts(clock is not None) * len(f)) as bar:
            return learn(self.node, weights, f, how, bar, clock=clock).weights

    def selected(self, weights: Weights, seed: int) -> float:
        """Error of a free run after the washout that read-outs are chosen on."""
        periods = self.settings.training.trim_periods
        return float(generate(self.node, weights, self.network.f, periods, WASHOUT, clock=self.network.clock).nrmse[0])

    def judged(self, weights: Weights) -> float:
        """The largest error after other washouts."""
        return judge(self.node, weights, self.network.f[:, None], self.settings)[0]["nrmse"]


class _Recogniser:
    """The same of a network that recognises."""

    figure = "accuracy"

    def __init__(
        self,
        network: TrainedNetwork,
        model: CalibratedModel,
        noise: float,
        periods: int,
        trials: int,
        ridge: float | None,
    ) -> None:
        saved = {name: value for name, value in network.settings.items() if name in RecogniseSettings.model_fields}
        self.settings = override(RecogniseSettings(), **saved)
        self.network = network
        self.node: Node = model.scaled
        listening = network.listening
        ticks, length = listening["period_ticks"], listening["periods"] * listening["period_ticks"]

        def fresh(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
            classes = rng.permutation(np.arange(n) % len(CLASSES))
            return inputs(classes, rng.uniform(0, 2 * np.pi, n), length, ticks), classes

        self.objective: Objective = Told(
            fresh,
            len(CLASSES),
            ticks,
            averaged=listening["averaged"],
            power=listening["power"],
            ridge=ridge or self.settings.ridge,
            runs=trials,
        )

    def _trials(self, weights: Weights, trials: int, rng: np.random.Generator, seed: int) -> Any:
        return recognise(self.node, weights, trials=trials, rng=rng, seed=seed, **self.network.listening)

    def trained(self, weights: Weights, seed: int) -> Weights:
        """A new classifier, of as many trials as before."""
        blank = weights.with_readout(np.zeros_like(weights.w_out))
        rng = stream(self.settings.seed, "training trials")
        seen = self._trials(blank, self.settings.train_trials, rng, 0)
        w_out = train_classifier(seen.features[0], seen.classes[0], len(CLASSES), self.settings.ridge)
        return weights.with_readout(w_out[None])

    def selected(self, weights: Weights, seed: int) -> float:
        """Share of wrong answers, and beside it how far the outputs are from what they should be."""
        seen = self._trials(weights, self.settings.train_trials, stream(seed, "selection"), JUDGES + 1)
        codes = 2.0 * np.eye(len(CLASSES))[seen.classes[0]] - 1
        x = np.column_stack([seen.features[0], np.ones(len(codes))])
        apart = ((x @ np.asarray(weights.w_out[0]).T - codes) ** 2).mean()
        return 1 - float(seen.accuracy[0]) + 1e-3 * float(apart)

    def judged(self, weights: Weights) -> float:
        """Right answers in the test trials."""
        rng = stream(self.settings.seed, "test trials")
        return float(self._trials(weights, self.settings.test_trials, rng, JUDGES).accuracy[0])


def refine_file(path: Path, out: Path, how: Descent, *, choice: Choice | None = None, **options: Any) -> dict[str, Any]:
    """Refine the network of a file and write a new one; nothing is written if that is interrupted.

    Returns
    -------
    result : dict
        as of :func:`refine_network`, with ``out``

    Raises
    ------
    SpinloomError
        for an output that is the network itself
    """
    if out.resolve() == path.resolve():
        raise SpinloomError(f"{out}: is the network itself; choose another output for the refined one")
    files.check_writable(out)
    network, model_path = load_network(path)
    network.expect("generate", "recognise")
    refined, result = refine_network(network, load_model(model_path), how, choice=choice, **options)
    save_network(refined, out, model_path)
    return {**result, "out": str(out)}


def floquet_file(path: Path, steps: int) -> dict[str, Any]:
    """Why the network of a file does or does not generate (:func:`spinloom.networks.floquet.examine`).

    Returns
    -------
    result : dict
        ``task, verdict, words, nrmse, nrmse_taught, forced, closed, within_reach``: the largest moduli of the Floquet
        multipliers with the target fed back and of the closed loop, and what a search over read-outs came to
    """
    network, model_path = load_network(path)
    network.expect("generate")
    model = load_model(model_path)
    expect_cold(model.card, "the Floquet multipliers")
    (network,), model = on_their_chips([network], model)
    with progress(f"orbit of {network.name}", 1) as bar:
        found = examine(model.scaled, network.as_trained.weights, network.f, clock=network.clock, steps=steps)
        bar(1)
    return {
        "task": network.name,
        "verdict": found.verdict,
        "words": _WORDS[found.verdict],
        "nrmse": found.nrmse,
        "nrmse_taught": found.taught,
        "forced": float(np.abs(found.forced[0])),
        "closed": np.abs(found.closed[:3]).tolist(),
        "within_reach": found.within_reach,
    }


_WORDS = {
    "stable": "the free run keeps to the target",
    "sings": "the nodes do not settle even with the target fed back: no read-out can help; lower the gain, or refine",
    "unstable": "the loop leaves the orbit, and so it does with every read-out that was looked at; refine the other "
    "weights, or give it a clock",
    "not reached": "the loop leaves the orbit, but another read-out as good on it holds it: train longer, with more "
    "noise",
    "stable beside it": "the orbit is stable, but its error, or where the free run starts, keeps the series from it",
}
