"""Command line options for reading images and camera_info of a recording."""

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
        help="Image of the pixels to ignore (non-zero), of the size of the images, for example PNG."
    ),
]
MaskTopic = Annotated[
    str | None,
    typer.Option(help="Topic of masks (mono8): pixels of the images that are not zero there are ignored."),
]
Mono16Range = Annotated[
    str, typer.Option(help="Levels of 16-bit images that are mapped to black and white: low,high or auto.")
]
