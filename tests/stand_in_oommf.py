"""A stand-in for OOMMF: what Spinloom sees of it from outside, and a magnetisation that turns in the plane.

Run it as OOMMF is run: ``python stand_in_oommf.py boxsi +fg node.mif ...``. The angle of the whole field
follows the drive as a first-order low pass, faster with more damping, so that a run and a live node agree to
the last digits.

Environment variables
---------------------
STAND_IN_VERSION
    the version it claims to be
STAND_IN_LOG
    a file that gets one JSON object for each call: arguments, working folder, OOMMF's variables and TMPDIR
STAND_IN_FAULT
    what goes wrong, as ``kind:node:stage``, see ``fail`` and ``Table``; or ``stubborn``: nothing
    leaves when asked
STAND_IN_ALONE
    set where helpers could not outlive the solver, as in a container
"""

import array
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

RELAXATION_S = 20e-12
"""Of a damping of 0.1."""
FOREVER_S = 1000
COLUMNS = (
    "{Oxs_SpinXferEvolve:evolver:Total energy} {Oxs_SpinXferEvolve:evolver:Energy calc count} "
    "Oxs_Demag:demag:Energy {Oxs_TimeDriver::Stage iteration} Oxs_TimeDriver::Stage "
    "Oxs_TimeDriver::mx   Oxs_TimeDriver::my   Oxs_TimeDriver::mz   {Oxs_TimeDriver::Simulation time}"
)
HEADER = f"""# ODT 1.0
# Table Start
# Title: mmArchive Data Table, Thu Jan 01 12:00:00 UTC 1970
# Columns: {COLUMNS}
# Units: J {{}} J {{}} {{}} {{}} {{}} {{}} s
"""


def report(text):
    print(f"[12:00:00] {text}", file=sys.stderr, flush=True)


def helper(*arguments):
    """Start a process that outlives this one, in the same group."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Fault:
    """What is to go wrong in this folder, and when."""

    def __init__(self, asked, folder):
        self.kind, self.stage = "", 0
        place = re.match(r"(?:live|run)-(\d+)", folder)
        kind, node, stage = [*asked.split(":"), "", ""][:3]
        if place and kind and int(node) == int(place[1]):
            self.kind, self.stage = kind, int(stage)

    def at(self, kind, stage):
        return self.kind == kind and stage == self.stage

    def since(self, kind, stage):
        return self.kind == kind and stage >= self.stage


class Field:
    """A field of OVF 2.0, binary 8, that can be turned in the plane."""

    def __init__(self, path):
        self.head, mark, data = path.read_bytes().partition(b"# Begin: Data Binary 8\n")
        self.head += mark + data[:8]
        points = [int(number) for number in re.findall(rb"nodes: (\d+)", self.head)]
        size = 24 * math.prod(points)
        self.values = array.array("d", data[8 : 8 + size])
        self.tail = data[8 + size :]
        self.m = self.average()
        self.start = math.atan2(self.m[0], self.m[1])

    def average(self):
        total, cells = [0.0, 0.0, 0.0], 0
        for k in range(0, len(self.values), 3):
            vector = self.values[k : k + 3]
            norm = math.hypot(*vector)
            if norm:
                total = [a + b / norm for a, b in zip(total, vector, strict=True)]
                cells += 1
        return [component / cells for component in total]

    @staticmethod
    def turned(vector, angle):
        x, y, z = vector
        return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle), z

    def m_at(self, angle):
        return self.turned(self.m, angle - self.start)

    def write(self, path, angle):
        turned = array.array("d")
        for k in range(0, len(self.values), 3):
            turned.extend(self.turned(self.values[k : k + 3], angle - self.start))
        path.write_bytes(self.head + turned.tobytes() + self.tail)


class Table:
    """The data table; rows that a fault holds back are written together later.

    Faults: ``slow-table`` has no row before the node was told to wait that many times;
    ``bad-row`` and ``wrong-stage`` write nonsense; ``no-rows`` loses all rows from its stage on;
    ``late`` has them, and the last field, written by the helper once the solver has ended.
    """

    def __init__(self, path, fault):
        self.path, self.fault = path, fault
        self.waiting = []
        self.waits = 0
        path.write_text(HEADER)

    def add(self, stage, m, t):
        x, y, z = m
        if self.fault.at("bad-row", stage):
            x = math.nan
        if self.fault.at("wrong-stage", stage):
            stage += 7
        self.waiting.append(f"   -4.9e-20   25   1.1e-19   4   {stage}   {x!r}   {y!r}   {z!r}   {t!r}\n")
        if not self.fault.since("late", stage) and not self.fault.since("no-rows", stage):
            self.write()

    def write(self):
        if self.fault.kind == "slow-table" and self.waits < self.fault.stage:
            return
        with self.path.open("a") as file:
            file.write("".join(self.waiting))
        self.waiting.clear()

    def wait(self):
        self.waits += 1
        if self.fault.kind == "slow-table":
            self.write()


def fail(fault, stage):
    """Faults of the solver: ``die``, ``exit`` (no word, code 3), ``signal``, ``hang``, ``stop`` (code 0)."""
    if fault.kind in ("die", "exit", "signal", "hang", "stop") and stage == fault.stage:
        if fault.kind == "die":
            print(f"<{os.getpid()}> OOMMF 2.1a0  panic: stand-in broke at stage {stage}", file=sys.stderr)
            sys.exit(1)
        if fault.kind == "exit":
            sys.exit(3)
        if fault.kind == "stop":
            sys.exit(0)
        if fault.kind == "signal":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(FOREVER_S)


def boxsi(name):
    folder = Path.cwd()
    fault = Fault(os.environ.get("STAND_IN_FAULT", ""), folder.name)
    path = folder / name
    report(f'Start: "{path}"')
    print("Options: -exitondone 1 -logfile boxsi.log -threads 1", file=sys.stderr)
    (folder / "boxsi.log").touch()
    if not path.exists():
        report(f"Error loading {path}:\n\tnot readable")
        sys.exit(1)
    mif, field = path.read_text(encoding="utf-8"), Field(folder / "m0.omf")
    if "STAND_IN_ALONE" not in os.environ:
        helper("wait")
    if "Oxs_MinDriver" in mif:
        field.write(folder / "node-Oxs_MinDriver-Magnetization-00-0000001.omf", field.start)
    else:
        drive_all(folder, mif, field, fault)
    report("Boxsi run end")


def drive_all(folder, mif, field, fault):
    stages = int(re.search(r"stage_count (\d+)", mif)[1])
    times = [float(word) for word in re.search(r"stopping_time ([^\n]+)", mif)[1].strip("{} ").split()]
    drives = re.search(r"set spinloom_u \{ (.*?) \}", mif)
    alpha = float(re.search(r"\n  alpha ([^\n]+)", mif)[1])
    every = re.search(r"Schedule Oxs_TimeDriver::Magnetization mags Stage (\d+)", mif)
    table = Table(folder / "node.odt", fault)
    digits = 2 if stages < 100 else math.floor(math.log(stages)) + 1
    angle, t, last = field.start, 0.0, None
    for stage in range(stages):
        fail(fault, stage)
        u = asked(folder / "drive", stage, table) if drives is None else float(drives[1].split()[stage])
        hold = times[min(stage, len(times) - 1)]
        angle += (u - angle) * (1 - math.exp(-hold * alpha / 0.1 / RELAXATION_S))
        t += hold
        table.add(stage, field.m_at(angle), t)
        if every and stage % int(every[1]) == 0:
            last = folder / f"node-Oxs_TimeDriver-Magnetization-{stage:0{digits}d}-{5 * stage + 4:07d}.omf"
            if fault.since("late", stage):
                field.write(folder / "late.omf", angle)
            else:
                field.write(last, angle)
    if fault.kind == "late":
        (folder / "late.odt").write_text("".join(table.waiting))
        helper("later", last)


def asked(pipe, stage, table):
    """The drive that is written to a live node's pipe; until there is one, it looks after its table."""
    while True:
        report(f"spinloom ready {stage}")
        word = pipe.read_text()
        if word != "wait":
            return float(word)
        table.wait()


def later(last):
    time.sleep(0.2)
    rows = Path("late.odt").read_text()
    with Path("node.odt").open("a") as file:
        file.write(rows)
    time.sleep(0.2)
    Path("late.omf").replace(last)
    time.sleep(FOREVER_S)


def launchhost():
    helper("wait")
    print(45678)


def main(arguments):
    # Whatever becomes of the tests, nothing stays for long.
    signal.alarm(120)
    if os.environ.get("STAND_IN_FAULT") == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.environ.get("STAND_IN_LOG"):
        call = {
            "arguments": arguments,
            "folder": str(Path.cwd()),
            "environment": {
                key: value for key, value in os.environ.items() if key.startswith("OOMMF") or key == "TMPDIR"
            },
        }
        with open(os.environ["STAND_IN_LOG"], "a", encoding="utf-8") as log:
            log.write(json.dumps(call) + "\n")
    if arguments == ["+version"]:
        version = os.environ.get("STAND_IN_VERSION", "2.1a0")
        print(f"<{os.getpid()}> OOMMF {version}  info:\nOOMMF {version}", file=sys.stderr)
    elif arguments == ["launchhost", "0"]:
        launchhost()
    elif arguments[:2] == ["boxsi", "+fg"]:
        boxsi(arguments[2])
    elif arguments == ["wait"]:
        time.sleep(FOREVER_S)
    elif arguments[:1] == ["later"]:
        later(arguments[1])
    else:
        sys.exit(f"stand-in for OOMMF: does not know {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
