"""One member's training: seeded by (seed, member, epoch), so that an interrupted run goes on as if it had not been."""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks import Network, NetworkSpec
from training.augment import augment
from training.cache import Films
from training.checkpoints import BEST, LAST, MemberState, RunCard, load_last, member_folder, save_member, save_whole
from training.datasets import Truth, draw_epoch, sites_of_member
from training.losses import total_loss
from training.selection import auroc, merit

#: A line per finished epoch, in a member's folder.
HISTORY = "history.jsonl"

_TUNE_BATCH = 128
_CLIP = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What an epoch came to; one line of the member's history."""

    epoch: int
    loss: float
    learning_rate: float
    #: On the tune split, with the averaged weights; NaN where not measured.
    merit: float
    auroc: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Films of one split with their truth."""

    films: Films
    truth: Truth


def train_member(
    index: int,
    card: RunCard,
    fit: Split,
    tune: Split | None,
    run: Path,
    *,
    on_batch: Callable[[int], None],
    stop_after: int | None = None,
) -> tuple[EpochRecord, ...]:
    """Train one member, from its last finished epoch on, and keep the best averaged weights.

    Parameters
    ----------
    index : int
        Which member.
    card : RunCard
        The experiment, kinds and sites.
    fit, tune : Split
        Training films, and those by which the member is selected; without any the last weights are kept.
    run : Path
        The run's folder.
    on_batch : callable
        Told the number of films after every step.
    stop_after : int or None
        Epochs of the whole run after which to stop early, to be resumed.
    """
    member = _Training(index, card, fit, tune, run)
    last = card.experiment.schedule.epochs if stop_after is None else stop_after
    while member.epoch < last:
        member.train_epoch(on_batch)
    return tuple(member.history)


def read_history(run: Path, index: int) -> tuple[EpochRecord, ...]:
    """Return a member's history; empty where it has not finished an epoch."""
    place = member_folder(run, index) / HISTORY
    if not place.is_file():
        return ()
    return tuple(EpochRecord(**json.loads(line)) for line in place.read_text(encoding="utf-8").splitlines())


def predict(
    network: torch.nn.Module, films: Films, indices: NDArray[np.int64], *, bfloat16: bool
) -> NDArray[np.float64]:
    """Return a network's logits of some films."""
    device = next(network.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
        answers = [network(batch.to(device)).logit.float().cpu() for batch in batches_of(films, indices, _TUNE_BATCH)]
    return torch.cat(answers).double().numpy()


def batches_of(films: Films, indices: NDArray[np.int64], size: int) -> Iterator[Tensor]:
    """Yield images (B, 1, rows, columns), normalised, float32."""
    for start in range(0, len(indices), size):
        images = np.ascontiguousarray(films.images[indices[start : start + size]], np.float32)
        yield torch.from_numpy(images).unsqueeze(1).contiguous(memory_format=torch.channels_last)


class _Training:
    """The state of one member's training; whole on disk after every epoch."""

    def __init__(self, index: int, card: RunCard, fit: Split, tune: Split | None, run: Path) -> None:
        experiment = card.experiment
        self.index, self.card, self.fit, self.tune = index, card, fit, tune
        self.schedule, self.folder = experiment.schedule, member_folder(run, index)
        self.seen_sites = sites_of_member(card.sites, index, experiment.sampling.sites_left_out)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        chosen = experiment.members[index]
        torch.manual_seed(experiment.seed * 1009 + index)
        self.spec = NetworkSpec(
            backbone=chosen.backbone, channels=chosen.channels, kinds=len(card.kinds), dropout=chosen.dropout
        )
        resumed = load_last(self.folder, card, self.device)
        network = Network(self.spec, "" if resumed else chosen.weights)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.AdamW(
            _groups(self.network, self.schedule.weight_decay), lr=self.schedule.learning_rate, fused=True
        )
        self.difficulty = np.ones(len(fit.truth.abnormal), np.float32)
        self.epoch, self.best, self.history = 0, -math.inf, list[EpochRecord]()
        if resumed:
            self._resume(resumed)

    def train_epoch(self, on_batch: Callable[[int], None]) -> None:
        """Train one epoch, measure, and save."""
        started, experiment = time.monotonic(), self.card.experiment
        numbers = np.random.default_rng([experiment.seed, self.index, self.epoch])
        random = torch.Generator().manual_seed(int(numbers.integers(2**62)))
        torch.manual_seed(int(numbers.integers(2**62)))
        order = draw_epoch(
            self.fit.truth,
            self.seen_sites,
            self.difficulty,
            films=self.schedule.films_per_epoch,
            sampling=experiment.sampling,
            random=numbers,
        )
        steps = max(1, len(order) // self.schedule.batch)
        self.network.train()
        total = 0.0
        for step, chosen in enumerate(np.array_split(order, steps)):
            self._set_rate((self.epoch + step / steps) / self.schedule.epochs)
            total += self._step(np.sort(chosen), random)
            on_batch(len(chosen))
        self.epoch += 1
        quality, area = self._measure()
        record = EpochRecord(
            epoch=self.epoch,
            loss=total / steps,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            merit=quality,
            auroc=area,
            seconds=time.monotonic() - started,
        )
        self.history.append(record)
        self._save(quality)

    def _step(self, chosen: NDArray[np.int64], random: torch.Generator) -> float:
        truth, spec = self.fit.truth, self.card.experiment.input_spec
        films = torch.from_numpy(self.fit.films.images[chosen].astype(np.float32)).unsqueeze(1)
        cover = torch.from_numpy(self.fit.films.masks[chosen].astype(np.float32) / 255).unsqueeze(1)
        grey, cover = augment(films * spec.std + spec.mean, cover, self.card.experiment.augmentation, random)
        images = ((grey - spec.mean) / spec.std).to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.schedule.bfloat16):
            readout = self.network(images)
        loss, each = total_loss(
            readout,
            torch.from_numpy(truth.abnormal[chosen]).float().to(self.device),
            torch.from_numpy(truth.kind[chosen]).to(self.device),
            cover.to(self.device),
            torch.from_numpy(truth.located[chosen]).to(self.device),
            self.card.experiment.losses,
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimizer.step()
        self._follow()
        self.difficulty[chosen] = 0.5 * self.difficulty[chosen] + 0.5 * each.cpu().numpy()
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights; early on the average is short, so that the random start is forgotten."""
        steps = float(next(iter(self.optimizer.state.values()))["step"])
        decay = min(self.schedule.average_decay, (1 + steps) / (10 + steps))
        pairs = zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True)
        slow, fast = zip(*((a, b) for a, b in pairs if a.is_floating_point()), strict=True)
        torch._foreach_lerp_(list(slow), list(fast), 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def _set_rate(self, done: float) -> None:
        schedule = self.schedule
        rising = min(1.0, (done + 1e-3) / schedule.warmup) if schedule.warmup > 0 else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * done)) * 0.99 + 0.01
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate * rising * falling

    def _measure(self) -> tuple[float, float]:
        """Return merit and AUROC of the averaged weights on the tune split; NaN before it is worth the time."""
        if self.tune is None or self.epoch < self.schedule.measured_from * self.schedule.epochs:
            return math.nan, math.nan
        truth = self.tune.truth
        scores = predict(self.average, self.tune.films, np.arange(len(truth.abnormal)), bfloat16=self.schedule.bfloat16)
        return merit(scores, truth.abnormal, truth.site), auroc(scores, truth.abnormal)

    def _save(self, quality: float) -> None:
        judged = -1.0 if math.isnan(quality) else quality
        if judged >= self.best:
            self.best = judged
            weights = {name: value.cpu() for name, value in self.average.state_dict().items()}
            state = MemberState(weights=weights, spec=self.spec, epoch=self.epoch, merit=judged)
            save_member(self.folder / BEST, state, self.card)
        save_whole(
            self.folder / LAST,
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "difficulty": torch.from_numpy(self.difficulty),
                "progress": json.dumps(
                    {"epoch": self.epoch, "best": self.best, "history": list(map(asdict, self.history))}
                ),
            },
        )
        lines = "".join(json.dumps(asdict(record)) + "\n" for record in self.history)
        (self.folder / HISTORY).write_text(lines, encoding="utf-8")

    def _resume(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.difficulty = saved["difficulty"].cpu().numpy()
        progress = json.loads(str(saved["progress"]))
        self.epoch, self.best = progress["epoch"], progress["best"]
        self.history = [EpochRecord(**record) for record in progress["history"]]


def _groups(network: Network, decay: float) -> list[dict[str, object]]:
    """Decay matrices and kernels only."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
