"""Command line options for reading images, camera_info and other sensors of a recording."""

from __future__ import annotations

from typing import Annotated

import typer

ImageIsRectified = Annotated[
    bool,
    typer.Option("--image-is-rectified", help="Images are already rectified: use P and ignore D."),
]
RectifiedFov = Annotated[
    float,
    typer.Option(help="Field of view of rectified images, 20 to 140 deg; 0: that of the lens, at most 100."),
]
AllowFrameMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-frame-mismatch", help="Accept camera_info whose frame_id differs from that of the image."
    ),
]
MaskFile = Annotated[
    str,
    typer.Option(
        help="Image file, for example PNG, of the size of the images; its non-zero pixels are ignored."
    ),
]
MaskTopic = Annotated[
    str | None,
    typer.Option(help="Topic of masks (mono8); their non-zero pixels are ignored."),
]
DepthTopic = Annotated[
    str | None, typer.Option(help="Topic of depth images, if scale_source is depth; default: the only one.")
]
RangeTopic = Annotated[
    str | None,
    typer.Option(help="Topic of the rangefinder, if scale_source is range; default: the only one."),
]
WheelOdometryTopic = Annotated[
    str | None,
    typer.Option(
        help="Topic of wheel odometry, if scale_source or motion_prior is odometry; default: the only one."
    ),
]
ImuTopic = Annotated[
    str | None, typer.Option(help="Topic of the IMU, if motion_prior is imu; default: the only one.")
]
Mono16Range = Annotated[
    str, typer.Option(help="Levels of 16-bit images that are mapped to black and white: low,high or auto.")
]
