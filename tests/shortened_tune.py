"""The command line with searches and trainings shortened, for tests that start it as a program of its own."""

import sys

from spinloom.device_models.calibration import Protocol
from spinloom.workflows import finalists, search, tune
from spinloom.workflows.cli import main

SHORT = {
    search: {
        "BATCH": 8, "PROMOTED": 4, "LAST": 4, "TAUGHT": (9, 800, 800), "FORCED": (4, 200, 300), "FREE": (9, 800, 800),
    },
    finalists: {"GLANCE": 1},
    tune: {
        "FINALISTS": 2, "CHOSEN_ON": 1, "JUDGED_ON": 2, "FREE_PERIODS": 5, "RECOGNISERS": 2, "TRIALS": 40, "TRIES": 1,
    },
}  # fmt: skip


class ShortProtocol(Protocol):
    """Sixteen trajectories of 200 ticks."""

    trajectories: int = 12
    duration: float = 1.5e-9
    grades: tuple[float, ...] = (0.5,)
    per_grade: int = 4


if __name__ == "__main__":
    for module, values in SHORT.items():
        for name, value in values.items():
            setattr(module, name, value)
    training = tune.Training(teacher_periods=20, force_periods=10, trim_rounds=2, trim_periods=8)
    tune.Training = lambda **given: training.model_copy(update=given)
    tune.Protocol = ShortProtocol
    main(sys.argv[1:])
