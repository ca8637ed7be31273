"""The desks at which the pages' commands are run: the files that a page speaks of, and doubles for its hosts.

A command is run as the page has it, except that the addresses of a home's network become those of doubles, `JOB` the
latest job, and that benchmarks get their questions from files, since there is no Hub.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import bench_jobs
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from doubles.ollama import Model, OllamaDouble, Spec
from doubles.spec import FaultScript
from hub_double import HubDouble
from pages import ROOT, Page
from running import Desk, texts

ADDRESS = re.compile(r"(http://)?192\.168\.1\.\d+(:11434)?")
ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
CODER = "qwen2.5-coder:7b"
HOSTS = f"""
[defaults]
model = "{CODER}"
[[hosts]]
name = "p40"
url = "http://192.168.1.10:11434"
[[hosts]]
name = "macbook"
url = "http://192.168.1.21:11434"
"""
CARD = b"configs: [{config_name: config, data_files: [{split: train, path: x.jsonl}]}]"
ROWS = 24
QUESTIONS = 8
SHOTS = 3  # of bbh, whose worked examples are questions of its own


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a page takes for granted.

    `files` writes its datasets and whatever else it names; `hosts` is its hosts file. `alone`: each of its lines stands
    for itself, so each begins without jobs. `more` are arguments that a command gets beside its own, `codes` the exit
    codes that are right for it though not 0. `fault_for` is the doubles'.
    """

    files: Callable[[Path], None]
    models: Sequence[str] = (CODER,)
    hosts: str = HOSTS
    alone: bool = False
    more: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    fault_for: FaultScript | None = None


@dataclass(frozen=True)
class Stage:
    """A scene that is set: its folder, with doubles that serve."""

    scene: Scene
    desk: Desk
    doubles: Sequence[OllamaDouble]
    places: dict[str, str] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """Put the doubles' addresses in the place of those of the page, in the order in which they come up."""
        return ADDRESS.sub(self._address, text)

    def run(self, words: Sequence[str]) -> None:
        """Run one line of a console, which must end well."""
        if words[0] == "python":
            self.program(words[1:])
        elif tuple(words) != ("pip", "install", "."):
            assert words[0] == "scorer", f"nobody knows how to run {words[0]}"
            self._scorer([self.here(word) for word in words[1:]])

    def program(self, arguments: Sequence[str]) -> None:
        """Run Python in the folder, to an end without an error."""
        subprocess.run(
            [sys.executable, *arguments],
            cwd=self.desk.folder,
            env=self.desk.environment(),
            check=True,
        )

    def _scorer(self, words: list[str]) -> None:
        runs = self.desk.folder / "runs"
        if self.scene.alone:
            shutil.rmtree(runs, ignore_errors=True)
        if "JOB" in words:
            jobs = (path for path in runs.iterdir() if (path / "job.toml").exists())
            words = [max(jobs, key=lambda job: job.stat().st_ctime).name if word == "JOB" else word for word in words]
        name = " ".join(words[:2]) if words[0] in ("bench", "hosts", "prompts") else words[0]
        # a process costs a second; only `datasets` needs one, since it reads the Hub's address when it is imported
        asks_hub = any(word.startswith("hf://") for word in words)
        desk = self.desk if asks_hub else bench_jobs.Desk(self.desk.folder)
        desk.scorer(*words, *self.scene.more.get(name, "").split(), code=self.scene.codes.get(name, 0))

    def _address(self, found: re.Match[str]) -> str:
        address = re.sub(r"http://|:11434", "", found[0])
        url = self.places.setdefault(address, self.doubles[len(self.places)].url)
        return url if found[1] else url.removeprefix("http://")


@contextmanager
def stage(page: Page, folder: Path) -> Iterator[Stage]:
    """Set the scene of a page in an empty folder, for as long as the block lasts."""
    scene = SCENES[page.name]
    spec = Spec(slots=2, models=tuple(Model(name=name) for name in scene.models), fault_for=scene.fault_for)
    with ExitStack() as stack:
        doubles = [stack.enter_context(OllamaDouble(replace(spec, salt=str(i)))) for i in range(3)]
        made = Stage(scene, Desk(folder), doubles)
        scene.files(folder)
        if scene.hosts:
            (folder / "hosts.toml").write_text(made.here(scene.hosts), encoding="utf-8")
        yield made


@contextmanager
def hub() -> Iterator[dict[str, str]]:
    """A Hub with the dataset of docs/inputs.md; gives the environment in which `datasets` asks it."""
    rows = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts(ROWS))
    card = b"---\n" + CARD + b"\n---\n"
    with HubDouble({"org/name": {"README.md": card, "x.jsonl": rows}}).serving() as serving:
        yield {**ENVIRONMENT, "HF_ENDPOINT": serving.url}


def _functions(folder: Path, *, rows: int = ROWS, code: str = "code") -> None:
    table = {"name": [f"f{i}" for i in range(rows)], code: [f"def f{i}(): return {i}" for i in range(rows)]}
    pq.write_table(pa.table(table), folder / "functions.parquet")


def _cut(_number: int, body: Mapping[str, Any]) -> str | None:
    """Cut one function's answer, however often its 96 tokens are doubled; the 256 of the page are enough."""
    wordy = any("def f7()" in message["content"] for message in body["messages"])
    return "length" if wordy and body["options"]["num_predict"] % 256 else None


def _texts(folder: Path, name: str, column: str = "text", **columns: list[str]) -> None:
    table = pa.table({column: texts(ROWS), **columns})
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.output_stream(path) as out:  # compressed, if its name says so
            rows = table.to_pylist()
            if ".jsonl" in path.suffixes:
                out.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            else:
                pyarrow.csv.write_csv(table, out)


def _readme(folder: Path) -> None:
    _functions(folder, rows=120)
    _texts(folder, "dataset.parquet")
    (folder / "examples").symlink_to(ROOT / "examples")
    _questions(folder)


def _inputs(folder: Path) -> None:
    for name in ("functions.parquet", "reviews.jsonl.gz", "reviews.csv", "corpus/train-0.parquet"):
        _texts(folder, name)


def _templates(folder: Path) -> None:
    (folder / "tone.toml").write_text(Page(ROOT / "docs" / "templates.md").block("toml"), encoding="utf-8")
    _texts(folder, "reviews.parquet", "review")


def _calibrate(folder: Path) -> None:
    _functions(folder, rows=210, code="source")
    lines = [f"{row},{row % 10 + 1}" for row in range(210)]
    (folder / "labels.csv").write_text("\n".join(["row,label", *lines]) + "\n", encoding="utf-8")
    answers = {name: texts(ROWS) for name in ("output_1", "output_2")}
    _texts(folder, "pairs.parquet", "request", **answers)
    _questions(folder)


def _corpus(folder: Path) -> None:
    shutil.copy(ROOT / "examples" / "corpus" / "shards.py", folder)
    domains = ["web", "code", "books"]
    _texts(folder, "corpus.parquet", domain=[domains[i % 3] for i in range(ROWS)])


def _questions(folder: Path) -> None:
    """The questions of benchmarks, in the published form."""
    numbers = [{"question": f"What is {i} + {i}?", "answer": f"It doubles.\n#### {2 * i}"} for i in range(QUESTIONS)]
    _lines(folder / "gsm8k.jsonl", numbers)
    options = {"text": ["wood", "iron"], "label": ["A", "B"]}
    science = [
        {"id": f"q{i}", "question": f"Is {i} of wood?", "choices": options, "answerKey": "A"} for i in range(QUESTIONS)
    ]
    _lines(folder / "arc.jsonl", science)
    pairs = [{"input": f"Say {i}.", "output_1": f"{i}", "output_2": "no", "label": 1 + i % 2} for i in range(QUESTIONS)]
    (folder / "llmbar.json").write_text(json.dumps(pairs), encoding="utf-8")
    (folder / "bbh").mkdir()
    subsets = tomllib.loads((ROOT / "prompts" / "bench" / "bbh.toml").read_text(encoding="utf-8"))["subsets"]
    for name, words in subsets.items():
        text, target = ("", words[0]) if words else ("\nOptions:\n(A) yes\n(B) no", "(A)")
        cases = [{"input": f"Is {i} even?{text}", "target": target} for i in range(SHOTS + 1)]
        (folder / "bbh" / f"{name}.json").write_text(json.dumps({"examples": cases}), encoding="utf-8")


def _lines(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


SCENES = {
    "README.md": Scene(
        files=_readme,
        models=(CODER, "my-model:v1", "my-model:v2"),
        hosts=Page(ROOT / "README.md").block("toml"),
        more={"bench run": "--data gsm8k=gsm8k.jsonl --examples gsm8k=gsm8k.jsonl --data bbh=bbh"},
    ),
    "docs/bench.md": Scene(
        files=_questions,
        models=("qwen2.5:7b", "my-tune:latest"),
        more={
            "bench run": "--data gsm8k=gsm8k.jsonl --examples gsm8k=gsm8k.jsonl"
            " --data arc-challenge=arc.jsonl --examples arc-challenge=arc.jsonl"
        },
    ),
    "docs/calibrate.md": Scene(
        files=_calibrate, models=(CODER, "qwen2.5:7b"), more={"bench run": "--data llmbar=llmbar.json"}
    ),
    "docs/hosts.md": Scene(files=_functions, hosts=""),
    "docs/inputs.md": Scene(files=_inputs, alone=True),
    # the page goes on with rows that are dead, so a run ends with 3 until they have more room
    "docs/operations.md": Scene(files=partial(_functions, rows=120), codes={"run": 3}, fault_for=_cut),
    "docs/templates.md": Scene(files=_templates),
    "examples/corpus/README.md": Scene(files=_corpus, models=("qwen2.5:7b",), hosts=HOSTS.replace(CODER, "qwen2.5:7b")),
    "examples/home-lab/README.md": Scene(
        files=partial(_functions, rows=120),
        hosts=(ROOT / "examples" / "home-lab" / "hosts.toml").read_text(encoding="utf-8"),
    ),
}
