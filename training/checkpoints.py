"""What a run leaves behind: per member its best weights, and the state from which an interrupted run goes on.

Files hold tensors and text only and are loaded with ``weights_only=True``: opening one cannot run code.
"""

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

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
    text = json.dumps(
        {
            "experiment": json.loads(experiment_to_json(card.experiment)),
            "studies": card.studies_digest,
            "sites": card.sites,
            "kinds": card.kinds,
        },
        sort_keys=True,
        indent=1,
    )
    place = run / "run.json"
    if place.is_file() and place.read_text(encoding="utf-8") != text:
        raise DataError(f"{run} holds a run of another experiment or study table; give a new folder")
    run.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")


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
    try:
        raw = torch.load(place, map_location="cpu", weights_only=True)
        meta = json.loads(raw["meta"])
        network = meta["network"]
        spec = NetworkSpec(**{**network, "channels": tuple(network["channels"])})
        member = Network(spec)
        member.load_state_dict(raw["weights"])
    except OSError:
        raise DataError(f"no such file: {place}; train the member first") from None
    except (RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as fault:
        raise DataError(
            f"{place} is not a member's checkpoint ({type(fault).__name__}); train the member again"
        ) from None
    state = MemberState(weights=raw["weights"], spec=spec, epoch=meta["epoch"], merit=meta["merit"])
    return member.eval(), state


def save_whole(place: Path, content: object) -> None:
    """Write with ``torch.save``, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.partial")
    torch.save(content, partial)
    partial.replace(place)
