"""Films as the page shows them: decoded where a codec may be killed, sent with more greys than eight bits hold.

A film becomes a greyscale PNG of 16 bits with 4096 levels. The browser would cut those to 256; the page's own script reads
them all, so that a reader may narrow the window without steps. Films are never kept on disk here, and by the browser not
at all.
"""

import struct
import threading
import zlib
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from models.decoding import Decoders
from models.dicom import read_header
from models.preprocess import InputSpec, fitted_size

#: A film larger than this is shown reduced.
SIDE_MAX = 4096
LEVELS = 4096
KEPT_BYTES = 96 << 20
_SMALLEST = 8


class Films:
    """Makes and remembers, for a while, what is shown of stored films. Safe to use from many threads."""

    def __init__(self, decoders: Decoders | None = None) -> None:
        self._decoders = decoders or Decoders(children=2)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def show(self, digest: str, data: memoryview) -> bytes:
        """Return a stored film as PNG.

        Raises
        ------
        InputError
            If it cannot be shown.
        """
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        png = encode_png(self._decode(data))
        with self._lock:
            if digest not in self._kept:
                self._kept[digest] = png
                self._bytes += len(png)
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return png

    def close(self) -> None:
        """End the decoders."""
        self._decoders.close()

    def _decode(self, data: memoryview) -> NDArray[np.float32]:
        header = read_header(data)
        rows, columns = (min(SIDE_MAX, max(_SMALLEST, side)) for side in (header.rows, header.columns))
        # Percentiles 0 and 100: contrast is only stretched to the greys that the film has.
        spec = InputSpec(rows=rows, columns=columns, mean=0.0, std=1.0, percentile_low=0.0, percentile_high=100.0)
        shown = self._decoders.decode(data, spec).tensor[0]
        height, width = fitted_size(header.rows, header.columns, spec)
        top, left = (rows - height) // 2, (columns - width) // 2
        return shown[top : top + height, left : left + width]


def encode_png(grey: NDArray[np.float32]) -> bytes:
    """Return a picture with values in [0, 1] as PNG (ISO/IEC 15948): 16 bits, each row as its difference from the one above."""
    rows, columns = grey.shape
    levels = np.rint(np.clip(grey, 0, 1) * (LEVELS - 1)).astype(np.uint16)
    wide = (levels * 16 + (levels >> 8)).astype(">u2")  # 4095 becomes 65535
    lines = wide.view(np.uint8).reshape(rows, 2 * columns)
    filtered = np.empty((rows, 1 + 2 * columns), np.uint8)
    filtered[:, 0] = 2  # the filter "up"
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", columns, rows, 16, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
