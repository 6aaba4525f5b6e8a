"""Training loop on Fabric: AdamW, averaged weights, checkpoints and evaluation."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from iup_pose_ros.errors import CheckpointError, ConfigurationError, IupPoseError
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, load_checkpoint, save_checkpoint
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.keypoint_matching import KeypointMatcher
from iup_pose_ros.training.data.batch_stream import BatchStream, MixedStream
from iup_pose_ros.training.data.batches import ClusterBatch
from iup_pose_ros.training.data.pair_stream import PairStream, StreamConfig
from iup_pose_ros.training.data.scene_pairs import ScenePairs
from iup_pose_ros.training.imagenet import load_mobilenet_v2
from iup_pose_ros.training.periodic_evaluation import EvaluationScores, PeriodicEvaluation
from iup_pose_ros.training.run_config import NetworkConfig, TrainConfig
from iup_pose_ros.training.run_log import RunLog
from iup_pose_ros.training.run_progress import RunProgress
from iup_pose_ros.training.run_state import Progress, TrainState, checkpoints, load_state, save_state
from iup_pose_ros.training.schedule import average_decay, learning_rate, likelihood_share
from iup_pose_ros.training.synthetic.rendered_stream import RenderedClusters, cluster_loader
from iup_pose_ros.training.training_step import StepInput, StepResult, TrainingStep

WEIGHTS = "weights.safetensors"
BEST_WEIGHTS = "best.safetensors"
_MAXIMUM_SKIPPED = 20  # consecutive steps without finite gradient


class TrainingError(IupPoseError):
    """Training cannot continue."""


def train(config: TrainConfig, resume: bool = False, console: Console | None = None) -> Path:
    """Train a network and return the weights file with the averaged weights.

    The weights of the best evaluation are in ``BEST_WEIGHTS`` in the same folder. With ``torchrun`` each
    process trains on its part of the stream.

    Args:
        config: configuration of the run.
        resume: whether to resume from the newest checkpoint in ``config.output``, if there is one.
        console: console of the progress bar; None: no progress bar.

    Raises:
        ConfigurationError: the folder contains a run and ``resume`` is not set.
        CheckpointError: the newest checkpoint is damaged or belongs to another network.
        DataError: training or evaluation data are missing.
        TrainingError: gradients are not finite in many consecutive steps.
    """
    fabric = _fabric(config)
    fabric.launch()
    newest = checkpoints(config.output)[-1:]
    if newest and not resume:
        raise ConfigurationError(
            f"{config.output} already contains a run ({newest[0].name}): resume it or use another folder"
        )
    config.output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, fabric, console)
    if newest:
        trainer.resume(newest[0])
    return trainer.run()


class Trainer:
    """Training run in one process."""

    def __init__(self, config: TrainConfig, fabric: Fabric, console: Console | None = None) -> None:
        torch.manual_seed(config.seed)
        self._config, self._fabric, self._console = config, fabric, console
        self._network = initial_network(config.network, config.source.sizes[0])
        self._network.to(fabric.device)
        convert_conv2d_weight_memory_format(self._network, torch.channels_last)
        optimizer = _optimizer(self._network, config.optimizer.weight_decay)
        average = copy.deepcopy(self._network).eval().requires_grad_(False)
        self._state = TrainState(self._network, average, optimizer)
        module = TrainingStep(self._network, config.loss, mixed=config.precision == "bf16-mixed")
        self._module, self._optimizer = fabric.setup(module, optimizer)
        if config.network.tokens is not None and isinstance(self._network.matcher, KeypointMatcher):
            self._network.matcher.tokens = config.network.tokens
        # Lists in place of tuples, as json.loads returns the configuration from a checkpoint.
        self._progress = Progress(0, 0, 0, json.loads(json.dumps(self._network.config.to_dict())))
        self._saved = time.monotonic()
        self._stalled = False
        self._evaluation = PeriodicEvaluation(config.evaluation, config.output, str(fabric.device))

    def resume(self, path: Path) -> None:
        """Restore the state of a checkpoint.

        Raises:
            CheckpointError: it is damaged or belongs to another network.
        """
        progress = load_state(self._state, path)
        if dict(progress.network) != self._progress.network:
            raise CheckpointError(
                f"{path} has a network with other settings: {progress.network}; "
                f"the configuration has {self._progress.network}"
            )
        self._progress = progress

    def run(self) -> Path:
        """Train until the last step and return the weights file."""
        if not self._fabric.is_global_zero:
            for _ in self._steps():
                pass
            return self._config.output / WEIGHTS
        start = self._progress.step
        with (
            RunLog(self._config.output, start, self._config.tensorboard) as log,
            RunProgress(self._console, start, self._config.steps) as shown,
        ):
            scores = EvaluationScores(log.evaluations(), self._config.evaluation.patience)
            if start == 0 and not log.evaluations():
                self._evaluate(log, shown, scores)
            for row in self._steps():
                log.add_step(row)
                shown.advance(row)
                if self._due(self._config.evaluation.every):
                    self._evaluate(log, shown, scores)
        return self._config.output / WEIGHTS

    def _evaluate(self, log: RunLog, shown: RunProgress, scores: EvaluationScores) -> None:
        """Evaluate the averaged weights, write them if they are the best, and check for early stopping."""
        rows = self._evaluation.run(self._state.average, self._progress.step, self._progress.pairs)
        for row in rows:
            log.add_evaluation(row)
            shown.print(row)
        if scores.add(rows):
            self._write_weights(BEST_WEIGHTS)
        self._stalled = scores.stalled

    def _steps(self) -> Iterator[dict[str, Any]]:
        """Train and yield the log row of every step; checkpoints are written after the row was used."""
        position = (self._progress.batches, self._fabric.global_rank, self._fabric.world_size)
        batches = iter(cluster_loader(training_stream(self._config, *position), self._config.workers))
        skipped = 0
        while self._progress.step < self._config.steps:
            row = self._step(batches)
            skipped = 0 if row["gradient_norm"] < float("inf") else skipped + 1
            if skipped >= _MAXIMUM_SKIPPED:
                raise TrainingError(
                    f"gradients were not finite in {skipped} steps until step {self._progress.step}; "
                    "lower optimizer.learning_rate or use precision 32-true"
                )
            yield row
            stalled = self._due(self._config.evaluation.every) and self._fabric.broadcast(self._stalled)
            old = time.monotonic() - self._saved > 60.0 * self._config.checkpoint_minutes
            due = stalled or old or self._due(self._config.checkpoint_every)
            if due and self._fabric.is_global_zero:
                save_state(self._state, self._progress, self._config.output, self._config.keep)
                self._write_weights(WEIGHTS)
                self._saved = time.monotonic()
            if stalled:
                break

    def _step(self, batches: Iterator[ClusterBatch]) -> dict[str, Any]:
        """Do one optimizer step, count it and return its log row."""
        config, step = self._config, self._progress.step
        rate = learning_rate(config.optimizer, step, config.steps)
        likelihood = likelihood_share(config.optimizer, step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._module.train()
        if config.network.fixed_statistics:
            self._network.matcher.encoder.eval()
        means = self._accumulate_gradients(batches, likelihood)
        # The norm before clipping; a gradient that is not finite is not clipped.
        norm = float(nn.utils.clip_grad_norm_(self._network.parameters(), config.optimizer.clip))
        if norm < float("inf"):
            self._optimizer.step()
            update_average(self._state.average, self._network, average_decay(config.optimizer, step))
        self._optimizer.zero_grad()
        schedule = {"likelihood": likelihood, "learning_rate": rate, "gradient_norm": norm}
        # Means and number of pairs over all processes.
        before, count = self._progress, self._fabric.world_size * config.micro_batches
        reduced: Any = self._fabric.all_reduce(means, reduce_op="mean")
        *values, mean_pairs = reduced.tolist()
        pairs = round(mean_pairs * count)
        self._progress = replace(
            before, step=step + 1, batches=before.batches + count, pairs=before.pairs + pairs
        )
        named = dict(zip(StepResult._fields, values, strict=True))
        return {"step": step + 1, **named, **schedule, "pairs": pairs}

    def _accumulate_gradients(self, batches: Iterator[ClusterBatch], likelihood: float) -> Tensor:
        """Accumulate the gradients of a step; return mean ``StepResult`` and number of pairs per batch."""
        config, fabric = self._config, self._fabric
        rows: list[Tensor] = []
        for _ in range(config.micro_batches):
            batch = next(batches)
            generator = torch.Generator().manual_seed(config.seed + 1_000_003 * batch.index)
            pairs = batch.pairs(config.pairs, generator)
            given = StepInput.of(batch, pairs).to(fabric.device)
            last = len(rows) == config.micro_batches - 1
            with fabric.no_backward_sync(self._module, enabled=not last):
                result: StepResult = self._module(given, likelihood)
                fabric.backward(result.loss / config.micro_batches)
            rows.append(
                torch.stack(
                    [*(value.detach() for value in result), result.loss.new_tensor(float(len(pairs)))]
                )
            )
        # NaN: photographs have no depth, pairs without motion no direction.
        means: Tensor = torch.stack(rows).nanmean(dim=0)
        return means

    def _due(self, every: int) -> bool:
        """Return whether the step is a multiple of ``every``, or the last one."""
        return self._progress.step % every == 0 or self._progress.step == self._config.steps

    def _write_weights(self, name: str) -> None:
        """Write the averaged weights to a file of this name in the run's folder."""
        config, progress = self._config, self._progress
        statement = f"{config.training_data} ({progress.step} steps, {progress.pairs} pairs)"
        size = config.source.sizes[0]
        info = CheckpointInfo(self._network.config, size, SigmaCalibration(), statement)
        average: Any = self._state.average
        save_checkpoint(average, info, config.output / name)


def training_stream(config: TrainConfig, start: int = 0, rank: int = 0, world_size: int = 1) -> BatchStream:
    """Create the training data stream of a run; arguments as ``BatchStream``.

    Raises:
        DataError: files are missing or have another layout.
        ConfigurationError: shares are negative, or all are 0.
    """
    position = (start, rank, world_size)
    if not config.data_sets and config.photographs is None:
        return RenderedClusters(config.source, *position)
    streams: list[tuple[float, BatchStream]] = []
    if config.rendered:
        streams.append((config.rendered, RenderedClusters(config.source, *position)))
    for entry in config.data_sets:
        stream = StreamConfig(sizes=config.source.sizes, pairs=entry.pairs, seed=config.source.seed)
        streams.append((entry.share, PairStream(entry.load(), stream)))
    if config.photographs is not None:
        streams.append((config.photographs.share, ScenePairs(config.photographs, config.source.photometric)))
    group = config.micro_batches * world_size
    return MixedStream(streams, config.source.seed, *position, group)


def initial_network(config: NetworkConfig, size: tuple[int, int]) -> IUPPose:
    """Create the network with initial weights for images of a size (width, height).

    Raises:
        CheckpointError: the initial weights are invalid.
        ConfigurationError: a module in ``frozen`` or ``fresh`` does not exist.
    """
    network = IUPPose(config.model_config(size))
    if config.encoder_weights is not None:
        load_mobilenet_v2(network.matcher.encoder, config.encoder_weights)
    if config.weights is not None:
        trained, _ = load_checkpoint(config.weights)
        tensors = trained.state_dict()
        for module in config.fresh:
            own = _submodule(network, module).state_dict()
            tensors.update({f"{module}.{name}": tensor for name, tensor in own.items()})
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(f"{config.weights} does not match the network: {error}") from error
    for name in config.frozen:
        _submodule(network, name).requires_grad_(False)
    return network


def _submodule(network: IUPPose, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        modules = ", ".join(name for name, _ in network.named_children())
        raise ConfigurationError(f"the network has no module {name!r}; it has {modules}") from error


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update the moving average of weights and statistics; integers are copied."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)


def _optimizer(network: nn.Module, decay: float) -> torch.optim.AdamW:
    """Create AdamW with weight decay for kernels and matrices only, not biases, gains and temperatures."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups)


def _fabric(config: TrainConfig) -> Fabric:
    """Create Fabric with the processes of ``torchrun``, or a single process."""
    processes, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return Fabric(
        accelerator=config.device,
        strategy="ddp" if processes > 1 else "auto",
        devices=local,
        num_nodes=processes // local,
    )
