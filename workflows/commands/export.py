"""Commands that write what Spinloom made for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinloom.workflows.commands import Json, Out, app
from spinloom.workflows.console import emit


@app.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="NET.nc|MODEL.nc", help="Trained network, or reduced model.")],
    out: Out,
    to: Annotated[str, typer.Option(help="onnx or spice.")] = "onnx",
    part: Annotated[
        str, typer.Option(help="Of ONNX: run (a whole free run, or a whole series) or tick (one tick).")
    ] = "run",
    bench: Annotated[
        bool, typer.Option("--bench/--no-bench", help="Of SPICE: an analysis of 20 periods, or sub-circuits alone.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Write a trained network, or one junction, as an ONNX graph or as a netlist of ngspice.

    ONNX takes every kind of reduced model, in float64; SPICE takes macrospins at 0 K.

    Examples: `spinloom export sine.nc --to onnx --out sine.onnx`,
    `spinloom export sine.nc --to onnx --part tick --out sine-tick.onnx`,
    `spinloom export macrospin.nc --to spice --no-bench --out mtj.cir`
    """
    from spinloom.workflows.export.stage import export_stage

    emit(export_stage(path, to, out, part, bench), as_json)
