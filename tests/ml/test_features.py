"""Features equal those computed window by window with loops, numpy and scipy."""

import math
import time
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.contracts import MACHINE_FEATURES
from ml.features import build_features
from ml.plant import Machine, RunningWhen, Sensor, Site

DAY = date(2025, 6, 1)
START = pd.Timestamp(DAY, tz="UTC")
SITE = Site(
    site="north",
    name="North",
    first_day=date(2025, 1, 1),
    machines=(
        Machine(
            machine_id="pump",
            machine_class="pump",
            running_when=RunningWhen(sensor_id="z.current", above=1),
            sensors=(
                Sensor(sensor_id="z.current", type="current", unit="A"),
                Sensor(sensor_id="b.vib", type="vibration", unit="mm/s", interval_s=7),
            ),
        ),
        Machine(
            machine_id="fan", machine_class="fan", sensors=(Sensor(sensor_id="m.temp", type="temperature", unit="C", interval_s=3600),)
        ),
    ),
)
OWNER = {"z.current": "pump", "b.vib": "pump", "m.temp": "fan"}
INTERVAL = {"z.current": 60, "b.vib": 7, "m.temp": 3600}
Row = tuple[str, float, float]


def a_frame(rows: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sensor_id": pd.array([r[0] for r in rows], dtype="str"),
            "timestamp": (START + pd.to_timedelta([r[1] for r in rows], unit="s")).as_unit("us"),
            "value": np.array([r[2] for r in rows], float),
        }
    )


def naive(rows: list[Row]) -> dict[tuple[str, int, str], dict[str, float]]:
    """(machine, window, sensor) -> features, one window after another."""
    rows = sorted((r for r in rows if r[0] in OWNER), key=lambda r: (r[0], r[1]))
    table = {}
    for sensor, window in sorted({(r[0], int(r[1] // 600)) for r in rows}):
        mine = [(t, v) for s, t, v in rows if s == sensor and t // 600 == window]
        t, v = np.array([m[0] for m in mine]), np.array([m[1] for m in mine])
        has_spread = len(set(v)) > 1
        current = [(t, v) for s, t, v in rows if s == "z.current" and t < (window + 1) * 600]
        in_window = [v > 1 for t, v in current if t >= window * 600]
        running = np.mean(in_window) if in_window else float(current[-1][1] > 1) if current else 1.0
        is_vibration = sensor == "b.vib"
        rms = math.sqrt(math.fsum(x * x for x in v) / len(v))
        table[OWNER[sensor], window, sensor] = {
            "n_readings": len(v),
            "coverage": min(1.0, len(v) / max(1, 600 // INTERVAL[sensor])),
            "mean": math.fsum(v) / len(v),
            "std": np.std(v, ddof=1) if has_spread else 0.0,
            "min": min(v),
            "max": max(v),
            "last": v[-1],
            "slope_per_h": scipy.stats.linregress(t / 3600, v).slope if has_spread else 0.0,
            "rms": rms if is_vibration else math.nan,
            "kurtosis": scipy.stats.kurtosis(v) if is_vibration and has_spread and len(v) >= 4 else math.nan,
            "crest_factor": max(abs(v)) / rms if is_vibration and rms > 0 else math.nan,
            "running_share": running if OWNER[sensor] == "pump" else 1.0,
        }
    return dict(sorted(table.items()))


def check(rows: list[Row]) -> pd.DataFrame:
    features = build_features(a_frame(rows), site=SITE, day=DAY)
    expected = naive(rows)
    assert list(features.columns) == MACHINE_FEATURES.names
    window = ((features["window_start"] - START).dt.total_seconds() // 600).astype(int)
    assert list(zip(features["machine_id"], window, features["sensor_id"], strict=True)) == list(expected)
    for name in MACHINE_FEATURES.names[3:]:
        np.testing.assert_allclose(features[name], [row[name] for row in expected.values()], rtol=1e-9, atol=1e-9, err_msg=name)
    return features


rows_ = st.lists(
    st.tuples(
        st.sampled_from(["z.current", "b.vib", "m.temp", "gone"]),
        st.integers(0, 6_000).map(lambda t: t / 2),
        st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.integers(-9_999, 9_999).map(lambda x: x / 100)),
    ),
    max_size=120,
    unique_by=lambda r: r[:2],
)


@settings(max_examples=120, deadline=None)
@given(rows_)
def test_features_equal_those_of_a_loop_over_windows(rows: list[Row]) -> None:
    check(rows)


def test_a_full_day_equals_the_loop_and_fits_the_contract() -> None:
    rng = np.random.default_rng(4)
    rows: list[Row] = [("z.current", t, float(rng.normal(2, 1))) for t in range(0, 86_400, 60)]
    rows += [("b.vib", t, float(rng.standard_t(4))) for t in range(0, 86_400, 70)] + [
        ("m.temp", t, float(rng.normal(40, 2))) for t in range(0, 86_400, 3600)
    ]
    features = check(rows)
    stored = pa.Table.from_pandas(features, preserve_index=False).cast(MACHINE_FEATURES.schema)
    assert stored.num_rows == 144 + 144 + 24
    for column in MACHINE_FEATURES.columns:
        values = features[column.name]
        assert column.nullable or not values.isna().any()
        assert column.low is None or not (values < column.low).any()
        assert column.high is None or not (values > column.high).any()


def test_no_readings_give_an_empty_table_of_the_same_shape() -> None:
    features = check([])
    assert pa.Table.from_pandas(features, preserve_index=False).cast(MACHINE_FEATURES.schema).num_rows == 0
    assert len(build_features(a_frame([("gone", 1, 1)]), site=SITE, day=DAY)) == 0


def test_a_small_movement_on_a_large_level_keeps_its_digits() -> None:
    wave = [0.0, 1e-3, -1e-3, 2e-3, 0.0, -2e-3, 1e-3, 0.0]
    rows: list[Row] = [("b.vib", 10.0 * i, 1e6 + x) for i, x in enumerate(wave)]
    row = build_features(a_frame(rows), site=SITE, day=DAY).iloc[0]
    exact = [(1e6 + x) - 1e6 for x in wave]
    assert row["std"] == pytest.approx(np.std(exact, ddof=1), rel=1e-6)
    assert row["kurtosis"] == pytest.approx(scipy.stats.kurtosis(exact), rel=1e-6)
    assert row["slope_per_h"] == pytest.approx(scipy.stats.linregress(np.arange(8) / 360, exact).slope, rel=1e-6)


def test_a_constant_series_has_no_spread_whatever_its_rounding() -> None:
    row = build_features(a_frame([("b.vib", 10.0 * i, 0.1) for i in range(6)]), site=SITE, day=DAY).iloc[0]
    assert sum([0.1] * 6) / 6 != 0.1
    assert (row["std"], row["slope_per_h"], row["mean"], row["crest_factor"]) == (0, 0, 0.1, pytest.approx(1))
    assert math.isnan(row["kurtosis"])


def test_a_stopped_machine_stays_stopped_while_its_running_sensor_is_silent() -> None:
    rows: list[Row] = [("b.vib", 600.0 * w, 1.0 + w) for w in range(6)] + [
        ("z.current", 650.0, 5),
        ("z.current", 700.0, 0),
        ("z.current", 2410.0, 5),
    ]
    features = check(rows)
    assert features.loc[features["sensor_id"] == "b.vib", "running_share"].tolist() == [1, 0.5, 0, 0, 1, 1]


def test_a_thousand_sensors_take_less_than_a_second_and_a_half() -> None:
    sensors = [[Sensor(sensor_id=f"s{i:03d}.{j}", type="vibration", unit="1") for j in range(10)] for i in range(100)]
    site = SITE.model_copy(
        update={"machines": tuple(Machine(machine_id=f"m{i:03d}", machine_class="x", sensors=tuple(s)) for i, s in enumerate(sensors))}
    )
    ids = [s.sensor_id for s in site.sensors]
    at = pd.date_range(START, periods=1440, freq="min").as_unit("us")
    many = pd.DataFrame(
        {
            "sensor_id": pd.array(np.repeat(ids, 1440), dtype="str"),
            "timestamp": np.tile(at, 1000),
            "value": np.random.default_rng(1).normal(size=1_440_000),
        }
    )
    many["timestamp"] = pd.to_datetime(many["timestamp"], utc=True)
    begin = time.process_time()
    features = build_features(many, site=site, day=DAY)
    assert time.process_time() - begin < 1.5
    assert len(features) == 144_000
