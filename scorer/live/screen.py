"""A part of a terminal in which lines stay in place and are drawn again and again.

All escape sequences are rich's own. Lines already fit the terminal, so a frame never wraps. When the size changes,
what was drawn before has been wrapped anew by the terminal in a way nobody can know, so the screen is cleared (most
terminals keep what was on it in their history) and drawing starts at the top.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.text import Text

from scorer.live.lines import Paper


class Screen:
    """The living part of a terminal, as a context manager; what is printed on its console meanwhile goes above."""

    def __init__(self, console: Console, *, keep: bool = False) -> None:
        self._console = console
        self._keep = keep
        self._size = console.size
        self._live = self._new()

    def stop(self) -> None:
        """End: the cursor is back, and the picture gone unless it is to be kept."""
        self._live.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def draw(self, lines: Callable[[Paper], list[Text]]) -> None:
        """Replace the picture by what is drawn for the terminal's present size."""
        size = self._console.size
        if size != self._size:
            self._size = size
            self._live.transient = True
            self._live.stop()
            self._console.control(Control.clear(), Control.home())
            self._live = self._new()
        if not self._live.is_started:
            self._live.start()
        paper = Paper(size.width, size.height, self._console.options.ascii_only)
        self._live.update(Group(*lines(paper)), refresh=True)

    def _new(self) -> Live:
        return Live(console=self._console, auto_refresh=False, transient=not self._keep)
