"""What every test may use: one real PostgreSQL for the session, a data folder of its own, the public data where it is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that runs as long as the session."""
    from resources.postgres import serving

    with serving(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data beside the checkout."""
    folder = Path(os.environ.get("SMART_MAINTENANCE_SHARED_DATA", CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the public data is not at {folder}")
    return folder
