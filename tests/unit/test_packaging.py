"""What is shipped and pinned: the wheel's contents, the requirement files, and what no file may name."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = ("run.txt", "dev.txt", "demo-model.txt")

# Put together here, so that this file does not name them either.
REGISTRY_HOSTS = tuple(
    ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("pypi", "python", "org"))
)
INDEX_OPTIONS = tuple("--" + option for option in ("index-url", "extra-index-url", "find-links", "trusted-host"))
MACHINE_PATH = re.compile(r"(?<![\w.~$})>-])/(?:home|root|work|Users|private|opt)/[\w.]")

# --- The wheel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Build the wheel from the checkout with the backend that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def dist_info(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [n for n in wheel.namelist() if n.split("/", 1)[0].endswith(".dist-info") and n.endswith("/" + name)]
    return wheel.read(path).decode()


def test_the_wheel_carries_every_prompt_of_the_folder(wheel: zipfile.ZipFile) -> None:
    prompts = sorted((ROOT / "prompts").glob("*.toml"))
    assert {"quality", "code-quality", "edu", "yes-no"} <= {p.stem for p in prompts}
    for prompt in prompts:
        assert wheel.read(f"scorer/prompts/{prompt.name}") == prompt.read_bytes()


def test_the_wheel_carries_every_module_and_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    carried = {".py", ".pyi", ".typed", ".j2", ".css"}
    modules = {
        str(p.relative_to(ROOT)) for p in (ROOT / "scorer").rglob("*") if p.suffix in carried or p.name == "py.typed"
    }
    assert modules <= set(names)
    assert all(n.startswith("scorer/") or re.match(r"scorer-[^/]+\.dist-info/", n) for n in names)


def test_the_wheel_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    assert dist_info(wheel, "LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in dist_info(wheel, "LICENSE")


def test_the_wheel_installs_the_scorer_command(wheel: zipfile.ZipFile) -> None:
    entry_points = ConfigParser()
    entry_points.read_string(dist_info(wheel, "entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"scorer": "scorer.cli:main"}
    assert "scorer/cli/run.py" in wheel.namelist()


def test_the_wheel_says_what_it_needs(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(dist_info(wheel, "METADATA"))
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Provides-Extra") == ["local"]
    assert metadata.get_all("Requires-Dist")


# --- The pins -------------------------------------------------------------------------------------------------------


def pinned(name: str) -> dict[str, list[Requirement]]:
    """Read the pins of each package by its canonical name: more than one where markers tell them apart."""
    pins: dict[str, list[Requirement]] = {}
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            specifier, *hashes = line.split("--hash=")
            assert hashes, f"{name}: no hash: {line}"
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h.strip()) for h in hashes), f"{name}: {specifier}"
            requirement = Requirement(specifier.strip())
            pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


@pytest.mark.parametrize("name", PINS)
def test_every_requirement_is_pinned_to_one_version_with_hashes(name: str) -> None:
    pins = pinned(name)
    assert pins
    for requirements in pins.values():
        for requirement in requirements:
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="


def declared(groups: tuple[str, ...]) -> Iterator[Requirement]:
    yield from map(Requirement, PROJECT["project"]["dependencies"])
    yield from map(Requirement, PROJECT["project"]["optional-dependencies"]["local"])
    for group in groups:
        yield from (Requirement(entry) for entry in PROJECT["dependency-groups"][group] if isinstance(entry, str))


@pytest.mark.parametrize(("name", "groups"), [("run.txt", ("build",)), ("dev.txt", ("build", "dev"))])
def test_the_pins_satisfy_what_the_project_declares(name: str, groups: tuple[str, ...]) -> None:
    pins = pinned(name)
    for wanted in declared(groups):
        for pin in pins.get(canonicalize_name(wanted.name), []):
            (specifier,) = pin.specifier
            assert wanted.specifier.contains(specifier.version, prereleases=True), f"{wanted}: run make pins"
        assert canonicalize_name(wanted.name) in pins, f"{wanted} is not in {name}: run make pins"


def test_what_runs_is_what_was_tested() -> None:
    dev = {n: {str(p.specifier) for p in pins} for n, pins in pinned("dev.txt").items()}
    run = {n: {str(p.specifier) for p in pins} for n, pins in pinned("run.txt").items()}
    assert run == {name: dev.get(name) for name in run}


# --- What no file may name ------------------------------------------------------------------------------------------


def our_files() -> list[Path]:
    """List the files that are or could be committed; ignored ones are nobody's business."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout
    return [path for name in listed.split(b"\0") if name and (path := ROOT / os.fsdecode(name)).is_file()]


def text_files() -> Iterator[tuple[str, str]]:
    for path in our_files():
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{name}: {word}"
        for name, text in text_files()
        for word in (*REGISTRY_HOSTS, *INDEX_OPTIONS)
        if word in text.replace("--no-emit-index-url", "")
    ]
    assert not found


def test_no_dataset_names_a_package_registry() -> None:
    found = [
        f"{path.name}, row {row}: {host}"
        for path in our_files()
        if path.suffix == ".parquet"
        for row, record in enumerate(pq.read_table(path).to_pylist())
        for host in REGISTRY_HOSTS
        if host in str(record)
    ]
    assert not found


def test_no_file_names_a_folder_of_the_machine_it_was_made_on() -> None:
    found = [f"{name}: {match[0]}" for name, text in text_files() for match in MACHINE_PATH.finditer(text)]
    assert not found


def test_there_is_one_set_of_pins() -> None:
    names = {path.name for path in our_files()}
    assert not names & {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock"}


# --- Finding Python -------------------------------------------------------------------------------------------------


def find_python(folder: Path, interpreters: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the search with nothing on the PATH but these interpreters: shell code that stands in for each."""
    for name, code in interpreters.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)
    command = ["/bin/sh", str(ROOT / "requirements" / "python.sh")]
    return subprocess.run(
        command, env={"PATH": str(folder), **environment}, capture_output=True, text=True, check=False
    )


REAL = f'exec "{sys.executable}" "$@"'
DEAD = "echo no such version >&2; exit 127"
TOO_OLD = "exit 1"
NO_VENV = f'case "$2" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"'


def test_the_newest_python_that_runs_is_taken(tmp_path: Path) -> None:
    found = find_python(tmp_path, {"python3.13": DEAD, "python3.12": NO_VENV, "python3.11": REAL, "python3": TOO_OLD})
    assert (found.stdout.strip(), found.returncode) == (sys.executable, 0)


def test_a_plain_python3_will_do_if_new_enough(tmp_path: Path) -> None:
    assert find_python(tmp_path, {"python3": REAL}).stdout.strip() == sys.executable


def test_a_python_without_venv_gets_one_line_that_says_how_to_install_it(tmp_path: Path) -> None:
    found = find_python(tmp_path, {"python3": NO_VENV})
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert f"apt install {package}" in found.stderr


def test_without_any_python_one_line_says_so(tmp_path: Path) -> None:
    found = find_python(tmp_path, {"python3": TOO_OLD})
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.count("\n") == 1
    assert "3.11 or newer" in found.stderr


def test_a_python_that_was_asked_for_is_never_replaced(tmp_path: Path) -> None:
    found = find_python(tmp_path, {"python3": REAL, "old": TOO_OLD}, PYTHON=str(tmp_path / "old"))
    assert found.returncode == 1
    assert str(tmp_path / "old") in found.stderr
