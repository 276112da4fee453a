"""The operating state of a machine that no sensor of the plant file declares: idle or running, told by its load where that is clear.

A machine with `running_when` has its state from there. Of the others, one sensor that carries the load (current, power, flow,
rotation speed) is looked at: if its healthy windows fall into two groups with next to nothing between them, the lower one is
idle. Everything else is one state. A wrong split would hide faults, so that the demands are strict.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml.detectors.windows import IDLE, RUNNING, SETTLING, STOPPED, TOO_FEW, Floats, MachineWindows, latest_read, settles, spells
from ml.plant import Machine

LOAD_TYPES = ("current", "power", "rotation_speed", "flow")
MIN_SHARE, MIN_WINDOWS = 0.05, 50
MAX_BETWEEN_SHARE = 0.02  # of the windows, in the middle half of the way from idle to running
MIN_SEPARATION = 6.0  # Ashman's D: sqrt(2) |difference of the means| / sqrt(sum of the variances)
MAX_IDLE_TO_RUNNING = 0.5  # an idle load is below half of the running one
MIXED_STD = 0.2  # of the way from idle to running: within such a window the state changed


@dataclass(frozen=True)
class OperatingStates:
    """Idle while the sensor at `place` reads below `cut`; -1 where there is one state only. `gap` is the way from idle to running.

    `scores_idle`: enough healthy idle windows were seen to know what is normal in them; else an idle machine counts as stopped.
    """

    place: int = -1
    cut: float = 0.0
    gap: float = 1.0
    scores_idle: bool = False

    def apply(self, windows: MachineWindows, *, settle_windows: int) -> MachineWindows:
        """The windows with their regime; the machine settles after each change, and a window in which it changed is not scored.

        Nor is one before which no load was read for a day: an idle machine that is taken for a running one would alarm in every window.
        """
        if self.place < 0:
            return windows
        load, spread = windows.mean[:, self.place], windows.std[:, self.place]
        is_known = np.isfinite(load)
        latest, is_told = latest_read(is_known, starts=windows.starts)
        is_idle = is_told & (load < self.cut)[latest]
        changed = np.zeros(len(load), dtype=np.bool_)
        changed[1:] = is_told[1:] & is_told[:-1] & (is_idle[1:] != is_idle[:-1])
        is_mixed = is_known & (spread > MIXED_STD * self.gap)
        settling = settles(windows.index, after=changed | is_mixed, settle_windows=settle_windows)
        was_scored = windows.is_scored
        state = np.where(was_scored & settling, SETTLING, windows.state)
        if not self.scores_idle:
            state = np.where(was_scored & is_idle, STOPPED, state)
        return replace(
            windows,
            state=np.where(was_scored & ~is_told, TOO_FEW, state),
            regime=np.where(is_idle, IDLE, RUNNING),
            spell=spells(changed | ~is_told | (np.diff(windows.spell, prepend=windows.spell[:1]) > 0)),
        )


def infer_states(machine: Machine, windows: MachineWindows, *, min_idle: int) -> OperatingStates:
    """From healthy windows. `min_idle`: idle windows needed to know what is normal while the machine idles."""
    if machine.running_when is not None:
        return OperatingStates()
    types = [s.type for s in machine.sensors]
    for place in (types.index(t) for t in LOAD_TYPES if t in types):
        load = windows.mean[:, place]
        found = two_groups(load[np.isfinite(load)])
        if found is not None:
            idle, running = found
            cut = (idle + running) / 2
            return OperatingStates(place, cut=cut, gap=running - idle, scores_idle=int((load < cut).sum()) >= min_idle)
    return OperatingStates()


def two_groups(load: NDArray[np.float64]) -> tuple[float, float] | None:
    """(mean of the lower group, of the upper), or None where the values do not fall into two groups, clearly.

    Split where the variance between the groups is largest (Otsu 1979), then judged by Ashman's D (Ashman, Bird and Zepf 1994)
    and by what lies between.
    """
    n = len(load)
    if n < 2 * MIN_WINDOWS:
        return None
    ordered = np.sort(load)
    sums = np.cumsum(ordered)
    n_low = np.arange(1, n)
    low, high = sums[:-1] / n_low, (sums[-1] - sums[:-1]) / (n - n_low)
    split = int(np.argmax(n_low * (n - n_low) * (high - low) ** 2)) + 1
    groups: tuple[Floats, Floats] = (ordered[:split], ordered[split:])
    if min(len(g) for g in groups) < max(MIN_WINDOWS, MIN_SHARE * n):
        return None
    idle, running = (float(g.mean()) for g in groups)
    gap = running - idle
    between = ((load > idle + gap / 4) & (load < running - gap / 4)).mean()
    separation = np.sqrt(2.0) * gap / max(float(np.sqrt(groups[0].var() + groups[1].var())), 1e-12)
    is_clear = gap > 0 and separation >= MIN_SEPARATION and between <= MAX_BETWEEN_SHARE and idle < MAX_IDLE_TO_RUNNING * running
    return (idle, running) if is_clear else None
