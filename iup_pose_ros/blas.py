"""Number of threads of OpenBLAS, the linear algebra library of NumPy and SciPy."""

from __future__ import annotations

import os


def use_one_blas_thread() -> None:
    """Let OpenBLAS use one thread unless the environment says otherwise; call it before NumPy is imported.

    The matrices here are small, and threads of OpenBLAS wait for each other in a loop: with two of them a
    pose takes up to twice the CPU time and is not faster.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
