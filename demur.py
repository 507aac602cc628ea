"""The front door: one command line that mounts each package's verbs, imported only when used."""

import importlib
import sys

import typer
from typer.core import TyperGroup

from models.errors import BundleError, DemurError

#: verb: the module whose ``app`` defines it. In the order of a study's way.
VERBS: dict[str, str] = {
    "phantoms": "training.cli",
    "import": "training.cli",
    "train": "training.cli",
    "export": "deploy.cli",
    "score": "deploy.cli",
    "plan": "calibration.cli",
    "certify": "calibration.cli",
    "evaluate": "calibration.cli",
    "review": "calibration.cli",
    "key": "deploy.cli",
    "release": "deploy.cli",
    "verify": "deploy.cli",
    "serve": "service.cli",
    "receive": "service.cli",
    "site": "service.cli",
    "study": "service.study_cli",
    "send": "service.cli",
    "ledger": "service.cli",
    "replay": "service.cli",
    "doctor": "service.cli",
}


class FrontDoor(TyperGroup):
    """A group that imports the package of a verb when the verb is asked for."""

    # The context's exact type is private to typer.
    def list_commands(self, ctx: typer.Context) -> list[str]:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the verbs in the order of a study's way."""
        return list(VERBS)

    def get_command(self, ctx: typer.Context, cmd_name: str):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Import the verb's package and return its command, or None for no such verb."""
        if cmd_name not in VERBS:
            return None
        package = typer.main.get_group(importlib.import_module(VERBS[cmd_name]).app)
        return package.get_command(ctx, cmd_name)


app = typer.Typer(
    cls=FrontDoor,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def front_door() -> None:
    """Read chest radiographs: say healthy, with a certificate, or IDK, and send every IDK to a human.

    The way of a release: phantoms or import, train, export, score, certify, release, verify.

    The way of a study: serve, site add, send, then the worklist.

    The way of an auditor: evaluate, review, replay, ledger verify.

    Exit codes: 0 done, 1 an error told in one line, 2 wrong usage, 3 an honest refusal.
    """


def main() -> None:
    """Run the command line; tell every expected error in one line."""
    try:
        app()
    except BundleError as refusal:
        typer.echo(f"demur: {refusal.__doc__}: {refusal}", err=True)
        sys.exit(3)
    except DemurError as error:
        typer.echo(f"demur: {error.__doc__}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
