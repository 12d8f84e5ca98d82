"""The promise: sign-ups go through in every case, or nothing is changed, and the way back restores what was there."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.database.conftest import Cluster
from tests.contract.database.generated import Drawn, build, life, projects
from tests.contract.database.project import Project
from velro_auth.ops.database.errors import MigrationFailed, MigrationRefused

#: What a refusal names; one of them at least.
NAMED = ("public.", "auth.users", '"', "trigger", "constraint", "column", "type")


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=projects(), adopt=st.booleans())
def test_a_project_is_refused_untouched_or_its_users_fare_as_before(
    cluster: Cluster, drawn: Drawn, *, adopt: bool
) -> None:
    project = cluster.project("open")
    try:
        build(project, drawn)
        before, fared = structure(project.dump("--schema-only")), life(project)
        warnings: list[str] = []
        if refusal := refused(project, warnings, adopt=adopt):
            assert any(name in refusal for name in NAMED), refusal
            assert structure(project.dump("--schema-only")) == before
            return
        fares = life(project)
        closed = any("may no longer write" in line for line in warnings)
        lost = {
            step: fares.get(step)
            for step, how in fared.items()
            if how == "ok" and fares.get(step) != "ok" and not (closed and step.endswith("profile"))
        }
        assert lost == {}
        project.runner().backfill()
        project.runner().down(steps=99, drop_data=True)
        assert structure(project.dump("--schema-only")) == before
        assert life(project) == fared
    finally:
        cluster.drop(project)


def refused(project: Project, warnings: list[str], *, adopt: bool) -> str:
    """Apply the migrations, and return why they were refused; empty where they were not."""
    try:
        project.runner(on_notice=warnings.append).up(adopt=adopt)
    except (MigrationRefused, MigrationFailed) as refusal:
        return str(refusal)
    return ""


def structure(dump: str) -> list[str]:
    """Return the lines of a dump in an order of their own: that of grants says nothing."""
    return sorted(dump.splitlines())
