"""The curves are drawn, for whatever there is to draw."""

from PIL import Image

from calibration.evaluation import evaluate
from calibration.figures import draw_risk_coverage

SICK = {"label": "abnormal"}


def test_a_figure_is_drawn_for_sites_and_one_for_strata(table, tmp_path) -> None:
    rows = [{**SICK, "site": f"S{i % 12}", "stratum": "mass", "score": 5.0 + i} for i in range(60)]
    rows += [{"site": f"S{i % 12}", "score": float(i % 9)} for i in range(60)]
    files = draw_risk_coverage(evaluate(table(*rows), threshold=6.0, delta=0.05), tmp_path / "new", 0.0005)
    assert [file.name for file in files] == ["risk_coverage_by_site.png", "risk_coverage_by_stratum.png"]
    for file in files:
        with Image.open(file) as image:
            assert image.size == (980, 644)


def test_sites_that_clear_nobody_have_no_line_and_no_error(table, tmp_path) -> None:
    rows = ({"score": float("inf")}, {**SICK, "site": "B", "stratum": "", "score": 3.0}, {"site": "B", "score": 9.0})
    (file,) = draw_risk_coverage(evaluate(table(*rows), threshold=1.0, delta=0.05), tmp_path, 0.0005)
    assert file.stat().st_size > 5000
