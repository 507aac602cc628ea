"""The engine: a candidate's graph in onnxruntime, from the bytes of a study to its score, as the service runs it.

Invariants
----------
- ``assess`` answers for whatever bytes it is given: what cannot be read, decoded or scored is a gate's reason and a
  score of +inf, never an exception and never a finite score.
- One film at a time through one session with one thread in it: the outputs do not depend on what else is running,
  nor on how many threads call.
- ``demur score`` and the service call the same ``assess``; the certificate is about what serves.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from deploy.candidate import Candidate
from deploy.golden import TENSOR_TOLERANCE, is_close
from deploy.manifest import Flaw, VerificationError
from models.codecs import UndecodableError
from models.decoder_child import keep_freed_memory
from models.decoding import DecoderKilledError, Decoders
from models.dicom import read_header
from models.errors import InputError
from models.films import is_dicom
from models.scope import is_companion, veto
from models.scoring import ImageOutcome, ScoreRule, is_strange, join_images, score_image
from models.vocabulary import Reason

logger = logging.getLogger(__name__)

RUNTIME = f"onnxruntime {onnxruntime.__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One file of a study.

    Parameters
    ----------
    data : bytes or memoryview
        DICOM, PNG or JPEG.
    view : str
        For PNG and JPEG, whose header is empty: the view, as the study table says.
    age_years : float or None
        For PNG and JPEG: the patient's age.
    """

    data: bytes | memoryview
    view: str = ""
    age_years: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of a study went, in seconds of wall clock, summed over its images.

    Parameters
    ----------
    decode_s : float
        Reading headers, decoding and preprocessing, waiting for a decoder included.
    wait_s : float
        Waiting for a compute slot.
    infer_s : float
        In the graph.
    """

    decode_s: float = 0.0
    wait_s: float = 0.0
    infer_s: float = 0.0

    def __add__(self, other: "Timings") -> "Timings":
        return Timings(
            decode_s=self.decode_s + other.decode_s,
            wait_s=self.wait_s + other.wait_s,
            infer_s=self.infer_s + other.infer_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """What the engine found in one image.

    Parameters
    ----------
    outcome : ImageOutcome
        Its score, gates, and whether it is a companion.
    logits : tuple[float, ...]
        One per member; empty where it was not decoded.
    strangeness : float
        NaN where it was not decoded.
    decoder : str
        Codec and version; empty where it was not decoded.
    timings : Timings
        Where its time went.
    """

    outcome: ImageOutcome
    logits: tuple[float, ...] = ()
    strangeness: float = math.nan
    decoder: str = ""
    timings: Timings = Timings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What the engine found in a study: all that a ledger needs of it beside who, where and when.

    Parameters
    ----------
    score : float
        The greatest of its images'; +inf where a gate failed.
    gates : tuple[Reason, ...]
        What failed.
    logits : tuple[float, ...]
        Of the image whose score is the study's (the first in order if several are); empty where none was scored.
    strangeness : float
        Of the same image; NaN where none was scored.
    images : tuple[ImageResult, ...]
        All of them, in the order given.
    runtime : str
        Name and version of what ran the graph.
    timings : Timings
        Where the time went.
    """

    score: float
    gates: tuple[Reason, ...]
    logits: tuple[float, ...]
    strangeness: float
    images: tuple[ImageResult, ...]
    runtime: str
    timings: Timings

    @property
    def decoders(self) -> tuple[str, ...]:
        """Codec and version of each image, in the order given; empty text where it was not decoded."""
        return tuple(image.decoder for image in self.images)


class Engine:
    """A candidate, ready to assess studies from any number of threads.

    Use as a context manager, or call ``close``: it holds decoder processes. It has this process keep the memory of films for
    the next ones.

    Parameters
    ----------
    candidate : Candidate
        What runs.
    threads : int, optional
        How many films may be in the graph at once; as many as there are cores if not given.

    Raises
    ------
    VerificationError
        If the graph cannot be loaded, or is not a candidate's.
    """

    def __init__(self, candidate: Candidate, *, threads: int | None = None) -> None:
        self.candidate = candidate
        self.threads = threads or len(os.sched_getaffinity(0))
        keep_freed_memory()
        self._session = _open_session(candidate)
        self._slots = threading.BoundedSemaphore(self.threads)
        self._decoders = Decoders()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder processes."""
        self._decoders.close()

    def assess(self, images: Sequence[Image]) -> Assessment:
        """Score a study of one or more images; never raise for what is in them.

        Parameters
        ----------
        images : Sequence[Image]
            Every file of the study.

        Returns
        -------
        Assessment
            With a finite score only where every gate has passed.
        """
        results = tuple(self._assess_image(image) for image in images)
        study = join_images([result.outcome for result in results], self.candidate.scope.images_max)
        deciding = max(
            (result for result in results if result.logits and not result.outcome.is_companion),
            key=lambda result: result.outcome.score,
            default=ImageResult(outcome=ImageOutcome(score=math.inf)),
        )
        return Assessment(
            score=study.score,
            gates=study.gates,
            logits=deciding.logits,
            strangeness=deciding.strangeness,
            images=results,
            runtime=RUNTIME,
            timings=sum((result.timings for result in results), Timings()),
        )

    def infer(self, tensor: NDArray[np.float32]) -> tuple[tuple[float, ...], float]:
        """Run the graph on one film.

        Parameters
        ----------
        tensor : NDArray
            float32 (1, rows, columns).

        Returns
        -------
        tuple
            The members' logits and the strangeness, as float64.
        """
        logits, strangeness = self._session.run(["logits", "strangeness"], {"image": tensor[np.newaxis]})
        return tuple(np.asarray(logits)[0].astype(np.float64).tolist()), float(np.asarray(strangeness)[0])

    def check_golden(self) -> None:
        """Check that the golden films give here what they gave where the candidate was exported.

        Raises
        ------
        VerificationError
            If a film has another decoding, tensor, logit or strangeness than stored, beyond the tolerances that
            ``deploy.golden`` states.
        """
        for film in self.candidate.golden():
            where = f"the golden film {film.name}"
            try:
                tensor = self._decoders.decode(film.data, self.candidate.input_spec).tensor
            except InputError as error:
                raise VerificationError(Flaw.GOLDEN, f"{where} cannot be decoded here ({error})") from error
            if tensor.shape != film.tensor.shape or not np.abs(tensor - film.tensor).max() <= TENSOR_TOLERANCE:
                raise VerificationError(Flaw.GOLDEN, f"{where} becomes another tensor here than where it was exported")
            logits, strangeness = self.infer(tensor)
            stored = (*film.logits, film.strangeness)
            if len(logits) != len(film.logits) or not all(map(is_close, (*logits, strangeness), stored)):
                raise VerificationError(Flaw.GOLDEN, f"{where} has other logits here: {logits}, not {film.logits}")

    def _assess_image(self, image: Image) -> ImageResult:
        started = time.perf_counter()
        try:
            return self._score_image(image, started)
        except DecoderKilledError:
            gate = Reason.DECODER_KILLED
        except UndecodableError:
            gate = Reason.UNDECODABLE
        except InputError:
            gate = Reason.UNREADABLE
        except Exception as fault:  # noqa: BLE001 - the edge of a study: a fault of ours is a reason to read it
            # The kind alone: a message or a trace can hold what the file holds.
            logger.error("image not assessed", extra={"action": "image_not_assessed", "fault": type(fault).__name__})  # noqa: TRY400
            gate = Reason.FAULT
        return _gated((gate,), started)

    def _score_image(self, image: Image, started: float) -> ImageResult:
        scope, rule = self.candidate.scope, self.candidate.rule
        header = None
        if is_dicom(image.data):
            # Nothing that the pixels could say makes such a film healthy, so nothing is spent on decoding them.
            header = read_header(image.data)
            if against := veto(header, scope):
                return _gated(against, started, is_companion=is_companion(header, scope))
        film = self._decoders.decode(image.data, self.candidate.input_spec, header)
        if header is None:
            header = replace(film.header, view=image.view.upper(), age_years=image.age_years)
            if against := veto(header, scope):
                return _gated(against, started, is_companion=is_companion(header, scope))
        decoded = time.perf_counter()
        with self._slots:
            entered = time.perf_counter()
            logits, strangeness = self.infer(film.tensor)
            ended = time.perf_counter()
        gates = _gates(logits, strangeness, rule)
        return ImageResult(
            outcome=ImageOutcome(score=math.inf if gates else score_image(logits, strangeness, rule), gates=gates),
            logits=logits,
            strangeness=strangeness,
            decoder=film.decoder,
            timings=Timings(decode_s=decoded - started, wait_s=entered - decoded, infer_s=ended - entered),
        )


def _gated(gates: tuple[Reason, ...], started: float, *, is_companion: bool = False) -> ImageResult:
    """An image that the network does not see."""
    outcome = ImageOutcome(score=math.inf, gates=gates, is_companion=is_companion)
    return ImageResult(outcome=outcome, timings=Timings(decode_s=time.perf_counter() - started))


def _gates(logits: tuple[float, ...], strangeness: float, rule: ScoreRule) -> tuple[Reason, ...]:
    """What the network's own answer says against a score."""
    if not all(map(math.isfinite, (*logits, strangeness))):
        return (Reason.NO_SCORE,)
    return (Reason.STRANGE,) if is_strange(strangeness, rule) else ()


def _open_session(candidate: Candidate) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread in the graph and none that spins: cores are shared out between films, not within one.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(candidate.graph, options, providers=["CPUExecutionProvider"])
    except VerificationError:
        raise
    except Exception as error:  # the runtime's errors have no base of their own
        raise VerificationError(
            Flaw.GRAPH, f"the graph cannot be loaded ({type(error).__name__}); export again"
        ) from error
    spec = candidate.input_spec
    found = {node.name: (node.type, *node.shape[1:]) for node in [*session.get_inputs(), *session.get_outputs()]}
    wanted = {
        "image": ("tensor(float)", 1, spec.rows, spec.columns),
        "logits": ("tensor(float)", candidate.members),
        "strangeness": ("tensor(float)",),
    }
    if found != wanted:
        raise VerificationError(Flaw.GRAPH, f"the graph's inputs and outputs are {found}, not {wanted}; export again")
    return session
