"""What a person sees while a run goes on: views of one's own run, and watching somebody else's."""

from scorer.live.tape import apart
from scorer.live.views import JsonView, PlainView, TerminalView

__all__ = ["JsonView", "PlainView", "TerminalView", "apart"]
