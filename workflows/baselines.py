"""What the same network does without magnets: beside each figure of junctions, those of nodes that are none.

Same topology, seed, data and training, on nodes without memory, on leaky integrators, on macrospins, and on no nodes at
all; and an echo state network that was tuned. Where one of them does as well, the task says nothing about junctions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models.node import Node
from spinloom.networks.measures import GENERATES, GENERATES_WARM, against_chance
from spinloom.networks.tasks import CLASSES, task_name
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.networks.training import learn
from spinloom.reduced_models.baselines import LEAK, baselines
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows import rigid
from spinloom.workflows.console import say
from spinloom.workflows.echo_state import CANDIDATES, Tuned, tune_generator, tune_recogniser
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings
from spinloom.workflows.train import judge, listen, targets

NO_NODES, MACROSPIN, ECHO_STATE = "no nodes", "macrospin", "echo state"
KINDS = {
    NO_NODES: "the linear read-out of what would be fed in",
    "memoryless": "nodes that are their clipped drive",
    "leaky": f"leaky integrators of it, leak {LEAK:g} per tick",
    MACROSPIN: "rigid layers in the junctions' place",
    ECHO_STATE: f"tanh nodes, the best of {CANDIDATES} operating points",
}
"""What stands beside the junctions."""
PERIODS = 200
"""Of each free run that they are judged by, at most."""
_SMALL = 0.1
"""Drive for an input of 1 where there are no nodes: well within the clip."""
Result = dict[str, Any]


def baseline_results(
    model: CalibratedModel,
    calibration: xr.Dataset | None,
    generate: GenerateSettings | None,
    recognise: RecogniseSettings | None,
    seeds: list[int] | None = None,
) -> Result:
    """Train and judge every baseline as the junctions were.

    Parameters
    ----------
    model : CalibratedModel
        of the junction that they stand beside
    calibration : xarray.Dataset or None
        what macrospins are fitted to; rigid layers of the card stand in their place without it, and for what is warm or
        of a population
    generate : GenerateSettings or None
    recognise : RecogniseSettings or None
    seeds : list of int, optional
        of the topologies; that of the settings if not given

    Returns
    -------
    result : dict
        ``generate``, by task and kind ``nrmse`` (the median over seeds), ``worst, periods, generates``;
        ``recognise``, by kind ``accuracy`` and its interval of 95 %, ``accuracy_low, accuracy_high``, over all
        ``trials``; ``echo_state``, what was drawn for it out of how many ``candidates``; ``seeds``, how many;
        ``kinds``, what each is
    """
    nodes = {name: node for name, node in baselines(model).items() if name != "tanh"}
    nodes[MACROSPIN] = macrospin(model, calibration)
    result: Result = {"generate": {}, "recognise": {}, "echo_state": {}, "kinds": KINDS, "seeds": len(seeds or [0])}
    if generate is not None and generate.tasks:
        say("baselines: the same training on nodes without magnets")
        result["generate"], tuned = _generated(model, nodes, generate, seeds or [generate.seed])
        result["echo_state"]["generate"] = _told(tuned)
    if recognise is not None:
        result["recognise"], tuned = _recognised(model, nodes, recognise, seeds or [recognise.seed])
        result["echo_state"]["recognise"] = _told(tuned)
    return result


def without_magnets(model: CalibratedModel, settings: GenerateSettings) -> dict[str, dict[str, float]]:
    """The NRMSE of every baseline, by task and kind; what they come to is said.

    Parameters
    ----------
    model : CalibratedModel
    settings : GenerateSettings
    """
    found = baseline_results(model, None, settings, None)["generate"]
    for task, kinds in found.items():
        each = ", ".join(f"{kind} {one['nrmse']:.2g}" for kind, one in kinds.items())
        say(f"{task} without magnets, NRMSE: {each}")
    return {task: {kind: one["nrmse"] for kind, one in kinds.items()} for task, kinds in found.items()}


def macrospin(model: CalibratedModel, calibration: xr.Dataset | None) -> Node:
    """A macrospin as a network takes it, fitted to the calibration; a rigid layer of the card where it cannot be.

    A rigid layer has the demagnetisation of the card's mesh, and the noise of the fluctuation-dissipation theorem.
    """
    if calibration is not None and not model.temperature and model.deviations is None and model.node.devices == 1:
        return fit_model(calibration, "macrospin", model.scale.reach).scaled
    layer = rigid.rigid([model.card], [rigid.TICKS * model.tick])
    return model.scale.of(layer.node)


def _generated(
    model: CalibratedModel, nodes: dict[str, Node], settings: GenerateSettings, seeds: list[int]
) -> tuple[Result, Tuned]:
    settings = settings.model_copy(update={"free_periods": min(settings.free_periods, PERIODS)})
    f = targets(list(settings.tasks), settings.ticks(model))
    tuned = tune_generator(settings, model.tick, f)
    f, jobs = np.repeat(f, len(seeds), axis=1), seeds * f.shape[1]
    weights = draw(settings.topology, jobs, f.shape[2])
    bare = inputs_alone(settings.topology, f.shape[1], f.shape[2])
    runs = {
        NO_NODES: (nodes["memoryless"], bare, settings),
        **{name: (node, weights, settings) for name, node in nodes.items()},
        ECHO_STATE: (tuned.node, draw(tuned.settings.topology, jobs, f.shape[2]), tuned.settings),
    }
    found: Result = {task_name(task): {} for task in settings.tasks}
    for name, (node, untrained, how) in runs.items():
        trained = learn(node, untrained, f, how.training, clock=how.topology.clock_period(len(f)))
        errors = np.reshape([one["nrmse"] for one in judge(node, trained.weights, f, how)], (len(found), len(seeds)))
        enough = GENERATES_WARM if model.temperature else GENERATES
        for task, each in zip(found, errors, strict=True):
            nrmse, worst = float(np.median(each)), float(each.max())
            found[task][name] = {
                "nrmse": nrmse,
                "worst": worst,
                "periods": settings.free_periods,
                "generates": nrmse <= enough,
            }
    return found, tuned


def inputs_alone(topology: Topology, networks: int, outputs: int, input_strength: float = 1.0) -> Weights:
    """Networks of no junctions: "nodes" that hand on what is fed back and what is fed in, for one tick.

    Examples
    --------
    >>> weights = inputs_alone(Topology(spectral_radius=1, bias=0, gain=1, feedback=1, clock=2.0), 3, 1)
    >>> bool(weights.W.any()), weights.w_fb[0].ravel().tolist(), weights.W_in[0].tolist()
    (False, [1.0, 0.0], [0.0, 1.0])
    """
    fed, heard = (outputs if topology.feedback else 0), bool(topology.clock or topology.input)
    size = max(1, fed + heard)  # a network that hears nothing has a node that says nothing
    w_fb, W_in = np.zeros((networks, size, outputs)), np.zeros((networks, size))
    w_fb[:, :fed] = np.eye(fed, outputs)
    W_in[:, fed:] = input_strength * heard
    return Weights(
        W=np.zeros((networks, size, size)),
        w_fb=w_fb,
        W_in=W_in,
        b=np.zeros((networks, size)),
        gain=np.full(networks, _SMALL),
        w_out=np.zeros((networks, outputs, size + 1)),
    )


def _recognised(
    model: CalibratedModel, nodes: dict[str, Node], settings: RecogniseSettings, seeds: list[int]
) -> tuple[Result, Tuned]:
    period = settings.ticks(model)
    tuned = tune_recogniser(settings, model.tick, period)
    weights, outputs = draw(settings.topology, seeds, len(CLASSES)), len(CLASSES)
    runs = {
        NO_NODES: (nodes["memoryless"], inputs_alone(settings.topology, len(seeds), outputs), settings),
        **{name: (node, weights, settings) for name, node in nodes.items()},
        ECHO_STATE: (tuned.node, draw(tuned.settings.topology, seeds, outputs), tuned.settings),
    }
    found = {}
    for name, (node, untrained, how) in runs.items():
        tests = [listen(node, untrained.one(k), how, period, seed)[1] for k, seed in enumerate(seeds)]
        right = sum(int((test.classes == test.answers).sum()) for test in tests)
        trials = sum(test.classes.size for test in tests)
        found[name] = {"accuracy": right / trials, "trials": trials, **against_chance(right, trials, len(CLASSES))}
    return found, tuned


def _told(tuned: Tuned) -> Result:
    return {"candidates": tuned.candidates, "params": tuned.params}
