"""`scorer run` by its library: SQLite queue, Parquet out. Killed, it goes on where it was."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
from job import finished, told

from scorer.dispatch.events import Event, Progress
from scorer.jobs.run import run
from scorer.jobs.submit import RunOptions


class _Quiet:
    """A view that shows nothing."""

    def event(self, _event: Event) -> None:
        """Ignore it."""

    async def watch(self, _progress: Progress) -> None:
        """Show nothing."""


job = told()
folder = Path(job.folder)
hosts = folder / "hosts.toml"
tables = [f'[[hosts]]\nname = "host-{i}"\nurl = "{url}"\nslots = {job.slots}\n' for i, url in enumerate(job.urls)]
hosts.write_text(f'[defaults]\nmodel = "{job.model}"\n' + "\n".join(tables))
ended = run(RunOptions(dataset=job.dataset, hosts=hosts, prompt=job.template, runs_dir=folder / "runs"), _Quiet())


def scores() -> Iterator[tuple[int, object]]:
    """Read the results; dead rows are none."""
    table = ds.dataset(ended.folder / "results").to_table(filter=ds.field("status") == "done")
    yield from zip(table["row"].to_pylist(), table["score"].to_pylist(), strict=True)


finished(scores())
