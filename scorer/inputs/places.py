"""Which files a dataset is made of: a file, a folder, a glob, or a folder that `datasets` has saved.

Files come in natural order (`part-2` before `part-10`), so that rows have the same index each time. Nothing is left out
silently: files of several formats are refused, and those of no known format are counted in a note. Hidden files and
those that begin with `_`, which Spark and its kin leave behind, are no data.
"""

import glob
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from scorer.core.checked import quoted
from scorer.core.utf8 import check_utf8
from scorer.errors import UsageError
from scorer.inputs.formats import kind_of, known_suffixes
from scorer.inputs.trouble import reading

_STATE = "state.json"
_SPLITS = "dataset_dict.json"
_NUMBER = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """`source` is absolute; `files` are absolute paths in order, of one format; `notes` are lines to print."""

    source: str
    format: str
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find(source: str) -> Place:
    """Return the files that a source means. Raises UsageError with the nearest thing that would do."""
    try:
        place = _found(source)
    except OSError as error:
        # a folder that one may not enter, or a name that is too long for any file
        raise UsageError(f"cannot read the dataset {quoted(source)}: {error.strerror}") from None
    for file in place.files:
        check_utf8(file, "the dataset's file")
    return place


def _found(source: str) -> Place:
    path = absolute(source)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return _file(path)
    if path.is_symlink():
        raise UsageError(f"dataset {source} is a link to {path.readlink()}, which is not there")
    if glob.has_magic(source):
        matched = [Path(name) for name in glob.glob(str(path), recursive=True)]
        files = [match for match in matched if match.is_file()]
        if not files:
            raise UsageError(f"dataset {source}: no file matches this pattern")
        return _several(path, files)
    near = get_close_matches(path.name, _neighbours(path), 1, 0.5)
    hint = f"did you mean {Path(source).with_name(near[0])}?" if near else f"give a file: {known_suffixes()}"
    raise UsageError(f"dataset {source} does not exist: {hint}")


def absolute(source: str) -> Path:
    """Return where a source is; UsageError if its path is not UTF-8, or it is empty, as of a variable that is not set.

    For a path that would be the current folder, and so whatever lies there.
    """
    if not source.strip():
        raise UsageError("the dataset's name is empty: name a file, a folder or a glob; `.` is the current folder")
    path = Path(source).absolute()
    check_utf8(str(path), "dataset")
    return path


def naturally(path: str | Path) -> list[tuple[int, str]]:
    """Return the key by which paths sort as people count: `part-2` before `part-10`."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in _NUMBER.split(str(path)) if piece]


def _file(path: Path) -> Place:
    if not path.is_file():
        raise UsageError(f"dataset {path} is not a regular file: save it as one first")
    format_, packed = kind_of(path.name)
    if not format_:
        inside = kind_of(path.stem)[0] if packed else ""
        if inside:
            raise UsageError(f"dataset {path}: a {inside} file compressed as a whole cannot be read: decompress it")
        raise UsageError(f"dataset {path}: cannot tell its format by its name, which must end in {known_suffixes()}")
    return Place(str(path), format_, (str(path),))


def _folder(path: Path) -> Place:
    if (path / _SPLITS).is_file():
        splits = _listed(path / _SPLITS, "splits")
        raise UsageError(
            f"dataset {path} has several splits: name one of {', '.join(str(path / str(split)) for split in splits)}"
        )
    if (path / _STATE).is_file():
        return _saved(path)
    with reading(str(path)):
        files = [entry for entry in path.iterdir() if entry.is_file()]
    # in a folder of data files, JSON without lines is about the data
    files = [entry for entry in files if entry.suffix.lower() != ".json"]
    if not any(kind_of(entry.name)[0] for entry in files):
        raise UsageError(f"dataset {path} is a folder without a file to read: {_deeper(path)}")
    return _several(path, files)


def _deeper(path: Path) -> str:
    """Say where in a folder the data may be."""
    for entry in sorted(path.iterdir(), key=naturally):
        if entry.is_dir() and not _is_hidden(entry):
            if (entry / _STATE).is_file() or (entry / _SPLITS).is_file():
                return f"did you mean {entry}?"
            for inside in sorted(entry.iterdir(), key=naturally):
                if kind_of(inside.name)[0]:
                    return f"did you mean {entry}, or '{path}/**/*{inside.suffix}'?"
        elif entry.suffix.lower() == ".json":
            return f"if its .json files are JSON Lines, say '{path}/*.json'"
    return f"known are {known_suffixes()}"


def _several(source: Path, files: Iterable[Path]) -> Place:
    """Take all files of a folder or glob that are data; they must be of one kind."""
    seen = sorted((path for path in files if not _is_hidden(path)), key=naturally)
    known = [path for path in seen if kind_of(path.name)[0]]
    if not known:
        raise UsageError(f"dataset {source}: none of its files can be read; names must end in {known_suffixes()}")
    kinds = Counter(kind_of(path.name) for path in known)
    if len(kinds) > 1:
        found = " and ".join(f"{count:,} {name}{packed}" for (name, packed), count in kinds.most_common())
        folder = source if source.is_dir() else source.parent
        raise UsageError(
            f"dataset {source} mixes files of several kinds ({found}): name one, like '{folder}/*{known[0].suffix}'"
        )
    others = [path.name for path in seen if not kind_of(path.name)[0]]
    notes = []
    if len(known) > 1:
        notes.append(f"{len(known):,} files are read in order, from {known[0].name} to {known[-1].name}")
    if others:
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        notes.append(f"{len(others):,} other {'files are' if len(others) > 1 else 'file is'} left out: {shown}")
    return Place(str(source), kind_of(known[0].name)[0], tuple(map(str, known)), tuple(notes))


def _saved(path: Path) -> Place:
    """Return the Arrow files of a folder that `datasets` has saved, in its own order."""
    entries = _listed(path / _STATE, "_data_files")
    files = [path / str(entry.get("filename") if isinstance(entry, dict) else entry) for entry in entries]
    for file in files:
        if not file.is_file():
            raise UsageError(f"dataset {path} was saved with {file.name}, which is not there: copy the whole folder")
    if not files:
        raise UsageError(f"dataset {path} has no rows: it was saved without data files")
    return Place(str(path), "arrow", tuple(map(str, files)))


def _listed(path: Path, key: str) -> Sequence[object]:
    """Return a list out of one of the JSON files that `datasets` writes."""
    with reading(str(path)):
        text = path.read_bytes()
    try:
        found = json.loads(text)[key]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged: `datasets` writes a list `{key}` there ({error})") from error
    if not isinstance(found, list):
        raise UsageError(f"{path} is damaged: `{key}` is no list")
    return found


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "_"))


def _neighbours(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir() if entry.is_dir() or kind_of(entry.name)[0]]
    except OSError:
        return []  # only a hint is lost: the folder itself is missing or closed to us
