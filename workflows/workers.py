"""Work that falls into independent parts, done by one process, by all cores of a machine, or by a cluster.

Parts are functions of a module, called with plain data. Dask brings them to processes, replaces a process
that dies and repeats its part. JAX and OOMMF take no more than their process's share of the cores.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, NamedTuple

from spinloom.device_models.errors import SpinloomError, UnfinishedError
from spinloom.device_models.machine import CORES, cores
from spinloom.device_models.provenance import versions
from spinloom.workflows.console import say

TRIES = 3
"""How often a part is tried whose process dies, or which fails for no fault of its input."""
CONNECT_S = 10
"""For a scheduler to answer."""
LONELY_S = 30.0
"""Without any worker, until that is told."""
LOOK_S, ASK_S = 0.05, 2.0
"""Between two looks at what is finished, and between two questions to the scheduler."""

Function = Callable[[Any], Any]
_one_at_a_time = Lock()


class Done(NamedTuple):
    """A part that is over.

    Attributes
    ----------
    number : int
        of its input
    value : object
        what the function returned; None if it failed
    error : str
        why it failed; empty if it did not
    """

    number: int
    value: Any = None
    error: str = ""


class Team(NamedTuple):
    """Who is asked to work beside this process.

    Attributes
    ----------
    workers : int
        processes on this machine; 1 for none beside this one
    scheduler : str, optional
        address of a scheduler of Dask, instead of processes on this machine
    oommf : str, optional
        command that starts OOMMF there, as a user named it; found by each worker if not given
    """

    workers: int = 1
    scheduler: str | None = None
    oommf: str | None = None

    @property
    def alone(self) -> bool:
        """Whether nobody is."""
        return self.workers == 1 and self.scheduler is None

    def open(self, parts: int | None = None) -> AbstractContextManager[Here | Cluster]:
        """The workers, for so many parts; see :func:`open_workers`."""
        return open_workers(None if self.scheduler else self.workers, self.scheduler, parts)


ALONE = Team()
"""This process, and nobody beside it."""


class Here:
    """One part after the other, in this process."""

    count = 1

    def map(self, function: Function, inputs: Sequence[Any]) -> Iterator[Done]:
        """Call a function with each of the inputs, and yield what came out, part by part.

        Examples
        --------
        >>> list(Here().map(abs, [-1, 2]))
        [Done(number=0, value=1, error=''), Done(number=1, value=2, error='')]
        """
        for number, one in enumerate(inputs):
            try:
                yield Done(number, function(one))
            except Exception as error:
                yield Done(number, error=_words(error))


class Cluster:
    """The workers of a scheduler of Dask.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def count(self) -> int:
        """How many workers there are now; others may join."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def map(self, function: Function, inputs: Sequence[Any]) -> Iterator[Done]:
        """Call a function with each of the inputs on the workers, and yield what came out as it comes.

        Parameters
        ----------
        function : callable
            of a module that the workers have too
        inputs : sequence
            of plain data: numbers, texts, lists, dictionaries, arrays

        Raises
        ------
        UnfinishedError
            if the scheduler is lost
        """
        import distributed

        futures = self.client.map(
            _attempt, [(function, one, versions()["spinloom"]) for one in inputs], pure=False, retries=TRIES - 1
        )
        numbers = {future.key: number for number, future in enumerate(futures)}
        finished = distributed.as_completed(futures, loop=self.client.loop)
        company = _Company()
        try:
            while numbers:
                batch = finished.next_batch(block=False)
                for future in batch:
                    yield self._done(numbers.pop(future.key), future)
                if not batch:
                    if self.client.status != "running":
                        raise self._lost()
                    company.look(self)
                    time.sleep(LOOK_S)
        finally:
            if numbers and self.client.status == "running":
                self.client.cancel([future for future in futures if future.key in numbers], force=True)

    def _done(self, number: int, future: Any) -> Done:
        if future.cancelled():
            raise self._lost()
        try:
            error = future.exception()  # where a worker died with what came out, this waits for the repetition
            if error is None:
                return Done(number, *future.result())
        except (OSError, asyncio.CancelledError) as lost:
            raise self._lost() from lost
        except Exception as killed:  # died again, in between
            error = killed
        return Done(number, error=_words(error))

    def _lost(self) -> UnfinishedError:
        return UnfinishedError(
            f"scheduler: the connection to {self.client.scheduler.address} is lost; what is finished is saved, and the "
            "same command goes on from there, with this scheduler or another"
        )


class _Company:
    """Tells once where there has been no worker for long: parts would wait for ever, and nobody know why."""

    def __init__(self) -> None:
        self.looked = self.seen = time.monotonic()
        self.told = False

    def look(self, cluster: Cluster) -> None:
        now = time.monotonic()
        if now - self.looked < ASK_S:
            return
        self.looked = now
        if cluster.count:
            self.seen, self.told = now, False
        elif now - self.seen > LONELY_S and not self.told:
            self.told = True
            say(f"scheduler: no worker for {LONELY_S:g} s; waiting for one: 'dask worker ADDRESS --nthreads 1'")


def _attempt(given: tuple[Function, Any, str]) -> tuple[Any, str]:
    """One part on a worker: what it gives, or what its author has to mend, which no repetition would."""
    function, one, version = given
    if versions()["spinloom"] != version:
        return None, f"worker: expected Spinloom {version}, got {versions()['spinloom']}; install the same everywhere"
    import dask

    # Stages speak and warn through what a process has but once. And without a scheduler of their own, xarray would ask
    # that of the cluster for a lock on every file.
    with _one_at_a_time, dask.config.set(scheduler="synchronous"):
        try:
            return function(one), ""
        except SpinloomError as error:
            return None, str(error)


def _words(error: BaseException) -> str:
    if isinstance(error, SpinloomError):
        return str(error)
    if type(error).__name__ == "KilledWorker":
        return "its worker died every time it was tried, as by a lack of memory; given up"
    return f"{type(error).__name__}: {error}"


@contextmanager
def open_workers(
    count: int | None = None, scheduler: str | None = None, parts: int | None = None
) -> Iterator[Here | Cluster]:
    """Who does the work: this process, some processes of this machine, or the workers of a scheduler.

    Parameters
    ----------
    count : int, optional
        processes on this machine; as many as there are cores if not given, or one where JAX computes on a GPU, which
        processes would have to share
    scheduler : str, optional
        address of a scheduler of Dask, such as ``tcp://host:8786``, instead of processes on this machine
    parts : int, optional
        how many there are: no more processes are started, and none for a single part

    Yields
    ------
    workers : Here or Cluster

    Raises
    ------
    SpinloomError
        for a number below one, or a scheduler that does not answer
    """
    if scheduler is not None:
        if count is not None:
            raise SpinloomError("workers: a scheduler has its own; expected --workers or --scheduler, got both")
        with _connected(scheduler) as client:
            workers = Cluster(client)
            say(f"scheduler: {scheduler}, {workers.count} workers")
            yield workers
        return
    if count is not None and count < 1:
        raise SpinloomError(f"workers: expected 1 or more, got {count}")
    count = _usual() if count is None else count
    count = min(count, count if parts is None else parts)
    if count <= 1:
        yield Here()
        return
    with _local(count) as client:
        yield Cluster(client)


def _usual() -> int:
    """A process for each core, or one for the GPU."""
    import jax

    return cores() if jax.default_backend() == "cpu" else 1


@contextmanager
def _connected(scheduler: Any) -> Iterator[Any]:
    import distributed

    # What Dask has to say of a lost connection is a traceback, and comes late; it is told in our own words.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if isinstance(scheduler, str):
        _check_answer(scheduler)
    client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    try:
        yield client
    finally:
        client.close(timeout=CONNECT_S)


def _check_answer(scheduler: str) -> None:
    """Whether a scheduler of Dask answers there; a client that is never answered does not close either."""
    import distributed

    async def asked() -> dict[str, Any]:
        async with distributed.rpc(scheduler) as there:
            return await asyncio.wait_for(there.identity(), CONNECT_S)

    try:
        found = asyncio.run(asked())
        wrong = "" if found.get("type") == "Scheduler" else f"is a {found.get('type')}"
    except Exception as error:  # Dask tells of strangers in many ways
        wrong = f"does not answer ({type(error).__name__}: {error})"
    if wrong:
        raise SpinloomError(
            f"scheduler: {scheduler} {wrong}; expected the address that 'dask scheduler' tells, such as tcp://host:8786"
        )


@contextmanager
def _local(count: int) -> Iterator[Any]:
    """Processes of this machine, as many as asked for; one that dies is replaced."""
    import dask
    import distributed

    settings = {
        "distributed.scheduler.allowed-failures": TRIES - 1,
        # Nobody waits in line at a worker, so that its death concerns one part alone.
        "distributed.scheduler.worker-saturation": 1.0,
        # A compiler's memory does not come back: a worker that paused for it would do so for ever.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.admin.system-monitor.gil.enabled": False,
        "logging.distributed": "critical",
    }
    with ExitStack() as stack:
        scratch = stack.enter_context(TemporaryDirectory(prefix="spinloom-workers-", ignore_cleanup_errors=True))
        stack.enter_context(dask.config.set({**settings, "temporary-directory": scratch}))
        cluster = distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            # Its pages of state would otherwise take a port that may be another cluster's.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
            env=share(max(1, cores() // count)),
        )
        stack.callback(cluster.close, timeout=CONNECT_S)
        yield stack.enter_context(_connected(cluster))


def share(number: int) -> dict[str, str]:
    """The environment in which JAX, the libraries of linear algebra and OOMMF use so many cores.

    Examples
    --------
    >>> share(2)["SPINLOOM_CORES"]
    '2'
    """
    names = (CORES, "NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # The last is of GPUs: whoever comes first would else take three quarters of the memory.
    return {**dict.fromkeys(names, str(number)), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
