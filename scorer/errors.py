"""The tree of errors. The branch says whom to blame; nothing else decides what a failure costs.

    ScorerError
      UsageError            the user: arguments, configuration, template, input          exit 2
      Fault                 one attempt failed; has a kind and a message
        HostFault           the host: the row goes back untouched, the host is charged
          HostUnusable      the host's set-up: it is left out until that changes
        RowFault            the row: it is charged, the host is not
        UnclearFault        either: both get a mark
      StoreError            database or results cannot be written; the run can be resumed  exit 4
        DiskFull            the same, but there may be room later: wait and go on
        DatasetUnreadable   the disk of the dataset failed, the job's own may be well
          DatasetChanged    somebody wrote to it during the run
        Torn                a published file is not what was written: `verify` makes it anew
        Damaged             what is on the disk is not what was written: nothing can put that right
      NoHostsLeft           no host usable for longer than the patience; can be resumed    exit 4

Adapters map every foreign exception to one of these in one place. Anything else is a bug: it crashes the run, which is
safe, because resuming is the recovery path.
"""

from enum import StrEnum


class FaultKind(StrEnum):
    """What went wrong with one attempt. The value is the `kind` in the results' `error` column."""

    # the host
    UNREACHABLE = "unreachable"  # refused, DNS, TLS, no route, connect timeout: nothing was sent
    BUSY = "busy"  # 503, 429
    GATEWAY = "gateway"  # 502, 504, 3xx, HTML where JSON belongs: a proxy, not the model
    BAD_BODY = "bad_body"  # over the size cap, encoded, not what HTTP allows
    LOAD_FAILED = "load_failed"  # out of memory, incompatible model, load time-out
    # the host's set-up (HostUnusable)
    MODEL_MISSING = "model_missing"
    UNAUTHORISED = "unauthorised"
    WRONG_ENDPOINT = "wrong_endpoint"  # text 404, 405, an API that is not the one configured
    WRONG_MODEL = "wrong_model"  # digest, version or model name is not the run's
    REFUSED_OPTIONS = "refused_options"  # the server rejects our options, schema or template
    CLOUD = "cloud"  # would send the rows off the machine
    TOO_OLD = "too_old"
    # the row
    CONTEXT_OVERFLOW = "context_overflow"
    INVALID_OUTPUT = "invalid_output"  # not JSON, or not what the template's output asks for
    CUT_OUTPUT = "cut_output"  # ended by num_predict
    ABORTED_OUTPUT = "aborted_output"  # done:false, missing or unknown done_reason
    PARSER_ERROR = "parser_error"  # the server could not parse what its own model said
    BAD_REQUEST = "bad_request"  # any other 400
    EMPTY_PROMPT = "empty_prompt"
    RENDER_FAILED = "render_failed"
    POISON = "poison"  # two hosts were found down after this row's request
    # unclear
    DROPPED = "dropped"  # connection lost while generating
    SERVER_ERROR = "server_error"  # 500 while generating, any other 5xx
    DEADLINE = "deadline"


# what a row died of before anything was sent, by its own content: each try would end in the same way
NEVER_SENT = frozenset({FaultKind.EMPTY_PROMPT, FaultKind.RENDER_FAILED})


class ScorerError(Exception):
    """Every error that scorer raises on purpose."""

    exit_code = 1


class UsageError(ScorerError):
    """The user can put it right: one or two lines that say how."""

    exit_code = 2


class Fault(ScorerError):
    """One attempt failed.

    `sent` is false when the request never reached the server, so that the try does not count as one.
    """

    def __init__(self, kind: FaultKind, message: str, *, sent: bool = True) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.sent = sent


class HostFault(Fault):
    """The host is to blame. `retry_after_s` is the server's own wish (Retry-After), if it had one."""

    def __init__(self, kind: FaultKind, message: str, *, sent: bool = True, retry_after_s: float | None = None) -> None:
        super().__init__(kind, message, sent=sent)
        self.retry_after_s = retry_after_s


class HostUnusable(HostFault):
    """The host's set-up is to blame: leave it out, say why, look again now and then.

    `version` is what the server said of itself, where that is what is wrong with it.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        sent: bool = True,
        retry_after_s: float | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(kind, message, sent=sent, retry_after_s=retry_after_s)
        self.version = version


class RowFault(Fault):
    """The row is to blame. `permanent`: no further try can help. `completion`: what the model said, if anything."""

    def __init__(
        self, kind: FaultKind, message: str, *, permanent: bool = False, completion: str | None = None
    ) -> None:
        super().__init__(kind, message)
        self.permanent = permanent
        self.completion = completion


class UnclearFault(Fault):
    """Row or host: time and other hosts will tell."""


class StoreError(ScorerError):
    """The job folder cannot be written or is not sound. Nothing that was acknowledged is lost."""

    exit_code = 4


class DiskFull(StoreError):
    """No room left. The transaction was rolled back; the same call may succeed later."""


class DatasetUnreadable(StoreError):
    """The disk that the dataset is on failed. What is known of its rows can still be stored."""


class DatasetChanged(DatasetUnreadable):
    """The dataset is no longer what the job began with. Nothing that was read from it since is used."""


class Torn(StoreError):
    """A published file does not hold together. The database has its rows, from which it can be made anew."""


class Damaged(StoreError):
    """The database does not hold together. No rebuild can help: only a copy from before."""


class NoHostsLeft(ScorerError):
    """No host was usable for longer than the patience, and work remains."""

    exit_code = 4
