"""Films that Demur must not decide, by kind: real ones of others' bodies, and phantoms spoilt in ways that hospitals know."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from imitations import hand, lateral
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.errors import DemurError
from models.films import read_film
from models.header import Picture

Pixels = NDArray[np.float32]
Spoil = Callable[[Pixels, np.random.Generator], Pixels]

_WORDS = (
    "patient",
    "seen",
    "today",
    "no",
    "sign",
    "of",
    "disease",
    "in",
    "the",
    "chest",
    "report",
    "follows",
    "0.02",
    "mGy",
)
#: What the DICOM files without a body part show, by modality.
_UNNAMED = {"CR": "jaw", "CT": "CT", "MR": "MR"}
#: A spoilt film is the same whatever its source's noise; one is enough.
ALIKE = frozenset({"black"})


def spoilt(picture: Pixels, how: str, random: np.random.Generator) -> Pixels:
    """Return a film spoilt one way, grey values in [0, 1]."""
    return np.clip((SPOILS | DEGREES)[how](picture, random), 0, 1).astype(np.float32)


def _shift(picture: Pixels, random: np.random.Generator) -> Pixels:
    """A third of the film lies outside the picture."""
    moved = np.zeros_like(picture)
    (rows, columns), side = picture.shape, picture.shape[0] // 3
    down, across = ((1, 0), (-1, 0), (0, 1), (0, -1))[int(random.integers(4))]
    down, across = down * side, across * side
    kept = picture[max(0, -down) : rows - max(0, down), max(0, -across) : columns - max(0, across)]
    moved[max(0, down) : rows + min(0, down), max(0, across) : columns + min(0, across)] = kept
    return moved


def _half(picture: Pixels, random: np.random.Generator) -> Pixels:
    cut = picture.copy()
    rows, columns = picture.shape
    places = (np.s_[: rows // 2], np.s_[rows // 2 :], np.s_[:, : columns // 2], np.s_[:, columns // 2 :])
    cut[places[int(random.integers(4))]] = 0
    return cut


def _resized(picture: Pixels, rows: int, columns: int) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR), np.float32)


def _zoom(picture: Pixels, random: np.random.Generator) -> Pixels:
    rows, columns = picture.shape
    height, width = round(rows / 1.6), round(columns / 1.6)
    top, left = int(random.integers(rows - height + 1)), int(random.integers(columns - width + 1))
    return _resized(np.ascontiguousarray(picture[top : top + height, left : left + width]), rows, columns)


def _small(picture: Pixels, _random: np.random.Generator) -> Pixels:
    rows, columns = picture.shape
    height, width = round(rows / 1.6), round(columns / 1.6)
    placed = np.zeros_like(picture)
    top, left = (rows - height) // 2, (columns - width) // 2
    placed[top : top + height, left : left + width] = _resized(picture, height, width)
    return placed


def _folded(picture: Pixels, random: np.random.Generator) -> Pixels:
    """Both halves of the chest projected into one another, as a lateral beam would, the spine at one edge."""
    middle = picture.shape[1] // 2
    left, right = picture[:, :middle][:, ::-1], picture[:, -middle:]
    body = _resized(((left + right) / 2).astype(np.float32), picture.shape[0], round(picture.shape[1] * 0.66))
    if random.random() < 0.5:
        body = body[:, ::-1]
    placed = np.zeros_like(picture)
    start = (picture.shape[1] - body.shape[1]) // 2
    placed[:, start : start + body.shape[1]] = body
    return placed


def _noise(picture: Pixels, random: np.random.Generator) -> Pixels:
    return random.normal(0.5, 0.15, picture.shape).astype(np.float32)


def _clouds(picture: Pixels, random: np.random.Generator) -> Pixels:
    """Smooth noise, as wide as organs are."""
    coarse = random.random((8, 8)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize(picture.shape[::-1], Image.Resampling.BICUBIC), np.float32)


def _page(picture: Pixels, random: np.random.Generator) -> Pixels:
    """A scanned letter, or a screen of text."""
    rows, columns = picture.shape
    page = Image.new("L", (columns * 2, rows * 2), 240)
    pen = ImageDraw.Draw(page)
    for line in range(12, rows * 2 - 24, int(random.integers(14, 26))):
        pen.text((16, line), " ".join(random.choice(_WORDS, int(random.integers(4, 16)))), fill=20)
    grey = _resized(np.asarray(page, np.float32), rows, columns) / np.float32(255)
    return (1 - grey if random.random() < 0.5 else grey).astype(np.float32)


SPOILS: dict[str, Spoil] = {
    "wrong polarity": lambda picture, _: 1 - picture,
    "rotated by 90°": lambda picture, random: np.rot90(picture, 1 + 2 * int(random.integers(2))),
    "rotated by 180°": lambda picture, _: np.rot90(picture, 2),
    "upside down": lambda picture, _: picture[::-1],
    "half missing": _half,
    "shifted by a third": _shift,
    "zoomed × 1.6": _zoom,
    "shrunk ÷ 1.6": _small,
    "lateral (a frontal one, folded)": _folded,
    "lateral (drawn)": lambda _, random: lateral(random),
    "hand (drawn)": lambda _, random: hand(random),
    "mirrored": lambda picture, _: picture[:, ::-1],
    "burnt out": lambda picture, random: picture * float(random.uniform(2.5, 4)),
    "underexposed": lambda picture, random: (picture - float(random.uniform(0.6, 0.75))) * 3,
    "noise": _noise,
    "clouds": _clouds,
    "text page": _page,
    "black": lambda picture, _: np.zeros_like(picture),
    "constant": lambda picture, random: np.full_like(picture, random.uniform(0.1, 0.9)),
    "constant with noise": lambda picture, random: 0.5 + random.normal(0, 0.002, picture.shape).astype(np.float32),
}


def _turned(degrees: float) -> Spoil:
    return lambda picture, _: np.asarray(
        Image.fromarray(picture).rotate(degrees, Image.Resampling.BILINEAR), np.float32
    )


def _moved(share: float) -> Spoil:
    def move(picture: Pixels, _random: np.random.Generator) -> Pixels:
        moved, by = np.zeros_like(picture), round(picture.shape[1] * share)
        moved[:, by:] = picture[:, :-by]
        return moved

    return move


def _enlarged(factor: float) -> Spoil:
    def enlarge(picture: Pixels, _random: np.random.Generator) -> Pixels:
        rows, columns = picture.shape
        height, width = round(rows / factor), round(columns / factor)
        top, left = (rows - height) // 2, (columns - width) // 2
        return _resized(np.ascontiguousarray(picture[top : top + height, left : left + width]), rows, columns)

    return enlarge


def _grainy(strength: float) -> Spoil:
    return lambda picture, random: picture + random.normal(0, strength, picture.shape).astype(np.float32)


#: The same by degrees: from harmless to hopeless. What is told of them is where doubt begins.
DEGREES: dict[str, Spoil] = {
    **{f"turned by {degrees}°": _turned(degrees) for degrees in (4, 8, 15)},
    **{f"shifted by {share:.0%}": _moved(share) for share in (0.04, 0.08, 0.12)},
    **{f"zoomed × {factor}": _enlarged(factor) for factor in (1.12, 1.25)},
    **{f"gamma {power}": (lambda picture, _, power=power: picture**power) for power in (0.4, 0.7, 1.5, 2.5)},
    **{f"over-exposed × {gain}": (lambda picture, _, gain=gain: picture * gain) for gain in (1.15, 1.3, 1.7)},
    **{f"noise of {strength} added": _grainy(strength) for strength in (0.03, 0.06, 0.12)},
}


def real_films(shared: Path) -> Iterator[tuple[str, Path, Picture]]:
    """Yield (kind, path, picture) of the real films below ``shared``."""
    with (shared / "radiographs" / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = {
        "real children": [row for row in rows if row["site"] == "kermany_guangzhou"],
        "real adults (NIH)": [row for row in rows if row["site"] == "nih_cc" and row["age_group"] == "adult"],
        "real adults (case reports)": [row for row in rows if row["site"] == "cohen_intl"],
    }
    for kind, listed in kinds.items():
        for row in listed:
            path = shared / "radiographs" / row["file"]
            yield kind, path, read_film(path.read_bytes(), "PA", 50.0)
    with (shared / "dicom" / "dicom.csv").open(encoding="utf-8") as file:
        parts = {row["file"]: row["body_part"] or _UNNAMED[row["modality"]] for row in csv.DictReader(file)}
    for path in sorted((shared / "dicom").glob("*.dcm")):
        kind = "real chest" if parts[path.name] == "CHEST" else f"real, not a chest: {parts[path.name]}"
        try:
            yield f"{kind} (DICOM)", path, read_film(path.read_bytes())
        except DemurError:  # cannot be decoded: it has no score whatever
            continue
