"""What OOMMF is given to compute: ubermag's input for a system, with a drive held by stage index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.llg import FOLLOWED, longest_step
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.system import OERSTED, card_system

if TYPE_CHECKING:
    import micromagneticmodel as mm

NAME = "node"
"""Base name of every file of a run; folders tell runs apart."""
READY = "spinloom ready"
"""What a live node reports when a stage begins, followed by the stage's number."""
PIPE = "drive"
WAIT = "wait"
"""In place of a drive: look after the tables, report the stage again, and ask again."""
RELAX_TORQUE = 1e-4
"""Relaxation stops when every cell has \\|m x H\\| below this (A/m), as in the embedded engine."""
MANY_STAGES = 10_000_000
THERMAL_STEP = 0.15
"""Longest step at T > 0, times the fastest angular frequency of a mode."""
SEEDS = 2**31 - 2
"""Seeds of OOMMF's random numbers are whole numbers from 1 to this."""
_SEED = "RandomSeed"
"""Of a whole MIF. The evolver's own ``uniform_seed`` is overruled by it, and without it by the clock."""

_HELD = """set spinloom_u {{ {drives} }}
proc SpinloomDrive {{ stage }} {{ global spinloom_u; return [lindex $spinloom_u $stage] }}

"""
# Whatever depends on the drive asks here, and the first to ask in a new stage waits for it. OOMMF does nothing else
# meanwhile: a table that is not connected yet is connected by the events that "update" lets in.
_LIVE = f"""set spinloom_stage -1
proc SpinloomDrive {{ stage }} {{
  global spinloom_stage spinloom_u
  if {{ $stage != $spinloom_stage }} {{
    set spinloom_stage $stage
    Report "{READY} $stage"
    while {{ [set spinloom_u [string trim [ReadFile {PIPE}]]] eq "{WAIT}" }} {{
      update
      Report "{READY} $stage"
    }}
  }}
  return $spinloom_u
}}

"""


_OERSTED = """proc SpinloomOersted { stage } {
  set u [SpinloomDrive $stage]
  return [list $u $u $u 0 0 0]
}

"""


def write_relaxation(folder: Path, card: DeviceCard) -> str:
    """Input of a relaxation at zero drive, from the card's start.

    Writes ``node.mif`` and ``m0.omf`` into ``folder``. The field is saved once, at the end.

    Returns
    -------
    text : str
        what stands in ``node.mif``
    """
    import oommfc

    system = _named(card_system(card))
    oommfc.MinDriver(stopping_mxHxm=RELAX_TORQUE).write_mif(system, dirname=str(folder))
    return (folder / f"{NAME}.mif").read_text(encoding="utf-8")


def write_waveform(
    folder: Path, card: DeviceCard, m: np.ndarray, durations: np.ndarray, u: np.ndarray, seed: Sequence[int] = (0,)
) -> str:
    """Input of a run under a known drive: stage k holds ``u[k]`` for ``durations[k]``.

    The drive is taken by the stage's index, by the torque and by the Oersted field of the
    current if the card has one: sampling it in time would shift a held value by up to half a
    tick. A row of the table is written at the end of each stage, and the field
    at the end of the first and the last.

    Parameters
    ----------
    folder : Path
        gets ``node.mif`` and ``m0.omf``
    card : DeviceCard
    m : (nx, ny, nz, 3) ndarray
        directions to start from
    durations : (n,) ndarray
        (s)
    u : (n,) ndarray
        drives, J = u J_max
    seed : sequence of int
        of the thermal field, if the card is warm

    Returns
    -------
    text : str
        what stands in ``node.mif``
    """
    script = _HELD.format(drives=" ".join(repr(float(x)) for x in u))
    text = _time_driver(folder, card, m, script, durations, len(u), seed)
    if np.ptp(durations) > 0:
        times = " ".join(repr(float(x)) for x in durations)
        text = re.sub(r"(?m)^  stopping_time .*$", f"  stopping_time {{ {times} }}", text)
    # "Stage n" means stage 0 and every n-th after it, so this saves the last one too.
    text = text.replace("Magnetization mags Stage 1", f"Magnetization mags Stage {max(1, len(u) - 1)}")
    (folder / f"{NAME}.mif").write_text(text, encoding="utf-8")
    return text


def write_live(folder: Path, card: DeviceCard, m: np.ndarray, tick: float) -> str:
    """Input of a live node: every stage is a tick, and waits for its drive on a named pipe.

    When a stage begins, the procedure that gives the drive reports the stage and reads from
    the pipe ``drive`` in its folder; see :mod:`spinloom.device_models.engines.oommf.live`.

    Returns
    -------
    text : str
        what stands in ``node.mif``
    """
    text = _time_driver(folder, card, m, _LIVE, np.array([tick]), MANY_STAGES, (0,))
    text = re.sub(r"(?m)^(Destination mags|Schedule Oxs_TimeDriver::Magnetization) .*\n", "", text)
    (folder / f"{NAME}.mif").write_text(text, encoding="utf-8")
    return text


def thermal_step(card: DeviceCard, durations: np.ndarray) -> float:
    """Step of OOMMF's thermal evolver (s): each hold is a whole number of them.

    The evolver takes the variance of its noise from the step that it is told, and would take the last step of a
    hold shorter.

    Raises
    ------
    SpinloomError
        for holds that have no such step in common
    """
    longest = THERMAL_STEP / FOLLOWED * longest_step(card)
    shortest = float(durations.min())
    step = shortest / np.ceil(shortest / longest)
    many = durations / step
    if np.abs(many - np.round(many)).max() > 1e-6 * many.max():
        raise SpinloomError(
            "t_s: with OOMMF at a temperature every hold has to be a whole number of the shortest one, got "
            f"{durations.min():g} s and {durations[np.abs(many - np.round(many)).argmax()]:g} s; use --engine embedded"
        )
    return float(step)


def _driver(card: DeviceCard, durations: np.ndarray) -> Any:
    import oommfc

    if card.conditions.temperature == 0:
        return oommfc.TimeDriver()
    evolver = oommfc.Xf_ThermSpinXferEvolver(method="rk2heun", min_timestep=thermal_step(card, durations))
    return oommfc.TimeDriver(evolver=evolver)


def _time_driver(
    folder: Path,
    card: DeviceCard,
    m: np.ndarray,
    script: str,
    durations: np.ndarray,
    stages: int,
    seed: Sequence[int],
) -> str:
    import micromagneticmodel as mm

    system, tick = _named(card_system(card, m, u=1.0)), float(durations[0])
    system.T = card.conditions.temperature
    (torque,) = system.dynamics.get(type=mm.Slonczewski)
    torque.tcl_strings = {"script": script, "script_name": "SpinloomDrive", "script_args": "stage"}
    for field in system.energy.get(type=mm.Zeeman):
        if field.name == OERSTED:
            field.tcl_strings = {
                "script": _OERSTED,
                "script_name": "SpinloomOersted",
                "script_args": "stage",
                "energy": "Oxs_TransformZeeman",
                "type": "diagonal",
            }
    _driver(card, durations).write_mif(system, dirname=str(folder), t=tick * stages, n=stages)
    text = (folder / f"{NAME}.mif").read_text(encoding="utf-8")
    # t / n does not give every tick back to the last digit.
    text = re.sub(r"(?m)^  stopping_time .*$", f"  stopping_time {tick!r}", text)
    if card.conditions.temperature > 0:
        text = text.replace("SetOptions {", f"{_SEED} {_number(seed)}\n\nSetOptions {{", 1)
    return re.sub(r"(?m)^Destination archive .*\n", "", text)


def reseed(folder: Path, seed: Sequence[int]) -> None:
    """Give the thermal field of a run that has not begun another seed; there is none in a cold one."""
    path = folder / f"{NAME}.mif"
    text = re.sub(rf"(?m)^{_SEED} .*$", f"{_SEED} {_number(seed)}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def _number(seed: Sequence[int]) -> int:
    return 1 + int(np.random.SeedSequence(seed).generate_state(1)[0]) % SEEDS


def input_files(folder: Path) -> list[Path]:
    """The files of a run that has not begun: the input, and the fields that it names."""
    return [path for path in folder.iterdir() if path.suffix in (".mif", ".omf", ".ovf")]


def _named(system: mm.System) -> mm.System:
    """The system under a name that is safe as a file's on every machine."""
    return type(system)(name=NAME, energy=system.energy, dynamics=system.dynamics, m=system.m)
