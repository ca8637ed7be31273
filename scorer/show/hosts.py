"""Text about hosts: how they stand, how a model sits on them, what the hosts file says of them."""

import textwrap
from collections.abc import Callable, Sequence

from rich.cells import cell_len

from scorer.config import HostConfig
from scorer.dispatch.served import short
from scorer.jobs.hosts.check import HostReport, ModelReport, Report
from scorer.jobs.hosts.warm import Warmth, percent
from scorer.locks import Holder
from scorer.show.words import NOT_KNOWN, harmless, padded, table

NOTHING = "-"
INDENT = "    "
GAP = "  "
LEAST_REMARK = 36


def check_text(report: Report, width: int | None) -> str:
    """Return a table of all hosts, or a few lines for each where `width` columns are too few, and the verdict."""
    rows = [row for host in report.hosts for row in _rows(host)]
    shown = _remarked(_HEADER, rows, width) or "\n".join(line for host in report.hosts for line in _card(host, width))
    return f"{shown}\n\n{_folded(_verdict(report), width)}"


def _remarked(header: Sequence[str], rows: Sequence[tuple[str, ...]], width: int | None) -> str:
    """Return a table whose last column is folded into the room that the others leave; empty if that is too little."""
    narrow = table(header[:-1], [row[:-1] for row in rows]).splitlines()
    used = max(cell_len(line) for line in narrow) + len(GAP)
    remarks = [harmless(text) for text in (header[-1] if any(row[-1] for row in rows) else "", *(r[-1] for r in rows))]
    room = None if width is None else width - used
    if width is not None and used - len(GAP) > width:
        return ""
    if room is not None and room < LEAST_REMARK:
        return _below(narrow, rows, width) if any(remarks) else "\n".join(narrow)
    lines = []
    for line, remark in zip(narrow, remarks, strict=True):
        first, *more = _folded(remark, room).splitlines() or [""]
        lines.append(f"{padded(line, used)}{first}".rstrip())
        lines += [" " * used + rest for rest in more]
    return "\n".join(lines)


def _below(narrow: Sequence[str], rows: Sequence[tuple[str, ...]], width: int | None) -> str:
    """Return the table without its last column, and what stood there under it, by the first one."""
    remarks = [f"{row[0]}:\n{textwrap.indent(_folded(row[-1], _less(width)), INDENT)}" for row in rows if row[-1]]
    return "\n".join([*narrow, "", *remarks])


def _less(width: int | None) -> int | None:
    return None if width is None else width - len(INDENT)


def _folded(text: str, width: int | None) -> str:
    return text if width is None else textwrap.fill(text, max(1, width), break_on_hyphens=False)


_HEADER = ("host", "url", "state", "version", "model", "digest", "quantisation", "context", "on GPU", "what to know")


def _rows(host: HostReport) -> list[tuple[str, ...]]:
    first = (host.name, _place(host), host.state, _known(host.version))
    models: Sequence[ModelReport | None] = host.models or (None,)
    return [
        (*(first if number == 0 else ("",) * 4), *_model(model), _remark(host) if number == 0 else "")
        for number, model in enumerate(models)
    ]


def _model(model: ModelReport | None) -> tuple[str, ...]:
    if model is None:
        return (NOTHING,) * 5
    digest = short(model.digest) if model.digest else NOT_KNOWN
    return model.name, digest, _known(model.quantisation), _context(model), _share(model)


def _context(model: ModelReport) -> str:
    """Return the loaded context and the greatest: `4096 of 131072`, or `131072 at most` while it is not loaded."""
    if model.context is None:
        return f"{model.max_context} at most" if model.max_context else NOT_KNOWN
    return f"{model.context} of {model.max_context}" if model.max_context else str(model.context)


def _share(model: ModelReport) -> str:
    if model.loaded is False:
        return "not loaded"
    return _percent(model.gpu_share)


def _percent(share: float | None) -> str:
    return NOT_KNOWN if share is None else percent(share)


def _known(value: object) -> str:
    return NOT_KNOWN if value is None else str(value)


def _place(host: HostReport) -> str:
    return host.url or "this machine"


def _remark(host: HostReport) -> str:
    return _joined(host.problem, host.advice, host.note)


def _joined(problem: str, what_to_do: str, *notes: str) -> str:
    """Return the problem, an arrow to what to do about it, and what else there is to know."""
    trouble = f"{problem} → {what_to_do}" if what_to_do else problem
    return "; ".join(filter(None, (trouble, *notes)))


def _card(host: HostReport, width: int | None) -> list[str]:
    version = f"  {host.api} {harmless(host.version)}" if host.version else ""
    lines = [f"{host.name}: {host.state}  {_place(host)}{version}"]
    for model in host.models:
        name, digest, quantisation, context, share = (harmless(text) for text in _model(model))
        gpu = share if model.loaded is False else f"on GPU {share}"
        lines.append(_indented(f"{name}  {digest}  {quantisation}  context {context}  {gpu}", width))
    return lines + [_indented(text, width) for text in (_remark(host),) if text]


def _indented(text: str, width: int | None) -> str:
    return textwrap.indent(_folded(harmless(text), _less(width)), INDENT)


def _verdict(report: Report) -> str:
    asked = [host for host in report.hosts if host.state != "off"]
    good = sum(host.usable for host in asked)
    if not asked:
        return "every host has enabled = false"
    what = f" for {', '.join(report.models)}" if report.models else ""
    if good == len(asked):
        return f"all {good} hosts can be used{what}" if good > 1 else f"the host can be used{what}"
    differ = any(host.state == "differs" for host in asked)
    mixed = "; no new run begins while digests differ, unless --allow-mixed-models" if differ else ""
    return f"{good} of {len(asked)} hosts can be used{what}{mixed}"


def warm_text(found: Sequence[Warmth], width: int | None) -> str:
    """Return how the model sits on each host."""
    header = ("host", "model", "context", "slots", "on GPU", "loaded in", "writes", "what to know")
    rows = [
        (
            one.host,
            one.model or NOTHING,
            _known(one.context or one.num_ctx),
            _known(one.slots),
            _percent(one.gpu_share),
            NOTHING if one.load_s is None else f"{one.load_s:.1f} s",
            NOT_KNOWN if one.output_tps is None else f"{one.output_tps:,.0f} tok/s",
            _said(one),
        )
        for one in found
    ]
    return _remarked(header, rows, width) or _below(
        table(header[:-1], [r[:-1] for r in rows]).splitlines(), rows, width
    )


def _said(one: Warmth) -> str:
    return _joined(one.problem, one.advice, *one.notes)


def list_text(hosts: Sequence[HostConfig], holder: Callable[[str], Holder | None]) -> str:
    """Return what the hosts file says of each host, and which run uses it."""
    header = ("host", "url", "api", "model", "slots", "hours", "max_context", "used by")
    return table(header, [_listed(host, holder(host.url)) for host in hosts])


def _listed(host: HostConfig, holder: Holder | None) -> tuple[str, ...]:
    return (
        host.name,
        host.url or "this machine",
        host.api,
        host.model or NOTHING,
        str(host.slots or "auto"),
        str(host.hours or NOTHING),
        str(host.max_context or NOTHING),
        str(holder or (NOTHING if host.enabled else "nobody: enabled = false")),
    )
