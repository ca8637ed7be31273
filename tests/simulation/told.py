"""What a simulated run has told and kept, for tests to look at."""

import contextlib
import sqlite3

from simulation.world import World


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.view.events]


def marks(world: World) -> list[tuple[str, str]]:
    """Blame and kind of every failed try that the database holds against a row."""
    with contextlib.closing(sqlite3.connect(f"file:{world.job / 'queue.sqlite'}?mode=ro", uri=True)) as db:
        return db.execute("SELECT blame, kind FROM attempt").fetchall()
