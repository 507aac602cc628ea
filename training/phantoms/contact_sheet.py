"""Contact sheets: every site's healthy films, and every finding at several sites, for human eyes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from training.phantoms.film import Phantom, make
from training.phantoms.sites import SITES, Kind

#: Films in a row of a sheet, and pixels along a film's side.
ACROSS, SIDE = 6, 192
#: Quality of the JPEG files.
QUALITY = 82

Picture = NDArray[np.uint8]


def write_sheets(out: Path, *, seed: int) -> list[Path]:
    """Write two sheets of all sites, and one per finding, as JPEG; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    names = list(SITES)
    halves = {"sites-1.jpg": names[:8], "sites-2.jpg": names[8:]}
    paths = [
        save(out / file, [film for name in half for film in site_row(seed, name)]) for file, half in halves.items()
    ]
    for kind in Kind:
        films = [make(seed, SITES[names[(i * 5 + 3) % len(names)]], i, SIDE, kind) for i in range(2 * ACROSS)]
        outlined = [pair for film in films for pair in (caption(film), outline(film))]
        paths.append(save(out / f"{kind.value}.jpg", outlined))
    return paths


def site_row(seed: int, name: str) -> list[Picture]:
    """Return a row of one site: four healthy films and two with a finding."""
    kinds = list(Kind)
    turn = list(SITES).index(name)
    abnormal = [make(seed, SITES[name], 4 + k, SIDE, kinds[(2 * turn + k) % len(kinds)]) for k in range(ACROSS - 4)]
    return [caption(film) for film in [*(make(seed, SITES[name], i, SIDE, None) for i in range(4)), *abnormal]]


def grey(film: Phantom) -> Picture:
    """Return the film as 8-bit grey, bright where dense."""
    return np.rint(film.pixels * np.float32(255)).astype(np.uint8)


def caption(film: Phantom) -> Picture:
    """Return the film with its site, view, age and finding written below."""
    sheet = Image.new("L", (SIDE, SIDE + 14))
    sheet.paste(Image.fromarray(grey(film)))
    finding = film.stratum or "healthy"
    strength = "" if film.severity is None else f" d' {film.severity:.0f}"
    text = f"{film.site} {film.patient.view} {film.patient.age} {finding}{strength}"
    ImageDraw.Draw(sheet).text((3, SIDE + 1), text, fill=220, font_size=10)
    return np.asarray(sheet)


def outline(film: Phantom) -> Picture:
    """Return the film with the border of its mask drawn white."""
    border = np.logical_and(ndimage.binary_dilation(film.mask), ~film.mask)
    drawn = np.where(border, np.uint8(255), grey(film))
    return np.vstack([drawn, np.zeros((14, SIDE), np.uint8)])


def save(path: Path, films: Sequence[Picture]) -> Path:
    """Write the films as rows of one picture."""
    rows = [np.hstack(films[i : i + ACROSS]) for i in range(0, len(films), ACROSS)]
    Image.fromarray(np.vstack(rows)).save(path, quality=QUALITY)
    return path
