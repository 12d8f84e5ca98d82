"""What a newcomer does first, outside of the checkout: install the wheels by path, start, log in."""

from __future__ import annotations

import pytest

from tests.fixtures.standin import fast_place, temporary_folder
from tools.first_minute import first_minute


@pytest.mark.slow
def test_from_the_wheels_to_a_login_in_empty_folders() -> None:
    """Times are printed by `make first-minute`; here the machine may be busy."""
    with temporary_folder(fast_place()) as folder:
        # What is not compiled here is compiled when it is imported.
        times = first_minute(folder, pip_options=["--no-compile"])

    assert list(times) == [
        "virtual environment",
        "pip install",
        "velro-auth dev, until a login",
        "velro-auth serve, until a login",
        "in all",
    ]
