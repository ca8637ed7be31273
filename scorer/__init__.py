"""Score millions of rows with language models on the machines you already own.

`score` and `open_job` are documented in `scorer.library`. They are loaded when they are first used: `import scorer`
itself costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["JobRun", "Options", "Result", "__version__", "open_job", "score"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'scorer' has no attribute {name!r}")
    return getattr(import_module("scorer.library"), name)


def __dir__() -> list[str]:
    return __all__
