"""Refusals of one family of errors: their texts for a golden file, and whether all were reached."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import pytest


class Refusals:
    """Collects the refusals of some calls.

    Parameters
    ----------
    error
        What every call must raise, and nothing else.
    modules
        Where it is raised.
    causes
        Errors that these modules raise for themselves, and turn into `error` with their text.
    """

    def __init__(
        self, error: type[Exception], *modules: ModuleType, causes: tuple[type[Exception], ...] = ()
    ) -> None:
        self._error = error
        names = {error.__name__, *(cause.__name__ for cause in causes)}
        files = (Path(inspect.getfile(module)).resolve() for module in modules)
        self._missing = {place: text for file in files for place, text in raised(file, names)}
        self._lines: list[str] = []

    def add(self, title: str, call: Callable[..., Any], *arguments: Any) -> str:
        """Run a call that must be refused; return the reason."""
        with pytest.raises(self._error) as caught:
            call(*arguments)
        assert type(caught.value) is self._error
        for file, line in places(caught.value):
            self._missing = {
                place: text
                for place, text in self._missing.items()
                if place[0] != file or line not in place[1]
            }
        reason = str(caught.value)
        self._lines += [title, f"    {reason}", ""]
        return reason

    def text(self) -> str:
        """Return the golden file: each title with its reason below it."""
        return "\n".join(self._lines)

    def not_reached(self) -> list[str]:
        """Return the `raise` statements that no call has reached."""
        return list(self._missing.values())


def raised(file: Path, names: set[str]) -> Iterator[tuple[tuple[Path, range], str]]:
    """Yield the statements of a file that raise one of these errors, by their lines."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            function = node.exc.func
            if isinstance(function, ast.Name) and function.id in names:
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                yield (file, lines), f"{file.name}:{node.lineno}: {ast.unparse(node)}"


def places(error: BaseException) -> Iterator[tuple[Path, int]]:
    """Yield file and line of every frame that an error, or one that caused it, went through."""
    chain: BaseException | None = error
    while chain is not None:
        frame: TracebackType | None = chain.__traceback__
        while frame is not None:
            yield Path(frame.tb_frame.f_code.co_filename).resolve(), frame.tb_lineno
            frame = frame.tb_next
        chain = chain.__cause__ or chain.__context__
