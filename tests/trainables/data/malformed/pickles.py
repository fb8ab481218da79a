"""Malicious pickles in place of the 3D of Human3.6M."""

from __future__ import annotations

import builtins
import copyreg
import functools
import os
import pickle
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.trainables.data.malformed.case import FILE_3D, Case
from tests.trainables.data.npz_writer import Calls, object_array, write_pickled

__all__ = ["EXTENSION_CODE", "PICKLES", "write_payload"]

EXTENSION_CODE = 0xF0
"""Registered for `os.system` by whoever proves that the payload is live."""

Payload = Callable[[Path], bytes]


def _shell(marker: Path) -> str:
    return f"touch {marker}"


def _calls(function: Any, *arguments: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(Calls(function, *arguments), protocol)


def _nested_in_data(marker: Path) -> bytes:
    nested = {"S1": {"walk": [np.zeros(3), Calls(os.system, _shell(marker))]}}
    return pickle.dumps(object_array(nested), 4)


def _numpy_load(marker: Path) -> bytes:
    """Has numpy open another file, which does the damage."""
    other = marker.with_name("other.npy")
    value = object_array(Calls(os.system, _shell(marker)))
    np.save(other, value, allow_pickle=True)
    return _calls(np.load, str(other), None, True)


def _script(marker: Path) -> bytes:
    script = marker.with_name("script.py")
    script.write_text(f"open({str(marker)!r}, 'w').close()\n")
    return _calls(runpy.run_path, str(script))


def _instance(marker: Path) -> bytes:
    return f"(S'{_shell(marker)}'\nios\nsystem\n.".encode()


def _object(marker: Path) -> bytes:
    return f"(cos\nsystem\nS'{_shell(marker)}'\no.".encode()


def _extension(marker: Path) -> bytes:
    return bytes((0x82, EXTENSION_CODE)) + f"(S'{_shell(marker)}'\ntR.".encode()


def _stand_in(state: bytes) -> Payload:
    """Tries to change what this package builds arrays with."""
    return lambda _marker: b"cnumpy\ndtype\n" + state


def _fixed(pickled: bytes) -> Payload:
    return lambda _marker: pickled


_PAYLOADS: tuple[tuple[str, str, bool, Payload], ...] = (
    (
        "pickle: os.system by GLOBAL (protocol 0)",
        r"asks for posix\.system, which could run code; refused",
        True,
        lambda marker: _calls(os.system, _shell(marker), protocol=0),
    ),
    (
        "pickle: os.system by STACK_GLOBAL (protocol 4)",
        r"uses STACK_GLOBAL|asks for posix\.system",
        True,
        lambda marker: _calls(os.system, _shell(marker), protocol=4),
    ),
    ("pickle: os.system deep in valid data", r"asks for posix\.system", True, _nested_in_data),
    (
        "pickle: REDUCE of builtins.eval",
        r"asks for (builtins|__builtin__)\.eval",
        True,
        lambda marker: _calls(builtins.eval, f"open({str(marker)!r}, 'w').close()"),
    ),
    (
        "pickle: REDUCE of builtins.exec",
        r"asks for (builtins|__builtin__)\.exec",
        True,
        lambda marker: _calls(builtins.exec, f"open({str(marker)!r}, 'w').close()"),
    ),
    (
        "pickle: subprocess.Popen",
        r"asks for (subprocess|commands)\.Popen",
        True,
        lambda marker: _calls(subprocess.Popen, ["touch", str(marker)]),
    ),
    (
        "pickle: functools.partial of os.system",
        r"asks for functools\.partial",
        True,
        lambda marker: _calls(functools.partial(os.system, _shell(marker))),
    ),
    ("pickle: runpy.run_path of a script", r"asks for runpy\.run_path", True, _script),
    ("pickle: INST", r"uses INST os\.system", True, _instance),
    ("pickle: OBJ", r"asks for os\.system|uses OBJ", True, _object),
    ("pickle: code of the extension registry", r"uses EXT1", True, _extension),
    (
        "pickle: numpy.load of another file",
        r"asks for numpy.*load",
        True,
        _numpy_load,
    ),
    (
        "pickle: another pickle in bytes",
        r"asks for _?pickle\.loads",
        True,
        lambda marker: _calls(pickle.loads, _calls(os.system, _shell(marker))),
    ),
    (
        "pickle: copyreg.add_extension",
        r"asks for copy_?reg\.add_extension",
        False,
        lambda _marker: _calls(copyreg.add_extension, "os", "system", 7),
    ),
    ("pickle: persistent id", r"uses (BIN)?PERSID", False, _fixed(b"\x80\x02Pevil\n.")),
    ("pickle: NEWOBJ", r"uses NEWOBJ", False, _fixed(b"cnumpy\ndtype\n)\x81.")),
    (
        "pickle: BUILD on a stand-in",
        r"change what builds its arrays",
        False,
        _stand_in(b"(N}X\x09\x00\x00\x00_functionNstb."),
    ),
    (
        "pickle: out-of-band buffer",
        r"uses NEXT_BUFFER",
        False,
        _fixed(b"\x80\x05\x97."),
    ),
)


def write_payload(folder: Path, pickled: bytes) -> None:
    """Put a pickle in place of the 3D."""
    write_pickled(folder / FILE_3D, pickled, member="positions_3d.npy")


def _case(name: str, message: str, live: bool, payload: Payload) -> Case:
    return Case(
        name=name,
        message=message,
        spoil=lambda folder: write_payload(folder, payload(folder.parent / "executed")),
        unsafe=True,
        payload=payload,
        live=live,
    )


def _absurd(name: str, message: str, pickled: bytes) -> Case:
    return Case(name, message, lambda folder: write_payload(folder, pickled))


PICKLES: tuple[Case, ...] = (
    *(_case(*row) for row in _PAYLOADS),
    _absurd(
        "pickle: memo index of 2^31",
        "memo index 2147483647 is absurd",
        b"\x80\x02Nr\xff\xff\xff\x7f.",
    ),
    _absurd(
        "pickle: 100,000 lists in one another",
        "nested deeper than 32|not a readable npz",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    ),
    _absurd("pickle: a list that holds itself", "nested deeper", b"(lp0\ng0\na."),
    _absurd(
        "pickle: claims 2^62 bytes of text",
        "not a readable npz",
        b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b"x.",
    ),
    _absurd("pickle: cut off", "not a readable npz", pickle.dumps(object_array({"S1": 1}))[:-9]),
)
"""Cases whose 3D is a pickle that no writer of data makes."""
