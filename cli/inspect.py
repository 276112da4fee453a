"""`maintenance explain`: one incident as a person wants it told: what moved, each rule on the evidence, the verdict and how it came."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from cli.errors import CommandError
from expectations.claims import shown
from expectations.verdicts import verdict_of
from ml.plant import FAILURE_MODE_NAMES, Site
from resources.ledger.findings import labels_of
from resources.ledger.rows import jsonable
from resources.ledger.verdicts import assessments_of, incident_ids, latest_verdicts, orders_of, revalidations_of

MAX_NAMED = 8
STYLES = {"credible": "bold red", "investigate": "bold yellow", "false_positive_suspected": "bold green"}
Told = dict[str, Any]


def find_incident(connection: Connection, words: str) -> str:
    """The incident that the words name, or the only one whose name begins so. Raises CommandError, which names those that are near.

    One that no day knows any more is meant only by its whole name, unless there is no other.
    """
    found = incident_ids(connection, prefix=words)
    if words in found:
        return words
    known = latest_verdicts(connection, found)
    found = [i for i in found if i in known] or found
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(f"{i} ({known[i].replace('_', ' ')})" if i in known else i for i in found[-MAX_NAMED:])
        more = f"the latest {MAX_NAMED} of {len(found)}" if len(found) > MAX_NAMED else f"{len(found)}"
        raise CommandError(f"The names of {more} incidents begin with {words!r}; name one of them: {named}.")
    every = incident_ids(connection)
    if not every:
        raise CommandError(f"There is no incident {words!r}: the ledger has none.")
    machines = sorted({i.partition("@")[0] for i in every})
    near = difflib.get_close_matches(words, every, n=3) or difflib.get_close_matches(words.partition("@")[0], machines, n=3)
    if near:
        raise CommandError(f"There is no incident {words!r}; near it are {', '.join(near)}.")
    raise CommandError(f"There is no incident {words!r}: a name is machine and onset; there are incidents of {', '.join(machines)}.")


def vanished(incident_id: str) -> str:
    return f"No day knows {incident_id} any more: since its days were scored anew, by another champion or with late readings, it is gone."


def explanation(connection: Connection, incident_id: str, *, day: date | None, sites: Sequence[Site]) -> Told:
    """What is known of the incident at the end of `day`, its latest by default, ready for JSON. Raises CommandError for another day."""
    frame = assessments_of(connection, incident_id)
    days = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    if not days:
        raise CommandError(vanished(incident_id))
    chosen = days[-1] if day is None else next((row for row in days if row["day"] == day), None)
    if chosen is None:
        raise CommandError(f"{incident_id} was not judged on {day}; it was on {', '.join(str(row['day']) for row in days)}.")
    site = next((s for s in sites if s.site == chosen["site"]), None)
    machine = next((m for m in site.machines if m.machine_id == chosen["machine_id"]), None) if site else None
    policy = site.policy.verdict if site else None
    as_stored = ("incident_id", "site", "machine_id", "onset_at", "day", "last_window_at", "ended_at", "duration_s", "n_windows",
                 "peak_score", "mean_score", "failure_mode", "label", "moved_sensors", "top_sensor_id", "evidence", "rules", "reasons",
                 "confidence_before", "confidence_by_rules", "confidence", "verdict", "model_version")  # fmt: skip
    per_day = ("day", "verdict", "confidence", "peak_score", "n_windows", "failed", "reasons")
    judged_anew = revalidations_of(connection, site=chosen["site"], day=chosen["day"])
    told: Told = jsonable(
        {
            **{name: chosen[name] for name in as_stored},
            "machine": machine.name if machine else None,
            "bands": {"credible": policy.credible_from, "investigate": policy.investigate_from} if policy else None,
            "verdict_by_todays_bands": verdict_of(chosen["confidence"], policy=policy) if policy else None,
            "labels": labels_of(connection, incident_id),
            "orders": orders_of(connection, [incident_id]).drop(columns="incident_id").to_dict("records"),
            "days": [{name: row[name] for name in per_day} for row in days],
            "revalidations": [_of_incident(r, chosen) for r in judged_anew],
        }
    )
    return told


def _of_incident(revalidation: Mapping[str, Any], assessment: Mapping[str, Any]) -> Told:
    """The revalidation, with what it changed of this assessment, if anything."""
    mine = [
        c for c in revalidation["changes"] if (c["incident_id"], c["day"]) == (assessment["incident_id"], assessment["day"].isoformat())
    ]
    return {**{k: v for k, v in revalidation.items() if k != "changes"}, "change": mine[0] if mine else None}


def page(told: Told) -> RenderableType:
    """The explanation for a terminal of any width from 80 on."""
    parts: list[RenderableType] = [
        Text.assemble((told["incident_id"], "bold"), "  ", _machine(told)),
        Padding(_facts(told), (1, 0), expand=False),
        Text("What moved", style="bold"),
        _moved(told) if told["moved_sensors"] else Text(f"  no sensor by itself; most often {told['top_sensor_id']} led"),
        Text(f"\nThe evidence at the end of {told['day']}", style="bold"),
        _rules(told),
        Padding(_sum(told), (1, 0), expand=False),
        Text("Day by day", style="bold"),
        _days(told),
    ]
    for again in told["revalidations"]:
        if again["change"]:
            change, by = again["change"], f"by {again['who']} on {again['at'][:10]}"
            was = f" (it was {_words(change['verdict_before'])} {change['confidence_before']:.2f})" if "verdict_before" in change else ""
            words = f"{'judged' if was else 'found'} anew {by}{was}: {again['why']}"
            parts.append(Padding(Text(words), (0, 0, 0, 2), expand=False))
    return Group(*parts)


def _machine(told: Told) -> str:
    return f"{told['machine']}, {told['site']}" if told["machine"] else str(told["site"])


def _facts(told: Told) -> Table:
    table = Table.grid(padding=(0, 2))
    mode = told["failure_mode"]
    table.add_row("  verdict", Text.assemble((_words(told["verdict"]), STYLES[told["verdict"]]), f", confidence {told['confidence']:.2f}"))
    if told["verdict_by_todays_bands"] not in (None, told["verdict"]):
        words = f"by the plant file as it is now: {_words(told['verdict_by_todays_bands'])}; see `maintenance revalidate`"
        table.add_row("", Text(words, style="yellow"))
    table.add_row("  onset", _time(told["onset_at"]))
    going = f"goes on, last anomalous window {_time(told['last_window_at'])}"
    table.add_row("  end", _time(told["ended_at"]) if told["ended_at"] else going)
    lasted = f"{told['duration_s'] / 3600:.1f} h" if told["duration_s"] < 2 * 86400 else f"{told['duration_s'] / 86400:.1f} days"
    table.add_row("  peak", f"{told['peak_score']:.2f}, mean {told['mean_score']:.2f} over {told['n_windows']} windows, {lasted}")
    table.add_row("  failure mode", f"{mode}, {FAILURE_MODE_NAMES.get(mode, 'unknown')}")
    for label in reversed(told["labels"]):
        table.add_row("  label" if label is told["labels"][-1] else "  before", Text(_label(label)))
    if not told["labels"]:
        table.add_row("  label", "nobody said yet")
    orders = [f"{o['order_id']}, {str(o['state']).replace('_', ' ')}" for o in told["orders"]]
    table.add_row("  work order", "\n".join(orders) or "none")
    return table


def _label(label: Mapping[str, Any]) -> str:
    where = f" on {label['order_id']}" if label["order_id"] else ""
    return f"{_words(label['label'])}, {label['who']}{where}, {_time(label['at'])}: {label['why']}"


def _moved(told: Told) -> Table:
    table = Table(box=None, padding=(0, 2))
    for name in ("sensor", "share", "z", "of its"):
        table.add_column(name, justify="right" if name in ("share", "z") else "left", header_style="dim", no_wrap=True)
    # JSON of the ledger keeps no order of keys: the largest share first again
    for sensor_id, said in sorted(told["moved_sensors"].items(), key=lambda kv: -kv[1]["share"]):
        table.add_row(sensor_id, f"{said['share']:.0%}", f"{said['z']:+.1f}", str(said["feature"]).replace("_", " "))
    return table


def _rules(told: Told) -> RenderableType:
    if not told["rules"]:
        said = [Text(f"  {reason}") for reason in told["reasons"]] or [Text("  no rule failed")]
        return Group(*said, Text("  (judged before each rule was kept; `maintenance revalidate --apply` adds them)", style="dim"))
    table = Table.grid(padding=(0, 2))
    table.expand = True
    table.add_column()
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for rule in told["rules"]:
        mark, style = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "dim")}[rule["holds"]]
        claim = Text.assemble(rule["claim"], ("  " + rule["name"], "dim"))
        if rule["reason"]:
            claim.append("\n" + rule["reason"], style=style)
        cost = f"{rule['adjustment']:+.2f}" if rule["adjustment"] else ""
        table.add_row(Text("  " + mark, style=style), claim, shown(rule["name"], rule["value"]), cost)
    faults = told["evidence"].get("sensor_faults")
    return Group(table, Text(f"  faults of its sensors: {faults}", style="dim")) if faults else table


def _sum(told: Told) -> Text:
    """How the verdict came of the confidence, and the confidence of the rules."""
    before, after, bands = told["confidence_before"], told["confidence_by_rules"], told["bands"]
    costs = [rule["adjustment"] for rule in told["rules"] if rule["adjustment"]]
    steps = "".join(f" - {-cost:.2f}" for cost in costs)
    if not told["rules"]:
        came = f"confidence {before:.2f} before, {after:.2f} after"
    elif not costs:
        came = f"confidence {before:.2f}, nothing taken off"
    else:
        total = f" = {before + sum(costs):.2f}, at least 0" if before + sum(costs) < 0 else ""
        came = f"confidence {before:.2f}{steps}{total} = {after:.2f}"
    if told["confidence"] != after:
        came += f", by what people found of earlier incidents {told['confidence']:.2f}"
    asked = f"credible from {bands['credible']:.2f}, investigate from {bands['investigate']:.2f}" if bands else "the site has no plant file"
    return Text.assemble(f"  {came}: ", (_words(told["verdict"]), STYLES[told["verdict"]]), (f"\n  ({asked})", "dim"))


def _days(told: Told) -> Table:
    table = Table(box=None, padding=(0, 2), expand=True)
    for name in ("day", "verdict", "confidence", "peak"):
        table.add_column(name, justify="right" if name in ("confidence", "peak") else "left", header_style="dim", no_wrap=True)
    table.add_column("doubts", header_style="dim", ratio=1)
    before: list[str] = []
    for row in told["days"]:
        is_chosen, doubts = row["day"] == told["day"], "; ".join(row["reasons"])
        verdict = Text(_words(row["verdict"]), style=STYLES[row["verdict"]] if is_chosen else "")
        table.add_row(
            row["day"],
            verdict,
            f"{row['confidence']:.2f}",
            f"{row['peak_score']:.2f}",
            "the same" if doubts and row["reasons"] == before else Text(doubts),
        )
        before = row["reasons"]
    return table


def _time(iso: str) -> str:
    return f"{iso[:10]} {iso[11:16]} UTC"


def _words(verdict: str) -> str:
    return verdict.replace("_", " ")
