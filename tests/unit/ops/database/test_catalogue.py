"""Two snapshots beside each other."""

from __future__ import annotations

from velro_auth.ops.database.catalogue import Difference, compare, expected


def test_equal_snapshots_do_not_differ() -> None:
    assert compare({"a": "1"}, {"a": "1"}) == []


def test_missing_changed_and_unexpected_are_differences() -> None:
    found = compare({"gone": "1", "changed": "1"}, {"changed": "2", "new": "3"})

    assert found == [
        Difference("changed", "1", "2"),
        Difference("gone", "1", "missing"),
        Difference("new", "missing", "3"),
    ]


def test_only_a_policy_of_the_projects_own_is_a_remark() -> None:
    found = compare({'policy "ours"': "1"}, {'policy "ours"': "2", 'policy "theirs"': "3"})

    assert [(one.subject, one.is_remark) for one in found] == [('policy "ours"', False), ('policy "theirs"', True)]


def test_what_was_recorded_gives_a_stranger_nothing() -> None:
    """Recording a mistake would make it the truth: the few lines that matter most are spelt out here."""
    recorded = expected()

    assert recorded["row level security of public.users"] == "on"
    assert recorded["rights of authenticated on public.users"] == "SELECT"
    assert not [name for name in recorded if name.startswith(("rights of anon", "rights of public"))]
    callers = {name: value for name, value in recorded.items() if name.endswith("may be called by")}
    assert set(callers.values()) == {"its owner", "supabase_auth_admin", "authenticated"}
    assert [name.split()[1] for name, value in callers.items() if value == "authenticated"] == [
        "public.velro_auth_end_session(uuid)",
        "public.velro_auth_sessions(uuid)",
    ]
