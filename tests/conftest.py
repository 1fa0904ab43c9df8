"""Where the repository and the shared facts are; everything that several tests stand on."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root, from which every command runs."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of fixtures, real data and published maps beside the checkout; skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip("../shared (fixtures, real data) is not beside this checkout")
    return SHARED
