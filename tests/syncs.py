"""Which names are on the platter: every sync of a file or folder, written down while it really happens."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch


@dataclass
class Syncs:
    """The sizes of files, and the names in folders, at their last sync; by inode, since files are renamed."""

    sizes: dict[int, int] = field(default_factory=dict)
    names: dict[int, set[str]] = field(default_factory=dict)

    def keeps(self, path: Path, below: Path) -> bool:
        """Whether a power cut would leave this file whole, in the folders it is in, all made below one that was."""
        made = [path, *(folder for folder in path.parents if folder.is_relative_to(below) and folder != below)]
        named = all(one.name in self.names.get(one.parent.stat().st_ino, ()) for one in made)
        return named and self.sizes.get(path.stat().st_ino) == path.stat().st_size

    def _note(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        self.sizes[found.st_ino] = found.st_size
        if os.path.isdir(descriptor):
            self.names[found.st_ino] = set(os.listdir(descriptor))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at what this process syncs meanwhile."""
        real = os.fsync

        def sync(descriptor: int) -> None:
            real(descriptor)
            self._note(descriptor)

        with patch.object(os, "fsync", sync):
            yield
