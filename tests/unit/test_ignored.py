"""No file that a command writes into the present folder gets into a commit by ``git add .``."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.fixtures.checkout import Checkout
from tests.fixtures.programs import ROOT
from velro_auth.ops.bench import document
from velro_auth.ops.monitor.observation_file import new_path

NOW = dt.datetime(2026, 11, 26, 12, 0, 0, tzinfo=dt.UTC)


@pytest.fixture
def ignoring(checkout: Checkout) -> Checkout:
    """A repository that ignores what ours does."""
    checkout.commit(".gitignore", (ROOT / ".gitignore").read_text("utf-8"))
    return checkout


@pytest.mark.parametrize(
    "name",
    [
        "doctor_rollback_20261126_120000.sql",
        "audit.jsonl",
        ".env",
        ".env.local",
        ".velro/standin/keys.json",
        "logs/observe_20261126_120000.jsonl",
    ],
)
def test_what_holds_addresses_or_keys_is_ignored(ignoring: Checkout, name: str) -> None:
    assert ignoring.git("check-ignore", name) == name


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_figures_of_the_benchmark_are_ignored(ignoring: Checkout, suffix: str) -> None:
    path = document.write({}, ignoring.folder, NOW).with_suffix(suffix)

    assert ignoring.git("check-ignore", path.name) == path.name


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".html"])
def test_files_of_the_monitor_are_ignored_wherever_they_go(ignoring: Checkout, suffix: str) -> None:
    path = new_path(ignoring.folder, NOW).with_suffix(suffix)

    assert ignoring.git("check-ignore", path.name) == path.name


def test_the_example_of_the_environment_is_not_ignored(ignoring: Checkout) -> None:
    ignoring.commit(".env.example", "SUPABASE_URL=\n")

    assert ".env.example" in ignoring.git("ls-files")
