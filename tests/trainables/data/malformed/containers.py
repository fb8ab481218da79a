"""Files that are none: links, devices, broken and crowded zip archives, headers that lie."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.trainables.data.malformed.case import FILE_2D, FILE_3D, Case, npy_bytes

__all__ = ["CONTAINERS"]

MEMBER = "positions_3d.npy"


def _replace(name: str, content: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content((folder / name).read_bytes()))


def _emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else in the place of the 3D file."""

    def spoil(folder: Path) -> None:
        path = folder / FILE_3D
        path.unlink()
        make(path)

    return spoil


def _elsewhere(path: Path) -> None:
    """A link to a valid file outside the folder."""
    other = path.parent.parent / "outside.npz"
    other.write_bytes(b"private")
    path.symlink_to(other)


def _circle(path: Path) -> None:
    path.with_name("other.npz").symlink_to(path)
    path.symlink_to(path.with_name("other.npz"))


def _archive(
    *members: tuple[str, bytes], packed: int = zipfile.ZIP_DEFLATED
) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", packed) as archive:
            for name, content in members:
                archive.writestr(name, content)

    return _instead(make)


def _npy(header: str, body: bytes = b"", version: int = 1) -> bytes:
    """An npy file with a header of one's own."""
    text = header.encode() + b"\n"
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + body


def _header(shape: str, *, order: str = "False", kind: str = "<f4") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"


def _patched(offset: int, value: int) -> Callable[[bytes], bytes]:
    """Change a size in the central directory, where zip readers look."""

    def patch(content: bytes) -> bytes:
        changed = bytearray(content)
        at = content.find(b"PK\x01\x02") + offset
        changed[at : at + 4] = value.to_bytes(4, "little")
        return bytes(changed)

    return patch


def _encrypted(content: bytes) -> bytes:
    changed = bytearray(content)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[content.find(magic) + offset] |= 1
    return bytes(changed)


def _bomb(path: Path) -> None:
    """80 MB of zeros in 80 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, bytes(80 << 20))


def _bombs(path: Path) -> None:
    """Ten members below the limit, which together are above it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("positions_2d.npy", npy_bytes(np.zeros(1)))
        for number in range(10):
            archive.writestr(f"a{number}.npy", bytes(8 << 20))


def _bombs_2d(folder: Path) -> None:
    path = folder / FILE_2D
    path.unlink()
    _bombs(path)


def _overlapping(path: Path) -> None:
    """Two entries of the directory that share one member's bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, npy_bytes(np.zeros(100)))
        archive.writestr("other.npy", npy_bytes(np.zeros(100)))
    content = bytearray(path.read_bytes())
    second = content.rfind(b"PK\x01\x02")
    content[second + 42 : second + 46] = (0).to_bytes(4, "little")
    first = content.find(b"PK\x01\x02")
    content[first + 42 : first + 46] = (4).to_bytes(4, "little")
    path.write_bytes(content)


_GOOD = npy_bytes(np.zeros(3))

CONTAINERS: tuple[Case, ...] = (
    Case(
        "no folder at all",
        "no such folder, expected the folder of data set",
        lambda f: f.rename(f.with_name("gone")),
    ),
    Case(
        "an empty folder",
        "found an empty folder",
        _emptied,
    ),
    Case(
        "the 3D file is missing",
        rf"looked for {FILE_3D}, found {FILE_2D}",
        lambda f: (f / FILE_3D).unlink(),
    ),
    Case("an empty file", "not a readable npz file", _replace(FILE_3D, lambda _: b"")),
    Case("a file of text", "not a readable npz file", _replace(FILE_3D, lambda _: b"hello " * 99)),
    Case(
        "a zip file cut in half",
        "truncated or damaged",
        _replace(FILE_3D, lambda c: c[: len(c) // 2]),
    ),
    Case("the last byte is missing", "truncated or damaged", _replace(FILE_3D, lambda c: c[:-1])),
    Case(
        "a damaged member (wrong checksum)",
        "truncated or damaged",
        _replace(FILE_3D, lambda c: c[:200] + bytes(50) + c[250:]),
    ),
    Case("a folder in place of the file", r"no plain file \(d", _instead(Path.mkdir)),
    Case("a FIFO in place of the file", r"no plain file \(p", _instead(os.mkfifo)),
    Case(
        "a link to a device",
        "outside of .*refused",
        _instead(lambda path: path.symlink_to("/dev/zero")),
        unsafe=True,
    ),
    Case(
        "a link out of the folder",
        "is a link to .*outside of .*refused",
        _instead(_elsewhere),
        unsafe=True,
    ),
    Case(
        "a link to nowhere",
        "cannot be opened .*mend or remove it",
        _instead(lambda p: p.symlink_to(p.with_name("gone"))),
    ),
    Case("links in a circle", "cannot be opened .*mend or remove it", _instead(_circle)),
    Case(
        "a file that may not be read",
        r"may not be read \(-+\); change its permissions",
        lambda f: (f / FILE_3D).chmod(0),
        as_stranger=True,
    ),
    Case(
        "another array than expected",
        r"found the arrays \['other'\], expected \['positions_3d'\]",
        _archive(("other.npy", _GOOD)),
    ),
    Case(
        "an array that is there twice",
        "holds the array 'positions_3d' twice",
        _archive((MEMBER, _GOOD), ("positions_3d", _GOOD)),
    ),
    Case(
        "a zip bomb (one member)",
        "claims to unpack to 83886080 bytes",
        _instead(_bomb),
        unsafe=True,
    ),
    Case(
        "a zip bomb (many small members)",
        "claims to unpack to 8388\\d+ bytes",
        _bombs_2d,
        unsafe=True,
    ),
    Case(
        "2,000 members",
        "2000 members; refused, the limit is 1000",
        _archive(*((f"{n}.npy", b"") for n in range(2000))),
        unsafe=True,
    ),
    Case("overlapping members", "not a readable npz file", _instead(_overlapping)),
    Case(
        "a member that claims 4 GB",
        "claims to unpack to 4294967280 bytes",
        _replace(FILE_3D, _patched(24, 0xFFFFFFF0)),
        unsafe=True,
    ),
    Case(
        "a member that claims too little",
        "not a readable npz file",
        _replace(FILE_3D, _patched(24, 1000)),
    ),
    Case(
        "an encrypted member",
        "encrypted, expected a plain npz file",
        _replace(FILE_3D, _encrypted),
    ),
    Case(
        "a member packed by LZMA",
        "packed by method 14",
        _archive((MEMBER, _GOOD), packed=zipfile.ZIP_LZMA),
    ),
    Case(
        "npy format version 3",
        r"npy format version \(3, 0\) is not supp",
        _archive((MEMBER, _npy(_header("(3,)"), bytes(12), 3))),
    ),
    Case(
        "a structured array",
        "arrays of type .* are not supported",
        _archive((MEMBER, npy_bytes(np.zeros(3, [("a", "f4"), ("b", "f4")])))),
    ),
    Case(
        "a structured array with objects",
        "structured arrays with objects .* are refused",
        _archive(
            (
                MEMBER,
                _npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }", b"N."),
            )
        ),
        unsafe=True,
    ),
    Case(
        "a header of code",
        "not a readable npz file",
        _archive((MEMBER, _npy("__import__('os').getcwd()"))),
    ),
    Case(
        "a header that promises 10^12 numbers",
        r"8 bytes for shape \(999999999999,\)",
        _archive((MEMBER, _npy(_header("(999999999999,)"), bytes(8)))),
    ),
    Case(
        "a negative shape",
        r"\(-3,\) is no array shape",
        _archive((MEMBER, _npy(_header("(-3,)"), bytes(12)))),
    ),
    Case(
        "a shape that does not fit the bytes",
        r"12 bytes for shape \(4,\)",
        _archive((MEMBER, _npy(_header("(4,)"), bytes(12)))),
    ),
    Case(
        "an order that is no truth value",
        "fortran_order",
        _archive((MEMBER, _npy(_header("(3,)", order="'C'"), bytes(12)))),
    ),
)
"""Cases whose bytes are wrong before any pose is looked at."""
