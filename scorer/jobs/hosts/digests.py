"""Whether a model is the same on all hosts that have it: the same name can stand for different weights."""

from collections import Counter
from collections.abc import Mapping

from scorer.dispatch.served import short


def odd_ones(digests: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Say of each host whose digest is not that of most others what differs."""
    odd: dict[str, str] = {}
    for model, by_host in digests.items():
        counts = Counter(by_host.values())
        # of equally frequent ones that of the host first in the file; no digest is nobody's measure
        most = max(counts, key=lambda digest: (digest != "", counts[digest]), default="")
        having = [name for name, digest in by_host.items() if digest == most]
        others = having[0] if len(having) == 1 else f"{len(having)} others"
        for name, digest in by_host.items():
            if digest != most:
                mine = f"has digest {short(digest)}" if digest else "reports no digest"
                odd[name] = f"its {model} {mine}, {others} {short(most)}: scores would not be comparable"
    return odd


def advice_on_digest(api: str, pull: str) -> str:
    """Return what to do about a host that is the odd one. `pull`: the command that gets the model."""
    match api:
        case "ollama":
            return f"{pull} (everywhere: which is the newer one, only the registry knows)"
        case "embedded":
            return "its digest is that of its GGUF file, which no other server reports: leave it out"
        case _:
            return 'model_digest = "…" in its table: your word that it is the same model'
