"""docs/bench.md holds what it promises: its suite runs as it stands, and every key of a suite file is described."""

import dataclasses
import re
from pathlib import Path

from doubles.ollama import OllamaDouble
from running import MODEL, Desk

from scorer.suites import form
from scorer.suites.form import SuiteOptions

PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's one block of code in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_suite_on_the_page_is_short_and_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "capitals.toml").write_text(block("toml"), encoding="utf-8")
    (tmp_path / "capitals.jsonl").write_text(block("json"), encoding="utf-8")
    assert len(block("toml").splitlines()) < 20

    with OllamaDouble() as double:
        (tmp_path / "hosts.toml").write_text(f'[[hosts]]\nname = "one"\nurl = "{double.url}"\n')
        Desk(tmp_path).scorer(
            "bench", "run", "capitals.toml", "--model", MODEL, "--hosts", "hosts.toml", "--job", "own"
        )
        prompts = [record.user_text or "" for record in double.generations]

    assert len(prompts) == 2
    assert all(prompt.count("Question: ") == 2 and "\nA. " in prompt for prompt in prompts)


def test_every_key_of_a_suite_file_is_on_the_page() -> None:
    keys = [field.name for kind in (form._File, SuiteOptions) for field in dataclasses.fields(kind)]

    missing = [key for key in keys if f"`{key}`" not in PAGE and f"`[{key}]`" not in PAGE]

    assert missing == []
