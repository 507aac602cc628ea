"""Coverage-guided fuzzing of the multipart and DICOM entrance: no fault, no hang, no growth.

    python tests/fuzz/fuzz_entrance.py --inputs 100000 [--seed 7] [--keep DIR]

atheris counts the branches that an input reaches in models, service, pydicom and python-multipart; inputs that reach new ones
are mutated further, by what ``entrance`` knows of bodies and films or by libFuzzer itself. An input that breaks something is
kept in the folder as ``crash-`` or ``timeout-`` and its digest, and repeated with --repeat.
"""

import argparse
import logging
import os
import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["models", "service", "pydicom", "python_multipart"]):
    import entrance

#: Wall clock, for an input that never ends; slow ones are told by their CPU time.
TIMEOUT_S = 60
INPUT_BYTES_MAX = 256 << 10


def main() -> None:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "demur-fuzz", help="%(default)s")
    parser.add_argument("--repeat", type=Path, help="try this input alone")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    options.keep.mkdir(parents=True, exist_ok=True)
    # Every input is synchronised to disk, which takes no time in memory.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="demur-fuzz-", dir=memory if memory.is_dir() else None) as folder:
        tried = entrance.Entrance(Path(folder))
        if options.repeat is not None:
            tried.take(options.repeat.read_bytes())
            return
        _guide(tried, Path(folder) / "corpus", options)


def _guide(tried: "entrance.Entrance", corpus: Path, options: argparse.Namespace) -> None:
    films, rng = entrance.seeds(), random.Random(options.seed)
    corpus.mkdir()
    for number, film in enumerate(films):
        (corpus / f"seed-{number}").write_bytes(entrance.body_of([film], rng))

    def take(body: bytes) -> None:
        tried.take(body)
        if tried.seen["inputs"] >= options.inputs:  # libFuzzer would end the process without a word of ours
            kept = sum(1 for _ in corpus.iterdir())
            for name, count in sorted({**tried.seen, "inputs that reached a new branch": kept}.items()):
                print(f"{count:9d}  {name}")  # noqa: T201
            print("No fault, no hang, no growth.", flush=True)  # noqa: T201
            for path in sorted(corpus.parent.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            corpus.parent.rmdir()
            os._exit(0)

    def mutate(body: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        way = chance.random()
        if way < 0.3:
            changed = entrance.any_body(chance, films)
        elif way < 0.7:
            changed = entrance.mutate(body, chance, films)
        else:
            changed = atheris.Mutate(body, size_max)
        return changed[:size_max]

    limits = [f"-timeout={TIMEOUT_S}", f"-max_len={INPUT_BYTES_MAX}", "-rss_limit_mb=4096", "-len_control=0"]
    places = [f"-artifact_prefix={options.keep}{os.sep}", str(corpus)]
    atheris.Setup([sys.argv[0], f"-seed={options.seed}", *limits, *places], take, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
