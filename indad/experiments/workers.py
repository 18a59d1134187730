"""Where jobs run: in this process, in several of this machine, or on a cluster."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from ..data.images import cores
from ..errors import InputError

# How joblib, Ray and Dask call it; the last two need not be here.
MOST_PROCESSES = 1024
DEATHS = ("TerminatedWorkerError", "BrokenProcessPool", "WorkerCrashedError", "OutOfMemoryError",
          "NodeDiedError", "KilledWorker")


@contextmanager
def workers(parallel: int | str) -> Iterator[Callable]:
    """A function (job, arguments of all jobs...) -> outcomes as they come, job by job."""
    if parallel in (1, "1"):
        yield lambda work, jobs, *arguments: (work(job, *arguments) for job in jobs)
        return
    from joblib import Parallel, delayed, parallel_config

    with _backend(str(parallel)) as (name, count):
        threads = max(1, cores() // count) if name == "loky" else None

        def spread(work: Callable, jobs: Sequence, *arguments: object) -> Iterator:
            tasks = (delayed(_alone)(threads, work, job, *arguments) for job in jobs)
            # Ray's and Dask's backends hand results over only when all are there.
            how = "generator_unordered" if name == "loky" else "list"
            with parallel_config(backend=name, n_jobs=count), _death_explained():
                yield from Parallel(return_as=how, batch_size=1, pre_dispatch="all")(tasks)

        yield spread


@contextmanager
def _death_explained() -> Iterator[None]:
    """Say what it means if a process was killed from outside: most likely by the system."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in DEATHS:
            raise
        raise InputError("a process of the sweep was killed, probably out of memory; choose fewer "
                         "with --parallel, or a --memory-budget, and start the same again: what "
                         "was complete is kept") from error


def _alone(threads: int | None, work: Callable, job: object, *arguments: object) -> list:
    """One job in a process of its own, which shares the cores with others."""
    if threads:
        torch.set_num_threads(threads)
    return list(work(job, *arguments))


@contextmanager
def _backend(parallel: str) -> Iterator[tuple[str, int]]:
    """joblib's name for where to run, and how many jobs at a time (-1: as many as there are)."""
    if parallel.isdecimal() and 0 < int(parallel) <= MOST_PROCESSES:
        with warnings.catch_warnings():
            # joblib renews a process that has grown; nothing is lost by it.
            warnings.filterwarnings("ignore", message="A worker stopped")
            yield "loky", int(parallel)
    elif parallel.startswith("ray"):
        try:
            import ray
            from ray.util.joblib import register_ray
        except ImportError as error:
            raise InputError(f"--parallel {parallel} needs Ray; run: pip install ray") from error
        ray.init(address=parallel if "://" in parallel else None, ignore_reinit_error=True,
                 log_to_driver=False)
        register_ray()
        try:
            yield "ray", -1
        finally:
            ray.shutdown()
    elif parallel.startswith(("tcp://", "tls://", "dask")):
        try:
            from dask.distributed import Client
        except ImportError as error:
            raise InputError(f"--parallel {parallel} needs Dask; run: "
                             "pip install distributed") from error
        own = {} if "://" in parallel else {"host": "127.0.0.1", "dashboard_address": None}
        with Client(parallel if "://" in parallel else None, **own):
            yield "dask", -1
    else:
        raise InputError(f"parallel is {parallel!r}; give a number of processes, ray, ray://HOST:"
                         "PORT, dask, or tcp://HOST:PORT of a Dask scheduler")
