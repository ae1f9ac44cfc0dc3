"""The parent's side of the workers: fresh processes, one job each at a time, and a death that is noticed at once."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Self

from lamina.core.config import UserError

__all__ = ["Pool"]

START = "from lamina.compare.worker import main; main()"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class Pool:
    """Worker processes with one computing thread each. They are new programs, never forks of this one.

    with Pool(2) as pool: pool.work(next_job, on_done, on_progress)
    """

    def __init__(self, size: int) -> None:
        self.heard: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self.size = size
        self.workers: list[_Worker] = []

    def __enter__(self) -> Self:
        self.workers = [_Worker(self.heard) for _ in range(self.size)]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers, busy or not."""
        for worker in self.workers:
            worker.end()
        self.workers = []

    def work(
        self,
        next_job: Callable[[], dict[str, Any] | None],
        on_done: Callable[[dict[str, Any], dict[str, Any]], object],
        on_progress: Callable[[dict[str, Any], dict[str, Any]], object] = lambda *_: None,
    ) -> None:
        """Does jobs until next_job() gives None and none is running; it is asked again after each job that is done.

        A UserError of a job is raised here; so is a RuntimeError where a job fails otherwise or its process dies.
        """
        busy: dict[_Worker, dict[str, Any]] = {}
        while True:
            for worker in self.workers:
                if worker not in busy and (job := next_job()) is not None:
                    busy[worker] = job
                    worker.give(job)
            if not busy:
                return
            worker, answer = self.heard.get()
            job = busy.get(worker, {})
            if answer is None:
                if worker in self.workers:
                    raise UserError(_died(worker, job))
            elif answer["kind"] == "progress":
                on_progress(job, answer)
            elif answer["kind"] == "error":
                if answer["user"]:
                    raise UserError(answer["message"])
                raise RuntimeError(f"{_what(job)}: {answer['message']}\n{answer['trace']}")
            elif answer["kind"] == "done":
                del busy[worker]
                on_done(job, answer["result"])


class _Worker:
    def __init__(self, heard: queue.Queue[Any]) -> None:
        # no shell and no fork of this program: torch's threads do not survive a fork
        self.process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )
        self.last_words: collections.deque[str] = collections.deque(maxlen=8)
        self.complaints = threading.Thread(target=self._collect, daemon=True)
        self.complaints.start()
        threading.Thread(target=self._hear, args=(heard,), daemon=True).start()

    def give(self, job: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its death comes through `heard`
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _hear(self, heard: queue.Queue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            heard.put((self, json.loads(line)))
        heard.put((self, None))

    def _collect(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.last_words.append(line.rstrip())


def _died(worker: _Worker, job: dict[str, Any]) -> str:
    code = worker.process.wait()
    worker.complaints.join(1.0)
    if code < 0:
        with contextlib.suppress(ValueError):
            how = f"killed by {signal.Signals(-code).name}" + (", perhaps for want of memory" if -code == 9 else "")
            return f"the process of {_what(job)} was {how}; the same command goes on from the finished trials"
    words = f" ({worker.last_words[-1]})" if worker.last_words else ""
    how = f"ended with status {code}{words}"
    return f"the process of {_what(job)} {how}; the same command goes on from the finished trials"


def _what(job: dict[str, Any]) -> str:
    if not job:
        return "an idle worker"
    rate = f" at learning rate {job['lr']:g}, seed {job['seed']}" if "lr" in job else ""
    return f"the {job['kind']} of {job['model']}{rate}"
