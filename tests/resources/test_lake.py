"""The lake: what is written is read back, what breaks its contract is not written, and readers see whole files only."""

from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expectations.contracts import CONTRACTS, SENSOR_READINGS
from resources import lake as lake_module
from resources.lake import LakeResource

DAY = date(2026, 10, 5)
WHERE = {"site": "s", "day": DAY}


@pytest.fixture
def lake(tmp_path: Path) -> LakeResource:
    return LakeResource(root=str(tmp_path / "lake"))


def readings(*values: float, day: date = DAY) -> pd.DataFrame:
    at = [datetime(day.year, day.month, day.day, 0, n, tzinfo=UTC) for n in range(len(values))]
    return pd.DataFrame(
        {
            "sensor_id": ["P1-T"] * len(values),
            "timestamp": pd.DatetimeIndex(at).as_unit("us"),
            "value": list(values),
            "drop_seq": pd.array([1] * len(values), dtype="int32"),
        }
    )


def files(lake: LakeResource) -> list[str]:
    return [str(p.relative_to(lake.root)) for p in sorted(Path(lake.root).rglob("*")) if p.is_file()]


def test_what_is_written_is_read_back_with_its_types(lake: LakeResource) -> None:
    path = lake.write("sensor_readings", readings(1.5, -2.25, 1e300), **WHERE)
    assert files(lake) == ["sensor_readings/day=2026-10-05/site=s/data.parquet"]
    stored = lake.read("sensor_readings", **WHERE)
    assert stored is not None
    pd.testing.assert_frame_equal(stored, readings(1.5, -2.25, 1e300))
    assert pq.ParquetFile(path).schema_arrow.equals(SENSOR_READINGS.schema)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_columns_are_stored_in_the_contracts_order_and_others_left_out(lake: LakeResource) -> None:
    frame = readings(1.0)[["value", "drop_seq", "timestamp", "sensor_id"]].assign(note="x")
    lake.write("sensor_readings", frame, **WHERE)
    stored = lake.read_arrow("sensor_readings", **WHERE)
    assert stored is not None
    assert stored.column_names == ["sensor_id", "timestamp", "value", "drop_seq"]


def test_the_same_table_is_the_same_bytes(lake: LakeResource) -> None:
    first = lake.write("sensor_readings", readings(1.0, 2.0), **WHERE).read_bytes()
    assert lake.write("sensor_readings", pa.Table.from_pandas(readings(1.0, 2.0), preserve_index=False), **WHERE).read_bytes() == first


def test_an_arrow_table_and_chosen_columns(lake: LakeResource) -> None:
    lake.write("sensor_readings", pa.Table.from_pandas(readings(1.0), schema=SENSOR_READINGS.schema, preserve_index=False), **WHERE)
    some = lake.read("sensor_readings", **WHERE, columns=["value"])
    assert some is not None
    assert some.to_dict("list") == {"value": [1.0]}


def test_site_days_are_files_of_their_own(lake: LakeResource) -> None:
    lake.write("sensor_readings", readings(1.0), **WHERE)
    assert lake.read("sensor_readings", site="s", day=date(2026, 10, 6)) is None
    assert lake.read("sensor_readings", site="t", day=DAY) is None


@pytest.mark.parametrize(
    "broken",
    [
        readings(1.0).assign(value="warm"),
        readings(1.0).assign(value=[None]),
        readings(1.0).assign(drop_seq=[1.5]),
        readings(1.0).assign(drop_seq=[2**40]),
    ],
    ids=["text for a number", "null where none may be", "a fraction for an integer", "an integer that does not fit"],
)
@pytest.mark.parametrize("form", ["frame", "arrow"])
def test_what_breaks_the_contract_raises_and_leaves_the_old_file(lake: LakeResource, broken: pd.DataFrame, form: str) -> None:
    lake.write("sensor_readings", readings(1.0), **WHERE)
    content = broken if form == "frame" else pa.Table.from_pandas(broken, preserve_index=False)
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError, ValueError)):
        lake.write("sensor_readings", content, **WHERE)
    stored = lake.read("sensor_readings", **WHERE)
    assert stored is not None
    assert stored["value"].tolist() == [1.0]
    assert files(lake) == ["sensor_readings/day=2026-10-05/site=s/data.parquet"]


def test_a_missing_column_raises_and_writes_nothing(lake: LakeResource) -> None:
    with pytest.raises(KeyError, match="drop_seq"):
        lake.write("sensor_readings", readings(1.0).drop(columns="drop_seq"), **WHERE)
    assert files(lake) == []


def test_a_write_that_dies_leaves_the_old_file_and_nothing_else(lake: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write("sensor_readings", readings(1.0), **WHERE)
    seen: list[str] = []

    def die_half_way(table: pa.Table, file: object, **_: object) -> None:
        file.write(b"PAR1 and no more")  # type: ignore[attr-defined]
        stored = lake.read("sensor_readings", **WHERE)
        assert stored is not None
        seen.extend(stored["value"].astype(str))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lake_module.pq, "write_table", die_half_way)
    with pytest.raises(OSError, match="No space left"):
        lake.write("sensor_readings", readings(2.0), **WHERE)
    monkeypatch.undo()
    assert seen == ["1.0"], "a reader in the middle of the write sees the old file"
    stored = lake.read("sensor_readings", **WHERE)
    assert stored is not None
    assert stored["value"].tolist() == [1.0]
    assert files(lake) == ["sensor_readings/day=2026-10-05/site=s/data.parquet"]


def test_days_are_read_one_below_the_other_and_absent_ones_skipped(lake: LakeResource) -> None:
    for day, value in ((date(2026, 10, 7), 3.0), (DAY, 1.0), (date(2026, 10, 9), 5.0)):
        lake.write("sensor_readings", readings(value, day=day), site="s", day=day)
    found = lake.read_days("sensor_readings", site="s", start=DAY, end=date(2026, 10, 8))
    assert found["value"].tolist() == [1.0, 3.0]
    assert found.index.tolist() == [0, 1]


@pytest.mark.parametrize("table", sorted(CONTRACTS))
def test_no_days_are_an_empty_table_with_its_columns_and_types(lake: LakeResource, table: str) -> None:
    found = lake.read_days(table, site="s", start=DAY, end=date(2026, 10, 8))
    assert len(found) == 0
    assert list(found.columns) == CONTRACTS[table].names
    pd.testing.assert_series_equal(found.dtypes, CONTRACTS[table].schema.empty_table().to_pandas().dtypes)
    some = CONTRACTS[table].names[:2]
    assert list(lake.read_days(table, site="s", start=DAY, end=DAY, columns=some).columns) == some


def test_days_stored_before_a_column_was_there_are_read_with_those_after(lake: LakeResource) -> None:
    later = date(2026, 10, 6)
    lake.write("sensor_readings", readings(1.0), **WHERE)
    new = pq.ParquetFile(lake.write("sensor_readings", readings(2.0, day=later), site="s", day=later)).read()
    pq.write_table(new.append_column("added", pa.array([7.0])), lake.path("sensor_readings", site="s", day=later))
    both = lake.read_days("sensor_readings", site="s", start=DAY, end=later)
    assert both["value"].tolist() == [1.0, 2.0]
    assert both["added"].isna().tolist() == [True, False]
