"""Which incident of a day that is made anew is an earlier one under another name.

An incident is named by its machine and onset, and another detector, threshold or late reading may move the onset by a window: the event is
the same, its name is not. What people said of it and did about it belongs to the event.
"""

import pandas as pd

FALSE_ALARM_COVERS = 0.5


def successors(gone: pd.DataFrame, found: pd.DataFrame) -> dict[str, str]:
    """incident_id of `gone` -> incident_id of `found`, on the same machine and with the most time in common.

    Both have incident_id, machine_id, onset_at, last_window_at; `gone` also label. Incidents without any time in common have nothing to do
    with each other. A false alarm was said of the whole incident: it is passed on only where it covers at least half of the time of the one
    that is there now, else a fault that has swallowed it would count as one. A fault that was confirmed lies in whatever covers it.
    """
    after = found[["incident_id", "machine_id", "onset_at", "last_window_at"]]
    pairs = gone.merge(after, on="machine_id", suffixes=("", "_after"))
    shared = pairs[["last_window_at", "last_window_at_after"]].min(axis=1) - pairs[["onset_at", "onset_at_after"]].max(axis=1)
    lasts = pairs["last_window_at_after"] - pairs["onset_at_after"]
    is_same = (shared >= pd.Timedelta(0)) & ((pairs["label"] != "false_alarm") | (shared >= FALSE_ALARM_COVERS * lasts))
    best = pairs.assign(shared=shared)[is_same].sort_values(["shared", "onset_at_after"], ascending=[False, True], kind="stable")
    best = best.drop_duplicates("incident_id")
    return {str(old): str(new) for old, new in zip(best["incident_id"], best["incident_id_after"], strict=True)}
