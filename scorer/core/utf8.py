"""Names that are not UTF-8: those of files may be any bytes, those in job.toml, JSON and Parquet may not.

Python reads a byte that is not UTF-8 as half of a surrogate pair, which is no character and which no file here holds.
"""

from scorer.errors import UsageError


def check_utf8(text: str, what: str) -> None:
    """Raise UsageError if a name is not UTF-8; `what` says what it names."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode(errors="backslashreplace").decode().replace("\\udc", "\\x")
        raise UsageError(f"{what} {shown} is not UTF-8, which all names here must be: rename it") from None
