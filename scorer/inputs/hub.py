"""Datasets of the Hugging Face Hub: `hf://name[@revision][:config][/split]`.

`datasets` downloads them and keeps them as Arrow files in its cache; those files are what is read from then on, so that
a job goes on without network and without `datasets`. Only `_prepared` talks to the network. Code from the Hub is never
run: `datasets` refuses it.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from scorer.errors import UsageError

PREFIX = "hf://"
GRAMMAR = "hf://NAME[@REVISION][:CONFIG][/SPLIT], where NAME is name or org/name"
_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
_WORD = re.compile(r"[^/:@\[\]]+")
_LIST = re.compile(r"\[(.*?)\]", re.DOTALL)
_REASON_CHARS = 300
_CACHE_MODULE = ".packaged_modules.cache.cache"


@dataclass(frozen=True, slots=True)
class HubName:
    """A dataset of the Hub; empty parts are left to it."""

    repo: str
    revision: str = ""
    config: str = ""
    split: str = ""

    def __str__(self) -> str:
        config = f":{self.config}" if self.config or (self.split and "/" not in self.repo and not self.revision) else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repo}{revision}{config}{'/' + self.split if self.split else ''}"

    def at(self, revision: str) -> Self:
        """Return the same dataset at a revision, if there is one to say."""
        return replace(self, revision=revision) if revision else self


@dataclass(frozen=True, slots=True)
class Cached:
    """A split as it lies in the cache: its Arrow files in order, and the commit they were made of."""

    files: tuple[str, ...]
    revision: str


def is_hub(source: str) -> bool:
    """Whether a source names a dataset of the Hub."""
    return source.startswith(PREFIX)


def missing(files: Sequence[str]) -> bool:
    """Whether any of the cached files is gone."""
    return not all(Path(path).is_file() for path in files)


def parse(source: str) -> HubName:
    """Take a source apart. Raises UsageError that shows the grammar.

    Two parts without `:` or `@` are org/name; a split of a dataset without org is `hf://name:/split`.
    """
    text = source.removeprefix(PREFIX).removeprefix("datasets/")
    repo, colon, config = text.partition(":")
    split = ""
    if colon:
        config, _, split = config.partition("/")
    elif "@" in repo:
        before, _, after = repo.partition("@")
        revision, _, split = after.partition("/")
        repo = f"{before}@{revision}"
    elif repo.count("/") == 2:
        repo, _, split = repo.rpartition("/")
    repo, _, revision = repo.partition("@")
    words = [word for word in (revision, config, split) if word]
    if not _NAME.fullmatch(repo) or not all(_WORD.fullmatch(word) for word in words):
        hint = "; for a part of a split there are --limit and --sample" if "[" in text else ""
        raise UsageError(f"{source} is not {GRAMMAR}{hint}")
    return HubName(repo, revision, config, split)


def fetch(name: HubName) -> Cached:
    """Return a split's files, downloaded if they are not in the cache. Raises UsageError, in one or two lines."""
    builder = _prepared(name)
    # Without network `datasets` takes what the cache has newest, whichever revision was asked for.
    if name.revision and builder.hash != name.revision and type(builder).__module__.endswith(_CACHE_MODULE):
        raise UsageError(
            f"{name}: the Hub cannot be reached, and the cache has but revision {builder.hash}; "
            f"connect once, or say {name.at(builder.hash)}"
        )
    splits = list(builder.info.splits or {})
    split = name.split or (splits[0] if len(splits) == 1 else "")
    if split not in splits:
        said = f"has no split `{split}`" if split else "has several splits"
        near = get_close_matches(split, splits, 1) if split else []
        example = replace(name, split=near[0] if near else splits[0]) if splits else name
        raise UsageError(f"{name} {said}; it has {', '.join(splits) or 'none'}: name one, like {example}")
    files = tuple(str(Path(entry["filename"]).absolute()) for entry in builder.as_dataset(split=split).cache_files)
    return Cached(files, str(builder.hash or ""))


def _prepared(name: HubName) -> Any:  # noqa: ANN401 - a DatasetBuilder, of a library without types
    """Have `datasets` find a dataset and write all its splits to the cache. The one call that needs the network."""
    import datasets
    import httpx

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        builder = datasets.load_dataset_builder(
            # the prefix keeps a folder of the same name here from being taken for it
            f"{PREFIX}datasets/{name.repo}",
            name.config or None,
            # a revision with a slash in it, like refs/convert/parquet, is written %2F
            revision=unquote(name.revision) or None,
        )
        builder.download_and_prepare()
    except (OSError, ValueError, RuntimeError, httpx.HTTPError, datasets.exceptions.DatasetsError) as error:
        raise _refused(name, error) from error
    return builder


def _refused(name: HubName, error: Exception) -> UsageError:
    text = " ".join(str(error).split())
    if "gated" in text or "authenticated" in text:
        return UsageError(
            f"{name} is gated: ask for access on its page, then log in with `hf auth login` (or set HF_TOKEN)"
        )
    if "scripts are no longer supported" in text:
        return UsageError(
            f"{name} is made by a script, which is code that is not run here; look for a Parquet version of it, "
            f"like {name.at('refs%2Fconvert%2Fparquet')}"
        )
    if isinstance(error, ValueError) and "onfig" in text and (found := _LIST.search(text)):
        configs = [part.strip(" '\"") for part in found[1].split(",")]
        said = f"has no configuration `{name.config}`" if name.config else "has several configurations"
        near = get_close_matches(name.config, configs, 1) or configs
        example = replace(name, config=near[0])
        return UsageError(f"{name} {said}; it has {', '.join(configs)}: name one, like {example}")
    if "doesn't exist on the Hub" in text or "Revision" in text:
        return UsageError(f"{name}: {text[:_REASON_CHARS]} (it may also be private: `hf auth login`, or set HF_TOKEN)")
    if _no_network(error):
        return UsageError(
            f"{name} is not in the cache and the Hugging Face Hub cannot be reached ({type(error).__name__}): "
            "connect once to download it, or give the files themselves"
        )
    return UsageError(f"{name} cannot be loaded: {type(error).__name__}: {text[:_REASON_CHARS]}")


def _no_network(error: BaseException | None) -> bool:
    import httpx

    while error is not None:
        if isinstance(error, ConnectionError | httpx.TransportError) or type(error).__name__ == "OfflineModeIsEnabled":
            return True
        error = error.__cause__ or error.__context__
    return False
