"""Images and depth of textured meshes with OpenGL, without a display: on a GPU, or on the CPU (llvmpipe).

Every pixel is the mean of several samples. The inverse depth of a plane is linear in the pixel, so that its
mean over the samples around a pixel's centre is exact there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError, IupPoseError
from iup_pose_ros.training.synthetic.mesh import Mesh
from iup_pose_ros.training.synthetic.shaders import FRAGMENT, SKY_FRAGMENT, SKY_VERTEX, VERTEX

NEAR = 0.04  # metres; nothing nearer to the camera is drawn
UNKNOWN = 0.0  # depth where no ground truth exists: something that moves by itself
_EDGE = 1.5  # samples of one pixel whose depths differ by more belong to different surfaces
_ANISOTROPY_ON_GPU = 8.0  # costs nothing there, and many times the rest on the CPU
_VERTEX_LAYOUT = "3f 2f 2f 3f1 1i1"


class RendererError(IupPoseError):
    """OpenGL cannot be used on this machine; the message says what to install."""


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees, pixel (0, 0) being the centre of the top-left pixel.

    Attributes:
        colour: (H, W, 3) uint8 RGB.
        depth: (H, W) float32, metres along the optical axis at the pixel's centre; infinite where the sky is
            seen, 0 (``UNKNOWN``) where a distractor is.
    """

    colour: NDArray[np.uint8]
    depth: NDArray[np.float32]


class Loaded:
    """Something in the memory of the renderer that made it; ``release`` frees that memory."""

    def __init__(self, context: Any, resources: list[Any]) -> None:
        self._context, self._resources = context, resources

    def release(self) -> None:
        """Free the memory; it cannot be drawn any more."""
        with self._context:
            for resource in self._resources:
                resource.release()
        self._resources = []


class LoadedMesh(Loaded):
    """A mesh with its vertices and textures."""

    def __init__(
        self, context: Any, resources: list[Any], mesh: Mesh, array: Any, textures: Any, lightmap: Any
    ) -> None:
        super().__init__(context, resources)
        self.mesh, self.array, self.textures, self.lightmap = mesh, array, textures, lightmap


class LoadedSky(Loaded):
    """The six faces of a sky."""

    def __init__(self, context: Any, cube: Any) -> None:
        super().__init__(context, [cube])
        self.cube = cube


class Renderer:
    """An OpenGL context of its own, usable in the thread and process that made it.

    Several may exist: each makes its context current for as long as it works.

    Args:
        supersampling: samples per pixel along each axis.

    Raises:
        RendererError: there is no OpenGL 3.3 without a display here.
    """

    def __init__(self, supersampling: int = 2) -> None:
        self._samples = supersampling
        self._context = _create_context()
        with self._context:
            self._prepare()

    def _prepare(self) -> None:
        software = any(name in self.device.lower() for name in ("llvmpipe", "softpipe", "swrast"))
        self._anisotropy = 1.0 if software else _ANISOTROPY_ON_GPU
        self._surfaces = self._context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._surfaces["textures"], self._surfaces["lightmap"] = 0, 1
        self._sky = self._context.program(vertex_shader=SKY_VERTEX, fragment_shader=SKY_FRAGMENT)
        self._sky_array = self._context.vertex_array(self._sky, [])
        self._framebuffer = functools.cache(self._new_framebuffer)

    @property
    def device(self) -> str:
        """What draws, in the words of the driver."""
        return str(self._context.info["GL_RENDERER"])

    def close(self) -> None:
        """Give the OpenGL context back; nothing can be drawn afterwards."""
        self._framebuffer.cache_clear()
        self._context.release()

    def load(self, mesh: Mesh, textures_of: LoadedMesh | None = None) -> LoadedMesh:
        """Copy a mesh into the renderer's memory; its textures not if another one has loaded them."""
        with self._context:
            return self._load(mesh, textures_of)

    def _load(self, mesh: Mesh, textures_of: LoadedMesh | None) -> LoadedMesh:
        textures = self._load_textures(mesh) if textures_of is None else textures_of.textures
        height, width = mesh.lightmap.shape[:2]
        lightmap = self._context.texture((width, height), 3, mesh.lightmap, alignment=1)
        lightmap.repeat_x = lightmap.repeat_y = False
        vertices, indices = self._context.buffer(mesh.vertices), self._context.buffer(mesh.indices)
        names = mesh.vertices.dtype.names or ()
        array = self._context.vertex_array(self._surfaces, [(vertices, _VERTEX_LAYOUT, *names)], indices)
        own = [array, vertices, indices, lightmap] + ([textures] if textures_of is None else [])
        return LoadedMesh(self._context, own, mesh, array, textures, lightmap)

    def _load_textures(self, mesh: Mesh) -> Any:
        count, size = mesh.textures.shape[:2]
        textures = self._context.texture_array((size, size, count), 3, mesh.textures, alignment=1)
        textures.build_mipmaps()
        textures.filter = (self._context.LINEAR_MIPMAP_LINEAR, self._context.LINEAR)
        textures.repeat_x = textures.repeat_y = not mesh.mirrored
        textures.anisotropy = self._anisotropy
        return textures

    def load_sky(self, faces: NDArray[np.uint8]) -> LoadedSky:
        """Copy the sky, six faces (6, S, S, 3) of a cube around the camera in OpenGL's order."""
        with self._context:
            cube = self._context.texture_cube((faces.shape[1], faces.shape[2]), 3, faces, alignment=1)
            cube.filter = (self._context.LINEAR, self._context.LINEAR)
        return LoadedSky(self._context, cube)

    def render(
        self,
        meshes: list[LoadedMesh],
        K: NDArray[np.float64],
        T_world_camera: NDArray[np.float64],
        width: int,
        height: int,
        gain: float = 1.0,
        sky: LoadedSky | None = None,
        sky_gain: float = 1.0,
        distractors: LoadedMesh | None = None,
        supersampling: int | None = None,
    ) -> View:
        """One view.

        Args:
            meshes: what is seen.
            K: (3, 3) pinhole matrix in pixels of the image; its skew is ignored.
            T_world_camera: (4, 4) pose of the optical frame (x right, y down, z forward).
            width, height: size of the image in pixels.
            gain: factor on all light, as the exposure of a camera.
            sky: result of ``load_sky``; black without.
            sky_gain: factor on the light of the sky.
            distractors: drawn like the meshes, and without depth (``UNKNOWN``).
            supersampling: instead of the renderer's own.
        """
        samples = supersampling or self._samples
        clip = clip_from_camera(K, width, height) @ np.linalg.inv(T_world_camera)
        with self._context:
            framebuffer = self._begin(width * samples, height * samples)
            self._surfaces["clip_from_world"].write(clip.T.astype("f4").tobytes())
            self._surfaces["gain"] = gain
            for mesh in meshes:
                self._draw(mesh, clip, T_world_camera[:3, 3], known=True)
            if distractors is not None:
                self._draw(distractors, clip, T_world_camera[:3, 3], known=False)
            if sky is not None:
                self._draw_sky(sky, K, T_world_camera, (width, height), sky_gain)
            return self._read(framebuffer, samples)

    def _begin(self, width: int, height: int) -> Any:
        framebuffer = self._framebuffer(width, height)
        framebuffer.use()
        framebuffer.clear()
        self._context.enable_only(self._context.DEPTH_TEST)
        self._context.depth_func = "<="
        return framebuffer

    def _draw(
        self, loaded: LoadedMesh, clip: NDArray[np.float64], centre: NDArray[np.float64], known: bool
    ) -> None:
        loaded.textures.use(0)
        loaded.lightmap.use(1)
        self._surfaces["mirrored"] = loaded.mesh.mirrored
        self._surfaces["sign"] = 1.0 if known else -1.0
        mesh = loaded.mesh
        for chunk in mesh.visible_chunks(clip, centre.astype(np.float32)):
            loaded.array.render(vertices=int(mesh.chunk_count[chunk]), first=int(mesh.chunk_first[chunk]))

    def _draw_sky(
        self,
        sky: LoadedSky,
        K: NDArray[np.float64],
        T_world_camera: NDArray[np.float64],
        size: tuple[int, int],
        gain: float,
    ) -> None:
        """Rays of the corners of a triangle that covers the image; they are linear in the pixel."""
        width, height = size
        x, y = np.array([-0.5, 2.0 * width - 0.5, -0.5]), np.array([-0.5, -0.5, 2.0 * height - 0.5])
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(3)], axis=1)
        self._sky["rays"].write((rays @ T_world_camera[:3, :3].T).astype("f4").tobytes())
        self._sky["gain"] = gain
        sky.cube.use(0)
        self._sky_array.render(mode=self._context.TRIANGLES, vertices=3)

    def _new_framebuffer(self, width: int, height: int) -> Any:
        colour = self._context.texture((width, height), 4)
        inverse_depth = self._context.texture((width, height), 1, dtype="f4")
        return self._context.framebuffer(
            [colour, inverse_depth], self._context.depth_renderbuffer((width, height))
        )

    def _read(self, framebuffer: Any, samples: int) -> View:
        width, height = framebuffer.size
        colour = np.frombuffer(framebuffer.read(components=4, attachment=0), np.uint8).reshape(
            height, width, 4
        )
        inverse = np.frombuffer(framebuffer.read(components=1, attachment=1, dtype="f4"), np.float32)
        size = (width // samples, height // samples)
        if samples > 1:
            colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        depth = _depth_at_centres(inverse.reshape(height, width), samples)
        return View(np.ascontiguousarray(colour[..., :3]), depth)


def clip_from_camera(K: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Projection (4, 4) of an optical frame, without a far plane; the image's top row is at y = -1.

    OpenGL reads images from the bottom row up, so that with the top row there they come out upright.
    """
    return np.array(
        [
            [2.0 * K[0, 0] / width, 0.0, (2.0 * K[0, 2] + 1.0) / width - 1.0, 0.0],
            [0.0, 2.0 * K[1, 1] / height, (2.0 * K[1, 2] + 1.0) / height - 1.0, 0.0],
            [0.0, 0.0, 1.0, -2.0 * NEAR],
            [0.0, 0.0, 1.0, 0.0],
        ]
    )


def _depth_at_centres(inverse: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Depth (H, W) from the inverse depths (H samples, W samples), negative where nothing is known."""
    height, width = (size // samples for size in inverse.shape)
    low, high = (samples - 1) // 2, samples // 2
    blocks = inverse.reshape(height, samples, width, samples)
    corners = np.stack([blocks[:, i, :, j] for i in (low, high) for j in (low, high)])
    nearest, furthest = corners.max(axis=0), corners.min(axis=0)
    at_centre = np.where(nearest > _EDGE * furthest, nearest, corners.mean(axis=0))
    with np.errstate(divide="ignore"):
        depth = np.float32(1.0) / at_centre
    return np.where(furthest < 0.0, np.float32(UNKNOWN), depth).astype(np.float32)


def _create_context() -> Any:
    try:
        import moderngl
    except ImportError as error:
        raise RendererError(
            "rendering needs the Python package moderngl: pip install -r requirements/training.txt"
        ) from error
    libraries: dict[str, Any] = {"backend": "egl", "libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
    try:
        return moderngl.create_context(require=330, standalone=True, **libraries)
    except Exception as error:  # the library raises nothing more specific
        raise RendererError(
            f"OpenGL 3.3 without a display is not available ({error}). On a machine without GPU the packages "
            "libegl1, libgl1 and libgl1-mesa-dri provide it: apt-get install libegl1 libgl1 libgl1-mesa-dri; "
            "with a GPU its driver's EGL library is needed"
        ) from error


def check_size(width: int, height: int) -> None:
    """Raises DataError for an image size that cannot be rendered."""
    if min(width, height) < 8:
        raise DataError(f"an image of {width}x{height} pixels cannot be rendered; at least 8x8 is needed")
