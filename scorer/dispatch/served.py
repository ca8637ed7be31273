"""One model as one host serves it.

A request is asked, judged and recorded by what was in force when its row was taken: while it is in flight the host may
lose the model, or serve another under its name.
"""

from dataclasses import dataclass

from scorer.hosts.base import Frame, ModelInfo


@dataclass(frozen=True, slots=True)
class Served:
    """What a host reports of a model, and what all requests for it share."""

    model: ModelInfo
    frame: Frame
