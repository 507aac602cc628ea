"""Boxes that readers drew around findings, as masks: coarser than the finding, but they say where it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError
from training.importers.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels of the image; the far edges are outside of it."""

    left: float
    top: float
    right: float
    bottom: float


def box_of(
    record: Record, left: str, top: str, *, width: str = "", height: str = "", right: str = "", bottom: str = ""
) -> Box:
    """Return the box in these columns, given either by its size or by its far corner."""

    def number(column: str) -> float:
        try:
            return float(record.needed(column))
        except ValueError:
            raise record.fault(column, f"{record[column]!r} is not a number") from None

    x, y = number(left), number(top)
    return Box(
        left=x,
        top=y,
        right=x + number(width) if width else number(right),
        bottom=y + number(height) if height else number(bottom),
    )


def write_mask(path: Path, boxes: Iterable[Box], *, rows: int, columns: int) -> Path:
    """Write boxes as an 8-bit PNG of the image's size, white inside, and return its path."""
    import numpy as np
    from PIL import Image

    mask = np.zeros((rows, columns), np.uint8)
    for box in boxes:
        top, left = max(0, round(box.top)), max(0, round(box.left))
        mask[top : max(0, round(box.bottom)), left : max(0, round(box.right))] = 255
    if not mask.any():
        raise DataError(f"a box for {path.stem} lies outside its image of {columns} x {rows} pixels")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path
