"""Timings and training on a machine with a GPU that can be used for ten minutes and has no network.

    python tools/accelerator_run.py pack FOLDER --scenes S --photographs P --posed Q --training-data TEXT

there, in a copy of the repository:

    python3 -m pip install --no-index --no-deps --target site FOLDER/wheels/*.whl
    PYTHONPATH=.:site python3 tools/accelerator_run.py run FOLDER --output O --minutes 9

`pack` collects data and wheels in one folder of limited size. `run` starts every phase as a process of its
own, which is killed at the end of its time, and writes at most eight small files: `timings.json`, `run.json`
(how each phase ended and what it printed last), and for each network its log and averaged weights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerator_pack import MEBIBYTE, ROOT, SHARES, pack
from accelerator_timings import MODES, time_networks, write_json
from torch import Tensor

from iup_pose_ros.benchmark.timing import Conditions
from iup_pose_ros.estimators.network.iup_pose_estimator import network_size
from iup_pose_ros.model.config import preset
from iup_pose_ros.model.keypoint_matching import KeypointMatcher
from iup_pose_ros.training.data.batches import SparseMatches
from iup_pose_ros.training.data.scene_pairs import ScenePairsConfig
from iup_pose_ros.training.run_config import TrainConfig, read_config
from iup_pose_ros.training.trainer import WEIGHTS, initial_network, train, training_stream
from iup_pose_ros.training.training_step import StepInput, TrainingStep
from iup_pose_ros.weights import SHIPPED_WEIGHTS

CONFIGURATIONS = {"small": "train_small_keypoints.yaml", "base": "train_base.yaml"}
LARGEST_FILE = 16 * MEBIBYTE  # of the files that `run` writes
POSED_SIZES = ((480, 352), (352, 480), (512, 288), (288, 512), (512, 160))
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - worker processes pass batches through it


@dataclass(frozen=True)
class Extent:
    """What `run` does: cases of the timings, the first ones first, and size of the training."""

    device: str
    modes: tuple[str, ...]
    batches: tuple[int, ...]
    precisions: tuple[str, ...]
    repeats: int
    sizes: dict[str, tuple[int, int]]
    train_sizes: tuple[tuple[int, int], ...] | None  # None: those of the configuration
    train_precision: str
    workers: int
    largest_scale: int  # of a batch, relative to one rendered cluster and as many pairs of photographs
    least_steps: int  # the batch grows only as long as the time is enough for so many steps


SIZES = {name: network_size(640, 480, preset(name).image_area) for name in CONFIGURATIONS}
PRECISIONS = ("bfloat16", "float16", "float32")
FULL = Extent("cuda", MODES, (1, 32), PRECISIONS, 30, SIZES, None, "bf16-mixed", 14, 256, 300)
TINY = {"small": (128, 96), "base": (128, 96)}
SMOKE = Extent("cpu", ("eager", "graph"), (1, 2), ("float32",), 2, TINY, ((128, 96),), "32-true", 0, 2, 3)


def run_command(options: argparse.Namespace) -> None:
    """Run all phases one after the other, each in its share of the time, and collect what they write."""
    begin, extent = time.monotonic(), SMOKE if options.smoke else FULL
    end = begin + 60.0 * options.minutes
    options.output.mkdir(parents=True, exist_ok=True)
    records: dict[str, Any] = {}
    # Share of the time until the end.
    phases = [*((f"time {mode}", 0.12) for mode in extent.modes), ("train small", 0.75), ("train base", 0.9)]
    with tempfile.TemporaryDirectory() as temporary:
        for phase, share in phases:
            seconds = share * (end - time.monotonic())
            work = options.output if phase.startswith("time") else Path(temporary) / phase.split()[1]
            command = [sys.executable, __file__, *phase.split(), str(options.folder), "--output", str(work)]
            command += ["--minutes", str(seconds / 60.0), *(["--smoke"] if options.smoke else [])]
            code, printed = run_limited(command, seconds, Path(temporary) / "printed.txt")
            records[phase] = {"code": code, "limit_s": seconds, "printed": printed}
            records[phase]["end_s"] = time.monotonic() - begin
            for name in ("log.csv", WEIGHTS) if phase.startswith("train") else ():
                made = work / "run" / name
                if made.is_file() and made.stat().st_size <= LARGEST_FILE:
                    shutil.copyfile(made, options.output / f"{work.name}_{name}")
                elif made.is_file():
                    records[phase][name] = f"left out: {made.stat().st_size / MEBIBYTE:.0f} MiB"
            write_json(options.output / "run.json", records)
            print(f"{phase}: {code}, {records[phase]['end_s']:.0f} s", flush=True)


def run_limited(command: Sequence[str], seconds: float, log: Path) -> tuple[int | str, str]:
    """Run a command and kill it with its children after a time; return exit code and end of the output."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | str = process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            code = "killed at the end of its time"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return code, log.read_text(encoding="utf-8", errors="replace")[-4000:]


def time_command(options: argparse.Namespace) -> None:
    """Time both networks in one mode."""
    extent = SMOKE if options.smoke else FULL
    cases = [
        (Conditions(*extent.sizes[name], extent.device, precision, torch.get_num_threads(), batch), name)
        for batch, precision, name in itertools.product(extent.batches, extent.precisions, CONFIGURATIONS)
    ]
    time_networks(options.what, cases, extent.repeats, options.output / "timings.json")


def train_command(options: argparse.Namespace) -> None:
    """Train a network with the largest batch that fits, for the given time."""
    begin, extent = time.monotonic(), SMOKE if options.smoke else FULL
    config = packed_config(options.what, options.folder, options.output, extent)
    # The rest is for the start of this process and of the workers, and for the last checkpoint.
    seconds = 3.0 if options.smoke else 60.0 * options.minutes - 30.0
    config = fitted(config, extent, lambda: seconds - (time.monotonic() - begin))
    print(json.dumps({"steps": config.steps, "clusters": config.source.clusters}), flush=True)
    train(config)


def packed_config(name: str, folder: Path, output: Path, extent: Extent) -> TrainConfig:
    """Return the configuration of the repository, changed to the packed data and a short run."""
    config = read_config(ROOT / "config" / CONFIGURATIONS[name])
    sizes = extent.train_sizes or config.source.sizes
    source = replace(
        config.source, scenes=folder / "scenes", photographs=folder / "photographs", split="all", sizes=sizes
    )
    statement = (folder / "training_data.txt").read_text(encoding="utf-8")
    changes: dict[str, Any] = {}
    if name == "small":
        posed = ScenePairsConfig(folder / "posed", share=0.5, sizes=extent.train_sizes or POSED_SIZES)
        network = replace(config.network, weights=folder / "start.safetensors")
        changes = {"photographs": posed, "network": network, "micro_batches": 2}
    return replace(
        config, output=output / "run", training_data=statement, source=source, workers=extent.workers,
        device=extent.device, precision=extent.train_precision, checkpoint_minutes=0.25, keep=1,
        tensorboard=False, **changes,
    )  # fmt: skip


def fitted(config: TrainConfig, extent: Extent, left: Callable[[], float]) -> TrainConfig:
    """Return the configuration with the largest batch, found by doubling, and the steps for the time left.

    The batch ends with the memory of the GPU, of which a part remains free for other image sizes, with that
    of the workers' batches in advance, or where the time would not be enough for ``extent.least_steps``.
    """
    network = initial_network(config.network, config.source.sizes[0]).to(extent.device)
    if isinstance(network.matcher, KeypointMatcher):
        network.matcher.tokens = config.network.tokens or network.matcher.tokens
    module = TrainingStep(network, config.loss, mixed=config.precision == "bf16-mixed").train()
    with training_stream(config).opened() as batch:
        unit = [batch(index) for index in range(config.micro_batches)]  # loads the first scenes
        begin = time.monotonic()
        unit = [batch(config.micro_batches + index) for index in range(config.micro_batches)]
        making = (time.monotonic() - begin) / max(1, config.workers)
    inputs = [StepInput.of(part, part.pairs(config.pairs)) for part in unit]
    shared = 6 * config.workers * max(sum(t.nbytes for t in (part.images, part.depth)) for part in unit)
    scale, steps, on_gpu = 1, 1, extent.device == "cuda"
    for doubled in (1 << power for power in range(extent.largest_scale.bit_length())):
        try:
            for _ in range(2):
                begin = time.monotonic()
                for part in inputs:
                    module(repeated(part, doubled).to(torch.device(extent.device)), 1.0).loss.backward()
                if on_gpu:
                    torch.cuda.synchronize()
                computing = time.monotonic() - begin
        except torch.OutOfMemoryError:
            break
        possible = int(left() / (1.1 * max(computing, making * doubled)))
        free = torch.cuda.max_memory_allocated() < 0.6 * torch.cuda.mem_get_info()[1] if on_gpu else True
        free = free and shared * doubled < shutil.disk_usage(SHARED_MEMORY).free
        if doubled > 1 and (possible < extent.least_steps or not free):
            break
        scale, steps = doubled, max(1, possible)
    del network, module
    if on_gpu:
        torch.cuda.empty_cache()
    posed = config.photographs and replace(config.photographs, pairs=scale * config.photographs.pairs)
    optimizer = replace(
        config.optimizer,
        warm_up=min(config.optimizer.warm_up, steps // 10),
        plain=min(config.optimizer.plain, steps // 3),
        blend=min(config.optimizer.blend, steps // 3),
    )
    source = replace(config.source, clusters=scale)
    return replace(config, steps=steps, source=source, photographs=posed, optimizer=optimizer)


def repeated(given: StepInput, times: int) -> StepInput:
    """Return the views and pairs of a batch several times."""

    def copies(tensor: Tensor) -> Tensor:
        return tensor.repeat(times, *[1] * (tensor.ndim - 1))

    moved = (len(given.images) * torch.arange(times)).repeat_interleave(len(given.view_0))
    values: dict[str, Any] = {name: copies(getattr(given, name)) for name in StepInput._fields[:-1]}
    for name in ("view_0", "view_1"):
        values[name] = values[name] + moved
    matches = None if given.matches is None else SparseMatches(*map(copies, given.matches))
    return StepInput(**values, matches=matches)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands; `time` and `train` are the phases of `run`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.set_defaults(command=pack)
    packing.add_argument("folder", type=Path)
    for kind in SHARES:
        packing.add_argument(f"--{kind}", type=Path, required=True)
    packing.add_argument("--training-data", required=True, help="their description with licences")
    packing.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS, help="that training starts from")
    packing.add_argument("--limit-mib", type=int, default=64, help="of the folder and the checkout")
    for name, command, choices in (
        ("run", run_command, None),
        ("time", time_command, FULL.modes),
        ("train", train_command, tuple(CONFIGURATIONS)),
    ):
        running = commands.add_parser(name)
        running.set_defaults(command=command)
        if choices:
            running.add_argument("what", choices=choices)
        running.add_argument("folder", type=Path)
        running.add_argument("--output", type=Path, required=True)
        running.add_argument("--minutes", type=float, default=9.0)
        running.add_argument("--smoke", action="store_true", help="tiny sizes on a CPU")
    options = parser.parse_args(arguments)
    if getattr(options, "smoke", False):
        torch.set_num_threads(1)  # tiny operations wait longer for each other than they take
    options.command(options)


if __name__ == "__main__":
    main()
