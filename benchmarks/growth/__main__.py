"""What growth costs: ``python -m benchmarks.growth --page docs/explanation/scaling.md``.

Measures what a login costs here, checks the simulation against the real fleet at 1, 2 and 4 processes, and simulates 10
to 10,000 logins a second. Takes about three minutes, on a machine that does nothing else.
"""

from __future__ import annotations

import json
import math
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.growth.drawing import Curve, log_log
from benchmarks.growth.measured import CLIENTS, Run, bytes_per_account, measure
from benchmarks.growth.simulation import Costs, Machine
from benchmarks.servers import Fleet
from velro_auth.ops.bench.figures import percentile

RATES: Final = (10, 30, 100, 300, 1000, 3000, 10_000)
#: A replica of the table: two cores, two processes.
CORES: Final = 2
PROCESSES: Final = 2
#: Processors are used to this share, so that a replica may fail and an hour may be busier than the others.
USE: Final = 0.6
#: What Supabase's hash of a password takes on one core: bcrypt 10, as `benchmarks` models it.
HASH_S: Final = 0.07
#: How far the simulation may be from what was measured.
WITHIN: Final = 0.15
_LOGINS: Final = 20_000
_OFF: Final = (
    f"**More than {WITHIN:.0%} apart.** Something else used the processors during this run, or the simulation is wrong:"
    " repeat it on a machine that does nothing else before you use the numbers below."
)


@dataclass(frozen=True, slots=True)
class Level:
    """What so many logins a second need."""

    per_s: int
    replicas: int
    own_p95_ms: float
    redis_commands_per_s: float
    redis_share: float
    redis_shards: int
    hash_cores: int

    @property
    def limit(self) -> str:
        """What is used up first beyond this rate."""
        if self.redis_share <= USE:
            return "Supabase's processors"
        return "Redis: a cluster, or fewer commands" if self.redis_shards <= 1 else "one shard of Redis (key `service`)"


def predicted(run: Run, processes: int, cores: int) -> float:
    """Return the logins a second that the simulation says for so many processes, by the costs of *run*."""
    return Machine(cores).closed(run.costs, processes=processes, clients=CLIENTS, logins=_LOGINS)


def compared(turns: Sequence[Sequence[Run]], cores: int) -> tuple[list[Run], dict[int, float]]:
    """Return a run of each number of processes, and number of processes → what the simulation says of it.

    The simulation knows the costs of the run with one process in the same round. Of several rounds, the one with the
    median difference counts, for each number of processes.

    Args:
        turns: The runs of each round, the one with one process first.
        cores: Of the machine.
    """
    runs, says = [], {}
    for at, run in enumerate(turns[0]):
        found = [(predicted(turn[0], run.processes, cores), turn[at]) for turn in turns]
        said, median = sorted(found, key=lambda one: one[0] / one[1].per_s)[len(found) // 2]
        runs.append(median)
        says[run.processes] = said
    return runs, says


def level(costs: Costs, per_s: int, commands: float, *, logins: int = _LOGINS) -> Level:
    """Return what *per_s* logins a second need, by what one costs; *logins* are simulated."""
    replicas = max(1, math.ceil(per_s * costs.gateway / (CORES * USE)))
    each = per_s / replicas
    alone = Costs(costs.gateway, costs.redis, wait_s=HASH_S)
    machine = Machine(CORES + 1, random.Random(per_s))  # noqa: S311 - a simulation
    took_s = sorted(machine.opened(alone, processes=PROCESSES, per_s=each, logins=logins))
    share = per_s * costs.redis
    return Level(
        per_s=per_s,
        replicas=replicas,
        own_p95_ms=max(0.0, percentile(took_s, 95) - HASH_S) * 1000,
        redis_commands_per_s=per_s * commands,
        redis_share=share,
        redis_shards=max(1, math.ceil(share / USE)),
        hash_cores=math.ceil(per_s * HASH_S / USE),
    )


@click.command()
@click.option("--seconds", default=8.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", default=3, show_default=True, help="The one with the median difference counts.")
@click.option("--accounts", default=5000, show_default=True, help="For the memory of Redis.")
@click.option("--page", type=click.Path(path_type=Path), help="Write the page and its plots here.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the numbers here.")
@click.option("--first-port", default=19_300, show_default=True, help="Of the servers.")
def main(*, seconds: float, rounds: int, accounts: int, page: Path | None, file: Path | None, first_port: int) -> None:
    """Measure, simulate, compare, and write the page."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryFile() as log:
        fleet = Fleet(first_port=first_port, cores=None, log=log)
        turns = [[measure(fleet, processes, seconds=seconds) for processes in (1, 2, 4)] for _ in range(rounds)]
        memory = bytes_per_account(fleet, accounts=accounts)
    runs, says = compared(turns, cores)
    commands = sum(runs[0].commands.values())
    levels = [level(runs[0].costs, per_s, commands) for per_s in RATES]
    wrong = []
    for run in runs:
        off = says[run.processes] / run.per_s - 1
        wrong += [run.processes] if abs(off) > WITHIN else []
        click.echo(f"{run.processes} processes: {run.per_s:.0f}/s, simulated {says[run.processes]:.0f}/s ({off:+.0%})")
    for each in levels:
        click.echo(str(each))
    facts: dict[str, Any] = {
        "cores": cores,
        "runs": [asdict(run) for run in runs],
        "simulated": says,
        "levels": [asdict(each) for each in levels],
        "bytes_per_account": memory,
    }
    if file:
        file.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    if page:
        _write(page, runs, says, levels, memory)
    if wrong:
        click.echo(f"The simulation is more than {WITHIN:.0%} off at {wrong} processes.")
    raise SystemExit(bool(wrong))


def _write(page: Path, runs: list[Run], says: dict[int, float], levels: list[Level], memory: float) -> None:
    replicas = Curve("replicas", [(each.per_s, each.replicas) for each in levels])
    hashes = Curve("cores for Supabase's hash", [(each.per_s, each.hash_cores) for each in levels])
    shards = Curve("shards of Redis", [(each.per_s, each.redis_shards) for each in levels])
    commands = Curve("commands of Redis a second", [(each.per_s, each.redis_commands_per_s) for each in levels])
    machines, store = page.with_name("scaling-machines.svg"), page.with_name("scaling-redis.svg")
    machines.write_text(log_log([replicas, hashes, shards], x="logins a second", y="how many"), "utf-8")
    store.write_text(log_log([commands], x="logins a second", y="commands a second"), "utf-8")
    template = Path(__file__).with_name("page.md").read_text("utf-8")
    costs = runs[0].costs
    is_off = any(abs(says[run.processes] / run.per_s - 1) > WITHIN for run in runs)
    tables = {
        "verdict": _OFF if is_off else f"All of them are within {WITHIN:.0%}.",
        "compared": "\n".join(
            f"| {run.processes} | {run.per_s:,.0f} | {says[run.processes]:,.0f} |"
            f" {says[run.processes] / run.per_s - 1:+.0%} | {sum(run.commands.values()):.1f} |"
            for run in runs
        ),
        "costs": f"| gateway | {costs.gateway * 1e6:,.0f} µs |\n| Redis | {costs.redis * 1e6:,.0f} µs |",
        "commands": "\n".join(f"| `{name}` | {calls:.2f} |" for name, calls in sorted(runs[0].commands.items())),
        "levels": "\n".join(
            f"| {each.per_s:,} | {each.replicas:,} | {each.own_p95_ms:.1f} ms | {each.redis_commands_per_s:,.0f} |"
            f" {each.redis_share:.0%} | {each.redis_shards} | {each.hash_cores:,} | {each.limit} |"
            for each in levels
        ),
        "memory": f"{memory:,.0f} bytes, {memory / 1000:,.1f} GB for a million accounts",
        "service": f"{USE / costs.redis:,.0f}",
        "machine": f"{len(os.sched_getaffinity(0))} cores",
    }
    for name, text in tables.items():
        template = template.replace(f"{{{name}}}", text)
    page.write_text(template, "utf-8")


if __name__ == "__main__":
    main()
