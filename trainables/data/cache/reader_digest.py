"""Which code reads data sets: what another version kept is not what this one would read."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import trainables.data
import trainables.skeletons

__all__ = ["reader_digest", "source_digest"]


@functools.cache
def reader_digest() -> str:
    """SHA-256 of the sources of loaders, checks and skeletons (hexadecimal), once per process.

    Raises:
        OSError: A source cannot be read, or there are none.
    """
    packages = (trainables.data, trainables.skeletons)
    return source_digest([Path(folder) for package in packages for folder in package.__path__])


def source_digest(folders: list[Path]) -> str:
    """SHA-256 of all Python sources below some folders, and of their names (hexadecimal).

    Args:
        folders: The folders; where they lie makes no difference.

    Raises:
        OSError: A source cannot be read, or there are none.
    """
    sha = hashlib.sha256()
    for folder in folders:
        sources = sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).parts)
        if not sources:
            raise FileNotFoundError(f"{folder} holds no Python sources")
        for source in sources:
            content = source.read_bytes()
            name = f"{folder.name}/{source.relative_to(folder).as_posix()}"
            sha.update(f"{name}|{len(content)}|".encode())
            sha.update(content)
    return sha.hexdigest()
