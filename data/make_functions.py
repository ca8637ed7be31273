"""Make data/functions.parquet: real Python functions from the standard library of the interpreter that runs this.

    python data/make_functions.py [FILE]

Columns: name (qualified), module, code (dedented, decorators included), docstring (null if there is none), lines.
The selection is the same every time: modules in the order below, functions and methods in the order of their source,
then COUNT of them spread evenly over all. The same Python and pyarrow give the same bytes.

Left out: functions of fewer than 3 or more than 200 lines, functions inside functions, and modules whose source names
a copyright holder of its own, so that CPython's licence covers every row.
"""

import ast
import importlib.util
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

COUNT = 1_200
MIN_LINES, MAX_LINES = 3, 200
_MODULES = """
abc argparse ast asyncio.base_events asyncio.events asyncio.locks asyncio.queues asyncio.streams asyncio.tasks
base64 bdb bisect calendar cmd code codecs codeop collections compileall concurrent.futures.thread
configparser contextlib copy csv ctypes.util dataclasses datetime difflib dis email.headerregistry
email.message email.policy email.utils enum filecmp fileinput fnmatch fractions ftplib functools getpass
gettext glob graphlib gzip hashlib heapq hmac html.parser http.client http.server imaplib importlib.metadata
inspect ipaddress json.decoder json.encoder keyword linecache locale lzma mailbox mimetypes
multiprocessing.pool multiprocessing.queues netrc numbers opcode operator os pathlib pdb pickle pickletools
pkgutil plistlib poplib posixpath pprint py_compile pyclbr pydoc queue random reprlib rlcompleter sched
selectors shelve shlex shutil smtplib socket socketserver sqlite3.dump statistics string subprocess symtable
tarfile tempfile threading timeit token tokenize traceback types typing unittest.case unittest.loader
unittest.mock urllib.parse urllib.request urllib.robotparser weakref xml.dom.minidom xml.etree.ElementTree
zipapp zipfile zoneinfo._zoneinfo
"""
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("module", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("docstring", pa.string()),
        pa.field("lines", pa.int32(), nullable=False),
    ]
)


def source_of(module: str) -> str | None:
    """Return a module's source without importing more than its package; None if it is not under CPython's licence."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    text = Path(spec.origin).read_text(encoding="utf-8")
    return None if "copyright" in text.lower() else text


def functions(module: str, text: str) -> Iterator[dict[str, object]]:
    """Yield one record per function or method of a module, in the order of the source."""
    lines = text.split("\n")  # as ast counts them: splitlines would also cut at form feeds

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[dict[str, object]]:
        for item in body:
            if isinstance(item, ast.ClassDef):
                yield from walk(item.body, f"{prefix}{item.name}.")
            elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([item.lineno, *(decorator.lineno for decorator in item.decorator_list)])
                code = textwrap.dedent("\n".join(lines[first - 1 : item.end_lineno])) + "\n"
                alone = parsed(code)
                if alone and MIN_LINES <= code.count("\n") <= MAX_LINES:
                    yield {
                        "name": prefix + item.name,
                        "module": module,
                        "code": code,
                        "docstring": ast.get_docstring(alone),
                        "lines": code.count("\n"),
                    }

    yield from walk(ast.parse(text).body, "")


def parsed(code: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Parse one function; None where a string that starts at the margin keeps its code from being dedented."""
    try:
        (function,) = ast.parse(code).body
    except SyntaxError:
        return None
    return function if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) else None


def main(path: Path) -> None:
    """Write the file and say what is in it."""
    found = []
    for module in _MODULES.split():
        text = source_of(module)
        if text is not None:
            found += functions(module, text)
    chosen = [found[i * len(found) // COUNT] for i in range(COUNT)]
    pq.write_table(pa.Table.from_pylist(chosen, SCHEMA), path, compression="zstd", compression_level=19)
    modules = len({row["module"] for row in chosen})
    print(f"{path}: {COUNT} of {len(found)} functions from {modules} modules, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("functions.parquet"))
