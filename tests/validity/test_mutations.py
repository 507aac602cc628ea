"""Small mutations of the statistics: each must be killed by an exact case of the unit tests, none by luck."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Module, what is there, what a slip would make of it, and the unit tests that must notice.
MUTATIONS = [
    # < for <=, and the other way round
    ("threshold", "scores < threshold", "scores <= threshold", "threshold certificate"),
    ("policy", "score < certificate.threshold", "score <= certificate.threshold", "policy"),
    ("policy", "now < certificate.expires", "now <= certificate.expires", "policy"),
    ("policy", "certificate.issued <= now", "certificate.issued < now", "policy"),
    ("policy", "math.isfinite(score) and score < certificate.threshold", "score < certificate.threshold", "policy"),
    ("policy", "        if not reasons:\n", "        if True:\n", "policy"),
    ("certificate", "lower >= terms.min_healthy_acceptance", "lower <= terms.min_healthy_acceptance", "certificate"),
    ("bounds", "binomial_cdf(middle, n, rate) <= delta", "binomial_cdf(middle, n, rate) >= delta", "bounds"),
    ("site_certificate", "misses <= allowed", "misses < allowed", "site_certificate"),
    ("site_certificate", "(readings.score < threshold)", "(readings.score <= threshold)", "site_certificate"),
    ("site_certificate", "readings.accessioned < closes", "readings.accessioned <= closes", "site_certificate"),
    ("site_certificate", "window.draw < window", "window.draw <= 1 + window", "site_certificate"),
    ("units", "table.score < threshold", "table.score <= threshold", "units evaluation"),
    ("units", "draws[:, 0] * studies_max < counts", "draws[:, 0] * studies_max < 1", "units"),
    ("labels", "table.score[row] < threshold", "table.score[row] <= threshold", "labels"),
    ("audits", "call.accessioned + age <= now", "call.accessioned <= now", "audits"),
    ("shift", 'side="left"', 'side="right"', "shift"),
    # k - 1 for k, and an index counted from 1
    ("bounds", "special.betaincc(k + 1, n - k, rate)", "special.betaincc(max(k, 1), n - k, rate)", "bounds"),
    ("bounds", "special.betainccinv(k + 1, n - k, delta)", "special.betainccinv(max(k, 1), n - k, delta)", "bounds"),
    ("bounds", "special.betaincinv(k, n - k + 1, delta)", "special.betaincinv(k, n - k + 2, delta)", "bounds"),
    ("bounds", "    return lowest\n", "    return lowest + 1\n", "bounds"),
    ("bounds", "    return enough\n", "    return enough - 1\n", "bounds"),
    ("threshold", "np.partition(abnormal, allowed)[allowed]", "np.sort(abnormal)[allowed - 1]", "threshold"),
    (
        "threshold",
        "np.partition(abnormal, allowed)[allowed]",
        "np.sort(np.append(abnormal, np.inf))[allowed + 1]",
        "threshold",
    ),
    ("planning", "delta / (j * (j + 1))", "delta / (j * j)", "planning"),
    ("shift", "len(known) + 1 - rank", "len(known) - rank", "shift"),
    # 2δ for δ, and the wrong part of it
    (
        "certificate",
        "terms.miss_rate_limit, terms.delta_miss_rate) for",
        "terms.miss_rate_limit, terms.delta) for",
        "certificate planning",
    ),
    ("certificate", "len(scores), terms.delta_miss_rate)", "len(scores), 2 * terms.delta_miss_rate)", "certificate"),
    ("certificate", "len(healthy), terms.delta_acceptance)", "len(healthy), terms.delta)", "certificate"),
    ("site_certificate", "spent(terms.delta_miss_rate, attempt.number)", "terms.delta_miss_rate", "site_certificate"),
    ("site_certificate", "spent(terms.delta_acceptance, attempt.number)", "terms.delta_acceptance", "site_certificate"),
    ("labels", "upper_bound(confirmed, cleared, delta / 2)", "upper_bound(confirmed, cleared, delta)", "labels"),
    ("labels", "upper_bound(found, sampled, delta / 2)", "upper_bound(found, sampled, delta)", "labels"),
    ("selective", "half = delta / 2", "half = delta", "selective"),
    ("shift", "2 * float(law", "float(law", "shift"),
    # max for min
    ("certificate", "return min(thresholds)", "return max(thresholds)", "certificate"),
    ("units", "scores, np.minimum, np.inf)", "scores, np.maximum, -np.inf)", "units"),
    ("units", "np.maximum, -np.inf)", "np.minimum, np.inf)", "units"),
    ("units", "label == ABNORMAL, below > 0, ", "label == ABNORMAL, below == studies, ", "units"),
    ("scores", "score[~(score > -np.inf)] = np.inf", "score[np.isneginf(score)] = np.inf", "scores units"),
    ("scores", "score[~(score > -np.inf)] = np.inf", "score[np.isnan(score)] = np.inf", "scores units"),
    # groups dropped
    (
        "certificate",
        "            return None\n        thresholds",
        "            continue\n        thresholds",
        "certificate",
    ),
    ("certificate", "for stratum in strata if terms.crossed", "for stratum in strata if False", "certificate"),
    # readings, audits, e-processes
    ("site_certificate", "int(missed.sum()) + n_unread", "int(missed.sum())", "site_certificate"),
    ("site_certificate", "int(healthy.sum()) + n_unread", "int(healthy.sum())", "site_certificate"),
    ("monitor", "if audited and error", "if error", "monitor"),
    ("monitor", "return 1.0 / probability", "return 1.0", "monitor"),
    ("monitor", "np.logaddexp.reduce(flat, axis=1)", "np.mean(flat, axis=1)", "monitor"),
    ("monitor", "np.log1p(-bets[:, None] * errors[None, :])", "-bets[:, None] * errors[None, :]", "monitor"),
    ("monitor", "unspent = (1 - _FIRST_WEIGHT) / (count + 1)", "unspent = 1 - _FIRST_WEIGHT", "monitor"),
    ("audits", "error = unresolved if call.error is None", "error = False if call.error is None", "audits"),
    ("labels", "c.role is Role.CLEARED", "c.role is not Role.DECOY", "labels"),
]

#: No plugins: pytest starts in a fraction of the time.
LEAN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """Return a copy of the project whose modules may be mutated; its unit tests pass as they are."""
    folder = tmp_path_factory.mktemp("mutated")
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("calibration", "models"):
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    shutil.copytree(ROOT / "tests" / "unit" / "calibration", folder / "tests" / "unit" / "calibration", ignore=ignore)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\npythonpath = .\n")
    everything = " ".join(sorted({name for *_, names in MUTATIONS for name in names.split()}))
    assert run_tests(folder, everything) == 0
    return folder


def run_tests(folder: Path, names: str) -> int:
    """Return pytest's exit code on some unit tests of a copy: 0 all passed, 1 some failed."""
    files = [str(folder / "tests" / "unit" / "calibration" / f"test_{name}.py") for name in names.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **LEAN}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode in {0, 1}, result.stdout + result.stderr
    return result.returncode


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation[0]}: {mutation[2].strip()}")
def test_no_mutation_survives(copy: Path, mutation: tuple[str, str, str, str]) -> None:
    module, there, slip, names = mutation
    file = copy / "calibration" / f"{module}.py"
    text = file.read_text()
    assert there in text, f"{module} has no {there!r} to mutate"
    try:
        file.write_text(text.replace(there, slip))
        assert run_tests(copy, names) == 1, "a mutation survived"
    finally:
        file.write_text(text)
