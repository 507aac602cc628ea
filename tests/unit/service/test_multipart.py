"""Boundaries of multipart bodies, as real clients write them."""

import pytest

from models.errors import DemurError
from service.ingest.multipart import boundary_of


def test_the_boundary_of_orthanc_is_taken() -> None:
    # Two UUIDs and a dash: 73 characters where RFC 2046 allows 70.
    boundary = "92321a82-7b8e-409a-9488-340889ff0a6a-92321a82-7b8e-409a-9488-340889ff0a6a"
    assert boundary_of(f'multipart/related; type="application/dicom"; boundary={boundary}') == boundary


@pytest.mark.parametrize("boundary", ["", "a" * 201, "a\tb", "é"])
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(DemurError, match="boundary"):
        boundary_of(f'multipart/related; type="application/dicom"; boundary="{boundary}"')
