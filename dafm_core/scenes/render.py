"""From a scene to pixels: a lit, textured ground, soft shadows, shapes with jitter, sensor noise.

Every nuisance (ground, texture, light, exact place, angle, tint, noise) is drawn anew for each
image, so that two pictures of one scene never share pixels. What a scene means stands in ``world``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from dafm_core.scenes.world import Scene, Thing

Pixels: TypeAlias = NDArray[np.floating[Any]]

SIDE = 96
_OVERSAMPLE = 3
_SHADOW_OFFSET = np.array([1.2, 1.8])
_RGB = {
    "red": (214, 48, 49),
    "orange": (240, 138, 36),
    "yellow": (247, 209, 62),
    "green": (56, 158, 84),
    "blue": (45, 104, 205),
    "purple": (126, 66, 178),
    "pink": (240, 128, 176),
    "white": (246, 246, 242),
    "black": (38, 38, 44),
}
_RADIUS = {"small": 7.0, "medium": 10.5, "large": 14.5}
_GROUNDS = (
    (206, 190, 164), (164, 172, 182), (150, 168, 140), (190, 158, 142), (118, 124, 140),
    (178, 168, 190), (98, 108, 104), (214, 212, 206), (140, 122, 108), (172, 196, 200),
)  # fmt: skip


def render(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Return an RGB picture of ``SIDE`` pixels, one of endlessly many of the same scene."""
    outlines = [(thing.color, _outline(thing, rng)) for thing in scene.values()]
    ground = _to_bytes(_ground(rng) * _shade([outline for _, outline in outlines]))
    canvas = Image.fromarray(ground).resize((SIDE * _OVERSAMPLE,) * 2, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    for color, outline in outlines:
        draw.polygon(_corners(outline * _OVERSAMPLE), fill=_tint(color, rng))
    pixels = np.asarray(canvas.reduce(_OVERSAMPLE), np.float32)
    noise = 3 * rng.standard_normal((SIDE, SIDE, 1), np.float32)
    return Image.fromarray(_to_bytes(pixels * _light(rng) + noise))


def _shade(outlines: Sequence[Pixels]) -> Pixels:
    """Return how much light the soft shadows of the things leave, (SIDE, SIDE, 1)."""
    shadow = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(shadow)
    for outline in outlines:
        draw.polygon(_corners(outline + _SHADOW_OFFSET), fill=110)
    blurred = np.asarray(shadow.filter(ImageFilter.GaussianBlur(1.6)), np.float32)
    return 1 - blurred[..., None] / 255


def _corners(outline: Pixels) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in outline]


def _to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return rounded


def _tint(color: str, rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in np.clip(np.add(_RGB[color], rng.normal(0, 9, 3)), 0, 255))
    return red, green, blue


@cache
def _axes() -> tuple[Pixels, Pixels]:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    return x, y


def _light(rng: np.random.Generator) -> Pixels:
    """Return a gentle slope of brightness, (SIDE, SIDE, 1)."""
    x, y = _axes()
    slope_x, slope_y = rng.uniform(-0.14, 0.14, 2)
    level = rng.uniform(0.92, 1.06)
    return np.asarray(level + slope_x * (x - 0.5) + slope_y * (y - 0.5), np.float32)[..., None]


def _ground(rng: np.random.Generator) -> Pixels:
    base = np.add(_GROUNDS[rng.integers(len(_GROUNDS))], rng.normal(0, 5, 3))
    pattern = _TEXTURES[rng.integers(len(_TEXTURES))](rng)
    return np.asarray(base + rng.uniform(7, 15) * pattern[..., None], np.float32)


def _wave(rng: np.random.Generator, low: float, high: float) -> Pixels:
    """Return a sine over the plane at a random angle, wave number between low and high."""
    x, y = _axes()
    angle, phase = rng.uniform(0, math.pi), rng.uniform(0, 2 * math.pi)
    across = x * math.cos(angle) + y * math.sin(angle)
    wave: Pixels = np.sin(2 * math.pi * rng.uniform(low, high) * across + phase)
    return wave


def _plain(rng: np.random.Generator) -> Pixels:
    return _wave(rng, 0.2, 0.6)


def _stripes(rng: np.random.Generator) -> Pixels:
    return np.tanh(4 * _wave(rng, 5, 10))


def _checks(rng: np.random.Generator) -> Pixels:
    x, y = _axes()
    count = rng.uniform(3, 6)
    checks = np.sin(2 * math.pi * count * x) * np.sin(2 * math.pi * count * y)
    return np.asarray(np.tanh(6 * checks))


def _dots(rng: np.random.Generator) -> Pixels:
    x, y = _axes()
    count = rng.uniform(4, 8)
    bumps = np.cos(2 * math.pi * count * (x + y)) + np.cos(2 * math.pi * count * (x - y))
    return np.asarray(np.tanh(3 * (bumps - 1)))


def _ripples(rng: np.random.Generator) -> Pixels:
    return (_wave(rng, 2, 5) + _wave(rng, 2, 5)) / 2


def _clouds(rng: np.random.Generator) -> Pixels:
    coarse = Image.fromarray(rng.normal(0, 1, (9, 9)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


_TEXTURES: tuple[Callable[[np.random.Generator], Pixels], ...] = (
    _plain, _stripes, _checks, _dots, _ripples, _clouds,
)  # fmt: skip


def _outline(thing: Thing, rng: np.random.Generator) -> Pixels:
    """Return the polygon of a thing in pixels, (n, 2): its cell, and jitter of all kinds."""
    row, column = thing.cell
    cell = SIDE / 3
    x, y = (column + 0.5) * cell + rng.uniform(-4, 4), (row + 0.5) * cell + rng.uniform(-4, 4)
    angle, radius = rng.normal(0, 0.16), _RADIUS[thing.size] * rng.uniform(0.92, 1.08)
    unit = _unit_outline(thing.shape)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.asarray(unit @ turn * radius + (x, y))


@cache
def _unit_outline(shape: str) -> Pixels:
    """Return the polygon of a shape about the origin, y downwards, about as big as a unit disc."""
    turns = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    match shape:
        case "circle":
            return circle
        case "ring":
            closed = np.concatenate([circle, circle[:1]])
            return np.concatenate([1.1 * closed, 0.55 * closed[::-1]])
        case "square":
            return 0.9 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
        case "triangle":
            return 1.25 * _polar(np.ones(3))
        case "star":
            return 1.3 * _polar(np.tile([1.0, 0.45], 5))
        case "cross":
            arm = np.array([[-0.38, -1.15], [0.38, -1.15], [0.38, -0.38]])
            quarter_turn = np.array([[0, 1], [-1, 0]])
            turned = [arm @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)]
            return np.concatenate(turned)
        case "heart":
            x = 16 * np.sin(turns) ** 3
            y = -(
                13 * np.cos(turns)
                - 5 * np.cos(2 * turns)
                - 2 * np.cos(3 * turns)
                - np.cos(4 * turns)
            )
            return np.stack([x, y], axis=1) / 14
    raise KeyError(shape)


def _polar(radii: Pixels) -> Pixels:
    """Return a polygon with corners at these radii, the first one pointing up."""
    angles = np.linspace(0, 2 * math.pi, len(radii), endpoint=False) - math.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
