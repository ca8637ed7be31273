"""What Ollama's error texts mean, for both of its engines.

Ollama answers 500 to permanent and to passing faults alike, and 400 to ours and to the row's, so the text decides.
Its errors are `{"error": text}`; llama-server's, which newer versions pass on, are JSON inside that text.

Some texts quote what the model or its runtime said, which a row can influence: these are recognised first and by how
they begin, so that no row can write the words that get a host left out.
"""

import re

from scorer.errors import Fault, FaultKind, HostUnusable, RowFault, UnclearFault
from scorer.hosts.classify import Rule, by_status, by_text, complaint, host, overflow, row, unclear, unusable
from scorer.hosts.http import Answer, excerpt

QUOTING: tuple[Rule, ...] = (
    Rule(r"^(error parsing|parse error|failed to parse (?!grammar|json schema))", row(FaultKind.PARSER_ERROR)),
    Rule(r"^an error was encountered while running", unclear(FaultKind.SERVER_ERROR)),
)

RULES: tuple[Rule, ...] = (
    # our request, whatever the row: no retry can help
    Rule(r"must be of type|no longer supported", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"invalid format|json schema|grammar|response_format", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"does not support", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"invalid think value|invalid keep_alive|in duration|invalid duration", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"\btemplate\b", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"invalid model name", unusable(FaultKind.MODEL_MISSING)),
    Rule(r"cloud is disabled", unusable(FaultKind.CLOUD)),
    # the model cannot be loaded here, or not now
    Rule(r"(runner|llama-server) process has terminated", host(FaultKind.LOAD_FAILED)),
    Rule(r"requires more system memory|unable to load|failed to load", host(FaultKind.LOAD_FAILED)),
    Rule(r"timed out waiting for llama", host(FaultKind.LOAD_FAILED)),
    Rule(r"incompatible with your version", host(FaultKind.LOAD_FAILED)),
    # it died over the row, or beside it
    Rule(r"model runner has unexpectedly stopped|cuda error", unclear(FaultKind.SERVER_ERROR)),
    # the model repeated itself until the server gave up
    Rule(r"token repeat limit", row(FaultKind.ABORTED_OUTPUT)),
)


def fault_of_answer(answer: Answer, model: str, num_ctx: int) -> Fault:
    """Return the fault that an answer other than 200 stands for. `model` and `num_ctx` are what was asked for."""
    said = complaint(answer.document)
    if answer.status == 404:
        return _not_found(answer, model)
    if answer.status == 403 and said is not None and re.search("cloud is disabled", said.text):
        return HostUnusable(FaultKind.CLOUD, excerpt(said.text))
    plain = by_status(answer)
    if plain is not None:
        return plain
    if said is None:
        return _by_default(answer.status, excerpt(answer.body))
    return fault_of_text(answer.status, said.text, said.details, num_ctx)


def fault_of_text(status: int, text: str, details: dict[str, object], num_ctx: int) -> Fault:
    """Return the fault that an error text stands for, whether it came with its status or in a line after 200."""
    return (
        by_text(QUOTING, text)
        or overflow(text, details, num_ctx)
        or by_text(RULES, text)
        or _by_default(status, excerpt(text))
    )


def wrong_endpoint(answer: Answer) -> HostUnusable:
    """Return the fault of a server that has no Ollama API where we look for one."""
    return HostUnusable(
        FaultKind.WRONG_ENDPOINT,
        f"no Ollama API at this url (HTTP {answer.status}: {excerpt(answer.body, 60)}); check the url, "
        'or say api = "openai" if that is what it speaks',
    )


def _not_found(answer: Answer, model: str) -> HostUnusable:
    """Tell Ollama's own 404 about a model from everybody else's about the address."""
    error = answer.document.get("error") if answer.document is not None else None
    if isinstance(error, str) and "model" in error:
        return HostUnusable(FaultKind.MODEL_MISSING, f"{excerpt(error)}; on that machine: ollama pull {model}")
    return wrong_endpoint(answer)


def _by_default(status: int, said: str) -> Fault:
    message = f"HTTP {status}: {said}"
    if 400 <= status < 500:
        # not for good: whether it is the row or something about this server, only a second host can tell
        return RowFault(FaultKind.BAD_REQUEST, message)
    return UnclearFault(FaultKind.SERVER_ERROR, message)
