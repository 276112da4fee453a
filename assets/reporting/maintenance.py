"""The maintenance summary: work orders, decisions that wait, the schedule, and the work that was done."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from assets.reporting import charts as draw
from assets.reporting import queries
from assets.reporting.report import NOTHING, Figure, Section, charts, counted, table, tables
from assets.reporting.scope import Scope
from ml.findings import NO_FAULT_FOUND
from ml.plant import FAILURE_MODE_NAMES
from ml.policy import OPEN_STATES, PRIORITIES, STATES
from ml.reliability import Measure, failures, mean_time_between_failures_h, mean_time_to_repair_h, schedule_compliance, wrench_time


def sections(scope: Scope) -> tuple[Section, ...]:
    orders = queries.orders_at(scope.connection, **scope.range)
    end = pd.Timestamp(queries.after(scope.end))
    orders["mode"] = orders["failure_mode"].map(FAILURE_MODE_NAMES).fillna(orders["failure_mode"])
    orders["risk"] = orders["risk_cost"].astype("float64").round(0)
    orders["currency"] = orders["site"].map(scope.currency)
    orders["p30"] = (100 * orders["probability_30d"].astype("float64")).round(1)
    orders["age"] = [(scope.end - d).days for d in orders["opened_on"]]
    orders["is_late"] = orders["due_at"] < end
    return (
        _orders(scope, orders),
        _waiting(scope, orders, end=end),
        *_learned(scope),
        _schedule(scope),
        _done(scope),
        _reliability(scope),
        _moves(scope),
    )


def _orders(scope: Scope, orders: pd.DataFrame) -> Section:
    if orders.empty:
        return Section("Work orders", NOTHING)
    is_open = orders[orders["state"].isin(OPEN_STATES)].sort_values(["risk", "order_id"], ascending=[False, True], kind="stable")
    risk = is_open.groupby("currency")["risk"].sum()
    figures = (
        Figure("Open", len(is_open), note=f"at the end of {scope.end}"),
        Figure("Urgent", int(is_open["is_urgent"].sum()), note="of the open ones"),
        Figure("Past their due date", int(is_open["is_late"].sum()), note="of the open ones"),
        *(
            Figure("Risk of the open ones", float(value), str(currency), "cost if nothing is done for 30 days")
            for currency, value in risk.items()
        ),
        Figure("Closed in the range", len(orders) - len(is_open)),
    )
    counts = orders.groupby(["state", "priority"]).size().rename("n").reset_index()
    counts = counts.sort_values("state", key=lambda s: s.map(STATES.index), kind="stable")
    matrix = (
        counts.pivot_table(index="state", columns="priority", values="n", aggfunc="sum").reindex(columns=PRIORITIES).fillna(0).astype(int)
    )
    matrix = matrix.reindex([s for s in STATES if s in matrix.index])
    matrix.insert(0, "total", matrix.sum(axis=1))
    headings = {
        "order_id": "order", "machine_id": "machine", "mode": "failure mode", "priority": "priority", "state": "state", "age": "age (days)",
        "due_at": "due", **scope.risk_columns, "p30": "failure within 30 days (%)",
    }  # fmt: skip
    return Section(
        "Work orders",
        "Risk, priority and due date are those of the order's latest assessment.",
        figures,
        tables(
            table("Orders by state and priority", matrix.reset_index(), {"state": "state", "total": "total", **{p: p for p in PRIORITIES}}),
            table("Open orders, highest risk first", is_open, scope.columns(headings)),
        ),
        charts(draw.work_orders_by_state(counts)),
    )


def _waiting(scope: Scope, orders: pd.DataFrame, *, end: pd.Timestamp) -> Section:
    waiting = orders[orders["state"] == "awaiting_decision"].sort_values(["state_since", "order_id"])
    if waiting.empty:
        return Section("Waiting for a decision", "No order waits for a decision.")
    hours = (end - waiting["state_since"]).dt.total_seconds() / 3600
    waiting = waiting.assign(hours=hours.round(1), confidence=waiting["confidence"].round(2))
    figures = (Figure("Waiting", len(waiting)), Figure("Longest wait", round(float(hours.max()), 1), "h", f"at the end of {scope.end}"))
    headings = {
        "order_id": "order", "title": "title", "priority": "priority", "hours": "waiting (h)", "due_at": "due",
        **scope.risk_columns, "confidence": "confidence", "reason": "reason",
    }  # fmt: skip
    return Section("Waiting for a decision", figures=figures, tables=(table("The longest wait first", waiting, scope.columns(headings)),))


def _learned(scope: Scope) -> tuple[Section, ...]:
    """What the learned failure models say, beside what they were worth where they were judged; nothing where there is no model."""
    found = queries.learned_predictions_at(scope.connection, **scope.range)
    if found.empty:
        return ()
    names = {s.site: s.name for s in scope.sites}
    found["percent"] = (100 * found["probability"]).round(1)
    models = found.drop_duplicates("site").to_dict("records")
    figures = tuple(figure for model in models for figure in _held_out(model, front="" if scope.site else f"{names[model['site']]}: "))
    headings = {"machine_id": "machine", "percent": "failure within the horizon (%)", "horizon_h": "horizon (h)", "as_of": "as of"}
    text = (
        "By the learned failure model, from telemetry, errors and replacements; calibrated. No work order rests on it. The figures are "
        "those of hours on machines, and in later time, that the model had not seen when it was judged."
    )
    return (
        Section(
            "Failures foreseen by the learned model", text, figures, tables(table("The most likely first", found, scope.columns(headings)))
        ),
    )


def _held_out(model: Mapping[Hashable, Any], *, front: str) -> tuple[Figure, ...]:
    metrics, version = model["metrics"], model["model_version"]
    note = f"version {version}, learned from {model['data_start']} to {model['data_end']}"
    figures = []
    for part, words in (("held_out_machines", "on machines held out"), ("held_out_time", "on later time")):
        if (reached := metrics.get(f"{part}/average_precision")) is None:
            continue
        chance = metrics[f"{part}/anomalous_share"]
        n, n_found, n_false = (int(metrics[f"{part}/{name}"]) for name in ("n_events", "n_found", "n_false_alarms"))
        months = metrics[f"{part}/machine_months"]
        figures += [
            Figure(f"{front}PR-AUC {words}", round(reached, 2), note=f"chance reaches {chance:.3f}; {note}"),
            Figure(f"{front}Failures found {words}", n_found, note=f"of {n}, with {n_false} false alarms in {months:.1f} machine-months"),
        ]
    return tuple(figures)


def _schedule(scope: Scope) -> Section:
    planned = queries.schedule(scope.connection, site=scope.site, end=scope.end)
    left_out = queries.unplanned(scope.connection, site=scope.site, end=scope.end)
    if planned.empty and left_out.empty:
        return Section("Schedule", "Nothing is planned.")
    names = {t.technician_id: t.name for s in scope.sites for t in s.technicians}
    planned["technician"] = planned["technician_id"].map(names).fillna(planned["technician_id"])
    planned["hours"] = ((planned["end_at"] - planned["start_at"]).dt.total_seconds() / 3600).round(1)
    orders = planned.drop_duplicates(["site", "order_id"])
    figures = (
        *_gaps(scope),
        Figure("Planned", len(orders), "orders"),
        Figure("Hours planned", float(planned["hours"].sum()), "h", "of all technicians, breaks within the work included"),
        Figure("In overtime", int(orders["is_overtime"].sum())),
        Figure("Later than due", int(orders["is_late"].sum())),
        Figure("Begun, not reported", int(orders["has_begun"].sum()), note="keeps its slot until somebody completes, cancels or defers it"),
        Figure("Without a place", len(left_out)),
    )
    headings = {
        "technician": "technician", "start_at": "start", "end_at": "end", "order_id": "order", "title": "title", "priority": "priority",
        "due_at": "due", "is_overtime": "overtime", "is_late": "late", "has_begun": "begun",
    }  # fmt: skip
    reasons = {
        "order_id": "order",
        "title": "title",
        "priority": "priority",
        "due_at": "due",
        "reason": "why",
        "earliest_alternative": "earliest alternative",
        "smallest_change": "smallest change that would do",
    }
    return Section(
        "Schedule",
        f"The newest plan up to {scope.end}.",
        figures,
        tables(
            table("Assignments", planned, scope.columns(headings)), table("Without a place in the plan", left_out, scope.columns(reasons))
        ),
        charts(draw.gantt(planned)),
    )


def _gaps(scope: Scope) -> tuple[Figure, ...]:
    """What a better plan could save at most, site by site."""
    found = queries.newest_plans(scope.connection, site=scope.site, end=scope.end).to_dict("records")
    names = {s.site: s.name for s in scope.sites}
    note = "share of the plan's cost that a better one could save at most"
    return tuple(Figure(f"Optimality gap, {names.get(row['site'], row['site'])}", round(100 * row["gap"], 1), "%", note) for row in found)


def _done(scope: Scope) -> Section:
    done = queries.completed_work(scope.connection, **scope.range)
    if done.empty:
        return Section("Work done", NOTHING)
    hours = (done["ended_at"] - done["started_at"]).dt.total_seconds() / 3600
    done = done.assign(
        hours=hours.round(1),
        found=_said(scope, done, "finding"),
        mechanism=_said(scope, done, "failure_mechanism"),
        cause=_said(scope, done, "failure_cause"),
    )
    figures = [
        Figure("Work done", len(done)),
        Figure("Mean duration", round(float(hours.mean()), 1), "h", f"n = {len(done)}, from the start of the work to its end"),
        Figure("No fault found", int((done["finding"] == NO_FAULT_FOUND).sum()), f"of {len(done)}"),
    ]
    from_order = done[done["opened_at"].notna()]
    if len(from_order):
        lead = (from_order["ended_at"] - from_order["opened_at"]).dt.total_seconds() / 86400
        figures.append(Figure("Mean time from order to end", round(float(lead.mean()), 1), "days", f"n = {len(from_order)}"))
    headings = {
        "machine_id": "machine", "order_id": "order", "started_at": "start", "ended_at": "end", "hours": "hours",
        "hours_worked": "hands on (h)", "technician": "technician", "found": "finding", "mechanism": "mechanism", "cause": "cause",
        "parts_used": "parts", "note": "note",
    }  # fmt: skip
    return Section("Work done", figures=tuple(figures), tables=(table("In the order in which it ended", done, scope.columns(headings)),))


def _said(scope: Scope, done: pd.DataFrame, name: str) -> pd.Series:
    """What the sites' lists say of the codes that the technicians gave; a code that is on no list stands for itself."""
    lists = {s.site: s.findings for s in scope.sites}
    words = {
        (site, code): said
        for site, known in lists.items()
        for code, said in {
            "finding": {**known.failure_modes, **FAILURE_MODE_NAMES, NO_FAULT_FOUND: "no fault found"},
            "failure_mechanism": known.failure_mechanisms,
            "failure_cause": known.failure_causes,
        }[name].items()
    }
    return pd.Series(pd.MultiIndex.from_frame(done[["site", name]]).map(words), index=done.index).fillna(done[name])


def _reliability(scope: Scope) -> Section:
    done = queries.completed_work(scope.connection, **scope.range)
    scheduled = queries.scheduled_work(scope.connection, **scope.range)
    if done.empty and scheduled.empty:
        return Section("Reliability and maintenance work", NOTHING)
    figures: list[Figure] = []
    for site in scope.sites:
        work, places = done[done["site"] == site.site], scheduled[scheduled["site"] == site.site]
        n_days = max(0, (scope.end - max(scope.start, site.first_day)).days + 1)
        over = places[places["end_at"] <= pd.Timestamp(queries.after(scope.end))]
        mtbf = mean_time_between_failures_h(len(failures(work)), service_h=24.0 * n_days * len(site.machines))
        front = "" if scope.site else f"{site.name}: "
        service = f"calendar time of {counted(len(site.machines), 'machine')} over {counted(n_days, 'day')}"
        compliance = schedule_compliance(over, work, zone=site.time_zone)
        figures += [
            _measure(f"{front}MTBF", mtbf, unit="h", note=service),
            _measure(f"{front}MTTR", mean_time_to_repair_h(work), unit="h", note="repairs, start of work to its end"),
            _measure(f"{front}Wrench time", wrench_time(work), unit="%", note="of the time between start and end"),
            _measure(f"{front}Schedule compliance", compliance, unit="%", note="places in the plan"),
        ]
    text = (
        "By the formulas of SMRP 3.5.1, 3.5.2, 5.6.1 and 5.4.4 and of ISO 14224. A failure is a fault that work found, also an incipient "
        "one; work is scheduled by the plan in force when its day began, and done as scheduled when it ended on the local day it had there."
    )
    return Section("Reliability and maintenance work", text, tuple(figures))


def _measure(label: str, measure: Measure, *, unit: str, note: str) -> Figure:
    if measure.value is None:
        return Figure(label, None, note=measure.words)
    value = 100 * measure.value if unit == "%" else measure.value
    return Figure(label, round(value, 1), unit, f"{measure.words}; {note}")


def _moves(scope: Scope) -> Section:
    moves = queries.decisions_in(scope.connection, **scope.range)
    if moves.empty:
        return Section("Decisions and changes", NOTHING)
    is_note = moves["from_state"] == moves["to_state"]
    moves = moves.assign(state=moves["to_state"].where(~is_note, "noted"), from_state=moves["from_state"].str.replace("_", " "))
    headings = {"at": "when", "order_id": "order", "from_state": "from", "state": "state", "who": "who", "why": "why"}
    return Section("Decisions and changes", tables=(table("Every change of state, from the audit log", moves, scope.columns(headings)),))
