"""Which failure mode a movement of sensors points to: a small table of rules, no learning.

Codes are those of ISO 14224 (annex B) as in `ml.plant.FAILURE_MODE_NAMES`. The rules say what to look for first;
a technician decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ml.plant import Machine

MOVED_Z = 4.0
STUCK_Z = -8.0
ALONE_SHARE = 0.6
MIN_COMPANIONS = 2
_MODE_OF_LEVEL = {
    ("temperature", 1): "OHE",
    ("pressure", -1): "ELP",
    ("pressure", 1): "PLU",
    ("flow", -1): "PLU",
    **dict.fromkeys(((electrical, way) for electrical in ("current", "power", "voltage") for way in (-1, 1)), "ELE"),
}
_TOGETHER: tuple[tuple[frozenset[tuple[str, int]], str], ...] = (
    (frozenset({("vibration", 1)}), "VIB"),
    (frozenset({("flow", -1), ("pressure", -1)}), "ELP"),
    (frozenset({("flow", -1), ("pressure", 1)}), "PLU"),
)


@dataclass(frozen=True)
class Movement:
    """A sensor's part in an incident: share of the contributions, signed robust z, and the feature that it is of."""

    share: float
    z: float
    feature: str


Movements = Mapping[str, Movement]


def failure_mode_of(sensor_type: str, *, direction: int, feature: str) -> str:
    """The rule of a single sensor; direction is the sign of its z.

    | what moved                                        | mode |
    |---|---|
    | spread falls (a stuck instrument)                 | AIR  |
    | vibration rises, in any feature                   | VIB  |
    | spread or kurtosis of another sensor rises        | AIR  |
    | temperature rises                                 | OHE  |
    | pressure falls                                    | ELP  |
    | pressure rises, flow falls                        | PLU  |
    | current, power or voltage, either way             | ELE  |
    | anything else                                     | PDE  |
    """
    if feature == "std" and direction < 0:
        return "AIR"
    if sensor_type == "vibration" and direction > 0:
        return "VIB"
    if feature in ("std", "kurtosis"):
        return "AIR"
    return _MODE_OF_LEVEL.get((sensor_type, direction), "PDE")


def failure_mode_of_incident(moved: Movements, *, machine: Machine) -> str:
    """The whole incident's rule, the first that fits; `moved` has the largest share first. A sensor moved if |z| >= MOVED_Z.

    1. the leading sensor is stuck: its spread fell to STUCK_Z or below; a milder fall says nothing -> AIR / PDE
    2. a vibration rose, alone or with others (bearing wear heats, too)  -> VIB
    3. flow fell, and pressure fell with it / rose against it   -> ELP / PLU
    4. one sensor moved all alone, and the machine has companions that should have followed; not for flow, vibration
       and falling pressure, which lead a mode of their own, nor for rising pressure where no flow is measured -> AIR
    5. else the leading sensor's rule; nothing named            -> PDE
    """
    types = {s.sensor_id: s.type for s in machine.sensors}
    moved = {s: m for s, m in moved.items() if s in types}  # a sensor may have left the plant file since it was scored
    if not moved:
        return "PDE"
    leading, first = next(iter(moved.items()))
    if first.feature == "std" and first.z < 0:
        return "AIR" if first.z <= STUCK_Z else "PDE"
    far = {s: m for s, m in moved.items() if abs(m.z) >= MOVED_Z}
    ways = {(types[s], _sign(m.z)) for s, m in far.items() if m.feature in ("mean", "rms") or types[s] == "vibration"}
    together = next((mode for needed, mode in _TOGETHER if needed <= ways), None)
    if together is not None:
        return together
    leads = types[leading] in ("vibration", "flow") or (types[leading] == "pressure" and (first.z < 0 or "flow" not in types.values()))
    if set(far) == {leading} and first.share >= ALONE_SHARE and len(machine.sensors) > MIN_COMPANIONS and not leads:
        return "AIR"
    return failure_mode_of(types[leading], direction=_sign(first.z), feature=first.feature)


def _sign(z: float) -> int:
    return 1 if z >= 0 else -1
