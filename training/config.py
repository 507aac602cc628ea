"""An experiment: one frozen value, read from one TOML file whose heading says purpose, command and expected result."""

import dataclasses
import json
import tomllib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from models.errors import DataError
from models.preprocess import InputSpec
from models.scope import CLINICAL, RESEARCH, Scope

T = TypeVar("T")

SCOPES: dict[str, Scope] = {"clinical": CLINICAL, "research": RESEARCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast one member learns."""

    epochs: int
    films_per_epoch: int
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    #: Epochs of warm-up, as a share of all.
    warmup: float = 0.05
    #: The weights that are kept are an exponential moving average over steps.
    average_decay: float = 0.998
    #: bfloat16 where the processor has it; the weights stay float32.
    bfloat16: bool = True
    #: The first epoch, as a share of all, after which a member is measured on the tune split.
    measured_from: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What is paid for."""

    #: An abnormal film read as healthy costs so many times a healthy one read as abnormal.
    miss_weight: float = 2.0
    #: Where the finding is, on the map.
    localisation: float = 1.0
    #: Which kind of finding it is.
    kind: float = 0.3
    #: The least abnormal-looking quarter of a batch's abnormal films, each against every healthy one.
    ranking: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which films are seen how often."""

    #: Sites that each member never sees, another part for each.
    sites_left_out: int = 1
    abnormal_share: float = 0.5
    #: How many times more often the abnormal film with the greatest loss is drawn than the one with the least.
    hard_factor: float = 4.0
    #: Every site is drawn equally often, however many films it has; else every film is.
    balanced_sites: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How strongly scanners are imitated; each is the chance that a film gets it, and 0 switches it off."""

    affine: float = 0.5
    gamma: float = 0.5
    contrast: float = 0.5
    curve: float = 0.3
    bias: float = 0.3
    noise: float = 0.3
    blur: float = 0.2
    sharpen: float = 0.2
    resolution: float = 0.15
    collimation: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of the ensemble."""

    backbone: str
    channels: tuple[int, ...] = ()
    #: As ``models.networks.Network`` takes it: empty, ``timm`` or a file.
    weights: str = ""
    #: Share of the head's channels and features dropped in training.
    dropout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """All that a training run depends on beside the films."""

    name: str
    seed: int
    scope: str
    rows: int
    columns: int
    schedule: Schedule
    members: tuple[Member, ...]
    losses: Losses = field(default_factory=Losses)
    sampling: Sampling = field(default_factory=Sampling)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Raise ValueError for an experiment that cannot be run."""
        if not self.members:
            raise ValueError("members: at least one is needed")
        if self.scope not in SCOPES:
            raise ValueError(f"scope is {self.scope!r}; it is one of {', '.join(SCOPES)}")
        if self.rows % 32 or self.columns % 32:
            raise ValueError(f"{self.rows} x {self.columns}: rows and columns must be multiples of 32")

    @property
    def input_spec(self) -> InputSpec:
        """What the networks see."""
        return InputSpec(rows=self.rows, columns=self.columns)


def read_experiment(path: Path) -> Experiment:
    """Read an experiment from TOML, strictly; DataError names the key that is wrong."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f"no such file: {path}; give a TOML file such as training/configs/phantoms.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise DataError(f"{path} is not TOML: {fault}") from None
    return _parse(Experiment, raw, path.name)


def experiment_to_json(experiment: Experiment) -> str:
    """Return an experiment as canonical JSON."""
    return json.dumps(dataclasses.asdict(experiment), sort_keys=True, separators=(",", ":"), allow_nan=False)


def experiment_from_json(text: str) -> Experiment:
    """Return the experiment that ``experiment_to_json`` wrote."""
    return _parse(Experiment, json.loads(text), "experiment")


def _parse(kind: type[T], raw: object, where: str) -> T:
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a table is needed, not {raw!r}")
    hints = get_type_hints(kind)
    fields = {one.name: one for one in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    if unknown := sorted(raw.keys() - fields.keys()):
        raise DataError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(fields)}")
    for name, one in fields.items():
        bare = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if bare and name not in raw:
            raise DataError(f"{where}: the key {name!r} is missing")
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in raw.items()}
    try:
        return kind(**values)
    except ValueError as fault:
        raise DataError(f"{where}: {fault}") from None


def _value(hint: Any, value: object, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _parse(hint, value, where)  # pyright: ignore[reportArgumentType]
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_value(get_args(hint)[0], item, where) for item in value)
    if get_origin(hint) in (Union, types.UnionType):
        return None if value is None else _value(get_args(hint)[0], value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise DataError(f"{where} is {value!r}; it must be {getattr(hint, '__name__', hint)}")
