"""How often incidents were what they were said to be, by what people found: measured precision, its uncertainty and its n."""

from datetime import timedelta

import pandas as pd

from assets.reporting.report import Figure, Section, Table, table, tables
from assets.reporting.scope import Scope
from assets.reporting.shares import percent, share_cells
from ml.feedback import MIN_LABELS, Calibration, Precision, fit_calibration, precision_by_band, precision_of
from resources.ledger.findings import labelled_incidents

TITLE = "Measured precision"


def section(scope: Scope) -> Section:
    """Of all incidents up to the range's end that somebody labelled: a day or a week has too few of them."""
    found = labelled_incidents(scope.connection, site=scope.site, before=scope.end + timedelta(days=1))
    if found.empty:
        return Section(TITLE, f"Insufficient evidence: nobody has labelled an incident yet; {MIN_LABELS} labels are needed.")
    precision = precision_of(found["label"])
    calibrations = [(site.name, fit_calibration(found[found["site"] == site.site])) for site in scope.sites]
    share, unit = (percent(precision.share), "%") if precision.is_sufficient else ("insufficient evidence", "")
    figures = (
        Figure("Confirmed, of labelled incidents", share, unit, precision.words),
        Figure("Incidents labelled", precision.n, note=f"{precision.n_true} confirmed"),
    )
    groups = {str(verdict).replace("_", " "): precision_of(rows["label"]) for verdict, rows in found.groupby("verdict")}
    bands = {f"{low:g} to {high:g}": p for (low, high), p in precision_by_band(found).items() if p.n}
    return Section(
        TITLE,
        f"What people labelled up to {scope.end}; not a random sample. Confidence: {_words(calibrations)}.",
        figures,
        tables(_table("By verdict", "verdict", groups), _table("By confidence", "confidence", bands)),
    )


def _words(calibrations: list[tuple[str, Calibration]]) -> str:
    return "; ".join(f"{name} {calibration.words}" for name, calibration in calibrations)


def _table(title: str, heading: str, groups: dict[str, Precision]) -> Table:
    rows = [
        {
            "group": name,
            "n": p.n,
            "confirmed": p.n_true,
            **share_cells(p),
        }
        for name, p in groups.items()
    ]
    headings = {
        "group": heading, "n": "n", "confirmed": "confirmed", "share": "precision (%)", "low": "95 % from (%)", "high": "to (%)",
        "evidence": "evidence",
    }  # fmt: skip
    return table(title, pd.DataFrame(rows, columns=list(headings)), headings)
