"""The training loop on Fabric: AdamW, averaged weights, and checkpoints behind which a run goes on."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterable, Iterator
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
from iup_pose_ros.training.periodic_evaluation import Gains, PeriodicEvaluation
from iup_pose_ros.training.run_config import NetworkConfig, TrainConfig
from iup_pose_ros.training.run_log import RunLog
from iup_pose_ros.training.run_progress import RunProgress
from iup_pose_ros.training.run_state import Progress, Trainee, checkpoints, load_state, save_state
from iup_pose_ros.training.schedule import average_decay, learning_rate, likelihood_share
from iup_pose_ros.training.synthetic.rendered_stream import RenderedClusters, cluster_loader
from iup_pose_ros.training.training_step import StepInput, StepResult, TrainingStep

WEIGHTS = "weights.safetensors"
BEST_WEIGHTS = "best.safetensors"
_MOST_SKIPPED = 20  # steps in a row without finite gradient


class TrainingError(IupPoseError):
    """Training that cannot go on."""


def train(config: TrainConfig, resume: bool = False, console: Console | None = None) -> Path:
    """Train a network; returns the weights file, which holds the averaged weights.

    Those of the best evaluation are beside it in ``BEST_WEIGHTS``. Under ``torchrun`` every process trains on
    its share of the stream.

    Args:
        config: of the run.
        resume: whether to go on from the newest checkpoint in ``config.output``; from the start where there
            is none.
        console: for the progress bar; none by default.

    Raises:
        ConfigurationError: the folder holds a run already and ``resume`` is not set.
        CheckpointError: the newest checkpoint is damaged or of another network.
        DataError: what is to be rendered or evaluated is not there.
        TrainingError: gradients are not finite, step after step.
    """
    fabric = _fabric(config)
    fabric.launch()
    newest = checkpoints(config.output)[-1:]
    if newest and not resume:
        raise ConfigurationError(
            f"{config.output} holds a run already ({newest[0].name}): resume it, or name another folder"
        )
    config.output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, fabric, console)
    if newest:
        trainer.resume(newest[0])
    return trainer.run()


class Trainer:
    """A run in one process."""

    def __init__(self, config: TrainConfig, fabric: Fabric, console: Console | None = None) -> None:
        torch.manual_seed(config.seed)
        self._config, self._fabric, self._console = config, fabric, console
        self._network = initial_network(config.network, config.source.sizes[0])
        self._network.to(fabric.device)
        convert_conv2d_weight_memory_format(self._network, torch.channels_last)
        optimiser = _optimiser(self._network, config.optimiser.weight_decay)
        average = copy.deepcopy(self._network).eval().requires_grad_(False)
        self._trainee = Trainee(self._network, average, optimiser)
        module = TrainingStep(self._network, config.loss, mixed=config.precision == "bf16-mixed")
        self._module, self._optimiser = fabric.setup(module, optimiser)
        if config.network.tokens is not None and isinstance(self._network.matcher, KeypointMatcher):
            self._network.matcher.tokens = config.network.tokens
        self._progress = Progress(0, 0, 0, _plain(self._network))
        self._saved = time.monotonic()
        self._stalled = False
        self._evaluation = PeriodicEvaluation(config.evaluation, config.output, str(fabric.device))

    def resume(self, path: Path) -> None:
        """Go to the state of a checkpoint.

        Raises:
            CheckpointError: it is damaged or of another network.
        """
        progress = load_state(self._trainee, path)
        if dict(progress.network) != self._progress.network:
            raise CheckpointError(
                f"{path} is of a network with other settings: {progress.network}; "
                f"the configuration asks for {self._progress.network}"
            )
        self._progress = progress

    def run(self) -> Path:
        """Train to the last step; returns the weights file."""
        if not self._fabric.is_global_zero:
            for _ in self._steps():
                pass
            return self._config.output / WEIGHTS
        start = self._progress.step
        with (
            RunLog(self._config.output, start, self._config.tensorboard) as log,
            RunProgress(self._console, start, self._config.steps) as shown,
        ):
            gains = Gains(log.evaluations(), self._config.evaluation.patience)
            if start == 0 and not log.evaluations():
                self._evaluate(log, shown, gains)
            for row in self._steps():
                log.add_step(row)
                shown.advance(row)
                if self._due(self._config.evaluation.every):
                    self._evaluate(log, shown, gains)
        return self._config.output / WEIGHTS

    def _evaluate(self, log: RunLog, shown: RunProgress, gains: Gains) -> None:
        """Evaluate the averaged weights, keep them if they are the best, and see whether there are gains."""
        rows = self._evaluation.run(self._trainee.average, self._progress.step, self._progress.pairs)
        for figures in rows:
            log.add_evaluation(figures)
            shown.print(figures)
        if gains.add(rows):
            self._write_weights(BEST_WEIGHTS)
        self._stalled = gains.stalled

    def _steps(self) -> Iterator[dict[str, Any]]:
        """Every step's row of the log; a checkpoint is written behind the row's use."""
        batches = iter(self._batches())
        skipped = 0
        while self._progress.step < self._config.steps:
            row = self._step(batches)
            skipped = 0 if row["gradient_norm"] < float("inf") else skipped + 1
            if skipped >= _MOST_SKIPPED:
                raise TrainingError(
                    f"gradients were not finite in {skipped} steps up to {self._progress.step}; "
                    "lower optimiser.learning_rate or use precision 32-true"
                )
            yield row
            stalled = self._due(self._config.evaluation.every) and self._fabric.broadcast(self._stalled)
            old = time.monotonic() - self._saved > 60.0 * self._config.checkpoint_minutes
            if stalled or old or self._due(self._config.checkpoint_every):
                self._save()
            if stalled:
                break

    def _batches(self) -> Iterable[ClusterBatch]:
        fabric = self._fabric
        place = (self._progress.batches, fabric.global_rank, fabric.world_size)
        return cluster_loader(training_stream(self._config, *place), self._config.workers)

    def _step(self, batches: Iterator[ClusterBatch]) -> dict[str, Any]:
        """One step of the optimiser and its row of the log."""
        config, step = self._config, self._progress.step
        rate = learning_rate(config.optimiser, step, config.steps)
        likelihood = likelihood_share(config.optimiser, step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._module.train()
        if config.network.fixed_statistics:
            self._network.matcher.encoder.eval()
        means = self._add_gradients(batches, likelihood)
        norm = float(_clip(self._network, config.optimiser.clip))
        if norm < float("inf"):
            self._optimiser.step()
            update_average(self._trainee.average, self._network, average_decay(config.optimiser, step))
        self._optimiser.zero_grad()
        schedule = {"likelihood": likelihood, "learning_rate": rate, "gradient_norm": norm}
        return self._advanced(means, schedule)

    def _add_gradients(self, batches: Iterator[ClusterBatch], likelihood: float) -> Tensor:
        """Sum up the gradients of a step; returns means: ``StepResult``, pairs of a batch."""
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
        # A batch of photographs has no depths, one without motion no direction.
        means: Tensor = torch.stack(rows).nanmean(dim=0)
        return means

    def _advanced(self, means: Tensor, schedule: dict[str, float]) -> dict[str, Any]:
        """Count the step; its row: means over the processes, pairs of all of them."""
        fabric, before = self._fabric, self._progress
        batches = fabric.world_size * self._config.micro_batches
        reduced: Any = fabric.all_reduce(means, reduce_op="mean")
        *figures, mean_pairs = reduced.tolist()
        total = round(mean_pairs * batches)
        self._progress = replace(
            before, step=before.step + 1, batches=before.batches + batches, pairs=before.pairs + total
        )
        named = dict(zip(StepResult._fields, figures, strict=True))
        return {"step": before.step + 1, **named, **schedule, "pairs": total}

    def _due(self, every: int) -> bool:
        return self._progress.step % every == 0 or self._progress.step == self._config.steps

    def _save(self) -> None:
        """Checkpoint and weights file."""
        if not self._fabric.is_global_zero:
            return
        config, progress = self._config, self._progress
        save_state(self._trainee, progress, config.output, config.keep)
        self._write_weights(WEIGHTS)
        self._saved = time.monotonic()

    def _write_weights(self, name: str) -> None:
        """Write the averaged weights to a file of this name in the run's folder."""
        config, progress = self._config, self._progress
        statement = f"{config.training_data} ({progress.step} steps, {progress.pairs} pairs)"
        size = config.source.sizes[0]
        info = CheckpointInfo(self._network.config, size, SigmaCalibration(), statement)
        average: Any = self._trainee.average
        save_checkpoint(average, info, config.output / name)


def training_stream(config: TrainConfig, start: int = 0, rank: int = 0, world_size: int = 1) -> BatchStream:
    """What a run trains on; arguments as ``BatchStream``.

    Raises:
        DataError: files are missing or laid out otherwise.
        ConfigurationError: shares are negative, or all 0.
    """
    place = (start, rank, world_size)
    if not config.data_sets and config.photographs is None:
        return RenderedClusters(config.source, *place)
    streams: list[tuple[float, BatchStream]] = []
    if config.rendered:
        streams.append((config.rendered, RenderedClusters(config.source, *place)))
    for entry in config.data_sets:
        stream = StreamConfig(sizes=config.source.sizes, pairs=entry.pairs, seed=config.source.seed)
        streams.append((entry.share, PairStream(entry.load(), stream)))
    if config.photographs is not None:
        streams.append((config.photographs.share, ScenePairs(config.photographs, config.source.photometric)))
    group = config.micro_batches * world_size
    return MixedStream(streams, config.source.seed, *place, group)


def initial_network(config: NetworkConfig, size: tuple[int, int]) -> IUPPose:
    """The network before training on images of a size (width, height).

    Raises:
        CheckpointError: the weights to start from are not acceptable.
        ConfigurationError: a module to freeze or to begin anew does not exist.
    """
    network = IUPPose(config.model_config(size))
    if config.encoder_weights is not None:
        load_mobilenet_v2(network.matcher.encoder, config.encoder_weights)
    if config.weights is not None:
        _load_weights(network, config.weights, config.fresh)
    for name in config.frozen:
        _module(network, name).requires_grad_(False)
    return network


def _load_weights(network: IUPPose, path: Path, fresh: Iterable[str]) -> None:
    """Weights of an earlier run, but for the modules that begin anew."""
    trained, _ = load_checkpoint(path)
    tensors = trained.state_dict()
    for module in fresh:
        own = _module(network, module).state_dict()
        tensors.update({f"{module}.{name}": tensor for name, tensor in own.items()})
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the network: {error}") from error


def _module(network: IUPPose, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        modules = ", ".join(name for name, _ in network.named_children())
        raise ConfigurationError(f"the network has no module {name!r}; it has {modules}") from error


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights and statistics towards the network's; counters are copied."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)


def _clip(network: nn.Module, largest: float) -> Tensor:
    """Shorten the gradient to a norm; returns the norm before. A gradient that is not finite stays so."""
    return torch.nn.utils.clip_grad_norm_(network.parameters(), largest)


def _optimiser(network: nn.Module, decay: float) -> torch.optim.AdamW:
    """AdamW that shrinks kernels and matrices only, not biases, gains and temperatures."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups)


def _plain(network: IUPPose) -> dict[str, Any]:
    """The network's configuration as JSON gives it back."""
    values = network.config.to_dict()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _fabric(config: TrainConfig) -> Fabric:
    """Devices as ``torchrun`` says; one without it."""
    processes, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return Fabric(
        accelerator=config.device,
        strategy="ddp" if processes > 1 else "auto",
        devices=local,
        num_nodes=processes // local,
    )
