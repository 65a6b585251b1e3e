"""One command for a machine with a GPU: `python -m benchmarks.gpu --device cuda --out DIR`.

It needs nothing but the two frameworks and what they bring: no installation, no network, no nox. Each part runs in a
process of its own (`worker.py`), so that what fails or hangs costs itself only.
"""
