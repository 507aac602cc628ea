"""The options that the verbs share, and what they open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import DataError

if TYPE_CHECKING:
    from service.database import Database
    from service.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database", help="sqlite:///FILE or postgresql://…; DEMUR_DATABASE if not given.", show_default=False
    ),
]
StorageFolder = Annotated[
    str | None, typer.Option("--storage", help="Folder of the files; DEMUR_STORAGE if not given.", show_default=False)
]
BundleFolder = Annotated[
    Path | None,
    typer.Option("--bundle", help="The release to decide with; DEMUR_BUNDLE if not given.", show_default=False),
]
TrustFile = Annotated[
    Path | None, typer.Option("--trust", help="List of trusted keys; DEMUR_TRUST if not given.", show_default=False)
]


def settings_from(**given: object) -> "Settings":
    """Return the settings of the environment, with the options that were given; DataError in one line."""
    from pydantic import ValidationError

    from service.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType]
    except ValidationError as fault:
        first = fault.errors()[0]
        where = f"the setting {'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        raise DataError(where + first["msg"].removeprefix("Value error, ")) from None


def open_database(settings: "Settings") -> "Database":
    """Return the database with its newest schema; DataError in one line."""
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from service import schema
    from service.database import Database

    try:
        opened = Database(settings.database)
        schema.upgrade(opened)
    except (ArgumentError, DBAPIError) as fault:
        raise DataError(f"the database cannot be opened ({type(fault).__name__}); check --database") from None
    return opened
