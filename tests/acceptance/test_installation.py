"""A hospital's installation: the wheel without extras, in an environment of its own, runs the demonstration without torch."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the python of a fresh environment that holds the built wheel and its dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("installation")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, source], check=True, capture_output=True
    )
    (wheel,) = folder.glob("demur-*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, capture_output=True, cwd=folder)
    return python


def away_from_home() -> dict[str, str]:
    """Return an environment in which nothing of this repository can be imported by accident."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DEMUR_"))}


@pytest.mark.timeout(900)
def test_a_service_only_installation_has_no_torch(installed: Path) -> None:
    code = (
        "import importlib.util as u, json; "
        "print(json.dumps([m for m in ('torch', 'torchvision', 'timm', 'monai', 'onnx') if u.find_spec(m)]))"
    )
    out = subprocess.run(
        [installed, "-c", code], capture_output=True, text=True, check=True, cwd=installed.parent, env=away_from_home()
    )
    assert json.loads(out.stdout) == []


@pytest.mark.timeout(900)
def test_a_service_only_installation_runs_the_demonstration(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    done = subprocess.run(
        [installed, tmp_path / "demo" / "run.py", "--once", "--studies", "12"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=away_from_home() | {"COLUMNS": "140"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 studies:" in done.stdout
    assert "0 of them truly abnormal" in done.stdout


@pytest.mark.timeout(900)
def test_every_verb_of_the_installed_command_line_has_help(installed: Path) -> None:
    demur = installed.with_name("demur")
    overview = subprocess.run(
        [demur, "--help"], capture_output=True, text=True, check=True, env=away_from_home()
    ).stdout
    code = "import demur; print(' '.join(demur.VERBS))"
    verbs = subprocess.run([installed, "-c", code], capture_output=True, text=True, check=True, cwd=installed.parent)
    for verb in verbs.stdout.split():
        assert verb in overview
        page = subprocess.run([demur, verb, "--help"], capture_output=True, text=True, check=True, env=away_from_home())
        assert "Usage: demur" in page.stdout
