"""Counted shares as reports show them: in percent, with their interval, or with the word that the evidence is insufficient."""

from ml.shares import CountedShare


def percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def share_cells(counted: CountedShare) -> dict[str, object]:
    """The cells share, low, high and evidence of a row."""
    low, high = counted.interval or (None, None)
    return {
        "share": percent(counted.share),
        "low": percent(low),
        "high": percent(high),
        "evidence": "sufficient" if counted.is_sufficient else "insufficient",
    }
