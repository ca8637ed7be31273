"""What a shell offers for a half-typed word: names of jobs, of templates, of ways to die.

Called on every press of the tab key, so nothing heavy is read: folders, not databases. It never fails loudly; a shell
would show that in the middle of a command line.
"""

from pathlib import Path

import typer

from scorer.errors import FaultKind, UsageError


def job_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the jobs of the runs folder that is named so far, the last active one first."""
    from scorer.jobs.folder import jobs_in

    try:
        folders = jobs_in(Path(ctx.params.get("runs_dir") or "runs"))
    except UsageError:
        return []
    return [folder.name for folder in reversed(folders) if folder.name.startswith(incomplete)]


def template_names(incomplete: str) -> list[str]:
    """Return the shipped templates and the template files that begin so."""
    from scorer import templates

    names = [template.name for template in templates.shipped()]
    return [name for name in names if name.startswith(incomplete)] + files(incomplete, ".toml")


def suite_names(incomplete: str) -> list[str]:
    """Return the shipped suites, the subsets of one once it is named, and the suite files that begin so."""
    from scorer.suites.catalogue import shipped

    names = [f"{s.name}/{subset}" for s in shipped() if incomplete.startswith(f"{s.name}/") for subset in s.subsets]
    names += [suite.name for suite in shipped()]
    return [name for name in names if name.startswith(incomplete)] + files(incomplete, ".toml")


def hosts_files(incomplete: str) -> list[str]:
    """Return the TOML files and the folders that begin so."""
    return files(incomplete, ".toml")


def fault_kinds(incomplete: str) -> list[str]:
    """Return the kinds of which rows may be dead."""
    return [kind.value for kind in FaultKind if kind.value.startswith(incomplete)]


def files(incomplete: str, suffix: str) -> list[str]:
    """Return the files with a suffix, and the folders, whose path begins so."""
    folder, _, start = incomplete.rpartition("/")
    prefix = incomplete[: len(incomplete) - len(start)]
    try:
        found = sorted(Path(folder or ("/" if prefix else ".")).iterdir())
    except OSError:
        return []
    fitting = [path for path in found if path.name.startswith(start) and (start or not path.name.startswith("."))]
    return [
        f"{prefix}{path.name}{'/' if path.is_dir() else ''}"
        for path in fitting
        if path.suffix == suffix or path.is_dir()
    ]
