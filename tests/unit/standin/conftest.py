"""Folders the account that runs PostgreSQL can reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supabase_standin import accounts
from supabase_standin.accounts import Account
from tests.fixtures.standin import fast_place, temporary_folder

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can step down to another account")


@pytest.fixture
def place() -> Iterator[Path]:
    """A fresh folder that everybody may pass through."""
    with temporary_folder(fast_place()) as folder:
        yield folder


@pytest.fixture
def account() -> Account:
    """Who runs PostgreSQL here."""
    return accounts.find()
