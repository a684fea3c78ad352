# SPDX-License-Identifier: Apache-2.0
"""NVFP4 checkpoints: safetensors files, alone or sharded, mapped into memory and checked as files from
strangers. Both conventions are read:

    modelopt            X.weight         X.weight_scale   X.weight_scale_2        multiplies
    compressed-tensors  X.weight_packed  X.weight_scale   X.weight_global_scale   its reciprocal

Scales of activations are not needed, since activations stay in 16 bits. Whatever breaks the format
raises nvfp4.BadData, which names the file.
"""
import json
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._library import BadData, InvalidArgument
from ._weights import Matrix

INDEX = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000  # as the format's own reader
MAX_RANK = 32

# Where numpy has no such type the array holds the bits.
DTYPES = {"BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "F8_E4M3": np.uint8, "F8_E5M2": np.uint8,
          "U16": np.uint16, "I16": np.int16, "F16": np.float16, "BF16": np.uint16, "U32": np.uint32,
          "I32": np.int32, "F32": np.float32, "U64": np.uint64, "I64": np.int64, "F64": np.float64}

# What an NVFP4 matrix is made of; its global scale gives it away.
_MODELOPT = ("weight", "weight_scale", "weight_scale_2")
_COMPRESSED = ("weight_packed", "weight_scale", "weight_global_scale")


class Tensor(NamedTuple):
    """Where a tensor lies: bytes [begin, end) of the file."""

    dtype: str  # as the header names it
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """One file, mapped: `tensors` is its table, `[name]` a read-only numpy view. Raises BadData for a
    file that is not exactly what its header says."""

    def __init__(self, path: "Path | str"):
        self.path = Path(path)
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 8:
                raise self._bad(f"{size} bytes are no safetensors file")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header_bytes = int.from_bytes(self._map[:8], "little")
        if header_bytes > min(MAX_HEADER_BYTES, size - 8):
            raise self._bad(f"a header of {header_bytes} bytes in a file of {size}")
        self.tensors = self._table(self._map[8:8 + header_bytes], 8 + header_bytes, size)

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self.tensors[name]
        count = math.prod(tensor.shape)
        return np.frombuffer(self._map, DTYPES[tensor.dtype], count,
                             tensor.begin).reshape(tensor.shape)

    def _bad(self, message: str) -> BadData:
        return BadData(f"{self.path}: {message}")

    def _table(self, header: bytes, data: int, size: int) -> dict[str, Tensor]:
        document = _parse_json(self.path, header)
        metadata = document.pop("__metadata__", {})
        if not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
            raise self._bad("__metadata__ maps no strings to strings")
        table = {name: self._tensor(name, entry, data) for name, entry in document.items()}
        # Every byte belongs to one tensor: what overlaps or is left over was meant to be misread.
        at = data
        for name, tensor in sorted(table.items(), key=lambda item: item[1][2:]):
            if tensor.begin != at:
                what = "overlaps another tensor" if tensor.begin < at else "leaves a gap before it"
                raise self._bad(f"{name} {what}, at byte {tensor.begin - data}")
            at = tensor.end
        if at != size:
            raise self._bad(f"tensors end at byte {at} of {size}")
        return table

    def _tensor(self, name: str, entry: Any, data: int) -> Tensor:
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self._bad(f"{name} has not exactly dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise self._bad(f"{name} has the unknown dtype {dtype!r}")
        if not _is_sizes(shape) or len(shape) > MAX_RANK:
            raise self._bad(f"{name} has a bad shape")
        if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise self._bad(f"{name} has bad data_offsets")
        want = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if offsets[1] - offsets[0] != want:
            raise self._bad(f"{name} takes {offsets[1] - offsets[0]} bytes, its shape {want}")
        return Tensor(dtype, tuple(shape), data + offsets[0], data + offsets[1])


class Checkpoint:
    """A checkpoint: one safetensors file, or a folder with one or with an index of shards.

    checkpoint.names              the NVFP4 matrices, such as model.layers.0.mlp.up_proj
    checkpoint.matrix(name)       one of them as nvfp4.Matrix, its bytes still in the mapped file
    checkpoint.others             the names of all other tensors
    checkpoint.tensor(name)       any tensor: (dtype as the file names it, numpy view)
    """

    def __init__(self, path: "Path | str"):
        self.path = Path(path)
        self._files: dict[str, SafetensorsFile] = {}
        for file in self._shards():
            for name in file.tensors:
                if self._files.setdefault(name, file) is not file:
                    raise BadData(f"{file.path}: {name} is in {self._files[name].path} too")
        self._forms = {name.removesuffix(f".{form[2]}"): form
                       for name in self._files for form in (_MODELOPT, _COMPRESSED)
                       if name.endswith(f".{form[2]}")}
        parts = {f"{stem}.{suffix}" for stem, form in self._forms.items() for suffix in form}
        self.names = tuple(self._forms)
        self.others = tuple(name for name in self._files if name not in parts)

    def __iter__(self) -> Iterator[Matrix]:
        return map(self.matrix, self.names)

    def tensor(self, name: str) -> tuple[str, np.ndarray]:
        file = self._files[name]
        return file.tensors[name].dtype, file[name]

    def matrix(self, name: str) -> Matrix:
        """Raises KeyError for a name that is not in `names`, BadData for one that is incomplete."""
        codes, scales, factor = self._forms[name]
        global_scale = self._typed(f"{name}.{factor}", "F32")
        if global_scale.size != 1:
            raise BadData(f"{self.path}: {name}.{factor} has shape {global_scale.shape}, not one "
                          "number")
        value = np.float32(global_scale.reshape(-1)[0])
        if not (np.isfinite(value) and value > 0):
            raise BadData(f"{self.path}: {name}.{factor} is {value}")
        if factor == _COMPRESSED[2]:
            with np.errstate(over="ignore"):  # infinity is refused below
                value = np.float32(1) / value
        arrays = self._typed(f"{name}.{codes}", "U8"), self._typed(f"{name}.{scales}", "F8_E4M3")
        try:
            return Matrix(*arrays, float(value), name)
        except InvalidArgument as error:
            raise BadData(f"{self.path}: {error}") from None

    def _typed(self, name: str, dtype: str) -> np.ndarray:
        if name not in self._files:
            raise BadData(f"{self.path}: {name} is missing")
        found, array = self.tensor(name)
        if found != dtype:
            raise BadData(f"{self.path}: {name} is {found}, not {dtype}")
        return array

    def _shards(self) -> list[SafetensorsFile]:
        if not self.path.is_dir():
            return [SafetensorsFile(self.path)]
        index = self.path / INDEX
        if not index.exists():
            files = sorted(self.path.glob("*.safetensors"))
            if len(files) != 1:
                raise BadData(f"{self.path}: {len(files)} safetensors files and no {INDEX}")
            return [SafetensorsFile(files[0])]
        return self._indexed(index)

    def _indexed(self, index: Path) -> list[SafetensorsFile]:
        weight_map = _parse_json(index, index.read_bytes()).get("weight_map")
        if not isinstance(weight_map, dict) or not all(
                isinstance(file, str) for file in weight_map.values()):
            raise BadData(f"{index}: weight_map maps no names to files")
        shards = {}
        for name in sorted(set(weight_map.values())):
            if Path(name).name != name or name in ("", ".", ".."):
                raise BadData(f"{index}: the shard {name!r} is no file name")
            if not (self.path / name).is_file():
                raise BadData(f"{index}: the shard {name} is missing")
            shards[name] = SafetensorsFile(self.path / name)
        for tensor, name in weight_map.items():
            if tensor not in shards[name].tensors:
                raise BadData(f"{index}: {tensor} is not in {name}")
        return list(shards.values())


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < 2**63 for item in value)


def _parse_json(path: Path, text: bytes) -> dict[str, Any]:
    """An object without duplicate names, at any depth."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name occurs twice")
        return result

    try:
        document = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path}: bad JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadData(f"{path}: the JSON is no object")
    return document
