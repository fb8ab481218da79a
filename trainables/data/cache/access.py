"""Data sets by way of the cache: mapped where they were kept before, else read and kept.

Whatever is wrong with the cache, the data set is read from its files; nothing but a line in the
log tells. No file of the cache can hold code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from trainables.config import DataConfig
from trainables.data.cache.arrays import array_chunks, lay_out, map_splits
from trainables.data.cache.folder import CacheFolder
from trainables.data.cache.manifest import (
    FORMAT_VERSION,
    CacheMissError,
    Manifest,
    manifest_bytes,
    parse_manifest,
)
from trainables.data.cache.reader_digest import reader_digest
from trainables.data.cache.sources import (
    FileIdentity,
    SourceFile,
    identify,
    record,
    settled,
    still_the_same,
)
from trainables.data.dataset import Camera, PoseDataset, SequenceInfo
from trainables.skeletons import SKELETONS, Skeleton

__all__ = ["load_through_cache"]

logger = logging.getLogger(__name__)

FIELDS_WITHOUT_EFFECT = frozenset({"content_hash", "frames", "clip_step", "max_eval_poses"})
"""Of `DataConfig`: what does not change what is read."""

_KEY_DIGITS = 24
_CONTENT_DIGITS = 16
_SKELETON = TypeAdapter(Skeleton)
_SEQUENCES = TypeAdapter(tuple[SequenceInfo, ...])

# What damaged files, full disks and missing permissions raise; a bug elsewhere does not.
_OFF = (CacheMissError, OSError, ValueError, TypeError)


def load_through_cache(
    config: DataConfig,
    data_dir: Path,
    cache: CacheFolder,
    *,
    files: Callable[[DataConfig, Path], tuple[Path, ...]],
    read: Callable[[], PoseDataset],
) -> PoseDataset:
    """A data set from the cache, or from its files.

    Args:
        config: Which data, and how they are read.
        data_dir: Folder of the files.
        cache: Where decoded data sets are kept.
        files: All files that may be read, whether they exist or not.
        read: Reads and verifies the data set.

    Returns:
        The data set; its arrays are read-only and lie in a mapped file, where that can be had.

    Raises:
        DataError: As `read`.
    """
    try:
        cache.prepare()
    except _OFF as error:
        logger.warning("%s: not used for decoded data: %s", cache.path, error)
        return read()
    entry = _Entry(cache, config, data_dir.resolve(), files)
    try:
        return entry.look_up()
    except _OFF as error:
        level = logging.INFO if getattr(error, "expected", False) else logging.WARNING
        logger.log(level, "%s is read from its files: %s", entry.manifest_path, error)
    try:
        started_ns = time.time_ns()
        sources = record(entry.identify(), entry.folder)
    except _OFF:
        return read()  # it knows best what is wrong with its files
    dataset = read()
    try:
        return entry.keep(dataset, sources, started_ns)
    except _OFF as error:
        logger.warning("%s: decoded data are not kept: %s", cache.path, error)
        return dataset


@dataclass(frozen=True)
class _Entry:
    """One data set's place in the cache."""

    cache: CacheFolder
    config: DataConfig
    folder: Path
    files: Callable[[DataConfig, Path], tuple[Path, ...]]

    @property
    def key(self) -> str:
        """The same for all that would read the same data set from the same folder."""
        what = json.dumps([self.fields, str(self.folder)], sort_keys=True)
        return f"{self.config.name}-{hashlib.sha256(what.encode()).hexdigest()[:_KEY_DIGITS]}"

    @property
    def fields(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json", exclude=set(FIELDS_WITHOUT_EFFECT))

    @property
    def manifest_name(self) -> str:
        return f"{self.key}.json"

    @property
    def manifest_path(self) -> Path:
        return self.cache.path / self.manifest_name

    def data_file(self, content_hash: str) -> str:
        return f"{self.key}-{content_hash[:_CONTENT_DIGITS]}.poses"

    def identify(self) -> dict[Path, FileIdentity | None]:
        return identify(self.files(self.config, self.folder), self.folder)

    def look_up(self) -> PoseDataset:
        """Map what is kept.

        Raises:
            CacheMissError: If nothing is, or nothing that can be used.
            OSError: A file cannot be read.
            ValueError: The manifest is malformed.
            TypeError: It describes something else.
        """
        started_ns = time.time_ns()
        content = self.cache.read(self.manifest_name)
        manifest = parse_manifest(content)
        described = (manifest.fields, manifest.folder, manifest.data_file)
        if described != (self.fields, str(self.folder), self.data_file(manifest.content_hash)):
            raise CacheMissError("its manifest is that of other data")
        found = self.identify()
        sources, change = still_the_same(
            manifest.sources, found, self.folder, manifest.recorded_ns
        )
        if sources is None:
            raise CacheMissError(change, expected=True)
        dataset = self._map(manifest)
        current = manifest.model_copy(update={"sources": sources})
        if current != manifest or not settled(found.values(), manifest.recorded_ns):
            self._refresh(current.model_copy(update={"recorded_ns": started_ns}), content)
        self.cache.touch(self.manifest_name)
        return dataset

    def keep(
        self, dataset: PoseDataset, sources: tuple[SourceFile, ...], started_ns: int
    ) -> PoseDataset:
        """Write a data set, and map it.

        Args:
            dataset: The data set.
            sources: Its files, before it was read.
            started_ns: When that was, Unix time.

        Raises:
            CacheMissError: The files have changed meanwhile, or what was written is not what
                is read.
            OSError: There is no room, say.
            ValueError: It holds what cannot be written.
            TypeError: It holds what cannot be written.
        """
        if list(self.identify().values()) != [source.identity for source in sources]:
            raise CacheMissError("the source files have changed while they were read")
        arrays, size = lay_out(dataset)
        content_hash = dataset.content_hash()
        data_file = self.data_file(content_hash)
        manifest = Manifest(
            format=FORMAT_VERSION,
            reader=reader_digest(),
            folder=str(self.folder),
            fields=self.fields,
            sources=sources,
            recorded_ns=started_ns,
            data_file=data_file,
            size=size,
            arrays=arrays,
            name=dataset.name,
            skeleton=_SKELETON.dump_python(dataset.skeleton, mode="json"),
            sequences=tuple(json.loads(json.dumps([asdict(s) for s in dataset.sequences]))),
            notes=dataset.notes,
            content_hash=content_hash,
        )
        with self.cache.lock():
            kept = self._kept_by_another(manifest)
            if kept is None:
                self.cache.write(data_file, array_chunks(dataset, arrays))
                self.cache.write(self.manifest_name, [manifest_bytes(manifest)])
            self.cache.tidy(self.key, kept=(data_file, self.manifest_name))
        return self._map(manifest) if kept is None else kept

    def _kept_by_another(self, manifest: Manifest) -> PoseDataset | None:
        """What another process has written since this one looked."""
        try:
            other = parse_manifest(self.cache.read(self.manifest_name))
            same = other.model_copy(update={"recorded_ns": manifest.recorded_ns}) == manifest
            return self._map(other) if same else None
        except _OFF:
            return None

    def _map(self, manifest: Manifest) -> PoseDataset:
        """The data set, compared with its hash to the last byte."""
        skeleton = _skeleton(manifest)
        with self.cache.open(manifest.data_file) as descriptor:
            size = os.fstat(descriptor).st_size
            if size != manifest.size:
                raise CacheMissError(
                    f"{manifest.data_file} has {size} bytes, expected {manifest.size}"
                )
            splits = map_splits(
                descriptor, manifest.arrays, size=size, num_joints=skeleton.num_joints
            )
        dataset = PoseDataset(
            manifest.name, skeleton, _sequences(manifest), splits, manifest.notes
        )
        if dataset.content_hash() != manifest.content_hash:
            raise CacheMissError(f"{manifest.data_file} is damaged")
        return dataset

    def _refresh(self, manifest: Manifest, before: bytes) -> None:
        """Note the files' new identities, unless another process wrote a manifest meanwhile."""
        try:
            with self.cache.lock():
                if self.cache.read(self.manifest_name) == before:
                    self.cache.write(self.manifest_name, [manifest_bytes(manifest)])
        except _OFF as error:
            logger.info("%s: not refreshed: %s", self.manifest_path, error)


def _skeleton(manifest: Manifest) -> Skeleton:
    skeleton = _SKELETON.validate_json(json.dumps(manifest.skeleton), strict=True)
    known = SKELETONS.get(skeleton.name, skeleton)
    if skeleton != known:
        raise CacheMissError(f"its skeleton {skeleton.name} is not the present one", expected=True)
    return known


def _sequences(manifest: Manifest) -> tuple[SequenceInfo, ...]:
    """Validated, then built from the very values: a checked 50 would come back as 50.0."""
    _SEQUENCES.validate_json(json.dumps(manifest.sequences), strict=True)
    return tuple(SequenceInfo(**_tuples(fields)) for fields in manifest.sequences)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    built = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    if fields.get("camera") is not None:
        built["camera"] = Camera(**_tuples(fields["camera"]))
    return built
