"""What a power cut may leave of recorded operations: every legal content of the disk, one after the other.

The disk is as unkind as POSIX allows. A file's bytes are safe after its own sync, a name after its folder's sync, and a
synced file's name is not safe by that. Of what is not safe any part may be there, in any order: so a rename may have
made the new name and kept the old one, or removed the old one and made no new one, and of writes the last may be there
and the first not. A write may be torn.

Exhaustive means: between two syncs nothing is taken back, so the moments just before each sync hold all others. At each
of them all subsets of the unsafe names are crossed with the contents of each file: none of its unsafe writes, all,
each beginning, all but one, each beginning with its last write torn. If that is more than `MOST` at one moment, names
and contents are not crossed with each other, but each with nothing and with all of the other.

One thing is put together: in the folder of unfinished files, which the next run clears unseen, leftovers are all there,
all gone, or as if nothing had been removed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from disk import Op

MOST = 400
SCRATCH = ".unfinished"
FOLDER = -1

Change = tuple[Path, int | None]


@dataclass(slots=True)
class _File:
    safe: bytes = b""
    unsafe: list[tuple[int, bytes | None]] = field(default_factory=list)

    def contents(self) -> list[bytes]:
        """All that may be found in it, the two extremes first."""
        count = len(self.unsafe)
        whole = self.made_of(self.unsafe)
        found = [self.safe, whole]
        for i in range(count):
            begun, (offset, data) = self.unsafe[:i], self.unsafe[i]
            found += [self.made_of(begun), self.made_of(begun + self.unsafe[i + 1 :])]
            if data:
                found.append(self.made_of([*begun, (offset, data[: len(data) // 2])]))
        return list(dict.fromkeys(found))

    def made_of(self, changes: Iterable[tuple[int, bytes | None]]) -> bytes:
        content = bytearray(self.safe)
        for at, data in changes:
            if data is None:
                del content[at:]
            else:
                content.extend(bytes(max(0, at - len(content))))
                content[at : at + len(data)] = data
        return bytes(content)


@dataclass(frozen=True, slots=True)
class Left:
    """What is on the disk after a cut: files with their bytes, folders, and the promises made before."""

    files: dict[Path, bytes]
    folders: frozenset[Path]
    promises: tuple[object, ...]
    moment: str

    def put_into(self, root: Path, folder: Path) -> None:
        """Make it anew in another place."""
        for path in sorted(self.folders):
            (folder / path.relative_to(root)).mkdir(parents=True, exist_ok=True)
        for path, content in self.files.items():
            (folder / path.relative_to(root)).write_bytes(content)


class _Model:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: list[_File] = []
        self._safe_names: dict[Path, int] = {}
        self._names: dict[Path, int] = {}
        self._unsafe: list[Change] = []
        self._promises: list[object] = []

    def apply(self, op: Op) -> None:
        match op.kind:
            case "create":
                self._files.append(_File())
                self._change(op.path, len(self._files) - 1)
            case "mkdir":
                self._change(op.path, FOLDER)
            case "write":
                self._at(op.path).unsafe.append((op.offset, op.data))
            case "truncate":
                self._at(op.path).unsafe.append((op.offset, None))
            case "sync":
                file = self._at(op.path)
                file.safe, file.unsafe = file.made_of(file.unsafe), []
            case "rename":
                assert op.target is not None
                moved = self._names[op.path]
                self._change(op.target, moved)
                self._change(op.path, None)
            case "unlink":
                self._change(op.path, None)
            case "sync_folder":
                self._sync_folder(op.path)
            case "ack":
                self._promises.append(op.promise)

    def _at(self, path: Path) -> _File:
        return self._files[self._names[path]]

    def _change(self, path: Path, value: int | None) -> None:
        self._unsafe.append((path, value))
        _set(self._names, path, value)

    def _sync_folder(self, folder: Path) -> None:
        for path, value in self._unsafe:
            if path.parent == folder:
                _set(self._safe_names, path, value)
        self._unsafe = [(path, value) for path, value in self._unsafe if path.parent != folder]

    # -- what a cut leaves now ---------------------------------------------------------------------------------------

    def lefts(self, moment: str) -> Iterator[Left]:
        """Everything that may be on the disk if the power goes now."""
        names = self._namings()
        unsafe = [number for number, file in enumerate(self._files) if file.unsafe]
        choices = [self._files[number].contents() for number in unsafe]
        contents = [dict(zip(unsafe, chosen, strict=True)) for chosen in product(*choices)]
        if len(names) * len(contents) <= MOST:
            pairs = list(product(names, contents))
        else:
            nothing, everything = dict(self._safe_names), dict(self._names)
            extremes = [{n: self._files[n].contents()[i] for n in unsafe} for i in (0, min(1, len(unsafe)))]
            singles = [{**extremes[1], n: content} for n in unsafe for content in self._files[n].contents()]
            pairs = [*product(names, extremes), *product((nothing, everything), singles)]
        for naming, content in pairs:
            yield self._left(naming, content, moment)

    def _namings(self) -> list[dict[Path, int]]:
        plain = [change for change in self._unsafe if change[0].parent.name != SCRATCH]
        scratch = [change for change in self._unsafe if change[0].parent.name == SCRATCH]
        kept = [change for change in scratch if change[1] is not None]
        found: dict[frozenset[tuple[Path, int]], dict[Path, int]] = {}
        for of_scratch in (scratch, [], kept):
            for taken in product((True, False), repeat=len(plain)):
                naming = dict(self._safe_names)
                chosen = [change for change, is_there in zip(plain, taken, strict=True) if is_there]
                for path, value in [*chosen, *of_scratch]:
                    _set(naming, path, value)
                found[frozenset(naming.items())] = naming
        return list(found.values())

    def _left(self, naming: dict[Path, int], content: dict[int, bytes], moment: str) -> Left:
        reachable = {path: value for path, value in naming.items() if self._is_reachable(path, naming)}
        files = {
            path: content.get(value, self._files[value].safe) for path, value in reachable.items() if value != FOLDER
        }
        folders = frozenset(path for path, value in reachable.items() if value == FOLDER)
        return Left(files, folders, tuple(self._promises), moment)

    def _is_reachable(self, path: Path, naming: dict[Path, int]) -> bool:
        above = [folder for folder in path.parents if self._root in folder.parents]
        return all(naming.get(folder) == FOLDER for folder in above)


def _set(names: dict[Path, int], path: Path, value: int | None) -> None:
    if value is None:
        names.pop(path, None)
    else:
        names[path] = value


def lefts(root: Path, ops: Sequence[Op]) -> Iterator[Left]:
    """Everything that a power cut may leave of these operations below `root`, each once."""
    model, seen = _Model(root), set()
    for number, op in enumerate(ops):
        if op.kind in ("sync", "sync_folder") or number == len(ops) - 1:
            if number == len(ops) - 1 and op.kind not in ("sync", "sync_folder"):
                model.apply(op)
            for left in model.lefts(f"before operation {number}, {op.kind} {op.path.name}"):
                key = hash((frozenset(left.files.items()), left.folders, len(left.promises)))
                if key not in seen:
                    seen.add(key)
                    yield left
        if number < len(ops) - 1:
            model.apply(op)
