"""Photometric augmentation: camera response, vignetting, blur, noise, JPEG compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.image_effects import Rng, add_noise, defocused, jpeg, motion_blurred, vignette
from iup_pose_ros.types import Picture

_LEVELS = np.arange(256, dtype=np.float32) / 255.0


@dataclass(frozen=True)
class PhotometricConfig:
    """Strength of each effect and the probability that it is applied to a view.

    Attributes:
        exposure: standard deviation of the logarithm of the brightness.
        colour: standard deviation of the logarithm of the gain per channel.
        gamma: standard deviation of the logarithm of the exponent.
        saturation: minimum and maximum factor.
        grey: probability of a grey cluster.
        vignetting: probability; vignetting_strength: maximum loss of brightness in the corners.
        noise: probability; noise_level: maximum standard deviation at full brightness, grey levels.
        defocus: probability; defocus_radius: maximum radius, relative to the image width.
        motion_blur: probability; motion_blur_length: maximum length, relative to the image width.
        jpeg: probability; jpeg_quality: minimum and maximum quality.
    """

    exposure: float = 0.15
    colour: float = 0.06
    gamma: float = 0.18
    saturation: tuple[float, float] = (0.6, 1.3)
    grey: float = 0.1
    vignetting: float = 0.3
    vignetting_strength: float = 0.5
    noise: float = 0.7
    noise_level: float = 10.0
    defocus: float = 0.15
    defocus_radius: float = 0.010
    motion_blur: float = 0.12
    motion_blur_length: float = 0.035
    jpeg: float = 0.5
    jpeg_quality: tuple[int, int] = (35, 95)

    def augment_cluster(self, images: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
        """Augment the views (V, H, W, 3) of a cluster independently.

        The strength is sampled per cluster, so that some clusters are almost unchanged.
        """
        strength = math.sqrt(rng.random())
        grey = rng.random() < self.grey
        return np.stack([self.augment(image, strength, grey, rng) for image in images])

    def augment(self, image: Picture, strength: float, grey: bool, rng: Rng) -> Picture:
        """One view (H, W, 3), effects in the order in which light passes them; strength 0 to 1."""
        width = image.shape[1]
        if rng.random() < self.defocus:
            image = defocused(image, strength * self.defocus_radius * width * rng.random())
        if rng.random() < self.motion_blur:
            length = strength * self.motion_blur_length * width * rng.random()
            image = motion_blurred(image, length, rng.uniform(0.0, math.pi))
        image = self._respond(image, strength, grey, rng)
        vignetting = rng.random() < self.vignetting
        noise = rng.random() < self.noise
        if vignetting or noise:
            values = image.astype(np.float32)
            if vignetting:
                values *= vignette(image.shape[0], width, strength * self.vignetting_strength * rng.random())
            if noise:
                add_noise(values, strength * self.noise_level * rng.random(), grey, rng)
            image = np.clip(values + 0.5, 0.0, 255.0).astype(np.uint8)
        if rng.random() < self.jpeg:
            low, high = self.jpeg_quality
            image = jpeg(image, round(high - strength * (high - low) * rng.random()))
        return image

    def _respond(self, image: Picture, strength: float, grey: bool, rng: Rng) -> Picture:
        """Change saturation, then gain and exponent of each channel."""
        low, high = self.saturation
        saturation = 0.0 if grey else 1.0 + strength * (rng.uniform(low, high) - 1.0)
        mean = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        mixed = cv2.addWeighted(image, saturation, mean, 1.0 - saturation, 0.0)
        gain = strength * (
            self.exposure * rng.standard_normal() + (0.0 if grey else self.colour) * rng.standard_normal(3)
        )
        exponent = math.exp(strength * self.gamma * rng.standard_normal())
        table = 255.0 * np.minimum(_LEVELS[:, None] * np.exp(gain), 1.0) ** exponent
        return np.asarray(cv2.LUT(mixed, np.round(table).astype(np.uint8)[None]), dtype=np.uint8)
