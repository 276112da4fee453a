"""The plots of a training, as PNG files for its run in MLflow: score history, contributions, reliability."""

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from assets.contest import Comparison
from expectations.contracts import MEMBERS
from ml.fault_replay import KINDS
from ml.plant import Site
from ml.reliability_diagram import reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from assets.training import Material

BLUE, TEAL, ORANGE, RED, GREY, INK = "#1f4e79", "#3a8fa8", "#d9822b", "#b3392f", "#9aa5b1", "#1c2733"
MAX_MACHINES, MAX_SENSORS, HIGHEST_WINDOWS = 40, 15, 300
SCORE_DECADES = 6.0  # a score is -log10(p) / 6, at most 1


def training_plots(material: "Material", comparison: Comparison, *, site: Site) -> dict[str, bytes]:
    """PNG files by name; one that would be empty is left out."""
    scores, split = comparison.challenger.scores, material.split
    scored = scores[scores["state"] == "scored"]
    held_out = scored[scored["window_start"] >= pd.Timestamp(split.observed[0], tz="UTC")]
    healthy = held_out.merge(material.healthy[["machine_id", "window_start"]].drop_duplicates(), on=["machine_id", "window_start"])
    days = f"{split.observed[0]} to {split.observed[-1]}, {'not learned from' if split.comparison_from else 'calibrated on'}"
    plots = {}
    if len(scored):
        plots["score_history.png"] = _score_history(scored, material, site=site)
    if len(healthy) or len(comparison.challenger.faults):
        plots["contributions.png"] = _contributions(healthy, comparison.challenger.faults, days=days)
    if len(healthy):
        plots["reliability.png"] = _reliability(healthy, days=days)
    return plots


def _png(draw: Callable[["list[Axes]"], None], *, panels: int, width: float, height: float) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = {"font.size": 9, "text.parse_math": False, "axes.edgecolor": GREY, "text.color": INK, "legend.frameon": False}
    with rc_context(settings):
        figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
        draw(axes)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", metadata={"Software": None})  # the same picture, the same bytes
    return drawn.getvalue()


def _score_history(scored: pd.DataFrame, material: "Material", *, site: Site) -> bytes:
    """Machines by time, the highest score of six hours; those with the highest score on top."""
    peaks = scored.groupby("machine_id")["score"].max().sort_values(ascending=False, kind="stable")
    machines = [str(m) for m in peaks.index[:MAX_MACHINES]]
    table = scored[scored["machine_id"].isin(machines)]
    cells = table.assign(at=table["window_start"].dt.floor("6h")).pivot_table(
        index="machine_id", columns="at", values="score", aggfunc="max"
    )
    times = pd.date_range(cells.columns.min(), cells.columns.max(), freq="6h")
    cells = cells.reindex(index=machines, columns=times)
    split = material.split

    def draw(axes: "list[Axes]") -> None:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

        [ax] = axes
        edges = (date2num(times[0].to_pydatetime()), date2num((times[-1] + pd.Timedelta(hours=6)).to_pydatetime()))
        image = ax.imshow(
            cells.to_numpy(dtype=np.float64), aspect="auto", interpolation="nearest", cmap="YlOrRd", vmin=0, vmax=1,
            extent=(*edges, len(machines) - 0.5, -0.5),
        )  # fmt: skip
        ax.set_yticks(range(len(machines)), machines)
        locator = AutoDateLocator()
        ax.xaxis_date()
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        for day, words in ((split.held_out_from, "calibrated on from here"), (split.comparison_from, "compared on from here")):
            if day is not None:
                at = float(date2num(pd.Timestamp(day).to_pydatetime()))
                ax.axvline(at, color=BLUE, linewidth=1.2)
                ax.annotate(words, (at, -0.5), xytext=(3, 3), textcoords="offset points", color=BLUE, fontsize=8)
        colours = ax.figure.colorbar(image, ax=ax, pad=0.01)
        colours.ax.axhline(site.policy.detection.on_threshold, color=INK, linewidth=1.2)
        colours.set_label("highest score of 6 h")
        left_out = f", {len(machines)} of {len(peaks)} machines" if len(peaks) > len(machines) else ""
        words = f"incidents and maintenance included; from {site.policy.detection.on_threshold} on, incidents open{left_out}"
        ax.set_title(f"Score history of all days to learn from, {words}", loc="left", pad=16)

    return _png(draw, panels=1, width=11, height=1.6 + 0.22 * len(machines))


def _contributions(healthy: pd.DataFrame, faults: pd.DataFrame, *, days: str) -> bytes:
    """Left: whom the highest scores of healthy windows are put down to. Right: replayed faults found, and blamed on the right sensor."""
    highest = healthy.nlargest(HIGHEST_WINDOWS, "score")
    shares: dict[str, float] = {}
    for text in highest["moved_sensors"]:
        for sensor, said in json.loads(text).items():
            shares[sensor] = shares.get(sensor, 0.0) + said["share"] / len(highest)
    largest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:MAX_SENSORS]
    kinds = [k for k in KINDS if (faults["kind"] == k).any()]

    def draw(axes: "list[Axes]") -> None:
        left, right = axes
        left.barh([name for name, _ in largest], [share for _, share in largest], color=TEAL)
        left.invert_yaxis()
        left.set_xlabel("mean share of the sensor in them")
        left.set_title(f"The {len(highest)} highest scores of healthy windows\n{days}", loc="left")
        of_kind = faults.groupby("kind")
        n, found, blamed = (series.reindex(kinds) for series in (of_kind.size(), of_kind["is_found"].sum(), of_kind["is_blamed"].sum()))
        names = [k.replace("_", " ") for k in kinds]
        for values, colour, words in ((n, "#e4e8ed", "replayed"), (found, ORANGE, "found"), (blamed, RED, "found, right sensor named")):
            right.barh(names, values, color=colour, label=words)
        right.invert_yaxis()
        right.locator_params(axis="x", integer=True)
        right.set_xlabel("faults")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
        right.set_title("Faults replayed into these days", loc="left")

    return _png(draw, panels=2, width=11, height=1.8 + 0.26 * max(len(largest), len(kinds), 4))


def _reliability(healthy: pd.DataFrame, *, days: str) -> bytes:
    """Expected against observed share of healthy windows at least as unlikely, of the fused score and of each member."""

    def draw(axes: "list[Axes]") -> None:
        [ax] = axes
        for name in ("score", *(m for m in MEMBERS if m in healthy.columns)):
            p = 10.0 ** (-SCORE_DECADES * healthy[name].to_numpy(dtype=np.float64))
            if not np.isfinite(p).any():
                continue
            found = reliability(p)
            is_seen = found.counts > 0
            style = {"color": BLUE, "linewidth": 2.2, "marker": "o"} if name == "score" else {"linewidth": 1, "alpha": 0.8}
            ax.plot(found.expected[is_seen], found.observed[is_seen], label="fused" if name == "score" else name.replace("_", " "), **style)
        n = int(healthy["score"].notna().sum())
        ideal = np.geomspace(1 / n, 1, 50)
        spread = 2 * np.sqrt(ideal * (1 - ideal) / n)
        ax.plot(ideal, ideal, color=INK, linewidth=1, linestyle="--", label="as it should be")
        ax.fill_between(ideal, np.maximum(ideal - spread, 0.2 / n), ideal + spread, color=GREY, alpha=0.3, linewidth=0)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.3 / n)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:g}")
        ax.set_xlabel("p: expected share of healthy windows at least as unlikely")
        ax.set_ylabel("observed share")
        ax.legend(loc="upper left")
        words = "above the line: rarer by the score than in truth; grey: two standard errors, were windows independent"
        ax.set_title(f"Reliability on {n} windows that are healthy as far as is known,\n{days}\n{words}", loc="left", fontsize=9)

    return _png(draw, panels=1, width=8.5, height=6)
