"""Models that hold scikit-learn's estimators, as bytes: a line that says what they are, then a pickle.

Reading a pickle runs code: only bytes whose hash is known to be that of a model made here may be given to `unpack`.
"""

import pickle
from importlib.metadata import version as distribution_version
from typing import Any

FORMAT = 1


def pack(model: Any) -> bytes:
    return _header() + pickle.dumps(model, protocol=5)


def unpack(data: bytes) -> Any:
    """Raises ValueError, before anything is run, for bytes of another format or of another release of scikit-learn."""
    if not data.startswith(_header()):
        said = data.split(b"\n", 1)[0][:80].decode("ascii", errors="replace")
        raise ValueError(f"the stored model begins with {said!r}, this version reads {_header().decode().strip()!r}")
    return pickle.loads(data[len(_header()) :])  # noqa: S301 - the caller has verified their hash


def _header() -> bytes:
    return f"learned model {FORMAT}, scikit-learn {distribution_version('scikit-learn')}\n".encode()
