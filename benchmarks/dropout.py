"""Score films with Monte Carlo dropout, the baseline: a member with dropout, asked several times with dropout active.

    python benchmarks/dropout.py runs/dropout --studies runs/test/studies.csv --out runs/dropout/test.parquet

Writes a score table with the logit of every pass; ``benchmarks/baselines.py --dropout`` reads it. Backbone and map are in
evaluation mode and looked through once; what is dropped are channels and features of the head, as in training.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import parquet

from models.networks import Network
from models.studies import read_study_table
from training.cache import Films, load_films
from training.checkpoints import BEST, load_member, member_folder, read_run_card
from training.datasets import labelled
from training.member import batches_of
from training.progress import Tally, shown_progress

PASSES = 16
_SEED = 20
_BATCH = 128


def ask(network: Network, films: Films, tally: Tally) -> NDArray[np.float64]:
    """Return logits (films, passes)."""
    torch.manual_seed(_SEED)
    network.drop_channels.train()
    network.drop_features.train()
    answers = []
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for batch in batches_of(films, np.arange(len(films.images)), _BATCH):
            seen = network.look(batch)
            answers.append(torch.stack([network.read(*seen).logit.double() for _ in range(PASSES)], dim=1))
            tally.add(len(batch))
    return torch.cat(answers).numpy()


def main() -> None:
    """Score one study table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="of training/configs/dropout.toml")
    parser.add_argument("--studies", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder of decoded films; default: RUN/cache")
    parser.add_argument("--workers", type=int, default=1, help="processes that read films")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    card = read_run_card(asked.run)
    network, _ = load_member(member_folder(asked.run, 0) / BEST)
    rows = labelled(read_study_table(asked.studies).rows)
    with shown_progress(quiet=False) as on_progress:
        films = load_films(
            rows,
            card.experiment.input_spec,
            asked.cache or asked.run / "cache",
            workers=asked.workers,
            on_progress=lambda done, total: on_progress("reading films", done, total),
        )
        logits = ask(network.to(memory_format=torch.channels_last), films, Tally("asking", len(rows), on_progress))
    names = {
        name: [str(getattr(row, name) or "") for row in rows]
        for name in ("study", "patient", "site", "stratum", "label")
    }
    passes = {f"logit_{number}": logits[:, number] for number in range(PASSES)}
    parquet.write_table(pa.table({**names, "score": logits.mean(axis=1), **passes}), asked.out)


if __name__ == "__main__":
    main()
