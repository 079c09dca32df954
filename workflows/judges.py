"""Batches of a search on workers: each is judged whole in one process, as many at once as there are workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinloom.device_models.errors import SpinloomError
from spinloom.reduced_models.model import load_model, save_model
from spinloom.workflows.search import Candidate, Judge, Search
from spinloom.workflows.workers import Cluster, Here, Team

MOST = 8
"""Batches of a round at most: those that are proposed at once learn nothing from each other."""


@contextmanager
def spread(search: Search, team: Team, path: Path) -> Iterator[None]:
    """Let the batches of a search go to workers within the block; alone, nothing changes.

    Parameters
    ----------
    search : Search
    team : Team
    path : path
        where the model of the first two rungs goes, for all processes to read
    """
    if team.alone:
        yield
        return
    save_model(search.judge.models[0], path)
    with team.open() as workers:
        search.at_once = min(max(workers.count, 1), MOST)
        search.elsewhere = Judges(workers, path)
        try:
            yield
        finally:
            search.at_once, search.elsewhere = 1, None


class Judges:
    """Workers that judge batches.

    Parameters
    ----------
    workers : Here or Cluster
    path : path
        of the model
    """

    def __init__(self, workers: Here | Cluster, path: Path) -> None:
        self.workers, self.path = workers, path.resolve()

    def __call__(self, judge: Judge, groups: list[list[Candidate]]) -> None:
        """Write into the candidates of all groups how they did.

        Raises
        ------
        SpinloomError
            if a group could not be judged
        """
        files = [str(Path(task).resolve()) if task.endswith(".csv") else task for task in judge.tasks]
        given = {"model": str(self.path), "tasks": files, "nodes": judge.nodes, "seed": judge.seed}
        params = [[candidate.params for candidate in group] for group in groups]
        for done in self.workers.map(judged_on_worker, [{**given, "params": one} for one in params]):
            if done.error:
                raise SpinloomError(f"search: candidates {groups[done.number][0].number} and on: {done.error}")
            for candidate, found in zip(groups[done.number], done.value, strict=True):
                named = {
                    kind: dict(zip(judge.tasks, (found[kind][task] for task in files), strict=True))
                    for kind in ("errors", "states")
                }
                candidate.take({**found, **named}, judge)


def judged_on_worker(given: dict[str, Any]) -> list[dict[str, Any]]:
    """A batch on a worker: ``model`` (path), ``tasks``, ``nodes``, ``seed``, ``params``; what it found of each."""
    model = load_model(given["model"])
    judge = Judge((model, model, model), tuple(given["tasks"]), given["nodes"], given["seed"])
    group = [Candidate(number, params) for number, params in enumerate(given["params"])]
    judge.batch(group)
    return [candidate.found for candidate in group]
