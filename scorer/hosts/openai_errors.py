"""What the error texts of the servers with an OpenAI-style API mean: llama.cpp, vLLM, LM Studio, exo and kin.

Statuses say even less here than Ollama's: LM Studio answers 200 to unknown paths and to prompts that are too long, and
400 to its own crashes. So wherever a status leaves anything open, the text decides.

Some texts quote what the model said, which a row can influence: these are recognised first and by how they begin.
"""

from scorer.errors import Fault, FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.classify import Rule, by_status, by_text, complaint, host, overflow, row, unclear, unusable
from scorer.hosts.http import Answer, excerpt

QUOTING: tuple[Rule, ...] = (
    Rule(r"^(error parsing|failed to parse (?!grammar|json schema)|parse error)", row(FaultKind.PARSER_ERROR)),
)

RULES: tuple[Rule, ...] = (
    # the model is not there now: a machine of the cluster is lost, or somebody has unloaded it
    Rule(r"no instance found for model", host(FaultKind.LOAD_FAILED)),
    Rule(r"no models? (is |are )?(currently )?loaded|model (was |has been )?unloaded", host(FaultKind.LOAD_FAILED)),
    Rule(r"failed to load|insufficient (system )?resources|loading was stopped", host(FaultKind.LOAD_FAILED)),
    # it died over the row, or beside it
    Rule(r"has crashed|unloaded or crashed|engine ?dead|channel error|cuda error", unclear(FaultKind.SERVER_ERROR)),
    Rule(r"unexpected endpoint or method", unusable(FaultKind.WRONG_ENDPOINT)),
    # our request, whatever the row: no retry can help
    Rule(r"json schema|json_schema|response_format|grammar|template", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"field '\w+': |unsupported (param|value)|unrecognized request argument", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"extra inputs are not permitted|extra_forbidden", unusable(FaultKind.REFUSED_OPTIONS)),
    Rule(r"model_not_found|invalid model identifier", unusable(FaultKind.MODEL_MISSING)),
    Rule(r"model.{0,200}(does not exist|not found)", unusable(FaultKind.MODEL_MISSING)),
)


def fault_of_answer(answer: Answer, num_ctx: int) -> Fault:
    """Return the fault that an answer with an error stands for, whatever its status says."""
    said = complaint(answer.document)
    text = said.text if said is not None else excerpt(answer.body)
    if answer.status == 404 and by_text(RULES, text) is None:
        return HostUnusable(FaultKind.WRONG_ENDPOINT, f"HTTP 404: {excerpt(text)}; check url and api")
    plain = by_status(answer)
    if plain is not None:
        return plain
    details = said.details if said is not None else {}
    # as a 500, "context size has been exceeded" says that the slots together have used up the memory they share
    too_long = overflow(text, details, num_ctx) if answer.status < 500 else None
    return by_text(QUOTING, text) or too_long or by_text(RULES, text) or _by_default(answer.status, excerpt(text))


def is_loading(fault: Fault) -> bool:
    """Whether a server has said that it is still loading its model."""
    return isinstance(fault, HostFault) and fault.kind is FaultKind.BUSY and "loading" in fault.message.lower()


def refuse_error(answer: Answer) -> None:
    """Raise the fault of an answer to a question without a row, if it is an error."""
    if answer.status != 200 or complaint(answer.document) is not None:
        raise fault_of_answer(answer, num_ctx=0)


def _by_default(status: int, said: str) -> Fault:
    message = f"HTTP {status}: {said}"
    if 400 <= status < 500:
        # not for good: whether it is the row or something about this server, only a second host can tell
        return RowFault(FaultKind.BAD_REQUEST, message)
    return UnclearFault(FaultKind.SERVER_ERROR, message)
