"""What a simulated run has told and kept, for tests to look at."""

import contextlib
import sqlite3

from simulation.world import OVER_A_SLEEP, World

from scorer.dispatch.events import Event


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.view.events]


def marks(world: World) -> list[tuple[str, str]]:
    """Blame and kind of every failed try that the database holds against a row."""
    with contextlib.closing(sqlite3.connect(f"file:{world.job / 'queue.sqlite'}?mode=ro", uri=True)) as db:
        return db.execute("SELECT blame, kind FROM attempt").fetchall()


def lost_over_a_sleep(world: World) -> tuple[set[str], list[Event]]:
    """Who is blamed for tries that broke over a sleep of this machine, and the hosts that were put aside for one."""
    with contextlib.closing(sqlite3.connect(f"file:{world.job / 'queue.sqlite'}?mode=ro", uri=True)) as db:
        blamed = db.execute("SELECT DISTINCT blame FROM attempt WHERE instr(message, ?)", (OVER_A_SLEEP,))
        names = {name for (name,) in blamed}
    return names, [e for e in world.view.events if e.kind == "host_down" and OVER_A_SLEEP in e.text]
