"""YAML as settings and search spaces are read: plain values, every key once."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["DuplicateKeyError", "parse_yaml"]

_MERGE = "tag:yaml.org,2002:merge"


class DuplicateKeyError(yaml.YAMLError):
    """A mapping gives a key twice; the message names the key and both lines."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, except that it would silently keep the last of several equal keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping and check its keys, before `<<` adds those of another one."""
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            identity = (key.tag, key.value)
            if identity in seen:
                raise DuplicateKeyError(
                    f"line {line}: key {key.value!r} is given twice, first in line "
                    f"{seen[identity]}; remove one"
                )
            seen[identity] = line
        return node


def parse_yaml(text: str) -> Any:
    """Read one YAML document of plain values.

    Raises:
        yaml.YAMLError: If it is no valid YAML, asks for an object to be made, or gives a key
            twice (`DuplicateKeyError`).
    """
    loader = _UniqueKeyLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
