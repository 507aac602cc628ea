"""Results as tables for a terminal, and as plain values for machines."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from calibration.canonical import Json
from calibration.certificate import Certificate, Refusal
from calibration.evaluation import GroupReport
from calibration.labels import ReviewBounds
from calibration.planning import Sizing
from calibration.results import GroupResult, Lack, Shortfall, SiteResult
from calibration.selective import Area, Rate


def certificate_tables(result: Certificate | Refusal) -> list[Table]:
    """Return the sites and strata of a certificate or refusal, and what is short."""
    evidence = result.evidence
    sites = _table(
        "Sites", "site", "certified", "abnormal", "misses", "allowed", "miss rate ≤", "healthy", "cleared", "share ≥"
    )
    for site in evidence.sites:
        sites.add_row(
            site.name,
            "yes" if site.certified else "no",
            *_group_cells(site),
            f"{site.healthy_patients:,}",
            _count(site.healthy_accepted),
            f"{site.acceptance_lower:.4f}",
        )
    tables = [sites]
    for title, results in (("Strata of findings", evidence.strata), ("Strata at sites", evidence.site_strata)):
        if results:
            table = _table(title, "stratum", "abnormal", "misses", "allowed", "miss rate ≤")
            for group in results:
                table.add_row(group.name, *_group_cells(group))
            tables.append(table)
    if evidence.shortfalls:
        tables.append(shortfall_table(evidence.shortfalls))
    return tables


def shortfall_table(shortfalls: Iterable[Shortfall]) -> Table:
    """Return what is short, and how much would do."""
    table = _table("What is short", "group", "of", "has", "needs")
    for short in shortfalls:
        if short.lack is Lack.ABNORMAL:
            table.add_row(short.group, "abnormal", f"{short.has:,.0f}", f"{short.needs:,.0f}")
        else:
            table.add_row(short.group, "share of healthy cleared, lower bound", f"{short.has:.4f}", f"{short.needs:g}")
    return table


def report_tables(reports: Sequence[GroupReport]) -> list[Table]:
    """Return the evaluation of a score table: the certified threshold, if there is one, and the curve."""
    curves = _table(
        "Whatever the threshold",
        *("group", "abnormal", "healthy", "no score", "AURC", "AUGRC"),
        "healthy cleared at 0 misses",
        "miss rate there ≤",
    )
    points = _table(
        "At the certified threshold",
        *("group", "coverage", "healthy cleared", "misses", "miss rate", "misses among the cleared"),
    )
    for report in reports:
        zero = report.zero
        curves.add_row(
            report.name if report.name == report.kind else f"{report.kind} {report.name}",
            f"{report.abnormal:,}",
            f"{report.healthy:,}",
            f"{report.without_score:,}",
            _area(report.aurc),
            _area(report.augrc),
            "-" if zero is None else _percent(zero.healthy_acceptance),
            "-" if zero is None else f"{zero.miss_rate_upper:.4%}",
        )
        if report.point is not None:
            points.add_row(
                report.name if report.name == report.kind else f"{report.kind} {report.name}",
                _percent(report.point.coverage),
                _percent(report.point.healthy_acceptance),
                f"{report.point.miss_rate.count:,}",
                _percent(report.point.miss_rate, digits=3),
                _percent(report.point.false_omission_rate, digits=3),
            )
    return [points, curves] if points.row_count else [curves]


def plan_tables(
    misses: Sequence[Sizing], direct: Sequence[Sizing], with_power: Sequence[tuple[str, Sizing]]
) -> list[Table]:
    """Return the sizes of a plan."""
    per_group = _table("Abnormal patients in every group (site, stratum)", "patients", "misses that still pass")
    for size in misses:
        per_group.add_row(f"{size.trials:,}", f"{size.events_allowed:,}")
    checks = _table("Cleared patients for a direct check (a diagnostic)", "patients", "misses that still pass")
    for size in direct:
        checks.add_row(f"{size.trials:,}", f"{size.events_allowed:,}")
    if not with_power:
        return [per_group, checks]
    powers = _table("To pass with the wanted power at a fixed threshold", "of", "patients", "events allowed", "power")
    for name, size in with_power:
        powers.add_row(name, f"{size.trials:,}", f"{size.events_allowed:,}", f"{size.power:.3f}")
    return [per_group, checks, powers]


def bounds_table(bounds: ReviewBounds) -> Table:
    """Return what a review shows."""
    table = _table("What the review shows", "of the cleared", "value")
    table.add_row("patients", f"{bounds.cleared:,}")
    table.add_row("apparent misses confirmed", f"{bounds.confirmed:,}")
    table.add_row("abnormal found in the sample", f"{bounds.found:,} of {bounds.sampled:,}")
    table.add_row("false omission rate ≤", f"{bounds.false_omission_upper:.6f}")
    table.add_row("share wrong among just these ≤", f"{bounds.share_upper:.6f}")
    return table


def report_values(reports: Sequence[GroupReport]) -> list[Json]:
    """Return an evaluation as plain values."""
    values: list[Json] = []
    for report in reports:
        point, zero = report.point, report.zero
        values.append(
            {
                "kind": report.kind.value,
                "name": report.name,
                "abnormal": report.abnormal,
                "healthy": report.healthy,
                "without_score": report.without_score,
                "aurc": _area_values(report.aurc),
                "augrc": _area_values(report.augrc),
                "zero_misses": None
                if zero is None
                else {
                    "threshold": zero.threshold,
                    "coverage": _rate_values(zero.coverage),
                    "healthy_acceptance": _rate_values(zero.healthy_acceptance),
                    "miss_rate_upper": zero.miss_rate_upper,
                },
                "at_threshold": None
                if point is None
                else {
                    "threshold": point.threshold,
                    "coverage": _rate_values(point.coverage),
                    "healthy_acceptance": _rate_values(point.healthy_acceptance),
                    "miss_rate": _rate_values(point.miss_rate),
                    "false_omission_rate": _rate_values(point.false_omission_rate),
                },
            }
        )
    return values


def size_values(sizes: Iterable[Sizing]) -> list[Json]:
    """Return sizes as plain values."""
    return [{"patients": size.trials, "events_allowed": size.events_allowed} for size in sizes]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _group_cells(group: GroupResult | SiteResult) -> tuple[str, str, str, str]:
    tested = group.misses_allowed is not None
    bound = f"{group.miss_rate_upper:.5f}" if tested else "untested"
    return f"{group.abnormal_patients:,}", _count(group.misses), _count(group.misses_allowed), bound


def _count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _percent(rate: Rate, digits: int = 1) -> str:
    if rate.value is None:
        return "-"
    return f"{rate.value:.{digits}%} ({rate.lower:.{digits}%}-{rate.upper:.{digits}%})"


def _area(area: Area) -> str:
    return f"{area.value:.4f} ({area.lower:.4f}-{area.upper:.4f})"


def _rate_values(rate: Rate) -> Json:
    return {"count": rate.count, "of": rate.trials, "lower": rate.lower, "upper": rate.upper}


def _area_values(area: Area) -> Json:
    return {"value": area.value, "lower": area.lower, "upper": area.upper}
