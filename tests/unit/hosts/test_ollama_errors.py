"""Every line of the error taxonomy: what Ollama says, in the words of both of its engines, and what it must become."""

import json

import httpx
import pytest

from scorer.errors import FaultKind, HostFault, HostUnusable, RowFault, UnclearFault
from scorer.hosts.http import Answer
from scorer.hosts.ollama_errors import fault_of_answer

NESTED_OVERFLOW = json.dumps(
    {
        "error": {
            "code": 400,
            "message": "request (5210 tokens) exceeds the available context size (4096 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 5210,
            "n_ctx": 4096,
        }
    }
)
NESTED_SCHEMA = json.dumps(
    {
        "error": {
            "code": 400,
            "message": "JSON schema error at #: unrecognized type wat",
            "type": "invalid_request_error",
        }
    }
)


def answer(status: int, error: str | None = None, *, body: str = "", **headers: str) -> Answer:
    document: dict[str, object] | None = None if error is None else {"error": error}
    raw = body if document is None else json.dumps(document)
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return Answer(status, httpx.Headers(named), raw.encode(), document)


OVERFLOW, OPTIONS, LOAD = FaultKind.CONTEXT_OVERFLOW, FaultKind.REFUSED_OPTIONS, FaultKind.LOAD_FAILED
SERVER, PARSER, MISSING = FaultKind.SERVER_ERROR, FaultKind.PARSER_ERROR, FaultKind.MODEL_MISSING


@pytest.mark.parametrize(
    ("status", "text", "blame", "kind"),
    [
        # context overflow, both eras and MLX
        (400, "the input length exceeds the context length", RowFault, OVERFLOW),
        (400, NESTED_OVERFLOW, RowFault, OVERFLOW),
        (400, "the prompt is longer than the context length currently available", RowFault, OVERFLOW),
        (
            400,
            "input length (9000 tokens) exceeds the model's maximum context length (8192 tokens)",
            RowFault,
            OVERFLOW,
        ),
        # model
        (404, "model 'qwen' not found", HostUnusable, MISSING),
        (404, 'model "qwen" not found, try pulling it first', HostUnusable, MISSING),
        (400, "invalid model name", HostUnusable, MISSING),
        # capability, options, schema, template
        (400, '"smol" does not support thinking', HostUnusable, OPTIONS),
        (400, "registry.ollama.ai/library/embed:latest does not support chat", HostUnusable, OPTIONS),
        (400, "typical_p is no longer supported", HostUnusable, OPTIONS),
        (400, 'invalid think value: "loud" (must be "high", "medium", "low", true, or false)', HostUnusable, OPTIONS),
        (400, 'time: missing unit in duration "300"', HostUnusable, OPTIONS),
        (400, NESTED_SCHEMA, HostUnusable, OPTIONS),
        (500, "invalid JSON schema in format", HostUnusable, OPTIONS),
        (500, 'invalid format: "yaml"; expected "json" or a valid JSON Schema object', HostUnusable, OPTIONS),
        (500, 'option "num_ctx" must be of type integer', HostUnusable, OPTIONS),
        (500, 'template: :3:5: executing "" at <.Wrong>: can\'t evaluate field Wrong', HostUnusable, OPTIONS),
        # loading
        (500, "llama runner process has terminated: exit status 2", HostFault, LOAD),
        (500, "llama-server process has terminated: CUDA error: out of memory", HostFault, LOAD),
        (500, "model requires more system memory (9.1 GiB) than is available (7.7 GiB)", HostFault, LOAD),
        (500, "model failed to load, this may be due to resource limitations or an internal error", HostFault, LOAD),
        (500, "timed out waiting for llama runner to start - progress 0.20 - ", HostFault, LOAD),
        (500, "unable to load full model on GPU", HostFault, LOAD),
        (500, "this model may be incompatible with your version of Ollama", HostFault, LOAD),
        # running
        (500, "model runner has unexpectedly stopped, this may be due to resource limitations", UnclearFault, SERVER),
        (500, "an error was encountered while running the model: unexpected EOF", UnclearFault, SERVER),
        (500, "an error was encountered while running the model: CUDA error", UnclearFault, SERVER),
        (500, "CUDA error: an illegal memory access was encountered", UnclearFault, SERVER),
        (500, "something nobody has seen", UnclearFault, SERVER),
        (507, "something nobody has seen", UnclearFault, SERVER),
        # what the model said
        (500, "error parsing tool call: raw='{', err=unexpected end of JSON input", RowFault, PARSER),
        (500, "prediction aborted, token repeat limit reached", RowFault, FaultKind.ABORTED_OUTPUT),
        # the rest
        (400, "missing request body", RowFault, FaultKind.BAD_REQUEST),
        (422, "something nobody has seen", RowFault, FaultKind.BAD_REQUEST),
        (503, "server busy, please try again.  maximum pending requests exceeded", HostFault, FaultKind.BUSY),
        (429, "too many requests", HostFault, FaultKind.BUSY),
        (502, "cannot reach ollama.com", HostFault, FaultKind.GATEWAY),
        (499, "request canceled", HostFault, FaultKind.GATEWAY),
        (401, "unauthorized", HostUnusable, FaultKind.UNAUTHORISED),
        (403, "ollama cloud is disabled: remote inference is not available", HostUnusable, FaultKind.CLOUD),
    ],
)
def test_each_text_is_blamed_on_whoever_is_to_blame(status: int, text: str, blame: type, kind: FaultKind) -> None:
    fault = fault_of_answer(answer(status, text), "qwen", 4096)
    assert (type(fault), fault.kind) == (blame, kind)


@pytest.mark.parametrize(
    ("reply", "blame", "kind"),
    [
        (answer(401, body="<html>sign in</html>", content_type="text/html"), HostUnusable, FaultKind.UNAUTHORISED),
        (answer(403), HostUnusable, FaultKind.UNAUTHORISED),
        (answer(407, body="proxy"), HostUnusable, FaultKind.UNAUTHORISED),
        (answer(404, body="404 page not found"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (answer(404, body="<html>404</html>", content_type="text/html"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (answer(404, "not found"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (answer(405, body="405 method not allowed"), HostUnusable, FaultKind.WRONG_ENDPOINT),
        (answer(502, body="<html>bad gateway</html>"), HostFault, FaultKind.GATEWAY),
        (answer(504, body="gateway timeout"), HostFault, FaultKind.GATEWAY),
        (answer(408, body="too slow"), HostFault, FaultKind.GATEWAY),
        (answer(500, body="<html>oops</html>"), HostFault, FaultKind.GATEWAY),
        (answer(400, body="<html>plain HTTP to an HTTPS port</html>"), HostFault, FaultKind.GATEWAY),
        (answer(500, body="oops"), UnclearFault, FaultKind.SERVER_ERROR),
        (answer(500), UnclearFault, FaultKind.SERVER_ERROR),
        (answer(400, body="bad"), RowFault, FaultKind.BAD_REQUEST),
        (answer(413, body="<html>too large</html>"), RowFault, FaultKind.BAD_REQUEST),
        (answer(503, body="<html>busy</html>"), HostFault, FaultKind.BUSY),
    ],
    ids=lambda value: str(getattr(value, "status", "")) or None,
)
def test_what_proxies_and_others_say_is_told_apart_from_ollama(reply: Answer, blame: type, kind: FaultKind) -> None:
    fault = fault_of_answer(reply, "qwen", 4096)
    assert (type(fault), fault.kind) == (blame, kind)


def test_an_overflow_records_the_prompt_and_the_limit() -> None:
    assert fault_of_answer(answer(400, NESTED_OVERFLOW), "m", 1).message == "prompt of 5210 tokens, context 4096"


def test_an_overflow_is_for_good_and_a_parser_error_is_not() -> None:
    overflow = fault_of_answer(answer(400, NESTED_OVERFLOW), "m", 1)
    parser = fault_of_answer(answer(500, "error parsing tool call: raw"), "m", 1)
    assert isinstance(overflow, RowFault)
    assert isinstance(parser, RowFault)
    assert (overflow.permanent, parser.permanent) == (True, False)


def test_any_other_400_is_the_rows_fault_until_another_host_disagrees() -> None:
    fault = fault_of_answer(answer(400, "odd"), "m", 1)
    assert isinstance(fault, RowFault)
    assert not fault.permanent


def test_a_busy_servers_wish_is_passed_on() -> None:
    fault = fault_of_answer(answer(503, "server busy", retry_after="12"), "m", 1)
    assert isinstance(fault, HostFault)
    assert fault.retry_after_s == 12.0


def test_a_missing_model_comes_with_the_command_that_helps() -> None:
    assert "ollama pull qwen:7b" in fault_of_answer(answer(404, "model 'qwen:7b' not found"), "qwen:7b", 1).message


def test_an_empty_403_hints_at_the_host_header() -> None:
    assert "Host header" in fault_of_answer(answer(403), "m", 1).message


@pytest.mark.parametrize(
    "words",
    [
        "does not support chat",
        "exceeds the context length",
        "ollama cloud is disabled",
        "template must be of type",
        "process has terminated",
        "grammar",
    ],
)
@pytest.mark.parametrize("quote", ["error parsing tool call: raw='{}'", "an error was encountered while running: {}"])
def test_no_words_of_a_model_get_a_host_left_out(quote: str, words: str) -> None:
    """Both texts quote what came out of the model, which a hostile row can choose."""
    fault = fault_of_answer(answer(500, quote.format(words)), "m", 4096)
    assert isinstance(fault, (RowFault, UnclearFault))
    assert fault.kind in (FaultKind.PARSER_ERROR, FaultKind.SERVER_ERROR)
