"""Folders that another library writes are whole or untouched too, whenever the writer is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from test_core_checkpoints_writing import arrays, entries, value_of

from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.disk.destination import work_folder
from einops_arch.checkpoints.reader import MemoryReader

KILLS = int(os.environ.get("EINOPS_ARCH_KILLS", "2"))
"""How often a writer is killed, for each format; the session `fuzz` asks for more."""

# One process imports the library and makes the writers, so that not each of them takes seconds to begin.
WRITERS = """
import importlib, os, sys
import numpy as np
from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.reader import MemoryReader

importlib.import_module(sys.argv[2])
while sys.stdin.readline():
    writer = os.fork()
    if writer:
        print(writer, flush=True)
        os.waitpid(writer, 0)
        print("gone", flush=True)
        continue
    value = 0
    while True:
        value = 3 - value if value else 1
        large = {f"x{n}": np.full((64, 1024), value, "float32") for n in range(10)}
        write_tensors(sys.argv[1], MemoryReader(large, {"framework": sys.argv[3]}), force=True)
"""


@pytest.mark.parametrize(
    ("name", "library", "framework"),
    [("orbax", "orbax.checkpoint", "flax"), ("x.dcp", "torch.distributed.checkpoint", "torch")],
)
def test_a_killed_writer_leaves_the_old_or_the_new(name, library, framework, tmp_path):
    path = tmp_path / name
    rng = random.Random(name)

    def write(value, **options):
        write_tensors(path, MemoryReader(arrays(value), {"framework": framework}), **options)

    write(3.0)
    seen = set()
    command = [sys.executable, "-c", WRITERS, str(path), library, framework]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(KILLS):
            print("go", file=process.stdin, flush=True)
            writer = int(process.stdout.readline())
            time.sleep(rng.uniform(0.0, 1.5))
            os.kill(writer, signal.SIGKILL)
            assert process.stdout.readline() == "gone\n"
            seen.add(value_of(path))
            assert set(entries(tmp_path)) <= {name, work_folder(path).name}
        process.stdin.close()
    assert seen <= {1.0, 2.0, 3.0}
    # With many moments, some lie after the first whole checkpoint.
    assert KILLS < 20 or seen & {1.0, 2.0}
    write(7.0, force=True)
    assert value_of(path) == 7.0
    assert entries(tmp_path) == [name]
