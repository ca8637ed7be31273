"""A mark for the beginning and end of a row's text, which the row itself cannot hold.

Whoever writes a row would write the closing mark into it and go on as if outside. So the mark is a hash of all that the
prompt takes from the row: to hold it, a text would have to hold 80 bits of its own SHA-256. No secret is needed for
that, and none has to be kept: the same row gives the same prompt in every job, on every machine, for ever.
"""

import base64
import hashlib
import json
from collections.abc import Mapping

_BYTES = 10


def nonce_of(values: Mapping[str, object]) -> str:
    """Return 16 small letters and digits that depend on every name and value, each as it is printed."""
    printed = sorted((name, str(value)) for name, value in values.items())
    digest = hashlib.sha256(json.dumps(printed).encode()).digest()
    return base64.b32encode(digest[:_BYTES]).decode().lower()
