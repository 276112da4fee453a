"""Two intakes over one landing zone at the same time: together they leave what one alone leaves, also if one of them dies."""

import random

from tests.death.test_any_death import LANDED, MIXED, long_drop

TOGETHER = {name: content for name, content in LANDED.items() if name != "growing.csv"} | {
    f"tiny {n}.csv": MIXED.replace(b"20.5", str(n).encode()) for n in range(20)
}
LARGE = {"large.csv": long_drop(3_000, seed=3), **TOGETHER}


def test_two_intakes_at_once_leave_what_one_leaves(graveyard) -> None:
    graveyard.nursery.warm_up(graveyard.set_up(LARGE), url=graveyard.ledger.url)
    home = graveyard.set_up(LARGE)
    assert graveyard.live(home)[0] == [0]
    undisturbed = graveyard.remains(home)
    for _ in range(5):
        home = graveyard.set_up(LARGE)
        assert graveyard.live(home, twins=2)[0] == [0, 0]
        assert graveyard.remains(home).differences(undisturbed) == []


def test_of_two_intakes_one_may_die_at_any_moment(graveyard) -> None:
    graveyard.nursery.warm_up(graveyard.set_up(LARGE), url=graveyard.ledger.url)
    home = graveyard.set_up(LARGE)
    exits, whole_life_s = graveyard.live(home)
    assert exits == [0]
    undisturbed = graveyard.remains(home)
    chance, killed = random.Random(11), 0
    while killed < 10:
        home = graveyard.set_up(LARGE)
        (first, second), _ = graveyard.live(home, twins=2, kill_after_s=chance.uniform(0, whole_life_s))
        assert second == 0
        killed += first == -9
        assert graveyard.live(home)[0] == [0]
        assert graveyard.remains(home).differences(undisturbed) == [], f"after the {killed}th death"
