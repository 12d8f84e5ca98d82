"""The simulation of growth: what is known of queues has to come out of it."""

from __future__ import annotations

import random
from xml.etree import ElementTree as ET

import pytest

from benchmarks.growth.__main__ import RATES, compared, level
from benchmarks.growth.drawing import Curve, log_log
from benchmarks.growth.measured import Run
from benchmarks.growth.simulation import Costs, Machine

MS = 0.001


@pytest.mark.parametrize(
    ("processes", "cores", "costs", "per_s"),
    [
        (1, 4, Costs(2 * MS, 0.0), 500),
        (2, 4, Costs(2 * MS, 0.0), 1000),
        (4, 2, Costs(2 * MS, 0.0), 1000),
        (4, 8, Costs(2 * MS, 1 * MS), 1000),
        (1, 1, Costs(2 * MS, 1 * MS, 1 * MS, 1 * MS), 200),
        (8, 8, Costs(2 * MS, 0.1 * MS, generator=4 * MS), 250),
    ],
    ids=["one process", "two", "more processes than cores", "Redis", "one core for all", "the load generator"],
)
def test_the_scarcest_decides(processes: int, cores: int, costs: Costs, per_s: float) -> None:
    found = Machine(cores).closed(costs, processes=processes, clients=32, logins=1500)

    assert found == pytest.approx(per_s, rel=0.02)


def test_a_queue_is_as_long_as_the_formula_says() -> None:
    """Exponential service at 60 %: 1 / (1 - 0.6) times the service, in the mean. Four steps make it a bit less."""
    machine = Machine(8, random.Random(5))  # noqa: S311

    took_s = machine.opened(Costs(2 * MS, 0.0), processes=1, per_s=300, logins=10_000)

    mean_s = sum(took_s) / len(took_s)
    assert 2 * MS / 0.4 * 0.9 < mean_s < 2 * MS / 0.4 * 1.25


def test_a_wait_without_a_core_takes_none() -> None:
    machine = Machine(1, random.Random(5))  # noqa: S311

    took_s = machine.opened(Costs(1 * MS, 0.0, wait_s=0.07), processes=1, per_s=100, logins=2000)

    assert 0.07 < sum(took_s) / len(took_s) < 0.073


def test_the_round_with_the_median_difference_counts() -> None:
    """In one of three rounds something else used the machine while two processes were measured."""
    costs = Costs(2 * MS, 0.0)
    turns = [[Run(1, 500.0, costs, {}), Run(2, per_s, costs, {})] for per_s in (980.0, 300.0, 1010.0)]

    runs, says = compared(turns, 4)

    assert [run.per_s for run in runs] == [500.0, 980.0]
    assert says == pytest.approx({1: 500, 2: 1000}, rel=0.02)


def test_more_logins_need_more_of_everything() -> None:
    levels = [level(Costs(1 * MS, 0.2 * MS), per_s, 10.0, logins=500) for per_s in RATES]

    assert [each.replicas for each in levels] == sorted(each.replicas for each in levels)
    assert levels[0].replicas == 1
    assert levels[-1].replicas == 9
    assert levels[-1].redis_shards == 4
    assert [each.limit for each in (levels[0], levels[-1])] == [
        "Supabase's processors",
        "one shard of Redis (key `service`)",
    ]
    assert levels[3].own_p95_ms < 20


def test_a_drawing_is_svg_with_every_curve() -> None:
    text = log_log([Curve("a & b", [(10, 1), (1000, 50)]), Curve("c", [(10, 2), (1000, 2)])], x="x", y="y")

    drawn = ET.fromstring(text)  # noqa: S314 - our own
    lines = [each for each in drawn.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 2
    assert "a & b" in [each.text for each in drawn.iter()]
