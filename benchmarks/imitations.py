"""Imitations of two films that are no frontal chest: a hand and a lateral chest, as bone, soft tissue and air by line integrals.

    python benchmarks/imitations.py --out sheet.png

No real one is at hand that may be used. They have the parts, sizes and shades of the real thing and nothing of its detail:
that such a film is strange says that its *layout* is.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Map = NDArray[np.floating]
Point = tuple[float, float]

SIZE = 256
#: Attenuation per millimetre: soft tissue, and bone above it.
_SOFT, _BONE = 0.02, 0.04


def hand(random: np.random.Generator) -> NDArray[np.float32]:
    """Return a hand with wrist, right or left, fingers up, turned a little, grey values in [0, 1], bright where dense."""
    x, y = _plane(float(random.uniform(220, 300)))
    turn, size = float(random.normal(0, 0.15)), float(random.uniform(0.85, 1.15))
    side = 1.0 if random.random() < 0.5 else -1.0
    x, y = (x * np.cos(turn) + y * np.sin(turn)) / size * side, (y * np.cos(turn) - x * np.sin(turn)) / size
    soft = np.maximum(_slab(x, y, (0.0, -10.0), (42.0, 52.0), 24.0), _slab(x, y, (0.0, 130.0), (29.0, 110.0), 30.0))
    bone = np.zeros_like(soft)
    spread = float(random.uniform(0.7, 1.3))
    for root, lean, lengths, width in (
        ((-24.0, 18.0), -0.72 * spread, (44.0, 30.0, 23.0), 5.5),
        ((-17.0, 18.0), -0.2 * spread, (64.0, 40.0, 24.0, 18.0), 5.0),
        ((-5.0, 16.0), -0.04 * spread, (62.0, 44.0, 28.0, 18.0), 5.2),
        ((7.0, 18.0), 0.12 * spread, (56.0, 41.0, 26.0, 18.0), 4.8),
        ((18.0, 22.0), 0.27 * spread, (52.0, 33.0, 19.0, 16.0), 4.4),
    ):
        start = root
        for number, length in enumerate(lengths):
            end = (start[0] + np.sin(lean) * length, start[1] - np.cos(lean) * length)
            bone += _tube(x, y, start, end, width * (1 - 0.14 * number))
            soft = np.maximum(soft, _rod(x, y, start, end, 9.5 - number))
            start = (end[0] + np.sin(lean) * 2, end[1] - np.cos(lean) * 2)
    for column in range(4):
        for row in range(2):
            place = (-16.0 + 11 * column + float(random.normal(0, 1)), 28.0 + 11 * row + float(random.normal(0, 1)))
            bone += 0.8 * _ball(x, y, place, (6.5, 6.0), 11.0)
    bone += _tube(x, y, (-11.0, 54.0), (-9.0, 230.0), 7.5) + _tube(x, y, (13.0, 56.0), (12.0, 230.0), 5.5)
    return _film(_SOFT * soft + _BONE * bone, random)


def lateral(random: np.random.Generator) -> NDArray[np.float32]:
    """Return a chest from the side, facing either way: spine, sternum, ribs, heart, two lungs over one another, two domes."""
    x, y = _plane(float(random.uniform(290, 350)))
    x = (x - float(random.normal(0, 8))) * (1.0 if random.random() < 0.5 else -1.0)
    y = y - float(random.normal(0, 10))
    depth = float(random.uniform(100, 130))
    # The back is at negative x. Through the trunk a beam passes 300 mm of patient, and 400 mm through the shoulders.
    body = _slab(x, y, (0.0, 40.0), (depth, 240.0), 300.0) + _ball(x, y, (-10.0, -160.0), (85.0, 75.0), 110.0)
    heart = _ball(x, y, (0.3 * depth, 40.0), (0.42 * depth, 58.0), 90.0)
    air = np.zeros_like(body)
    for _ in range(2):
        floor = 75.0 + float(random.normal(0, 8)) - 45 * np.sqrt(np.clip(1 - ((x - 20) / (1.3 * depth)) ** 2, 0, 1))
        lung = _slab(x, y, (-0.02 * depth, -10.0), (0.84 * depth, 150.0), 110.0)
        air += lung * np.clip((floor + 60 - y) / 4 + 0.5, 0, 1)
    air = np.maximum(air * 0.75 - heart, 0)
    bone = np.zeros_like(body)
    curve = float(random.uniform(5, 15))
    for level in range(15):
        middle = -190.0 + 29 * level
        place = (-0.62 * depth - curve * np.cos(middle / 190), middle)
        bone += 1.5 * _ball(x, y, place, (17.0, 13.5), 36.0)
        bone += _tube(x, y, (place[0] - 16, middle), (place[0] - 36, middle + 14), 4.0)
    for rib in range(10):
        top = -140.0 + 23 * rib + float(random.normal(0, 2))
        for shift in (0.0, float(random.normal(8, 3))):
            middle = (0.1 * depth, top + 42 + shift)
            bone += 1.2 * _tube(x, y, (-0.7 * depth, top + shift), middle, 5.5)
            bone += 1.2 * _tube(x, y, middle, (0.72 * depth, top + 62 + shift), 5.0)
    bone += 2 * _tube(x, y, (0.74 * depth, -100.0), (0.9 * depth, 60.0), 6.0)
    return _film(_SOFT * np.maximum(body - air, 0) + 0.5 * _BONE * bone, random)


def _plane(field_mm: float) -> tuple[Map, Map]:
    """Return x and y of the pixel centres in millimetres, (0, 0) in the middle."""
    centres = ((np.arange(SIZE) + 0.5) / SIZE - 0.5) * field_mm
    x, y = np.meshgrid(centres, centres)
    return x.astype(np.float32), y.astype(np.float32)


def _ball(x: Map, y: Map, place: Point, radii: Point, thickness: float) -> Map:
    """Return how many millimetres of an ellipsoid a beam passes, ``thickness`` at most."""
    square = ((x - place[0]) / radii[0]) ** 2 + ((y - place[1]) / radii[1]) ** 2
    return np.float32(thickness) * np.sqrt(np.maximum(1 - square, 0))


def _slab(x: Map, y: Map, place: Point, radii: Point, thickness: float) -> Map:
    """Return the same of a body that is flatter in the middle and squarer at its corners."""
    power = ((x - place[0]) / radii[0]) ** 4 + ((y - place[1]) / radii[1]) ** 4
    return np.float32(thickness) * np.maximum(1 - power, 0) ** np.float32(0.4)


def _rod(x: Map, y: Map, start: Point, end: Point, radius: float) -> Map:
    """Return how many millimetres of a round rod with round ends a beam passes."""
    along = (end[0] - start[0], end[1] - start[1])
    length = along[0] ** 2 + along[1] ** 2
    share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length, 0, 1)
    square = (x - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2
    return 2 * np.sqrt(np.maximum(np.float32(radius) ** 2 - square, 0))


def _tube(x: Map, y: Map, start: Point, end: Point, radius: float) -> Map:
    """Return a bone: a rod whose marrow is a third as dense."""
    return _rod(x, y, start, end, radius) - 0.67 * _rod(x, y, start, end, 0.65 * radius)


def _film(integral: Map, random: np.random.Generator) -> NDArray[np.float32]:
    """Return the developed film of a line integral: scatter, blur, quanta, logarithm, range, curve."""
    primary = np.exp(-integral)
    seen = gaussian_filter(primary, 0.8) + float(random.uniform(0.2, 0.5)) * gaussian_filter(primary, 30)
    dose = float(random.uniform(3e3, 3e4)) / float(seen.mean())
    counted = random.poisson(seen * dose) + 1
    density = -np.log(counted)
    low, high = np.percentile(density, (1, 99.5))
    shown = np.clip((density - low) / max(high - low, 1e-6), 0, 1)
    return (shown ** float(random.uniform(0.7, 1.4))).astype(np.float32)


def main() -> None:
    """Draw six of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    random = np.random.default_rng(1)
    rows = [np.hstack([draw(random) for _ in range(6)]) for draw in (hand, lateral)]
    Image.fromarray((np.vstack(rows) * 255).astype(np.uint8)).save(asked.out)


if __name__ == "__main__":
    main()
