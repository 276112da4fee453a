"""Remaining life of made-up units that wear along a known curve."""

import numpy as np
import pandas as pd
import pytest

from ml.remaining_life import CAP_CYCLES, cycles_to_the_end, features_of, fit_remaining_life, in_order


def fleet(n: int, *, seed: int) -> pd.DataFrame:
    """Units of 120 to 260 cycles; two quantities wear as the cube of the share of life, against each other; one is noise, one constant."""
    rng = np.random.default_rng(seed)
    parts = []
    for unit in range(n):
        life = int(rng.integers(120, 260))
        cycle = np.arange(1, life + 1)
        wear = 10 * np.exp((cycle - life) / 40)
        parts.append(
            pd.DataFrame(
                {
                    "unit": unit,
                    "cycle": cycle,
                    "up": 50 + wear + 0.5 * rng.standard_normal(life),
                    "down": 9 - wear + 0.5 * rng.standard_normal(life),
                    "noise": rng.standard_normal(life),
                    "constant": 518.67,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def model():
    return fit_remaining_life(fleet(24, seed=1), seed=0)


def test_units_never_seen_are_given_the_cycles_that_they_have_left(model) -> None:
    others = in_order(fleet(12, seed=2))
    left = cycles_to_the_end(others)
    cut = others[left >= 30]  # each unit 30 cycles before its end
    assert model.of_last_cycles(cut).to_numpy() == pytest.approx(np.full(12, 30.0), abs=12)
    # Without any skill the error would be the spread of the capped target, about 36 cycles.
    asked = (left <= CAP_CYCLES) & (others["cycle"] > 30).to_numpy()
    assert np.sqrt(np.mean((model.cycles_left(features_of(others, model.scale))[asked] - left[asked]) ** 2)) < 18


def test_a_new_unit_is_not_in_sight_of_its_end_and_none_is_beyond_the_cap(model) -> None:
    others = in_order(fleet(6, seed=3))
    found = model.cycles_left(features_of(others, model.scale))
    far = cycles_to_the_end(others) > 140
    assert found.max() <= CAP_CYCLES
    assert np.median(found[far]) > 105


def test_the_direction_of_wear_is_found_and_constants_are_left_out(model) -> None:
    assert model.scale.quantities[:2] == ("up", "down")
    assert "constant" not in model.scale.quantities
    assert model.scale.way[:2].tolist() == [1, -1]
    with pytest.raises(ValueError, match="no quantity varies"):
        fit_remaining_life(pd.DataFrame({"unit": 1, "cycle": [1, 2, 3], "s": 5.0}), seed=0)


def test_the_features_of_a_cycle_are_the_same_whatever_comes_later(model) -> None:
    whole = in_order(fleet(2, seed=4))
    features = features_of(whole, model.scale)
    for until in (3, 15, 40, 100):
        cut = whole[whole["cycle"] <= until]
        last = (whole["unit"].isin(cut["unit"]) & (whole["cycle"] == until)).to_numpy()
        seen = features_of(cut.reset_index(drop=True), model.scale)[(cut["cycle"] == until).to_numpy()]
        np.testing.assert_allclose(seen.to_numpy(), features[last].to_numpy(), rtol=1e-9, atol=1e-9)
