"""The verbs of calibration."""

import typer

app = typer.Typer(no_args_is_help=True)
