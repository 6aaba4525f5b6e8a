"""Run times of the networks' stages: eager, compiled, or captured in a CUDA graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from iup_pose_ros.atomic import atomic_file
from iup_pose_ros.benchmark.timing import Conditions, Measurement, measure
from iup_pose_ros.model.checkpoint import load_checkpoint
from iup_pose_ros.model.config import preset
from iup_pose_ros.model.folding import fold
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.weights import SHIPPED_WEIGHTS

MODES = ("eager", "graph", "compile")
# What a stage raises that cannot be compiled, captured or held in memory.
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, ImportError, AssertionError)


def write_json(path: Path, document: object) -> None:
    """Write a JSON file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def time_networks(mode: str, cases: Iterable[tuple[Conditions, str]], repeats: int, path: Path) -> None:
    """Time the networks in one mode; a row, or what failed, is added to a JSON file after every stage.

    Args:
        mode: one of MODES.
        cases: conditions, and name of the network: ``small`` or ``base``.
        repeats: number of measured calls.
        path: the file, which is continued.
    """
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    networks: dict[str, IUPPose] = {}
    for conditions, name in cases:
        if name not in networks:
            shipped = name == "small"
            network = load_checkpoint(SHIPPED_WEIGHTS)[0] if shipped else IUPPose(preset(name)).eval()
            networks[name] = fold(network).to(conditions.device)
        stages = stage_calls(networks[name], conditions)
        for stage, call in stages.items():
            used = {"network": name, "mode": mode}
            try:
                timed = in_mode(call, mode, conditions.device)
                samples = measure(timed, repeats, 3, conditions.device)
                row = Measurement("network", stage, "tensors on the device", conditions, samples).to_json()
            except (
                RuntimeError,
                ValueError,
                TypeError,
                AttributeError,
                ImportError,
                AssertionError,
            ) as error:
                row = {"name": stage, **vars(conditions), "error": f"{type(error).__name__}: {error}"[:500]}
            rows.append({**used, **row})
            write_json(path, rows)


def stage_calls(network: IUPPose, conditions: Conditions) -> dict[str, Callable[[int], Any]]:
    """Return the stages as functions of the number of the call, which has no effect.

    They are `encode` (a batch of images), `match` (pairs of features), `pair` (both images encoded and
    matched) and `pose` (solved from the matches and, with decoders, refined).
    """
    device, dtype = torch.device(conditions.device), getattr(torch, conditions.precision)
    width, height = conditions.width, conditions.height
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((conditions.batch, 3, height, width), generator=generator)
    image = image.to(device, memory_format=torch.channels_last)
    K = torch.tensor([[width, 0.0, width / 2.0], [0.0, width, height / 2.0], [0.0, 0.0, 1.0]], device=device)
    K = K.expand(conditions.batch, 3, 3)

    def stage(call: Callable[[], Any]) -> Callable[[int], Any]:
        def without_gradient(_: int) -> Any:
            # A captured graph must not depend on the converted weights that automatic precision caches.
            precision = torch.autocast(device.type, dtype, dtype != torch.float32, cache_enabled=False)
            with torch.no_grad(), precision:
                return call()

        return without_gradient

    encode = stage(lambda: network.encode(image, K))
    features = encode(0)
    match = stage(lambda: network.align(features, features))
    aligned = match(0)
    pair = stage(lambda: network.align(network.encode(image, K), network.encode(image.flip(3), K)))
    return {"encode": encode, "match": match, "pair": pair, "pose": stage(lambda: network.decode(aligned))}


def in_mode(call: Callable[[int], Any], mode: str, device: str) -> Callable[[int], Any]:
    """Return a stage as it is, compiled with CUDA graphs, or captured in one."""
    if mode == "eager":
        return call
    if mode == "compile":
        torch._dynamo.reset()
        # The number of the call would be compiled in as a constant, again for every call.
        compiled = torch.compile(lambda: call(0), mode="reduce-overhead", dynamic=False)
        return lambda _: compiled()
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        for number in range(3):
            call(number)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call(0)
    return lambda _: graph.replay()
