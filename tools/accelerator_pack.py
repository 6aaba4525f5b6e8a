"""Data and wheels for a machine without network, in one folder of limited size."""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from iup_pose_ros.training.synthetic.photographs import photograph_files
from iup_pose_ros.training.synthetic.scenes import scene_files

ROOT = Path(__file__).resolve().parents[1]
MEBIBYTE = 1 << 20
SHARES = {"scenes": 0.4, "photographs": 0.2, "posed": 0.4}  # of the space that wheels and weights leave
# What training imports and an image with PyTorch and the usual scientific packages lacks.
WHEELS = ("moderngl", "glcontext", "lightning-fabric", "poselib", "roma")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")


def pack(options: argparse.Namespace) -> None:
    """Pack wheels, weights and data, so that they and the checkout stay within the limit; print the sizes."""
    folder: Path = options.folder
    names = download_wheels(folder / "wheels")
    shutil.copyfile(options.weights, folder / "start.safetensors")
    (folder / "training_data.txt").write_text(options.training_data, encoding="utf-8")
    sources = {
        "scenes": scene_files(options.scenes, "train"),
        "photographs": photograph_files(options.photographs, "train"),
        "posed": [path.parent for path in options.posed.glob("*/pairs.csv")],
    }
    checkout = checkout_size()
    space = options.limit_mib * MEBIBYTE - checkout - total_size(folder)
    sizes = {**copy_share(sources, folder, space), "wheels": total_size(folder / "wheels")}
    sizes |= {"checkout": checkout, "all": total_size(folder) + checkout}
    print(*(f"{name:12s} {size / MEBIBYTE:6.1f} MiB" for name, size in sizes.items()), *names, sep="\n")


def copy_share(sources: Mapping[str, Sequence[Path]], folder: Path, space: int) -> dict[str, int]:
    """Copy files or folders of every kind of SHARES, chosen at random, into a folder.

    Args:
        sources: files or folders of every kind.
        folder: new folder, with a folder of every kind.
        space: maximum size of all copies in bytes.

    Returns:
        Size of the copies of every kind in bytes.
    """
    sizes = {}
    for kind, share in SHARES.items():
        (folder / kind).mkdir(parents=True)
        items, left = sorted(sources[kind]), int(share * space)
        random.Random(0).shuffle(items)  # noqa: S311 - the same choice for the same files
        for item in items:
            size = total_size(item)
            if size <= left:
                left -= size
                copy = shutil.copytree if item.is_dir() else shutil.copyfile
                copy(item, folder / kind / item.name)
        sizes[kind] = int(share * space) - left
    return sizes


def total_size(path: Path) -> int:
    """Return the size of a file, or of all files in a folder, in bytes."""
    return sum(item.stat().st_size for item in (path, *path.rglob("*")) if item.is_file())


def download_wheels(folder: Path) -> list[str]:
    """Download the wheels for Python 3.12 on x86-64 into a folder and return what was asked for.

    Versions are those of the files in `requirements/`.
    """
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "requirements").glob("*.txt")]
    pins = dict(re.findall(r"(?m)^([\w-]+)==([\w.]+)$", "\n".join(texts)))
    names = [f"{name}=={pins[name]}" if name in pins else name for name in WHEELS]
    target = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
    for name in PLATFORMS:
        target += ["--platform", f"{name}_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *target, "--dest", str(folder), *names]
    subprocess.run(command, check=True)
    return names


def checkout_size() -> int:
    """Return the size of the files that git tracks in this repository, in bytes."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sum(total_size(ROOT / name) for name in listed.split("\0") if name)
