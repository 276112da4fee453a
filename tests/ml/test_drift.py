from datetime import date

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.drift import benjamini_hochberg, drift, effective_number, ks_distance, ks_p_value, reference_sample, stability_index
from ml.plant import Machine, Sensor, Site

SITE = Site(
    site="plant",
    name="Plant",
    first_day=date(2026, 1, 1),
    machines=(
        Machine(machine_id="A", machine_class="pump", sensors=tuple(Sensor(sensor_id=f"S{i}", type="flow", unit="u") for i in range(6))),
    ),
)
GRID = np.linspace(0, 1, 201)


def _features(values: dict[str, np.ndarray], *, running: float = 1.0) -> pd.DataFrame:
    parts = []
    for sensor_id, means in values.items():
        times = pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(np.arange(len(means)) * 10, unit="min")
        parts.append(pd.DataFrame({"sensor_id": sensor_id, "window_start": times, "mean": means, "running_share": running}))
    return pd.concat(parts)


def _normal(seed: int, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {s.sensor_id: rng.normal(10, 2, n) for s in SITE.sensors}


REFERENCE = reference_sample(_features(_normal(0, 2000)))


def test_the_reference_is_compact_and_holds_the_quantiles() -> None:
    assert len(REFERENCE) == 6 * 201
    s0 = REFERENCE[REFERENCE["sensor_id"] == "S0"]
    assert s0["value"].iloc[100] == pytest.approx(np.median(_normal(0, 2000)["S0"]))


def test_a_shifted_mean_and_a_wider_spread_are_drift_and_the_rest_is_not() -> None:
    today = _normal(1, 144)
    today["S1"] = today["S1"] + 3
    today["S2"] = 10 + 3 * (today["S2"] - 10)
    table = drift(_features(today), REFERENCE, site=SITE)
    assert table.loc[table["is_drifted"], "sensor_id"].tolist() == ["S1", "S2"]
    assert (table["n"] == 144).all()
    assert (table["machine_id"] == "A").all()


def test_days_like_the_reference_hardly_ever_drift() -> None:
    drifted = [drift(_features(_normal(seed, 144)), REFERENCE, site=SITE)["is_drifted"].sum() for seed in range(100, 130)]
    assert sum(drifted) <= 2


def test_wandering_windows_count_for_fewer_and_do_not_drift_by_themselves() -> None:
    def wandering(seed: int, n: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        values = np.zeros(n)
        for i in range(1, n):
            values[i] = 0.98 * values[i - 1] + rng.standard_normal()
        return values

    reference = reference_sample(_features({"S0": wandering(0, 4000)}))
    tables = [drift(_features({"S0": wandering(seed, 144)}), reference, site=SITE) for seed in range(1, 41)]
    assert sum(t["is_drifted"].sum() for t in tables) <= 4
    assert effective_number(wandering(1, 4000)) == pytest.approx(4000 * 0.02 / 1.98, rel=0.3)


def test_stopped_windows_and_silent_sensors_are_left_out() -> None:
    stopped = _features({"S0": np.zeros(144)}, running=0.0)
    few = _features({"S1": np.zeros(19)})
    table = drift(pd.concat([stopped, few]), REFERENCE, site=SITE)
    assert len(table) == 0
    assert table["is_drifted"].dtype == bool


@pytest.mark.parametrize("shift", [0.0, 0.5, 4.0])
def test_the_distance_is_the_kolmogorov_smirnov_statistic(shift: float) -> None:
    rng = np.random.default_rng(3)
    reference, sample = rng.standard_normal(50_000), rng.standard_normal(144) + shift
    expected = stats.ks_2samp(sample, reference).statistic
    assert ks_distance(sample, values=np.quantile(reference, GRID), probabilities=GRID) == pytest.approx(expected, abs=0.006)


def test_a_reference_of_few_repeated_values_is_at_no_distance_from_itself() -> None:
    reference = np.repeat([1.0, 2.0, 3.0], [500, 300, 200])
    assert ks_distance(reference, values=np.quantile(reference, GRID), probabilities=GRID) < 0.01
    assert stability_index(reference, values=np.quantile(reference, GRID), probabilities=GRID) < 0.05


@pytest.mark.parametrize(("distance", "n", "m"), [(0.1, 400, 400), (0.2, 100, 300), (0.05, 5000, 5000)])
def test_the_p_value_agrees_with_scipy(distance: float, n: int, m: int) -> None:
    expected = stats.kstwobign.sf(np.sqrt(n * m / (n + m)) * distance)
    assert ks_p_value(distance, n_effective=(n, m)) == pytest.approx(expected, rel=0.3)


def test_the_stability_index_by_hand() -> None:
    # all of 200 windows in the uppermost tenth: half a window more in each of ten bins
    values = GRID * 10
    a = np.full(10, 0.5 / 205)
    a[-1] = 200.5 / 205
    expected = np.sum((a - 0.1) * np.log(a / 0.1))
    assert stability_index(np.full(200, 9.9), values=values, probabilities=GRID) == pytest.approx(expected, rel=0.02)


def test_benjamini_and_hochberg_as_scipy_has_it() -> None:
    p = np.random.default_rng(2).random(50) ** 3
    np.testing.assert_array_equal(benjamini_hochberg(p, rate=0.05), stats.false_discovery_control(p) <= 0.05)
