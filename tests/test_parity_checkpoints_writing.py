"""Folders that another library writes are whole or untouched too, whenever the writer is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_core_checkpoints_writing import arrays, entries, value_of

from einops_arch.checkpoints import open_checkpoint, write_tensors
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


MOMENTS = """
import importlib, os, signal, sys
import numpy as np
from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.disk import destination
from einops_arch.checkpoints.formats import orbax_folder
from einops_arch.checkpoints.reader import MemoryReader
import orbax.checkpoint

def kill(*arguments, **options):
    if name == "sync" and str(arguments[0]) != os.path.dirname(sys.argv[1]):
        return
    inside = os.path.dirname(sys.argv[1]) + "/.orbax.einops-arch/orbax"
    print(os.path.exists(inside), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

for line in sys.stdin:
    module, name = line.strip().rsplit(".", 1)
    writer = os.fork()
    if writer:
        print(os.WTERMSIG(os.waitpid(writer, 0)[1]), flush=True)
        continue
    assert hasattr(importlib.import_module(module), name), line
    setattr(importlib.import_module(module), name, kill)
    arrays = {"a": np.full(3, 5.0, "float32"), "b": np.ones((0, 2))}
    write_tensors(sys.argv[1], MemoryReader(arrays, {"framework": "flax"}), force=True)
    os._exit(0)  # it was not killed: the parent says so, and no second process reads its lines
"""


def test_a_writer_that_is_killed_after_orbax_has_renamed_its_folder(tmp_path):
    """Orbax is done with its part then, and ours is not."""
    path = tmp_path / "orbax"
    home = "einops_arch.checkpoints"
    moments = {
        f"{home}.formats.orbax_folder.write_metadata": 3.0,
        f"{home}.disk.destination._sync_all": 3.0,
        f"{home}.disk.destination._put": 3.0,
        f"{home}.disk.destination.sync": 5.0,
    }
    command = [sys.executable, "-c", MOMENTS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for moment, expected in moments.items():
            source = MemoryReader({"a": np.full(3, 3.0, "float32"), "b": np.ones((0, 2))}, {"framework": "flax"})
            write_tensors(path, source, force=True)
            print(moment, file=process.stdin, flush=True)
            renamed = process.stdout.readline()
            assert renamed == "True\n" or expected == 5.0, moment
            assert process.stdout.readline() == f"{int(signal.SIGKILL)}\n", moment
            with open_checkpoint(path) as reader:
                assert reader.read("a").tolist() == [expected] * 3, moment
                assert reader.info("b").shape == (0, 2)
                assert reader.metadata["framework"] == "flax"
            assert set(entries(tmp_path)) <= {"orbax", work_folder(path).name}
        process.stdin.close()
    write_tensors(path, MemoryReader({"a": np.zeros(1)}, {"framework": "flax"}), force=True)
    assert entries(tmp_path) == ["orbax"]
