"""The benchmark: every core, layer and network beside what users would pick instead, in one run.

`nox -s bench` makes the environment with all peers and runs it; `python -m benchmarks` runs it where they are.
"""
