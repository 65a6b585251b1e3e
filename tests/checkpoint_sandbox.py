"""Read a file of unknown origin in a process of its own, which may take 60 seconds of CPU and a bounded memory."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 60
MEMORY = 4 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of a process.

    Args:
        value: what the function gave, or None if the process died.
        signal: what it died of, or 0.
        seconds: of CPU.
        memory: bytes at most above what it began with.
    """

    value: Any
    signal: int
    seconds: float
    memory: int


def run(function, *arguments, seconds=SECONDS, memory=MEMORY):
    """Call a function in a child of this process, with limits; what it returns comes back pickled."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # jax, where a test beside this one has loaded it, warns of its threads; the child only reads a file.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
        child = os.fork()
    if not child:
        os.close(reader)
        _limit(seconds, memory)
        before, start = _peak(), time.process_time()
        try:
            value = function(*arguments)
        except BaseException as error:  # noqa: BLE001 - the parent judges
            value = f"{type(error).__name__}: {error}"
        spent, peak = time.process_time() - start, _peak() - before
        with os.fdopen(writer, "wb") as stream:
            pickle.dump((value, spent, peak), stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    value, spent, peak = pickle.loads(data) if data else (None, 0.0, 0)
    return Outcome(value, died, spent, peak)


def _limit(seconds, memory):
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    # A process that waits for ever takes no CPU.
    signal.alarm(4 * seconds)


def _peak():
    """Bytes of memory at most since the process began, of its own and not of its parent."""
    with Path("/proc/self/status").open(encoding="ascii") as file:
        rows = dict(line.split(":", 1) for line in file)
    return int(rows["VmHWM"].split()[0]) * 1024
