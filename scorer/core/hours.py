"""The hours of a day in which a host may be used, such as 22:00-08:00, in its user's local time."""

import re
from dataclasses import dataclass
from datetime import time

_FORM = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?- ?(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")


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
