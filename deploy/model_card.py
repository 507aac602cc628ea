"""The model card: what a release is, for whom, what is promised of it, and what is not; made from its own files."""

from calibration.certificate import NOT_COVERED, Certificate
from calibration.results import GroupResult, SiteResult
from deploy.candidate import Candidate
from models.scope import Scope

_GROUP_HEADING = ("group", "abnormal patients", "misses (allowed)", "miss rate at most")


def render_model_card(candidate: Candidate, certificate: Certificate) -> str:
    """Return the model card of a release as Markdown.

    Parameters
    ----------
    candidate : Candidate
        What is released.
    certificate : Certificate
        What is promised of it.
    """
    return (
        "\n\n".join(
            [
                "# Demur: model card",
                _purpose(candidate),
                "## Scope",
                _scope(candidate.scope),
                "## The promise",
                _promise(certificate),
                "## Sites",
                _sites(certificate),
                "## Kinds of finding",
                _strata(certificate),
                "## Limits",
                _limits(certificate),
                "## How it was made",
                _origin(candidate, certificate),
            ]
        )
        + "\n"
    )


def _purpose(candidate: Candidate) -> str:
    spec = candidate.input_spec
    return (
        f"An ensemble of {candidate.members} networks that reads a chest radiograph ({spec.rows} × {spec.columns} pixels"
        " of it) and gives one score, higher for less healthy. A study whose score is below the certified threshold may be"
        " called *healthy*; everything else is *IDK*, and goes to a human reader. It names no finding and makes no diagnosis."
    )


def _scope(scope: Scope) -> str:
    ages = f"{'any' if scope.age_min is None else f'{scope.age_min:g}'} to {'any' if scope.age_max is None else f'{scope.age_max:g}'}"
    rows = {
        "Modality": _listed(scope.modalities),
        "Body part": _listed(scope.body_parts),
        "View": _listed(scope.views),
        "Presentation intent": _listed(scope.presentation_intents),
        "Age in years": f"{ages}; unknown {'admitted' if scope.admits_unknown_age else 'not admitted'}",
        "Images per study": f"at most {scope.images_max}",
    }
    return (
        _table(("", "admitted"), list(rows.items()))
        + "\n\nA header outside of this makes a study IDK; one inside proves nothing."
    )


def _promise(certificate: Certificate) -> str:
    return (
        f"With confidence {1 - certificate.delta:g} over the draw of the calibration set, at every certified site and for every"
        f" prevalence of disease up to {certificate.max_prevalence:g}: of those called healthy, at most a share of"
        f" {certificate.alpha:g} are not. Threshold {certificate.threshold!r}; at least {certificate.min_healthy_acceptance:g} of"
        f" the healthy are accepted. Valid from {certificate.issued.isoformat()} until {certificate.expires.isoformat()}."
    )


def _sites(certificate: Certificate) -> str:
    heading = (*_GROUP_HEADING, "healthy patients", "of them accepted", "acceptance at least", "certified")
    rows = [
        (
            *_group(site),
            str(site.healthy_patients),
            str(site.healthy_accepted),
            f"{site.acceptance_lower:.3f}",
            "yes" if site.certified else "no",
        )
        for site in certificate.sites
    ]
    return _table(heading, rows)


def _strata(certificate: Certificate) -> str:
    groups = [*certificate.strata, *certificate.evidence.site_strata]
    if not groups:
        return "None was a group of this certificate: it holds at the mix of findings of its calibration set."
    return _table(_GROUP_HEADING, [_group(group) for group in groups])


def _group(group: GroupResult | SiteResult) -> tuple[str, ...]:
    misses = f"{group.misses} ({group.misses_allowed})"
    return group.name, str(group.abnormal_patients), misses, f"{group.miss_rate_upper:.5f}"


def _limits(certificate: Certificate) -> str:
    return "\n".join(
        [
            f"- Not covered: {NOT_COVERED}.",
            "- A new site, scanner or protocol starts in shadow; nothing is promised after the certificate's end.",
            f"- The promise is per {certificate.terms.unit}, about all of them that are called healthy, not about each one.",
            f"- It is as true as its reference: {certificate.terms.reference}.",
        ]
    )


def _origin(candidate: Candidate, certificate: Certificate) -> str:
    stated = [(f"`{name}`", f"`{text}`") for name, text in sorted(candidate.manifest.about.items())]
    digests = [("candidate", f"`{candidate.digest}`"), ("scores", f"`{certificate.scores}`")]
    return _table(("", ""), [*digests, *stated])


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(value or "(not stated)" for value in values)


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
