"""A virtual environment for each tool that `peers.py` measures, with pinned versions, outside the repository.

They lie in `scorer-benchmarks` in the user's cache folder and are made once (10 minutes and 4 GB for all of them); an
environment whose pins have changed is made anew. Never touches the environment that runs the benchmark.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PINS = {
    "flexllm": ("flexllm==0.17.10", "aiohttp==3.14.5"),
    "curator": ("bespokelabs-curator==0.1.31", "litellm==1.83.7", "openai==2.30.0", "datasets==3.6.0"),
    "distilabel": ("distilabel[ollama]==1.5.3", "ollama==0.6.3", "requests==2.34.2", "datasets==5.2.0"),
    "litellm": ("litellm==1.106.2", "openai==2.54.0", "aiohttp==3.14.5"),
    "inspect": ("inspect-ai==0.3.285", "openai==3.52.0", "httpx==0.28.1"),
}


def folder() -> Path:
    """Return where the environments lie."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "scorer-benchmarks" / "peers"


def python_of(tool: str) -> str:
    """Return the Python that runs a tool, with its environment made if need be; scorer's is the one that runs this."""
    if tool not in PINS:
        return sys.executable
    place = folder() / tool
    stamp = place / "pins"
    wanted = "\n".join(PINS[tool])
    if not (stamp.is_file() and stamp.read_text() == wanted):
        shutil.rmtree(place, ignore_errors=True)
        print(f"making the environment of {tool} in {place}", file=sys.stderr, flush=True)
        venv.create(place, with_pip=True)
        install = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *PINS[tool]]
        subprocess.run(install, check=True)
        stamp.write_text(wanted)
    return str(place / "bin" / "python")
