"""What a run leaves behind: per member its best weights, and the state from which an interrupted run goes on.

Files hold tensors and text only and are loaded with ``weights_only=True``: opening one cannot run code.
"""

import json
import pickle
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import DataError
from models.networks import Network, NetworkSpec
from training.config import Experiment, experiment_from_json, experiment_to_json

BEST = "best.pt"
LAST = "last.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCard:
    """What all members of a run share.

    Attributes
    ----------
    experiment : Experiment
        The configuration.
    studies_digest : str
        SHA-256 of the study table.
    sites, kinds : tuple of str
        Training sites and kinds of finding, in the order of their indices.
    """

    experiment: Experiment
    studies_digest: str
    sites: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """A member's weights with what they are.

    Attributes
    ----------
    weights : mapping of str to Tensor
        The state dict.
    spec : NetworkSpec
        What they fill.
    epoch : int
        Epochs done when they were taken.
    merit : float
        What they were selected by; -1 where they were not measured.
    """

    weights: dict[str, Tensor]
    spec: NetworkSpec
    epoch: int
    merit: float


def write_run_card(run: Path, card: RunCard) -> None:
    """Write what the members share; a run of another experiment or study table in this folder is an error."""
    place = run / "run.json"
    if place.is_file():
        _refuse_other(run, _facts(read_run_card(run)), _facts(card))
    run.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(_card_to_dict(card), sort_keys=True, indent=1), encoding="utf-8")


def read_run_card(run: Path) -> RunCard:
    """Read what the members of a run share."""
    try:
        raw = json.loads((run / "run.json").read_text(encoding="utf-8"))
        return RunCard(
            experiment=experiment_from_json(json.dumps(raw["experiment"])),
            studies_digest=raw["studies"],
            sites=tuple(raw["sites"]),
            kinds=tuple(raw["kinds"]),
        )
    except OSError:
        raise DataError(f"no run in {run}; give the folder that demur train wrote") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{run / 'run.json'} cannot be read; train again") from None


def member_folder(run: Path, index: int) -> Path:
    """Return where a member's files are."""
    return run / f"member-{index}"


def save_member(place: Path, state: MemberState, card: RunCard) -> None:
    """Write a member's weights with spec, input, experiment and table digest, whole or not at all."""
    meta = {
        "network": asdict(state.spec),
        "input_spec": json.loads(card.experiment.input_spec.to_json()),
        "experiment": json.loads(experiment_to_json(card.experiment)),
        "studies": card.studies_digest,
        "epoch": state.epoch,
        "merit": state.merit,
    }
    save_whole(place, {"weights": state.weights, "meta": json.dumps(meta, sort_keys=True)})


def load_member(place: Path) -> tuple[Network, MemberState]:
    """Load a member ready to be asked: weights filled in, in evaluation mode.

    Raises
    ------
    DataError
        If the file is not a member's checkpoint.
    """
    raw = _load(place, torch.device("cpu"))
    try:
        meta = json.loads(raw["meta"])
        network = meta["network"]
        spec = NetworkSpec(**{**network, "channels": tuple(network["channels"])})
        member = Network(spec)
        member.load_state_dict(raw["weights"])
    except (RuntimeError, KeyError, TypeError, ValueError) as fault:
        raise _no_checkpoint(place, fault) from None
    state = MemberState(weights=raw["weights"], spec=spec, epoch=meta["epoch"], merit=meta["merit"])
    return member.eval(), state


def load_last(folder: Path, card: RunCard, device: torch.device) -> dict[str, Any] | None:
    """Load the state from which a member goes on; None where it has not begun.

    Raises
    ------
    DataError
        If the folder's checkpoints cannot be read, or are of another experiment or study table.
    """
    if not (folder / LAST).is_file():
        return None
    try:
        meta = json.loads(_load(folder / BEST, torch.device("cpu"))["meta"])
        begun = replace(
            card, experiment=experiment_from_json(json.dumps(meta["experiment"])), studies_digest=meta["studies"]
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise _no_checkpoint(folder / BEST, fault) from None
    _refuse_other(folder, _facts(begun), _facts(card))
    return _load(folder / LAST, device)


def save_whole(place: Path, content: object) -> None:
    """Write with ``torch.save``, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.partial")
    torch.save(content, partial)
    partial.replace(place)


def _load(place: Path, device: torch.device) -> dict[str, Any]:
    try:
        return torch.load(place, map_location=device, weights_only=True)
    except OSError:
        raise DataError(f"no such file: {place}; train the member first") from None
    except (RuntimeError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as fault:
        raise _no_checkpoint(place, fault) from None


def _no_checkpoint(place: Path, fault: Exception) -> DataError:
    return DataError(f"{place} is not a member's checkpoint ({type(fault).__name__}); train the member again")


def _card_to_dict(card: RunCard) -> dict[str, Any]:
    return {
        "experiment": json.loads(experiment_to_json(card.experiment)),
        "studies": card.studies_digest,
        "sites": card.sites,
        "kinds": card.kinds,
    }


def _facts(card: RunCard) -> dict[str, object]:
    """Return what a run depends on, flat, each under the name that the experiment's file has for it."""
    whole = _card_to_dict(card)
    return {
        "digest of the study table" if k == "studies" else k: whole[k] for k in ("studies", "sites", "kinds")
    } | _flat(whole["experiment"], "")


def _flat(value: object, name: str) -> dict[str, object]:
    if isinstance(value, dict):
        return {key: one for part, inner in value.items() for key, one in _flat(inner, f"{name}.{part}").items()}
    return {name.lstrip("."): value}


def _refuse_other(place: Path, begun: dict[str, object], asked: dict[str, object]) -> None:
    for name, value in asked.items():
        if begun[name] != value:
            raise DataError(
                f"{place} was begun with another experiment or study table: {name} is {begun[name]} there and {value} here; "
                "give a new folder, or what it was begun with"
            )
