"""What several test files share: cards, OOMMF's answers, one small calibration, and a node whose answer is known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from spinloom.device_models.calibration import Design, Protocol, calibrate, save_calibration
from spinloom.device_models.card import DeviceCard, load_card, parse_card, read_toml
from spinloom.device_models.engines import ENGINES, Kind
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.oommf.installation import Installation, find_oommf
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import as_cards, which_devices
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.scan import drive
from spinloom.device_models.spread import Spread
from spinloom.device_models.system import read_field
from spinloom.device_models.trajectory_store import LIMIT, PLACE, TrajectoryStore
from spinloom.reduced_models import population_fit
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.model import save_model
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.warmed import warmed

REFERENCES = ("disc60", "ellipse80x50", "pma50", "rect100x60")
FINDS_OOMMF = {name: os.environ.get(name) for name in ("PATH", "OOMMFTCL", "SPINLOOM_OOMMF")}


def set_environment(patch: pytest.MonkeyPatch, values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            patch.delenv(name, raising=False)
        else:
            patch.setenv(name, value)


def path_without(names: set[str], mirrors: Path) -> str:
    """PATH on which these programs are not found; all others are."""
    folders = []
    for number, folder in enumerate(map(Path, (FINDS_OOMMF["PATH"] or os.defpath).split(os.pathsep))):
        if not any(os.path.exists(folder / name) for name in names):
            folders.append(folder)
            continue
        mirror = mirrors / str(number)
        mirror.mkdir()
        for program in folder.iterdir():
            if program.name not in names:
                (mirror / program.name).symlink_to(program.absolute())
        folders.append(mirror)
    return os.pathsep.join(map(str, folders))


def pytest_configure(config: pytest.Config) -> None:
    """Keep what XLA compiles, for this run and the next: most of a first run is compilation, much of it twice."""
    if not hasattr(config, "cache"):  # -p no:cacheprovider
        return
    compiled = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("compiled")))
    jax.config.update("jax_compilation_cache_dir", compiled)
    for name, least in (("min_compile_time_secs", 0), ("min_entry_size_bytes", -1)):
        os.environ.setdefault(f"JAX_PERSISTENT_CACHE_{name.upper()}", str(least))  # for programs that tests start
        jax.config.update(f"jax_persistent_cache_{name}", least)


MANY_MAPS = 20_000


@pytest.fixture(autouse=True, scope="module")
def _few_memory_maps() -> Iterator[None]:
    """Let go of what XLA has compiled before its memory maps come near the 65530 that Linux grants a process."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MANY_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def no_oommf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide OOMMF and docker, so that the tests mean the same on every machine; ``oommf`` shows them."""
    with pytest.MonkeyPatch.context() as patch:
        path = path_without({"oommf", "docker"}, tmp_path_factory.mktemp("path"))
        set_environment(patch, {"PATH": path, "OOMMFTCL": None, "SPINLOOM_OOMMF": None})
        yield


@pytest.fixture(scope="session", autouse=True)
def no_store() -> Iterator[None]:
    """What a user has in the store is none of the tests' business, and the other way round; ``store`` is one."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {PLACE: "off", LIMIT: None})
        yield


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrajectoryStore:
    """An empty store, which every stage and every program that a test starts uses."""
    monkeypatch.setenv(PLACE, str(tmp_path / "store"))
    return TrajectoryStore(tmp_path / "store")


@pytest.fixture(scope="session")
def found_oommf() -> Installation | str:
    """The OOMMF of this machine, or why there is none."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, FINDS_OOMMF)
        try:
            return find_oommf(FINDS_OOMMF["SPINLOOM_OOMMF"])
        except SpinloomError as error:
            return str(error)


@pytest.fixture
def oommf(found_oommf: Installation | str, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """The OOMMF of this machine, for tests with the marker ``oommf``."""
    if isinstance(found_oommf, str):
        pytest.skip(found_oommf)
    set_environment(monkeypatch, FINDS_OOMMF)
    return found_oommf


@dataclass(frozen=True)
class Reference:
    """One run of OOMMF from ``data/reference``."""

    card: DeviceCard
    tick: float
    m_initial: np.ndarray
    u: np.ndarray
    m: np.ndarray
    initial: np.ndarray
    tick1: np.ndarray
    final: np.ndarray


def load_reference(name: str) -> Reference:
    """A missing file is a failure, not a skip."""
    folder = data_folder() / "reference"
    run = json.loads((folder / f"{name}.json").read_text())
    table = pd.read_csv(folder / f"{name}.csv")
    assert len(table) == run["n"]
    np.testing.assert_allclose(table["t_s"], run["tick"] * np.arange(1, run["n"] + 1), rtol=1e-9)
    return Reference(
        card=load_card(data_folder() / "devices" / run["card"]),
        tick=run["tick"],
        m_initial=np.array(run["m_initial"]),
        u=table["u"].to_numpy(),
        m=table[["mx", "my", "mz"]].to_numpy(),
        **{kind: read_field(folder / f"{name}_{kind}.omf") for kind in ("initial", "tick1", "final")},
    )


@pytest.fixture(scope="session", params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> Reference:
    return load_reference(request.param)


@pytest.fixture
def card_values() -> dict[str, Any]:
    """The default card as a nested dictionary that a test may change."""
    return read_toml(data_folder() / "devices" / "disc60.toml")


@pytest.fixture(scope="session")
def disc() -> DeviceCard:
    return load_card(data_folder() / "devices" / "disc60.toml")


def altered(card: DeviceCard, **sections: dict[str, Any]) -> DeviceCard:
    """The card with some fields of some sections replaced, checked again."""
    values = card.model_dump()
    for section, fields in sections.items():
        values[section] = {**values[section], **fields}
    return parse_card(values)


@pytest.fixture(scope="session")
def alter() -> Any:
    return altered


@pytest.fixture(scope="session")
def coarse_card(disc: DeviceCard) -> DeviceCard:
    """The 60 nm disc with 10 nm cells: wrong physics at the edge, but quick."""
    return altered(disc, geometry={"cell": (10e-9, 10e-9, 2e-9)})


@pytest.fixture(scope="session")
def coarse_calibration(coarse_card: DeviceCard) -> Any:
    """Twelve trajectories of 1.5 ns."""
    protocol = Protocol(trajectories=12, duration=1.5e-9, seed=1, grades=())
    return calibrate(coarse_card, EmbeddedEngine(coarse_card, protocol.tick), protocol)


@pytest.fixture(scope="session")
def coarse_calibration_path(coarse_calibration: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "coarse.nc"
    save_calibration(coarse_calibration, path)
    return path


@pytest.fixture(scope="session")
def coarse_model(coarse_calibration: Any) -> Any:
    return fit_model(coarse_calibration, "flow_map")


@pytest.fixture(scope="session")
def coarse_model_path(coarse_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "coarse.nc"
    save_model(coarse_model, path)
    return path


class Passed(NamedTuple):
    """State of a batch of low-pass filters."""

    x: Any
    which: Any


@partial(jax.tree_util.register_dataclass, data_fields=["shares"], meta_fields=["tick", "channels"])
@dataclass(frozen=True)
class LowPass:
    """A node whose answer is known: its signal, m_x, relaxes to the sum of the channels by a fixed share in every tick.

    ``shares`` has one number for each device.
    """

    shares: Any
    tick: float = 1e-11
    channels: tuple[str, ...] = ("drive",)

    traceable = True

    @property
    def devices(self) -> int:
        return len(self.shares)

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> Passed:
        return Passed(jnp.zeros(n), jnp.asarray(which_devices(n, devices, self.devices)))

    def step(self, state: Passed, inputs: Any) -> Passed:
        share = jnp.asarray(self.shares)[state.which]
        return state._replace(x=state.x + share * (jnp.asarray(inputs).sum(axis=1) - state.x))

    def observe(self, state: Passed) -> Any:
        return state.x

    def moment(self, state: Passed) -> Any:
        return jnp.stack([state.x, jnp.sqrt(1 - 0.9 * state.x**2), 0 * state.x], axis=1)


@dataclass(frozen=True)
class Plain:
    """The same node as if it lived elsewhere: JAX can neither trace it nor look into it. It keeps what it was given."""

    node: LowPass
    inputs: list[np.ndarray] = field(default_factory=list)

    traceable = False

    @property
    def tick(self) -> float:
        return self.node.tick

    @property
    def channels(self) -> tuple[str, ...]:
        return self.node.channels

    @property
    def devices(self) -> int:
        return self.node.devices

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> Passed:
        return self.node.start(n, seed, devices)

    def step(self, state: Passed, inputs: Any) -> Passed:
        self.inputs.append(np.array(inputs))
        return Passed(*(np.array(part) for part in self.node.step(state, self.inputs[-1])))

    def observe(self, state: Passed) -> Any:
        return np.array(self.node.observe(state))

    def moment(self, state: Passed) -> Any:
        return np.array(self.node.moment(state))


@partial(jax.tree_util.register_dataclass, data_fields=["node"], meta_fields=["fails", "device"])
@dataclass(frozen=True)
class Losing:
    """Any traceable node, of which one device of the batch is no longer seen from the end of some tick on."""

    node: Any
    fails: int
    device: int

    traceable = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> tuple[Any, Any]:
        return jnp.zeros((), int), self.node.start(n, seed, devices)

    def step(self, state: tuple[Any, Any], inputs: Any) -> tuple[Any, Any]:
        return state[0] + 1, self.node.step(state[1], inputs)

    def observe(self, state: tuple[Any, Any]) -> Any:
        signal = jnp.asarray(self.node.observe(state[1]))
        gone = (state[0] > self.fails) & (jnp.arange(len(signal)) == self.device)
        return jnp.where(gone, jnp.nan, signal)

    def moment(self, state: tuple[Any, Any]) -> Any:
        return self.node.moment(state[1])


@pytest.fixture
def make_losing() -> Callable[[Any, int, int], Losing]:
    """A node that loses one device, from a node, a tick and the device's place in the batch."""
    return Losing


def low_pass_of(*shares: float, channels: tuple[str, ...] = ("drive",)) -> LowPass:
    return LowPass(jnp.array(shares), channels=channels)


@pytest.fixture
def make_low_pass() -> Callable[..., LowPass]:
    """Low-pass filters of given shares, one for each device."""
    return low_pass_of


@pytest.fixture
def low_pass() -> LowPass:
    return low_pass_of(0.4)


@pytest.fixture
def plain_low_pass() -> Plain:
    return Plain(low_pass_of(0.4))


@pytest.fixture
def as_plain() -> Callable[[LowPass], Plain]:
    """A node that JAX cannot trace, from one that it can."""
    return Plain


@pytest.fixture(scope="session")
def large_card(disc: DeviceCard) -> DeviceCard:
    """A disc of 100 nm in a field that holds it at 300 K, of four cells."""
    size, cell = (100e-9, 100e-9, 2e-9), (50e-9, 50e-9, 2e-9)
    parts = {"bias": {"H": (0, 25.5e3, 0)}, "torque": {"P": 0.7, "J_max": 1e11}}
    return altered(disc, geometry={"size": size, "cell": cell}, **parts)


class RigidEngine:
    """Layers that are rigid and rest where they start, as an engine: what they do follows from their cards alone."""

    name, version, live, batched, together = "rigid", "1", True, True, 44

    def __init__(self, cards: Any, tick: float) -> None:
        self.cards, self.tick = as_cards(cards), tick
        fields = [np.broadcast_to(card.start.m, (*card.geometry.shape_cells, 3)) for card in self.cards]
        self.equilibria = np.stack(
            [one * card.geometry.mask()[..., None] for one, card in zip(fields, self.cards, strict=True)]
        )
        laws = [MacrospinLaw.of_card(card, tick) for card in self.cards]
        self.node = ReducedNode.stack(
            [warmed(law, card, card.start.m, tick) for law, card in zip(laws, self.cards, strict=True)]
        )

    def play(self, durations, inputs, fields=None, progress=None, *, devices=None, seed=0, numbers=None, done=None):  # type: ignore[no-untyped-def]
        """Holds of one tick each, whose noise does not know of numbers."""
        np.testing.assert_allclose(durations, self.tick)
        state = self.node.start(inputs.shape[1], seed, devices)
        if fields is not None:
            inside = self.cards[0].geometry.mask()
            state = self.node.at(jnp.asarray(fields[:, inside].mean(axis=1)), state.which)
        _, m = drive(self.node, inputs, state, progress)
        return None, m

    def input(self, u: Any = None) -> str:
        return ""

    def costs(self, state: Any, wall_s: float, ticks: int) -> dict[str, float | None]:
        return {}


@pytest.fixture(scope="session")
def rigid_engine() -> type[RigidEngine]:
    """An engine whose answers are known; it may be opened by the name ``rigid`` where ``rigid_layers`` is used."""
    return RigidEngine


@pytest.fixture
def rigid_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rigid layers in the table of engines."""
    monkeypatch.setitem(ENGINES, "rigid", Kind(lambda cards, tick, *_: nullcontext(RigidEngine(cards, tick))))


WAFER = Spread(diameter=0.03, RA=0.05, offset=0.02)


@pytest.fixture(scope="session")
def wafer_calibration(large_card: DeviceCard) -> Any:
    """Fourteen rigid layers that differ, at 0 K, each under two drives."""
    protocol = Protocol(trajectories=28, duration=6e-10, grades=())
    design = Design.of(WAFER, protocol)
    return calibrate(large_card, RigidEngine(design.cards(large_card), protocol.tick), protocol, design=design)


@pytest.fixture(scope="session")
def wafer_model(wafer_calibration: Any) -> Any:
    """A map of them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population_fit, "COLD", [{"degree": [3], "coordinate_degree": [1]}])
        return fit_model(wafer_calibration)
