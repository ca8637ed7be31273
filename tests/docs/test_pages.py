"""Every page keeps its word: its commands parse and run, its files load, its programs run, its links lead somewhere."""

import re
from pathlib import Path

import pytest
import tomlkit
from pages import PAGES, PROGRAM, ROOT, Block, Page, refusal
from scenes import SCENES, hub, stage

from scorer import templates
from scorer.config import parse_hosts
from scorer.suites import form

# test_results_page.py runs its programs and what it has in blocks of `sh`
ELSEWHERE = {"docs/results.md": {"sh", "python"}}
# a drawing, by its first line: it needs no mark, since nobody types such characters
DRAWINGS = re.compile(r"[^\n]*[─│►]")
LANGUAGES = {"", "sh", "console", "toml", "python", "json", "csv", "text"}
MARKS = re.compile(r"|output|not run: .{8,}")
KNOWN = ("scorer", "python")
NAMES = {page: page.name for page in PAGES}.get


def to_run(page: Page) -> list[Block]:
    """The blocks that are run here."""
    return [block for block in page.blocks if block.is_run and not DRAWINGS.match(block.text)]


def unclear(page: Page) -> list[str]:
    """The places of blocks that neither are run nor say what they are."""
    wrong = [block for block in page.blocks if block.language not in LANGUAGES or not MARKS.fullmatch(block.mark)]
    for block in to_run(page):
        called = {command.words[0] for command in block.commands} if block.is_console else {"python"}
        wrong += [] if called.intersection(KNOWN) else [block]
    return [block.place for block in wrong]


RUN = [page for page in PAGES if page.name not in ELSEWHERE and to_run(page)]
TOMLS = [block for page in PAGES for block in page.blocks if block.language == "toml"]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_is_one_that_there_is_with_such_arguments(page: Page) -> None:
    typed = [command for block in page.blocks if block.is_console for command in block.commands if command.is_scorers]
    wrong = [f"{command.place}: {why}" for command in typed if (why := refusal(command.words))]
    wrong += [f"{name.place}: {why}" for name in page.mentions if (why := refusal(name.words, may_be_a_name=True))]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_is_run_or_says_what_it_is(page: Page) -> None:
    assert unclear(page) == []


def test_every_page_with_something_to_run_is_run() -> None:
    assert {page.name for page in RUN} == set(SCENES)
    for page in (page for page in PAGES if page.name in ELSEWHERE):
        assert {block.language for block in to_run(page)} <= ELSEWHERE[page.name], "nobody looks at other languages"


@pytest.mark.parametrize(
    ("block", "is_clear"),
    [
        ("```\nscorer jobs\n```", True),
        ("    scorer jobs", True),
        ("```\n$ ollama ps\n```", False),
        ("    NAME  SIZE", False),
        ("<!-- output -->\n```\nNAME  SIZE\n```", True),
        ("<!-- output -->\n\nA word between.\n\n```\nNAME  SIZE\n```", False),
        ("<!-- not run: needs a second disk -->\n```\nmount /mnt\n```", True),
        ("<!-- not run: -->\n```\nmount /mnt\n```", False),
        ("<!-- ouput -->\n```\nscorer jobs\n```", False),
        ("```python\nimport scorer\n```", True),
        ("```text\nNAME  SIZE\n```", True),
        ("```bash\nscorer jobs\n```", False),
        ("```\nreply ─1─ commit\n```", True),
    ],
)
def test_a_block_is_clear_if_it_can_be_run_or_is_marked(block: str, is_clear: bool, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"# A page\n\n{block}\n", encoding="utf-8")
    assert (unclear(Page(path)) == []) is is_clear


@pytest.mark.parametrize("page", RUN, ids=NAMES)
def test_what_is_typed_on_a_page_works_in_the_pages_order(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub() as environment, stage(page, tmp_path) as here:
        for name, value in {**environment, **here.desk.environment(), "HF_HOME": str(tmp_path / "hf")}.items():
            monkeypatch.setenv(name, value)
        for block in to_run(page):
            if block.language == PROGRAM:
                here.program(["-c", block.text])
                continue
            for command in block.commands:
                try:
                    here.run(command.words)
                except BaseException as error:
                    error.add_note(f"{command.place}: {' '.join(command.words)}")
                    raise


@pytest.mark.parametrize("block", TOMLS, ids=[block.place for block in TOMLS])
def test_every_file_on_a_page_loads(block: Block, tmp_path: Path) -> None:
    for name in ("lan-ca.pem", "models/qwen2.5-0.5b-q4.gguf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if "[[hosts]]" in block.text:
        assert parse_hosts(block.text, block.place, tmp_path).hosts
    elif "\nmetric = " in block.text:
        assert form.loads(block.text, block.place).name
    else:
        # what is not a whole template stands in the place of these keys in the page's own
        whole = Page(ROOT / block.page).block("toml")
        text = tomlkit.dumps({**tomlkit.parse(whole), **tomlkit.parse(block.text)})
        assert templates.loads(text, block.place).fields


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Page) -> None:
    assert [f"{place}: {target}" for place, target in page.links if page.broken(target)] == []
