"""The embedded sample set: small made-up scenes with exact masks, the same on every machine.

A scene is a wall above a floor. Four kinds of things lie in it, distinguished by shape, texture and place, but not by
color, which is random: stones (irregular, blotchy, on the floor), planks (long, grained, leaning anywhere), tiles
(polygons with a check pattern, on the wall) and rings (a hole in the middle, smoothly shaded). Light, color cast,
noise, blur, shadows, occlusion and similar-looking background things (discs without hole, smooth puddles, striped rugs,
wires) vary so widely that a few labeled scenes do not cover them.

Run `python -m rankmatch_keras.data.sets.sample_scenes DIR` to write the set.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from rankmatch_keras.data.sets.samples import SegmentationData, folder_to_samples, require_layout

_CLASSES = ("background", "stone", "plank", "tile", "ring")
HEIGHT, WIDTH = 96, 128
SIZES = {"train": 128, "val": 40}
SEED = 20240617

_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)


def sample_scenes(root: str | Path) -> SegmentationData:
    """Open the embedded sample set: small made-up scenes with exact masks; 5 classes.

    Args:
        root: folder with `train/images`, `train/masks`, `val/images` and `val/masks`: `data/sample` of a
            checkout, or the output of `python -m rankmatch_keras.data.sets.sample_scenes DIR`.

    Raises:
        UserError: a folder is missing or empty, or an image has no mask.
    """
    root = Path(root)
    folders = [f"{part}/{kind}" for part in ("train", "val") for kind in ("images", "masks")]
    require_layout(root, "the sample scenes", folders, "Give data/sample of a checkout.")
    train, val = (folder_to_samples(root / part / "images", root / part / "masks") for part in ("train", "val"))
    return SegmentationData("sample_scenes", train, val, _CLASSES)


def write_scenes(folder: str | Path, sizes: dict[str, int] | None = None) -> None:
    """Write the set as `<part>/images/*.jpg` and `<part>/masks/*.png`.

    Args:
        folder: where to write; made if missing, files of the same names are replaced.
        sizes: number of scenes per part; 128 `train` and 40 `val` unless given.
    """
    for part, count in (sizes or SIZES).items():
        for kind in ("images", "masks"):
            (Path(folder) / part / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image, mask = make_scene(part, index)
            stem = f"scene_{index:03d}"
            Image.fromarray(image).save(Path(folder) / part / "images" / f"{stem}.jpg", quality=88)
            Image.fromarray(mask).save(Path(folder) / part / "masks" / f"{stem}.png", optimize=True)


def make_scene(part: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        part: "train" or "val".
        index: number of the scene within the part.

    Returns:
        The image, uint8 (96, 128, 3), and its mask, uint8 (96, 128), with 0 background, 1 stone, 2 plank,
        3 tile, 4 ring.
    """
    rng = np.random.default_rng((SEED, list(SIZES).index(part), index))
    light = rng.uniform(0, 2 * np.pi)
    horizon = rng.uniform(0.35, 0.65) * HEIGHT
    image = _room(rng, horizon)
    for _ in range(rng.integers(1, 4)):
        _distract(rng, image, horizon)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    kinds = rng.permutation(4)[: rng.integers(2, 5)].tolist() + rng.integers(0, 4, rng.integers(0, 3)).tolist()
    for kind in kinds:
        inside, pixels = (_stone, _plank, _tile, _ring)[kind](rng, horizon, light)
        _cast_shadow(rng, image, inside, light)
        image[inside] = pixels[inside]
        mask[inside] = kind + 1
    return _photograph(rng, image), mask


# Things: each function returns where it is, bool (H, W), and its pixels, float (H, W, 3) in 0..1.


def _stone(rng: np.random.Generator, horizon: float, light: float):
    y, x = rng.uniform(horizon, HEIGHT - 6), rng.uniform(8, WIDTH - 8)
    inside = _blob(rng, y, x, rng.uniform(12, 24), roughness=0.16)
    blotches = _noise(rng, 5) + 0.8 * _noise(rng, 2)
    return inside, _paint(rng, 0.28 * blotches + _slope(light, y, x, 0.010))


def _plank(rng: np.random.Generator, horizon: float, light: float):
    y, x = horizon + rng.uniform(-16, 24), rng.uniform(12, WIDTH - 12)
    along, across = _axes(y, x, rng.uniform(0, np.pi))
    inside = (abs(along) < rng.uniform(28, 52)) & (abs(across) < rng.uniform(6, 11))
    period = rng.uniform(3, 5.5)
    grain = np.sin(2 * np.pi * (across / period + 0.6 * _noise(rng, 12)))
    return inside, _paint(rng, 0.26 * grain + 0.08 * _noise(rng, 3) + _slope(light, y, x, 0.006))


def _tile(rng: np.random.Generator, horizon: float, light: float):
    y, x = rng.uniform(6, horizon + 2), rng.uniform(10, WIDTH - 10)
    turn, radius, sides = rng.uniform(0, np.pi), rng.uniform(14, 24), rng.integers(4, 7)
    inside = np.ones((HEIGHT, WIDTH), bool)
    for side in range(sides):
        angle = turn + 2 * np.pi * (side + rng.uniform(-0.15, 0.15)) / sides
        inside &= _axes(y, x, angle)[0] < radius * rng.uniform(0.75, 1.0)
    along, across = _axes(y, x, turn)
    period = rng.uniform(7, 13)
    checks = np.sign(np.sin(2 * np.pi * along / period) * np.sin(2 * np.pi * across / period))
    return inside, _paint(rng, rng.uniform(0.15, 0.3) * checks + _slope(light, y, x, 0.008))


def _ring(rng: np.random.Generator, horizon: float, light: float):
    y, x = rng.uniform(10, HEIGHT - 10), rng.uniform(10, WIDTH - 10)
    radius, thickness = rng.uniform(13, 22), rng.uniform(0.38, 0.55)
    along, across = _axes(y, x, rng.uniform(0, np.pi))
    distance = np.hypot(along, across / rng.uniform(0.65, 1.0)) / radius
    inside = (distance < 1) & (distance > 1 - thickness)
    angle = np.arctan2(_Y - y, _X - x)
    bulge = np.clip(1 - ((distance - 1 + thickness / 2) / (thickness / 2)) ** 2, 0, 1)
    return inside, _paint(rng, 0.22 * np.cos(angle - light) + 0.3 * bulge - 0.15)


# Background, and objects that can be mistaken for a thing.


def _room(rng: np.random.Generator, horizon: float) -> np.ndarray:
    edge = horizon + rng.uniform(-0.12, 0.12) * (_X - WIDTH / 2)
    parts = []
    for _ in ("wall", "floor"):
        texture = rng.uniform(0.02, 0.10) * _noise(rng, rng.choice([1.0, 4.0, 10.0]))
        parts.append(_paint(rng, texture + _slope(rng.uniform(0, 2 * np.pi), 48, 64, rng.uniform(0, 0.004))))
    return np.where((_Y < edge)[..., None], *parts)


def _distract(rng: np.random.Generator, image: np.ndarray, horizon: float) -> None:
    y, x, kind = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH), rng.integers(4)
    along, across = _axes(y, x, rng.uniform(0, np.pi))
    if kind == 0:  # a disc: a ring's outline and shading, without the hole
        distance = np.hypot(along, across) / rng.uniform(9, 17)
        inside, texture = distance < 1, 0.25 * (1 - distance)
    elif kind == 1:  # a puddle: a stone's outline, without its texture
        inside = _blob(rng, max(y, horizon), x, rng.uniform(9, 18), roughness=0.16)
        texture = 0.04 * _noise(rng, 12)
    elif kind == 2:  # a rug: a plank's stripes, in a wide patch
        inside = (abs(along) < rng.uniform(14, 26)) & (abs(across) < rng.uniform(13, 22))
        texture = 0.1 * np.sin(2 * np.pi * along / rng.uniform(6, 10))
    else:  # a wire
        inside = abs(across + 6 * np.sin(along / rng.uniform(10, 25))) < rng.uniform(0.6, 1.6)
        texture = np.zeros((HEIGHT, WIDTH))
    image[inside] = _paint(rng, texture)[inside]


def _cast_shadow(rng: np.random.Generator, image: np.ndarray, inside: np.ndarray, light: float) -> None:
    offset = rng.uniform(2, 5)
    shift = (round(-offset * np.sin(light)), round(-offset * np.cos(light)))
    image[np.roll(inside, shift, (0, 1))] *= rng.uniform(0.55, 0.9)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Apply light, color cast, vignette, blur and noise."""
    image = np.clip(image, 0, 1) ** rng.uniform(0.7, 1.5)
    image = image * rng.uniform(0.6, 1.2) * rng.uniform(0.8, 1.2, 3)
    image = image * (1 + _slope(rng.uniform(0, 2 * np.pi), 48, 64, rng.uniform(0, 0.006)))[..., None]
    image = np.stack([_smooth(image[..., c], rng.uniform(0.3, 1.0)) for c in range(3)], axis=-1)
    image = image + rng.uniform(0.01, 0.05) * rng.standard_normal(image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


# Geometry and texture.


def _axes(y: float, x: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates along and across a direction through (y, x)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return (_X - x) * cos + (_Y - y) * sin, (_Y - y) * cos - (_X - x) * sin


def _blob(rng: np.random.Generator, y: float, x: float, radius: float, roughness: float) -> np.ndarray:
    angle = np.arctan2(_Y - y, _X - x)
    outline = np.ones_like(angle)
    for wave in (2, 3, 5):
        outline += roughness * rng.uniform(0.3, 1) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return np.hypot((_Y - y) * 1.3, _X - x) < radius * outline


def _slope(direction: float, y: float, x: float, strength: float) -> np.ndarray:
    return strength * _axes(y, x, direction)[0]


def _paint(rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Give a texture around 0 a random color, float (H, W, 3)."""
    color = rng.uniform(0.15, 0.85) + rng.uniform(0.0, 0.35) * rng.uniform(-1, 1, 3)
    tint = 1 + 0.35 * rng.uniform(-1, 1, 3)
    return np.clip(color + texture[..., None] * tint, 0, 1)


def _noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Return smooth noise of unit deviation, float (H, W)."""
    noise = _smooth(rng.standard_normal((HEIGHT, WIDTH)), sigma)
    return (noise - noise.mean()) / noise.std()


def _smooth(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a plane with a Gaussian; the border is mirrored."""
    radius = int(3 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for _ in ("rows", "columns"):
        padded = np.pad(plane, ((radius, radius), (0, 0)), mode="symmetric")
        plane = sum(w * padded[i : i + plane.shape[0]] for i, w in enumerate(weights)).T
    return plane


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m rankmatch_keras.data.sets.sample_scenes DIR")
    write_scenes(sys.argv[1])
