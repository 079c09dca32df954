"""Commands of measured devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinloom.workflows.commands import Device, Engine, Json, Oommf, Out, app, names_of
from spinloom.workflows.console import emit


@app.command()
def measure(
    device: Device,
    traces: Annotated[
        list[Path], typer.Argument(metavar="TRACES.csv...", help="A trace each: time (s), drive, signal.")
    ],
    out: Out,
    engine: Engine = "embedded",
    oommf: Oommf = None,
    tick: Annotated[float, typer.Option(help="Duration of a tick (s), such as the generator's interval.")] = 7.5e-12,
    drive_unit: Annotated[str, typer.Option(help="Of the drive: u (J / J_max), A/m2, A, or V (J = V / RA).")] = "u",
    signal_unit: Annotated[str, typer.Option(help="Of the signal: r (m . e_read), ohm, or V (with --current).")] = "r",
    current: Annotated[float | None, typer.Option(help="Of the read-out (A), for a signal in V.")] = None,
    columns: Annotated[
        str, typer.Option(help="Time, drive and signal: names or numbers, such as TIME,CH1,CH2. [default: first three]")
    ] = "",
    piece: Annotated[float, typer.Option(help="Longer traces are cut into pieces of so long (s).")] = 6e-9,
    tolerance: Annotated[
        str,
        typer.Option(
            help="How well the card is known: one standard deviation, or Ms=0.05,alpha=0.2; offset: of the read-out."
        ),
    ] = "0.1",
    gain: Annotated[float, typer.Option(help="How well the read-out's gain is known.")] = 0.1,
    delay: Annotated[float, typer.Option(help="How well signal and drive are aligned (s).")] = 2e-11,
    card: Annotated[Path | None, typer.Option(help="Write the card that was found (TOML).")] = None,
    as_json: Json = False,
) -> None:
    """Make a calibration set from measured traces of one signal, for `fit`: the device that explains them is found.

    Examples: `spinloom measure data/devices/disc60.toml scope-1.csv scope-2.csv --tick 1e-11 --out measured.nc`,
    `spinloom measure my.toml scope-*.csv --drive-unit V --signal-unit ohm --columns TIME,CH1,CH2 --out measured.nc`
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines import choose_engine
    from spinloom.reduced_models.identify import Tolerance
    from spinloom.workflows.calibrate import read_spread
    from spinloom.workflows.measured import measure_stage

    how = {
        "drive_unit": drive_unit,
        "signal_unit": signal_unit,
        "current": current,
        "columns": names_of(columns),
        "piece": piece,
    }
    known, choice = Tolerance(read_spread(tolerance), gain, delay), choose_engine(engine, oommf)
    emit(measure_stage(load_card(device), traces, choice, known, out, tick, found_card=card, **how), as_json)
