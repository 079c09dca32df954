"""The commands of ``spinloom``, a module for each group of them; here what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="spinloom",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From the card of one magnetic tunnel junction to a trained network of them, verified in full micromagnetics.",
)
train_app = typer.Typer(no_args_is_help=True, help="Train a network of reduced nodes.")
app.add_typer(train_app, name="train")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Engine = Annotated[
    str,
    typer.Option(help="oommf, embedded, oommf-reference (what OOMMF computed, shipped), or auto (oommf if it works)."),
]
Oommf = Annotated[
    str | None,
    typer.Option(
        envvar="SPINLOOM_OOMMF",
        help="Command that starts OOMMF, or the path of oommf.tcl. [default: as oommfc: OOMMFTCL, PATH, docker]",
    ),
]
Device = Annotated[Path, typer.Argument(metavar="DEVICE.toml", help="Device card, all values in SI units.")]
Model = Annotated[Path, typer.Option(help="Reduced model, from 'spinloom fit'.")]
Nodes = Annotated[int | None, typer.Option(help="Number of junctions in the network. [default: 40]")]
Temperature = Annotated[
    float | None, typer.Option(help="Of the free layer (K). [default: the experiment's, or the card's]")
]
NetworkTemperature = Annotated[
    float | None, typer.Option(min=0.0, max=1500.0, help="Of all nodes (K). [default: the model's]")
]
Seed = Annotated[int, typer.Option(help="Seed of the fixed weights.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Of a scheduler of Dask, tcp://HOST:PORT: its workers do the work."),
]
Beside = Annotated[
    int,
    typer.Option("--workers", min=1, help="Processes on this machine that parts of the work are spread over."),
]
Out = Annotated[Path, typer.Option(help="Where the result goes.")]
SpectralRadius = Annotated[float | None, typer.Option(help="Of the recurrent weights.")]
Density = Annotated[float | None, typer.Option(help="Share of recurrent weights that are not zero. [default: 0.3]")]
PeriodTicks = Annotated[int | None, typer.Option(help="Ticks in a period.")]
PeriodResonances = Annotated[float | None, typer.Option(help="Instead: periods of the device's resonance in a period.")]
Feedback = Annotated[float | None, typer.Option(help="Feedback weights are uniform within this.")]
Bias = Annotated[float | None, typer.Option(help="Biases are uniform within this.")]
Baselines = Annotated[bool, typer.Option("--baselines/--no-baselines", help="Train the same without magnets too.")]
Gain = Annotated[float | None, typer.Option(help="Drive, in units of the reach, for v = 1.")]


def names_of(text: str) -> list[str]:
    """Names with commas between, as they are written on the command line.

    Examples
    --------
    >>> names_of("TIME, CH1"), names_of("")
    (['TIME', 'CH1'], [])
    """
    return [name.strip() for name in text.split(",")] if text.strip() else []
