"""What we have observed: how long a host takes for a row, and how many characters make a token.

Averages are of logarithms, so that one reply ten times too slow moves them no more than one ten times too fast.
"""

import math

from scorer.core.task import Reply

DEFAULT_CHARS_PER_TOKEN = 4.0
# text of any script; beyond, a server's count is wrong and must not spoil the others'
LEAST_CHARS_PER_TOKEN = 0.3
MOST_CHARS_PER_TOKEN = 16.0
CALIBRATED_AFTER = 8
MIN_WEIGHT = 0.03


class LogMean:
    """A running geometric mean whose memory fades: weight max(1/(n+1), 0.03) for each new value.

    `value` is the mean, None before the first of the `count` values.
    """

    __slots__ = ("_log", "count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value: float | None = None
        self._log = 0.0

    def add(self, value: float) -> None:
        """Take in one positive value; others say nothing and are ignored."""
        if value <= 0:
            return
        self.count += 1
        weight = max(1 / self.count, MIN_WEIGHT)
        self._log += weight * (math.log(value) - self._log)
        # it is read far oftener than it changes
        self.value = math.exp(self._log)


class TokenRatio:
    """Characters per prompt token of one model and template, learned from what the hosts count."""

    def __init__(self) -> None:
        self._mean = LogMean()

    def learn(self, chars: int, tokens: int | None) -> None:
        """Take in one reply's count, unless no tokeniser could have counted so."""
        if tokens and chars and LEAST_CHARS_PER_TOKEN <= chars / tokens <= MOST_CHARS_PER_TOKEN:
            self._mean.add(chars / tokens)

    @property
    def calibrated(self) -> bool:
        """Whether enough replies were seen to trust the ratio."""
        return self._mean.count >= CALIBRATED_AFTER

    @property
    def chars_per_token(self) -> float:
        """The ratio as it is believed now."""
        return self._mean.value or DEFAULT_CHARS_PER_TOKEN

    def tokens(self, chars: int) -> int:
        """Estimate the prompt tokens of a text of so many characters."""
        return math.ceil(chars / self.chars_per_token)

    def counted(self, reply: Reply, chars: int) -> Reply:
        """Return the reply with estimates of the tokens that its server does not count, to learn the host's speed by.

        `chars` are those of the prompt. Such estimates are never stored.
        """
        if reply.prompt_tokens is not None and reply.output_tokens is not None:
            return reply
        prompt = self.tokens(chars) if reply.prompt_tokens is None else reply.prompt_tokens
        output = self.tokens(len(reply.text)) if reply.output_tokens is None else reply.output_tokens
        return reply._replace(prompt_tokens=prompt, output_tokens=output)


class Pace:
    """How long one host takes for a row, in seconds, as it is under its present number of slots."""

    def __init__(self) -> None:
        self._seconds = LogMean()
        self._chars = LogMean()

    def learn(self, chars: int, seconds: float) -> None:
        """Take in one completed row."""
        self._seconds.add(seconds)
        self._chars.add(chars)

    @property
    def typical_s(self) -> float | None:
        """Seconds of a typical row, None before the first."""
        return self._seconds.value

    def predicted_s(self, chars: int) -> float | None:
        """Seconds expected of a row with so many characters: longer rows in proportion, shorter ones not less."""
        seconds, usual = self._seconds.value, self._chars.value
        if seconds is None or usual is None:
            return None
        return seconds * max(1.0, chars / usual)
