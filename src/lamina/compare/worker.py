"""A worker process: takes one job at a time as a line of JSON, answers with lines of JSON. One thread computes."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from time import monotonic
from typing import Any

__all__ = ["main"]

EVERY = 0.25  # seconds between two words of progress


def main() -> None:
    """Reads jobs until its input ends. The end of the input also ends a job in progress: no orphan goes on training."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()

    def say(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")

    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    work = _Work(say)
    say(kind="ready")
    while True:
        job = jobs.get()
        try:
            say(kind="done", result=work.do(job))
        except Exception as error:
            from lamina.core.config import UserError

            say(
                kind="error",
                user=isinstance(error, UserError),
                message=str(error) or type(error).__name__,
                trace=traceback.format_exc(),
            )


def _listen(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


class _Work:
    def __init__(self, say: Any) -> None:
        from lamina.compare import handover, trial  # with all they import, while the parent makes its plan

        self.say, self.trial, self.read = say, trial, handover.read
        self.data: dict[str, Any] = {}

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """job: {"kind": "warm-up" | "trial", "data", "model", "keys", "batch_size", ...}."""
        dataset = self._dataset(job["data"])
        if job["kind"] == "warm-up":
            return self.trial.step_seconds(job["model"], job["keys"], dataset, job["batch_size"])
        from lamina.compare.plan import Job

        last = monotonic()

        def report(step: int, loss: float, dev: float | None) -> None:
            nonlocal last
            if monotonic() - last > EVERY:
                last = monotonic()
                self.say(kind="progress", step=step, dev=dev)

        name = Job(job["model"], job["lr"], job["seed"])
        return self.trial.run_trial(
            name, job["keys"], dataset, job["steps"], job["batch_size"], Path(job["out"]), report
        )

    def _dataset(self, path: str) -> Any:
        if path not in self.data:
            self.data = {path: self.read(Path(path))}
        return self.data[path]
