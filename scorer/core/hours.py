"""The hours of a day in which a host may be used, such as 22:00-08:00, in its user's local time."""

import re
from dataclasses import dataclass
from datetime import time

_FORM = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?- ?(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")


DAY_S = 86_400


def _second(local: time) -> int:
    return 3600 * local.hour + 60 * local.minute + local.second


@dataclass(frozen=True, slots=True)
class Hours:
    """From `start` until just before `end`; over midnight when `end` is not later than `start`."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Read HH:MM-HH:MM; ValueError says what is wrong with anything else."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError('must look like "22:00-08:00"')
        start_h, start_min, end_h, end_min = match.groups(default="00")  # an end of 24:00 is the next day's 00:00
        hours = cls(time(int(start_h), int(start_min)), time(int(end_h), int(end_min)))
        if hours.start == hours.end:
            raise ValueError("begins and ends at the same time; leave it out for the whole day")
        return hours

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def covers(self, local: time) -> bool:
        """Whether a local time of day lies within."""
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def covered_s(self, local: time, ahead_s: float) -> float:
        """Return how many of the seconds ahead lie within, from a local time of day on; every day has 24 hours here."""
        length_s = (_second(self.end) - _second(self.start)) % DAY_S
        since_s = (_second(local) - _second(self.start)) % DAY_S
        days, rest_s = divmod(since_s + ahead_s, DAY_S)
        return days * length_s + min(rest_s, length_s) - min(since_s, length_s)
