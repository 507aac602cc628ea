"""The verb study: find a study, erase it, or correct whose it is."""

import getpass
import json
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from models.errors import DataError
from service.options import AsJson, DatabaseUrl, StorageFolder, open_database, settings_from

if TYPE_CHECKING:
    from pydantic import BaseModel

    from service.records.workflow import Request

    Asked = TypeVar("Asked", bound=BaseModel)

app = typer.Typer(no_args_is_help=True)
study_app = typer.Typer(
    no_args_is_help=True, help="Find a study, erase it, or correct whose it is; what is done is on the ledger."
)
app.add_typer(study_app, name="study")

Study = Annotated[
    str, typer.Argument(help="The study's internal id, as demur study find prints it.", show_default=False)
]
Why = Annotated[
    str,
    typer.Option(
        help="Why; it stays on the ledger for ever and must name no patient.", prompt=True, show_default=False
    ),
]
By = Annotated[
    str | None, typer.Option(help="Who asks, for the ledger; your user name if not given.", show_default=False)
]


@study_app.command("find")
def find_study(
    name: Annotated[
        str, typer.Option(prompt="Accession number, patient ID or Study Instance UID", help="Exactly as it was sent.")
    ],
    site: Annotated[str | None, typer.Option(help="Only this site's.", show_default=False)] = None,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Find studies by what the hospital calls them, and print their internal ids and those of their images.

    The name is asked for, so that it does not stand in the shell's history.

    Example: demur study find --site north
    """
    from service.records import store

    with closing(open_database(settings_from(database=database))) as opened, opened.reading() as connection:
        found = [
            (study, store.images(connection, study.id)) for study in store.search(connection, site=site, name=name)
        ]
    if as_json:
        rows = [
            {
                "id": study.id,
                "site": study.site,
                "state": study.state,
                "received_at": study.received_at.isoformat(),
                "images": [{"id": image.id, "digest": image.digest, "view": image.view} for image in images],
            }
            for study, images in found
        ]
        typer.echo(json.dumps({"studies": rows}))
        return
    for study, images in found:
        typer.echo(f"{study.id}  {study.site:16} {study.state:9} came {_told(study.received_at)}")
        for image in images:
            typer.echo(f"  image {image.id}  {image.modality} {image.view or '-':4} came {_told(image.received_at)}")
    if not found:
        typer.echo("There is no such study, or it was erased.")


@study_app.command("erase")
def erase_study(
    study: Study,
    reason: Why,
    image: Annotated[
        str | None, typer.Option(help="Erase only this image; the study is read again without it.", show_default=False)
    ] = None,
    unread_too: Annotated[bool, typer.Option("--unread-too", help="Erase it though nobody has read it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant: it cannot be undone.")] = False,
    by: By = None,
    database: DatabaseUrl = None,
    storage: StorageFolder = None,
    as_json: AsJson = False,
) -> None:
    """Erase a study's pixels and identity, for ever; the ledger keeps digests, who, when and why.

    A study that is still on the worklist is refused unless --unread-too says that it is meant; its case is cancelled then.
    Backups keep what was erased until they are overwritten.

    Example: demur study erase 0f5c… --reason "request of 3 May"
    """
    from service.app import open_storage
    from service.records.schemas import ErasureRequest
    from service.records.workflow import delete_files, erase_image
    from service.records.workflow import erase_study as erase

    asked = _checked(ErasureRequest, reason=reason, unread_too=unread_too)
    settings = settings_from(database=database, storage=storage)
    files = open_storage(settings)
    if not yes:
        typer.confirm("This cannot be undone. Erase it?", abort=True)
    request = _request(by, asked.reason)
    with closing(open_database(settings)) as opened:
        with opened.writing() as connection:
            if image is None:
                erased = erase(connection, study, request, is_unread_too=unread_too)
            else:
                erased = erase_image(connection, study, image, request, is_unread_too=unread_too)
        left = delete_files(opened, files, now=datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps({"id": study, "images": erased.images, "files_left": left}))
    else:
        later = f" {left} files are left; demur serve deletes them as soon as it can." if left else ""
        typer.echo(f"Erased {erased.images} images.{later}")


@study_app.command("correct")
def correct_study(
    study: Study,
    patient_id: Annotated[str, typer.Option(prompt="Patient ID", help="Of the patient whose it is.")],
    patient_name: Annotated[str, typer.Option(prompt="Name, as Family^Given", help="Of the same patient.")],
    birth_date: Annotated[str, typer.Option(prompt="Birth date, as YYYYMMDD", help="Of the same patient.")],
    sex: Annotated[str, typer.Option(prompt="Sex, M, F or O", help="Of the same patient.")],
    reason: Why,
    by: By = None,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say that a study is another patient's: whatever was decided is withdrawn, and a human reads it.

    The patient is asked for, so that it does not stand in the shell's history. The ledger keeps salted digests.

    Example: demur study correct 0f5c… --reason "wrong entry of the modality's worklist"
    """
    from service.records.schemas import CorrectionRequest
    from service.records.workflow import correct

    asked = _checked(
        CorrectionRequest,
        patient_id=patient_id,
        patient_name=patient_name,
        patient_birth_date=birth_date,
        patient_sex=sex,
        reason=reason,
    )
    with closing(open_database(settings_from(database=database))) as opened, opened.writing() as connection:
        correct(connection, study, asked.patient(), _request(by, asked.reason))
    typer.echo(json.dumps({"id": study}) if as_json else "The study is that patient's now, and waits on the worklist.")


def _checked(kind: "type[Asked]", **given: object) -> "Asked":
    from pydantic import ValidationError

    try:
        return kind(**given)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise DataError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _request(by: str | None, reason: str) -> "Request":
    from service.records.workflow import Request

    return Request(by=by or getpass.getuser(), reason=reason, now=datetime.now(UTC))


def _told(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
