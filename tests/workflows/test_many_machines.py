"""What the page on many machines says is so: its sweep, its commands, its cluster of SLURM."""

import re
import shlex
from pathlib import Path

import pytest

from spinloom.workflows.settings import load_experiment
from spinloom.workflows.sweep_plan import read_sweep, write_point

PAGE = (Path(__file__).parents[2] / "docs" / "many-machines.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_sweep_has_the_points_that_are_told(tmp_path):
    (table,) = blocks("toml")
    path = tmp_path / "my_sweep.toml"
    path.write_text(table)
    sweep = read_sweep(path)
    points = sweep.points()
    assert len(points) == 180
    assert "3 × 4 × 3 × 5 = 180" in PAGE
    for point in (points[0], points[-1]):
        experiment, card = load_experiment(write_point(sweep, point, tmp_path / "inputs"))
        assert experiment.generate.topology.nodes == point.values["generate.topology.nodes"]
        assert card.geometry.mask().sum() == 177  # the mesh keeps its cells


def test_commands_of_dask_are_understood():
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line.startswith("dask ")]
    assert [line[1] for line in lines] == ["scheduler", "worker"]
    for (_, what, *rest), command in zip(lines, (scheduler, worker), strict=True):
        assert command.make_context(what, list(rest)).params


@pytest.mark.filterwarnings("ignore:Port 8787")  # of the dashboard, where another has it
def test_the_cluster_of_slurm_renders():
    pytest.importorskip("dask_jobqueue")
    first, second = blocks("python")
    compile(second, "many-machines.md", "exec")
    names: dict = {}
    try:
        exec(first.replace("print(", "script = ("), names)
    finally:
        if "cluster" in names:
            names["cluster"].close()
    script = names["script"]
    for line in ("#SBATCH -p standard", "#SBATCH --cpus-per-task=16", "#SBATCH --mem=60G", "#SBATCH -t 08:00:00"):
        assert line in script
    assert "export SPINLOOM_CORES=1 NPROC=1" in script
    assert re.search(r"--nthreads 1 .*--nworkers 16", script)
