"""The charts of the reports: small SVG elements with real text, the same bytes for the same data.

Each function returns None where it has nothing to draw; a report never shows an empty axis. matplotlib (0.5 s) is loaded by
the first chart drawn.
"""

import io
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from assets.reporting.report import Chart, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

BLUE, TEAL, ORANGE, RED, GREY, PALE, INK = "#1f4e79", "#3a8fa8", "#d9822b", "#b3392f", "#9aa5b1", "#e4e8ed", "#1c2733"
VERDICT_COLOURS = {"credible": RED, "investigate": ORANGE, "false_positive_suspected": GREY}
PRIORITY_COLOURS = {"urgent": RED, "high": ORANGE, "medium": TEAL, "low": GREY}
HEAT = ("#eef3f7", "#d5e3ec", "#f6e3b4", "#f2c878", "#e79a4b", "#d36a34", "#b3392f", "#7d1d1d")  # one step per eighth of the score
WIDTH_INCHES = 10.0
MAX_LINES, MAX_HEAT_ROWS = 5, 20
_SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none",
    "svg.hashsalt": "smart-maintenance",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.grid.axis": "y",
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def readings_per_day(frame: pd.DataFrame, *, days: Sequence[date]) -> Chart | None:
    """[day, accepted, quarantined] -> stacked bars over `days`; nothing for a single day, whose figures say it all."""
    if len(days) == 1 or not frame[["accepted", "quarantined"]].to_numpy().sum():
        return None
    by_day = frame.set_index("day").reindex(list(days)).fillna(0)
    alt = (
        f"Rows per day: {int(by_day['accepted'].sum()):,} accepted and {int(by_day['quarantined'].sum()):,} refused over {len(days)} days."
    )

    def draw(ax: "Axes") -> None:
        _stacked(ax, days=days, parts={"accepted": by_day["accepted"], "refused": by_day["quarantined"]}, colours=[BLUE, ORANGE])

    return _drawn("Rows delivered per day", alt=alt, draw=draw)


def incidents_by_verdict(frame: pd.DataFrame, *, days: Sequence[date]) -> Chart | None:
    """[day, verdict, n] -> stacked bars over `days`, the most serious verdict at the bottom; nothing for a single day."""
    if len(days) == 1 or frame.empty:
        return None
    pivot = frame.pivot_table(index="day", columns="verdict", values="n", aggfunc="sum")
    pivot = pivot.reindex(index=list(days), columns=list(VERDICT_COLOURS)).fillna(0)
    parts = {v.replace("_", " "): pivot[v] for v in VERDICT_COLOURS}
    alt = "Incidents active per day. " + ", ".join(f"{name}: {int(n.max())} at most" for name, n in parts.items()) + "."

    def draw(ax: "Axes") -> None:
        _stacked(ax, days=days, parts=parts, colours=list(VERDICT_COLOURS.values()))
        ax.locator_params(axis="y", integer=True)
        ax.set_ylabel("incidents")

    return _drawn("Incidents active per day, by verdict", alt=alt, draw=draw)


def score_heatmap(frame: pd.DataFrame, *, unit: str = "day") -> Chart | None:
    """[machine, at, score] -> machines x times, darker is more anomalous; the machines with the highest peaks, highest first."""
    frame = frame.dropna(subset=["score"])
    if frame.empty:
        return None
    peaks = frame.groupby("machine")["score"].max().sort_values(ascending=False, kind="stable")
    machines = list(peaks.index[:MAX_HEAT_ROWS])
    matrix = frame.pivot_table(index="machine", columns="at", values="score", aggfunc="max").reindex(machines)
    labels = [_label(at) for at in matrix.columns]
    values = matrix.to_numpy(dtype=np.float64)
    left_out = f" of {len(peaks)}" if len(peaks) > len(machines) else ""
    alt = (
        f"Highest anomaly score of {len(machines)}{left_out} machines per {unit}; the highest is {peaks.iloc[0]:.2f} on {machines[0]}. "
        "Darker is more anomalous; white was not scored."
    )

    def draw(ax: "Axes") -> None:
        _cells(ax, values=values)
        ax.set_yticks(np.arange(len(machines)) + 0.5, machines)
        ax.set_xlim(0, values.shape[1])
        ax.set_ylim(len(machines), 0)
        ticks = _spread(len(labels))
        ax.set_xticks([t + 0.5 for t in ticks], [labels[t] for t in ticks])
        ax.spines[["left", "bottom"]].set_visible(False)

    legend = tuple((f"{n / len(HEAT):.2f}".rstrip("0").rstrip("."), colour) for n, colour in enumerate(HEAT) if n % 2 == 0)
    title = f"Highest anomaly score per machine and {unit}"
    return _drawn(title, alt=alt, draw=draw, height=0.9 + 0.24 * len(machines), left=_room(machines), legend=legend)


def health_over_time(frame: pd.DataFrame) -> Chart | None:
    """[machine, day, health] -> a line per machine, the lowest named; bars where there is only one day."""
    if frame.empty:
        return None
    pivot = frame.pivot_table(index="day", columns="machine", values="health").reindex(_every_day(frame["day"]))
    last = pivot.ffill().iloc[-1].sort_values(kind="stable")
    alt = f"Health of {counted(len(last), 'machine')}, 0 to 100; the lowest at the end is {last.index[0]} with {last.iloc[0]:.0f}."
    if len(pivot) == 1:
        return _health_bars(last.head(MAX_HEAT_ROWS), alt=alt)
    named = list(last.index[:MAX_LINES])

    def draw(ax: "Axes") -> None:
        at = np.arange(len(pivot))
        for machine in last.index[MAX_LINES:]:
            ax.plot(at, pivot[machine], color=PALE, linewidth=1)
        for machine, colour in zip(named, (RED, ORANGE, BLUE, TEAL, GREY), strict=False):
            ax.plot(at, pivot[machine], color=colour, linewidth=1.8, marker="o", markersize=2.5)
        ax.set_ylim(0, 102)
        ax.set_ylabel("health")
        ax.grid(visible=True)
        _day_ticks(ax, list(pivot.index))

    legend = tuple(zip(named, (RED, ORANGE, BLUE, TEAL, GREY), strict=False))
    return _drawn("Machine health, lowest machines named", alt=alt, draw=draw, legend=legend)


def _health_bars(health: pd.Series, *, alt: str) -> Chart:
    machines = [str(m) for m in health.index]

    def draw(ax: "Axes") -> None:
        ax.barh(machines, health.to_numpy(), color=[RED if h < 50 else ORANGE if h < 75 else TEAL for h in health], height=0.62)
        for i, value in enumerate(health):
            ax.text(value + 1, i, f"{value:.0f}", va="center")
        ax.set_xlim(0, 105)
        ax.invert_yaxis()
        ax.spines["left"].set_visible(False)

    legend = (("below 50", RED), ("below 75", ORANGE), ("75 and more", TEAL))
    return _drawn("Machine health", alt=alt, draw=draw, height=0.8 + 0.24 * len(machines), left=_room(machines), legend=legend)


def work_orders_by_state(frame: pd.DataFrame) -> Chart | None:
    """[state, priority, n] -> bars by state, split by priority; states in the order of the frame."""
    if frame.empty:
        return None
    states = list(dict.fromkeys(frame["state"]))
    pivot = frame.pivot_table(index="state", columns="priority", values="n", aggfunc="sum").reindex(states).fillna(0)
    totals = pivot.sum(axis=1)
    alt = "Work orders by state: " + ", ".join(f"{s.replace('_', ' ')} {int(totals[s])}" for s in states) + "."
    present = [p for p in PRIORITY_COLOURS if p in pivot.columns]

    def draw(ax: "Axes") -> None:
        at, left = np.arange(len(states)), np.zeros(len(states))
        for priority in present:
            ax.barh(at, pivot[priority], left=left, color=PRIORITY_COLOURS[priority], height=0.6)
            left += pivot[priority].to_numpy()
        for i, total in enumerate(totals):
            ax.text(total, i, f" {int(total)}", va="center")
        ax.set_yticks(at, [s.replace("_", " ") for s in states])
        ax.set_xlim(0, totals.max() * 1.08)
        ax.locator_params(axis="x", integer=True)
        ax.invert_yaxis()
        ax.spines["left"].set_visible(False)

    legend = tuple((p, PRIORITY_COLOURS[p]) for p in present)
    return _drawn("Work orders by state", alt=alt, draw=draw, height=0.8 + 0.26 * len(states), left=_room(states), legend=legend)


def gantt(frame: pd.DataFrame) -> Chart | None:
    """[technician, machine_id, priority, start_at, end_at, is_overtime] -> technicians x time; overtime is outlined."""
    if frame.empty:
        return None
    technicians = sorted(frame["technician"].unique())
    first = frame["start_at"].min().floor("D")
    last = frame["end_at"].max().ceil("D")
    hours = (last - first) / pd.Timedelta(hours=1)
    alt = f"{counted(len(frame), 'assignment')} of {counted(len(technicians), 'technician')} from {first:%Y-%m-%d} to {last:%Y-%m-%d}."
    present = [p for p in PRIORITY_COLOURS if p in set(frame["priority"])]

    def draw(ax: "Axes") -> None:
        for row in frame.to_dict("records"):
            start, length = (row["start_at"] - first) / pd.Timedelta(hours=1), (row["end_at"] - row["start_at"]) / pd.Timedelta(hours=1)
            edge: dict[str, Any] = {"edgecolor": INK, "linewidth": 1.2} if row["is_overtime"] else {}
            y = technicians.index(row["technician"])
            ax.barh(y, length, left=start, height=0.62, color=PRIORITY_COLOURS.get(row["priority"], GREY), **edge)
            if length / hours > 0.008 * len(row["machine_id"]):
                ax.text(start + length / 2, y, row["machine_id"], ha="center", va="center", color="white", fontsize=7.5)
        ax.set_yticks(np.arange(len(technicians)), technicians)
        ax.set_ylim(len(technicians) - 0.5, -0.5)
        ax.set_xlim(0, hours)
        days = [first + timedelta(days=n) for n in range(int(hours // 24) + 1)]
        ticks = _spread(len(days))
        ax.set_xticks([24.0 * t for t in ticks], [_label(days[t].date()) for t in ticks], ha="left")
        ax.grid(visible=True, axis="x")
        ax.spines["left"].set_visible(False)

    legend = (*((p, PRIORITY_COLOURS[p]) for p in present), *((("outlined: overtime", INK),) if frame["is_overtime"].any() else ()))
    return _drawn("Schedule", alt=alt, draw=draw, height=0.9 + 0.34 * len(technicians), left=_room(technicians), legend=legend)


def prediction_fan(
    history: pd.DataFrame,
    *,
    name: str,
    unit: str,
    as_of: pd.Timestamp,
    limit: float,
    ttf_days: Sequence[float | None],
    horizon_days: float,
    put_right: bool,
) -> Chart | None:
    """[at, value] of the leading sensor, and when it is predicted to reach its limit: p10, p50 and p90 on the limit itself.

    `ttf_days` are these three, as stored and as the table has them; `put_right`: by simulated failures, else they are the trend's own. None
    lies beyond the horizon, and the span is open on that side. Straight lines lead there from the value now: how it gets there is not
    predicted.
    """
    p10, p50, p90 = ttf_days
    if history.empty or p10 is None:
        return None
    days = ((history["at"] - as_of) / pd.Timedelta(days=1)).to_numpy()
    value = history["value"].to_numpy(dtype=np.float64)
    step = max(1, len(value) // 240)  # more points than the chart has room for only make the file larger
    recent = float(np.median(value[-12:]))
    far = horizon_days if p90 is None else p90
    is_reached = far == 0
    source = "put right by simulated failures" if put_right else "by the trend alone"
    words = ", ".join(
        f"p{p} " + ("beyond the horizon" if t is None else f"in {t:.1f} days") for p, t in zip((10, 50, 90), ttf_days, strict=True)
    )
    told = "is reached already" if is_reached else f"is reached: {words}, {source}"
    alt = f"{name} now at {recent:.3g} {unit}; the limit of {limit:.3g} {unit} {told}."
    until = max(far if p90 is None else far * 1.05, 1)

    def draw(ax: "Axes") -> None:
        ax.plot(days[::-1][::step][::-1], value[::-1][::step][::-1], color=BLUE, linewidth=1.1)
        ax.axhline(limit, color=RED, linewidth=1.2)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_xlabel(f"days from {as_of:%Y-%m-%d %H:%M} UTC", labelpad=2)
        ax.set_ylabel(unit)
        ax.set_xlim(days.min(), until)
        low, high = min(float(np.min(value)), limit), max(float(np.max(value)), limit)
        room = 0.06 * (high - low or 1)
        is_rising = limit >= recent
        for_words = room if is_reached else 4 * room
        ax.set_ylim(low - (room if is_rising else for_words), high + (for_words if is_rising else room))
        ax.grid(visible=True)
        if not is_reached:
            _span_on_limit(ax, recent=recent, limit=limit, times=(p10, p50, p90), until=until, lift=room if is_rising else -room)

    span = () if is_reached else ((f"reaches the limit, p10 to p90, {source}", ORANGE),)
    legend = (("measured", BLUE), ("limit", RED), *span)
    return _drawn(f"Prediction for {name}", alt=alt, draw=draw, height=2.7, bottom=0.5, legend=legend)


def _span_on_limit(
    ax: "Axes", *, recent: float, limit: float, times: tuple[float, float | None, float | None], until: float, lift: float
) -> None:
    """A bar on the limit from p10 to p90, the dot is p50; where p90 lies beyond the horizon it ends in an arrow at the edge."""
    p10, p50, p90 = times
    end = [(until, limit), (until, recent)] if p90 is None else [(p90, limit)]
    ax.fill(*zip((0, recent), (p10, limit), *end, strict=True), color=ORANGE, alpha=0.18, linewidth=0)
    ax.plot([p10, until if p90 is None else p90], [limit, limit], color=ORANGE, linewidth=5, solid_capstyle="butt")
    if p90 is None:
        ax.plot([until], [limit], color=ORANGE, marker=">", markersize=9, clip_on=False)
    if p50 is not None:
        ax.plot([0, p50], [recent, limit], color=ORANGE, linewidth=1.4, linestyle="--")
        ax.plot([p50], [limit], color=INK, marker="o", markersize=5)
    said = [f"p{p} {'beyond' if t is None else f'{t:.1f} days'}" for p, t in zip((10, 50, 90), times, strict=True)]
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
    ax.text(until, limit + lift, " · ".join(said), ha="right", va="bottom" if lift > 0 else "top", fontsize=8.5, bbox=behind)


def _drawn(
    title: str,
    *,
    alt: str,
    draw: Callable[["Axes"], None],
    height: float = 2.3,
    left: float = 0.62,
    bottom: float = 0.3,
    legend: tuple[tuple[str, str], ...] = (),
) -> Chart:
    """Draw on a figure of its own. Margins are given, not computed: matplotlib's layout engines would double the time."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    with mpl.rc_context(_SETTINGS):
        drawing = Drawing(figsize=(WIDTH_INCHES, height))
        ax = drawing.add_axes((left / WIDTH_INCHES, bottom / height, 1 - (left + 0.15) / WIDTH_INCHES, 1 - (bottom + 0.34) / height))
        draw(ax)
        _legend(drawing, legend or getattr(ax, "report_legend", ()), left=left, height=height)
        written = io.StringIO()
        drawing.savefig(written, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Chart(title, _inline(written.getvalue()), alt)


def _legend(drawing: "Drawing", entries: tuple[tuple[str, str], ...], *, left: float, height: float) -> None:
    """Coloured squares and words in the top margin, which matplotlib's own legend would have to search a place for."""
    x = left / WIDTH_INCHES
    for word, colour in entries:
        drawing.text(x, 1 - 0.14 / height, "■", color=colour, fontsize=10, va="center")
        drawing.text(x + 0.15 / WIDTH_INCHES, 1 - 0.14 / height, word, fontsize=8.5, va="center")
        x += (0.36 + 0.07 * len(word)) / WIDTH_INCHES


def _inline(svg: str) -> str:
    """The <svg> element alone, sized by the page: no prolog, no name-space addresses, no page-wide style, the page's font."""
    root, rest = svg[svg.index("<svg") :].split(">", 1)
    root = re.sub(r'\s(?:xmlns(?::xlink)?|version|width|height)="[^"]*"', "", root)
    rest = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", rest, flags=re.DOTALL)
    rest = re.sub(r"font-family: [^;]*;", f"font-family: {_FONT};", rest)
    rest = re.sub(r"(\d\.\d\d)\d+", r"\1", rest)  # a hundredth of a point is finer than any screen
    return re.sub(r"\s*\n\s*", "\n", f"{root}>{rest}").strip()


def _stacked(ax: "Axes", *, days: Sequence[date], parts: dict[str, pd.Series], colours: list[str]) -> None:
    at, below = np.arange(len(days)), np.zeros(len(days))
    for (_, part), colour in zip(parts.items(), colours, strict=True):
        ax.bar(at, part, bottom=below, width=0.8, color=colour)
        below += part.to_numpy(dtype=np.float64)
    ax.grid(visible=True)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
    ax.set_xlim(-0.6, len(days) - 0.4)
    _day_ticks(ax, days)
    ax.report_legend = tuple(zip(parts, colours, strict=True))  # type: ignore[attr-defined]


def _cells(ax: "Axes", *, values: np.ndarray) -> None:
    """One path per colour, whatever the number of cells: a mesh would write one element per cell."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    bins = np.clip((np.nan_to_num(values) * len(HEAT)).astype(int), 0, len(HEAT) - 1)
    for n, colour in enumerate(HEAT):
        rows, columns = np.nonzero((bins == n) & ~np.isnan(values))
        if len(rows):
            corners = np.array([(0.03, 0.06), (0.97, 0.06), (0.97, 0.94), (0.03, 0.94), (0.03, 0.06)])
            vertices = (np.column_stack([columns, rows])[:, None, :] + corners).reshape(-1, 2)
            codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(rows))
            ax.add_patch(PathPatch(Path(vertices, codes), facecolor=colour, linewidth=0))


def _every_day(days: pd.Series) -> list[date]:
    first, last = min(days), max(days)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _spread(n: int, *, most: int = 9) -> list[int]:
    """At most `most` positions of n, evenly spaced, the first included."""
    return list(range(0, n, -(-n // most)))


def _day_ticks(ax: "Axes", days: Sequence[date]) -> None:
    ticks = _spread(len(days))
    ax.set_xticks(ticks, [_label(days[t]) for t in ticks])


def _label(at: Any) -> str:
    if isinstance(at, pd.Timestamp):
        return f"{at:%H:%M}"
    return f"{at.day} {at:%b}"


def _room(labels: Sequence[str]) -> float:
    """Inches for the longest label at the left."""
    return min(3.0, 0.25 + 0.075 * max(len(label) for label in labels))
