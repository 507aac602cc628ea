"""Who may import whom: what the static contracts cannot see, and that the contracts bite."""

import ast
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "training", "calibration", "deploy", "service")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_name_resolves_inside_the_repository(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)


@pytest.mark.parametrize("name", [*PACKAGES, "demur"])
def test_no_other_distribution_owns_the_name(name: str) -> None:
    owners = {d.lower() for d in importlib.metadata.packages_distributions().get(name, [])}
    assert owners <= {"demur"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_init_holds_a_docstring_and_nothing_else(package: str) -> None:
    for init in (ROOT / package).rglob("__init__.py"):
        body = ast.parse(init.read_text()).body
        assert len(body) == 1, f"{init} holds more than a docstring"
        assert isinstance(body[0], ast.Expr)


def test_the_front_door_imports_no_package_but_the_errors() -> None:
    code = f"import sys, demur; print([m for m in sys.modules if m.split('.')[0] in {PACKAGES!r}])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "['models', 'models.errors']"


@pytest.mark.parametrize(
    "module", ["service.app", "service.cli", "deploy.cli", "deploy.runtime", "calibration.cli", "training.cli"]
)
def test_what_runs_in_a_hospital_never_loads_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'timm', 'monai', 'torchvision') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:9"])
def test_telemetry_is_loaded_if_it_is_configured_and_only_then(tmp_path: Path, endpoint: str | None) -> None:
    code = f"""
import sys
from service.app import create_app
from service.settings import Settings
create_app(Settings(database="sqlite:///{tmp_path}/demur.sqlite", storage="{tmp_path}/files"))
print([m for m in ("opentelemetry.sdk", "opentelemetry.exporter") if m in sys.modules])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if endpoint is not None:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert out.stdout.strip() == ("[]" if endpoint is None else "['opentelemetry.sdk', 'opentelemetry.exporter']")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("models/preprocess.py", "import calibration.bounds"),
        ("service/app.py", "import training.splits"),
        ("calibration/bounds.py", "import models.dicom"),
        ("deploy/runtime.py", "import torch"),
        ("deploy/runtime.py", "import sqlalchemy"),
        ("training/splits.py", "import calibration.threshold"),
    ],
)
def test_a_deliberate_violation_fails_the_contracts(tmp_path: Path, place: str, line: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("demur.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path / file)
    with (tmp_path / place).open("a") as file:
        file.write(f"\n{line}  # noqa\n")
    lint = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([lint, "--no-cache"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert place.removesuffix(".py").replace("/", ".") in result.stdout


def test_a_new_module_without_a_place_fails_the_contracts(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("demur.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "deploy" / "newcomer.py").write_text('"""A module whose place nobody named."""\n')
    lint = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([lint, "--no-cache"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "newcomer" in result.stdout
