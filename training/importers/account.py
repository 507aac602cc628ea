"""What an import tells: counts per site and label, and every row that was left out or has no label, with the reason."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from models.studies import StudyRow, StudyTable
from models.vocabulary import Label
from training.importers.catalogue import count_by_site
from training.importers.source import Source

LABELS = (Label.HEALTHY, Label.ABNORMAL, None)
UNKNOWN = "not known"


def summary_of(table: StudyTable, source: Source) -> dict[str, object]:
    """Return the account as plain values for JSON; counts are images unless their name says otherwise."""
    return {
        "table": str(source.out),
        "digest": table.digest,
        "images": len(table),
        "studies": len(table.studies()),
        "patients": len({row.patient for row in table}),
        "sites": {
            site: {label or UNKNOWN: counts[label] for label in LABELS} for site, counts in count_by_site(table).items()
        },
        "strata": _count(row.stratum for row in table if row.label is Label.ABNORMAL),
        "splits": _splits(table),
        "masks": sum(row.mask is not None for row in table),
        "left_out": dict(source.left_out.most_common()),
        "unlabelled": dict(source.unlabelled.most_common()),
        "notes": dict(source.notes.most_common()),
    }


def print_account(table: StudyTable, source: Source) -> None:
    """Print the account as tables on the standard output."""
    console = Console(highlight=False)
    sites = Table(
        "site", *(label or UNKNOWN for label in LABELS), "patients", title=f"{len(table)} images", title_justify="left"
    )
    for site, counts in count_by_site(table).items():
        patients = len({row.patient for row in table if row.site == site})
        sites.add_row(site, *(str(counts[label]) for label in LABELS), str(patients))
    console.print(sites)
    console.print("splits: " + ", ".join(f"{name} {count}" for name, count in _splits(table).items()))
    parts = (("left out", source.left_out), ("kept without label", source.unlabelled), ("note", source.notes))
    if any(counts for _, counts in parts):
        reasons = Table("what", "reason", "rows")
        for what, counts in parts:
            for reason, count in counts.most_common():
                reasons.add_row(what, reason, str(count))
        console.print(reasons)
    console.print(f"study table: {source.out}", soft_wrap=True)


def _splits(rows: Iterable[StudyRow]) -> dict[str, int]:
    return _count(row.split or UNKNOWN for row in rows)


def _count(words: Iterable[str]) -> dict[str, int]:
    return {str(word): count for word, count in sorted(Counter(words).items())}
