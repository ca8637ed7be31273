"""Jinja as templates and suites use it: sandboxed, strict about undefined names, the same result each time.

Texts of authors are compiled, values of rows never are. There are no global functions and no randomness, and no text
can take in another file. A compiled text comes out in pieces (`Template.generate`), of which those that stand literally
in it are `Authored`: all that went through an expression, a macro or a filter is not.

Invariant: compiling raises nothing but `UsageError`; evaluating raises only what `RENDER_ERRORS` lists.
"""

from collections.abc import Iterable
from typing import Any

import jinja2
import jinja2.compiler
import jinja2.meta
import jinja2.sandbox

from scorer.core.control_tokens import Authored
from scorer.errors import UsageError

# What the sandboxed evaluation of an author's expression over a row's values may raise: Jinja's own errors, and
# Python's for values of the wrong type, size or shape.
RENDER_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


class _Generator(jinja2.compiler.CodeGenerator):
    """Compiles literal text so that it can be told from what values print."""

    def _output_const_repr(self, group: Iterable[Any]) -> str:  # Any is jinja2's own
        return f"environment.authored({super()._output_const_repr(group)})"


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    code_generator_class = _Generator
    authored = Authored


def _printed(value: object) -> object:
    return "" if value is None else value


def make_environment() -> jinja2.Environment:
    """Return a new environment, to which filters may be added."""
    environment = _Environment(undefined=jinja2.StrictUndefined, autoescape=False, finalize=_printed)
    environment.globals.clear()  # `dict` and `range` are names of columns here, and lipsum is random
    del environment.filters["random"]
    return environment


ENVIRONMENT = make_environment()


def compile_text(
    source: str, place: str, environment: jinja2.Environment = ENVIRONMENT
) -> tuple[jinja2.Template, frozenset[str]]:
    """Compile a text and find the variables it takes from outside; UsageError begins with `place`."""
    try:
        tree = environment.parse(source)
        if list(jinja2.meta.find_referenced_templates(tree)):
            raise UsageError(f"{place}: a template cannot include, import or extend another file")
        return environment.from_string(source), frozenset(jinja2.meta.find_undeclared_variables(tree))
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{place}, line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError):  # Python's own limits on nesting
        raise UsageError(f"{place}: nested too deeply") from None


def constant(source: str, place: str) -> str:
    """Render a text that takes nothing from the row, so that it is the same for all of them."""
    compiled, variables = compile_text(source, place)
    if variables:
        raise UsageError(
            f"{place} must be the same for every row, so {{{{ {min(variables)} }}}} belongs in user\n"
            "Braces that are meant as they stand go between {% raw %} and {% endraw %}."
        )
    try:
        return compiled.render()
    except RENDER_ERRORS as error:
        raise UsageError(f"{place}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return an error's first line, cut short."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
