"""A file of events is read whole, or refused with the line and the reason."""

import pandas as pd
import pytest

from ml.event_rows import EventColumns, UnreadableEvents, read_events
from ml.plant import Site

NOW = pd.Timestamp("2026-06-01T00:00Z")
SITE = Site.model_validate(
    {
        "site": "s",
        "name": "S",
        "first_day": "2026-01-01",
        "time_zone": "Europe/Berlin",
        "machines": [
            {"machine_id": m, "source_name": name, "machine_class": "p", "sensors": [{"sensor_id": f"{m}-T", "type": "level", "unit": "m"}]}
            for m, name in (("P1", "17"), ("P2", None))
        ],
    }
)


STANDARD = EventColumns()


def read(text: str | bytes, columns: EventColumns = STANDARD) -> pd.DataFrame:
    return read_events(text.encode() if isinstance(text, str) else text, site=SITE, columns=columns, now=NOW)


def test_machines_by_either_name_times_of_the_site_and_each_event_once() -> None:
    found = read("at,machine_id,code\n2026-01-10 12:00,P1,a\n2026-07-10T12:00+00:00,P2,b\n".replace("07-10", "05-10"))
    assert found["at"].tolist() == [pd.Timestamp("2026-01-10T11:00Z"), pd.Timestamp("2026-05-10T12:00Z")]
    lines = ["\ufeffMaschine;Zeit;Teil;x", '17;2026-05-10 12:00:00;"a;b";', "", "P1;2026-05-10T10:00Z;a;b", " P2 ;2026-05-10;a;"]
    mapped = read("\r\n".join([*lines, '17;2026-05-10 12:00;"a;b";', ""]), EventColumns("Maschine", "Zeit", "Teil"))
    assert mapped["machine_id"].tolist() == ["P1", "P1", "P2"], "17 is P1, and 12:00 in Berlin is 10:00 UTC"
    assert mapped["code"].tolist() == ["a;b", "a", "a"]
    assert mapped["at"].tolist() == [pd.Timestamp("2026-05-10T10:00Z")] * 2 + [pd.Timestamp("2026-05-09T22:00Z")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("machine_id,at,code\nP1,2026-01-01,a\nP9,2026-01-01,a\n", r"^line 3: s has no machine 'P9'; it has 17, P1, P2$"),
        (
            "machine_id,at,code\nP1,1.2.2026,a\nP9,2026-01-01,a\n",
            r"^line 2: the time '1.2.2026' cannot be read.*\(1 more rows are wrong, too\)$",
        ),
        ("machine_id,at,code\nP1,2026-03-29 02:30,a\n", "line 2: the time '2026-03-29 02:30' does not exist in Europe/Berlin"),
        ("machine_id,at,code\nP1,2026-06-02,a\n", "line 2: the time '2026-06-02' lies in the future"),
        ("machine_id,at,code\nP1,2026-01-02,\n", "line 2: the column code is empty"),
        ("machine_id,at,code\n,2026-01-02,a\n", "line 2: the column machine_id is empty"),
        ('machine_id,at,code\n"P\n1",2026-01-02,a\nP1,2026-01-02\n', "line 4: it has 2 columns, the first line has 3"),
        ("machine,at,kind\nP1,2026-01-02,a\n", "line 1: there is no column machine_id, code; the columns are machine, at, kind"),
        ("machine_id,at,code\n", "there is no row below the first line"),
        ("", "line 1: there is no column machine_id, at, code; the columns are none"),
        ("machine_id,at,code\nP1,2026-01-02,\xfc\n".encode("latin-1"), "line 2: not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str | bytes, said: str) -> None:
    with pytest.raises(UnreadableEvents, match=said):
        read(text)
