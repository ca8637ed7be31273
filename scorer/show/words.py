"""Words and figures as people read them: durations, rates, moments, tables; and text of strangers made harmless."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.cells import cell_len

NOT_KNOWN = "?"
RATE_UNITS = ((1.0, "rows/s"), (60.0, "rows/min"), (3600.0, "rows/h"))
# what a rate near zero promises is no date: calendars end in the year 9999
FOREVER_S = 100 * 365.25 * 86_400
_KEPT = frozenset("\n\t")


def harmless(text: str) -> str:
    """Return text of a server, a model or a dataset without what could move a cursor or turn a line around.

    Control characters, escape sequences' beginnings, direction overrides, zero-width and unassigned characters become
    a space; line ends and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _KEPT else " " for char in text)


def one_line(text: str) -> str:
    """Return harmless text in one line, each run of white space as one space."""
    return " ".join(harmless(text).split())


def shortened(text: str, cells: int) -> str:
    """Return harmless text in one line of at most so many columns of a terminal, with … where it was cut."""
    line = one_line(text)
    if cell_len(line) <= cells:
        return line
    kept, width = [], 0
    for char in line:
        width += cell_len(char)
        if width > cells - 1:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…" if cells > 0 else ""


def duration(seconds: float | None) -> str:
    """Return a duration as people say it: `47s`, `12m`, `3h05`, `14d 6h`, `100+ years`; `?` if it is not known."""
    if seconds is None:
        return NOT_KNOWN
    if seconds > FOREVER_S:
        return "100+ years"
    minutes = int(seconds // 60)
    if seconds < 60:
        return f"{int(seconds)}s"
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}"
    if minutes < 100 * 1440:
        return f"{minutes // 1440}d {minutes // 60 % 24}h"
    return f"{minutes // 1440:,}d"


def about(seconds: float | None) -> str:
    """Return a duration as one says what is only guessed: `40 minutes`, `14 hours`, `14 days`."""
    if seconds is None:
        return "nobody knows how long"
    if seconds > FOREVER_S:
        return "100 years or more"
    for size_s, word, least in ((86400, "day", 2), (3600, "hour", 2), (60, "minute", 2)):
        if seconds >= least * size_s:
            count = seconds / size_s
            return f"{count:.1f} {word}s" if count < 5 and size_s > 60 else f"{count:,.0f} {word}s"
    return f"{max(seconds, 1):.0f} seconds" if seconds >= 2 else "a second or two"


def file_size(size_bytes: int) -> str:
    """Return the size of a file: `0.2 kB`, `30.4 kB`, `1,234.5 MB`."""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def rate(rows_per_s: float) -> str:
    """Return a rate in the unit in which it is easiest to think of."""
    factor, unit = rate_unit(rows_per_s)
    return f"{rows_per_s * factor:,.1f} {unit}"


def rate_unit(rows_per_s: float) -> tuple[float, str]:
    """Return the unit in which a rate is easiest to think of: how many of it are one row a second, and its name."""
    if rows_per_s == 0:
        return RATE_UNITS[0]
    return next((unit for unit in RATE_UNITS if rows_per_s * unit[0] >= 1), RATE_UNITS[-1])


def figure(value: float) -> str:
    """Return a figure with two or three digits that count, in at most seven places: `0.012`, `1.25`, `2,346`."""
    if value == 0:
        return "0"
    if value >= 99.95:
        return f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:,.1f}M"
    if value >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}"


def moment(seconds: float) -> str:
    """Return a time (UTC seconds) as the clock here shows it."""
    return f"{_local(seconds):%Y-%m-%d %H:%M}"


def coming(seconds: float, now: float) -> str:
    """Return a time to come (UTC seconds): `14:05`, `Tue 14:05`, `Tue 24 Nov`, `March 2027`, `in 100+ years`."""
    if seconds - now > FOREVER_S:
        return "in 100+ years"
    then, today = _local(seconds), _local(now)
    days = (then.date() - today.date()).days
    if days == 0:
        return f"{then:%H:%M}"
    if days < 3:
        return f"{then:%a %H:%M}"
    return f"{then:%a} {then.day} {then:%b}" if then - today < timedelta(days=200) else f"{then:%B %Y}"


def clock(seconds: float) -> str:
    """Return the hour, minute and second of a time (UTC seconds) as the clock here shows it."""
    return f"{_local(seconds):%H:%M:%S}"


def dated(seconds: float) -> str:
    """Return a time (UTC seconds) to the second, as clock and calendar here show it: for what is kept for long."""
    return f"{_local(seconds):%Y-%m-%d %H:%M:%S}"


def _local(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a plain table: numbers to the right, words to the left, two spaces between columns."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(cell_len(line[i]) for line in (list(header), *cells)) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float) for row in rows) and bool(rows) for i in range(len(header))]
    lines = []
    for line in (list(header), *cells):
        parts = [padded(text, w, right=r) for text, w, r in zip(line, widths, right, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def padded(text: str, cells: int, *, right: bool = False) -> str:
    """Return a text filled up with spaces to so many columns of a terminal."""
    room = " " * max(0, cells - cell_len(text))
    return room + text if right else text + room


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else harmless(str(value)).replace("\n", " ").replace("\t", " ")
