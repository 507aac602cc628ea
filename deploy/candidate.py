"""A candidate: the folder that export writes, score measures and release signs.

It holds ``ensemble.onnx`` (input ``image`` float32 (N, 1, rows, columns); outputs ``logits`` float32 (N, K) and
``strangeness`` float32 (N,)), ``input_spec.json``, ``rule.json``, ``scope.json``, ``golden/`` and ``manifest.json``.
A candidate object that exists was whole when it was opened, and hands out no byte that has changed since.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deploy.golden import GoldenFilm, parse_golden
from deploy.manifest import (
    MANIFEST,
    Flaw,
    Manifest,
    VerificationError,
    digest_of,
    parse_manifest,
    read_plain,
    read_verified,
    render_manifest,
    verify_files,
)
from models.errors import DemurError
from models.preprocess import InputSpec
from models.scope import Scope
from models.scoring import ScoreRule

CANDIDATE_FORMAT = "demur-candidate/1"
GRAPH = "ensemble.onnx"
INPUT_SPEC = "input_spec.json"
RULE = "rule.json"
SCOPE = "scope.json"

_APART = frozenset({MANIFEST})
_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A verified candidate folder.

    Parameters
    ----------
    path : Path
        The folder.
    manifest : Manifest
        What it holds, and what the export stated about itself (``manifest.about``).
    input_spec : InputSpec
        How a film becomes the tensor that the network sees.
    rule : ScoreRule
        How logits and strangeness become a score.
    scope : Scope
        Which films it is meant for.
    """

    path: Path
    manifest: Manifest
    input_spec: InputSpec
    rule: ScoreRule
    scope: Scope

    @classmethod
    def open(cls, path: Path) -> "Candidate":
        """Open a candidate folder, which is to verify it.

        Raises
        ------
        VerificationError
            With the flaw: a file is missing, added, changed or a link, the manifest is malformed or of another
            format, or a part cannot be read.
        """
        manifest = parse_manifest(read_plain(path, MANIFEST), form=CANDIDATE_FORMAT)
        verify_files(path, manifest, apart=_APART)
        read_verified(path, manifest, GRAPH)
        return cls(
            path=path,
            manifest=manifest,
            input_spec=_part(path, manifest, INPUT_SPEC, InputSpec.from_json),
            rule=_part(path, manifest, RULE, ScoreRule.from_json),
            scope=_part(path, manifest, SCOPE, Scope.from_json),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest's bytes: what a score table and a certificate name."""
        return self.manifest.digest

    @property
    def graph_path(self) -> Path:
        """Where the graph lies; ``graph`` gives its verified bytes."""
        return self.path / GRAPH

    @property
    def graph(self) -> bytes:
        """The graph's bytes, verified as they are read."""
        return read_verified(self.path, self.manifest, GRAPH)

    @property
    def members(self) -> int:
        """How many networks the ensemble has."""
        return len(self.rule.centre)

    def golden(self) -> tuple[GoldenFilm, ...]:
        """Return the golden films, verified as they are read."""
        names = [name for name in self.manifest.files if name.startswith("golden/")]
        return parse_golden({name: read_verified(self.path, self.manifest, name) for name in names})


def write_manifest(folder: Path, *, about: Mapping[str, str]) -> str:
    """Seal a candidate folder once everything else in it is written; return the candidate's digest.

    Parameters
    ----------
    folder : Path
        The folder, with graph, input spec, rule, scope and golden films in place.
    about : Mapping[str, str]
        What the export states about itself: experiment, digest of the study table, versions.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "rule.json").write_text("{}")
    ...     digest = write_manifest(Path(folder), about={"experiment": "example"})
    ...     manifest = (Path(folder) / "manifest.json").read_bytes()
    >>> digest == digest_of(manifest)
    True
    """
    manifest = render_manifest(folder, form=CANDIDATE_FORMAT, about=about, apart=_APART)
    (folder / MANIFEST).write_bytes(manifest)
    return digest_of(manifest)


def _part(path: Path, manifest: Manifest, name: str, parse: Callable[[str], _Part]) -> _Part:
    try:
        return parse(read_verified(path, manifest, name).decode("utf-8"))
    except VerificationError:
        raise
    except (ValueError, TypeError, KeyError, DemurError) as error:
        raise VerificationError(Flaw.CANDIDATE, f"{name} in {path} cannot be read ({error}); export again") from error
