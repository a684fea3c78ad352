#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in both conventions, in shards, and as strangers would break them."""
import contextlib
import json
import tempfile
import unittest
from pathlib import Path

from python_oracle import exact_operands, np

import nvfp4
from nvfp4 import checkpoint


def safetensors(tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return framed(json.dumps(header), data)


def framed(header: "str | bytes", data: bytes = b"") -> bytes:
    header = header.encode() if isinstance(header, str) else header
    return len(header).to_bytes(8, "little") + header + data


def modelopt(name: str, codes: np.ndarray, scales: np.ndarray, scale: float) -> dict:
    return {f"{name}.weight": ("U8", codes.shape, codes.tobytes()),
            f"{name}.weight_scale": ("F8_E4M3", scales.shape, scales.tobytes()),
            f"{name}.weight_scale_2": ("F32", (), np.float32(scale).tobytes()),
            f"{name}.input_scale": ("F32", (), np.float32(3).tobytes())}


def compressed(name: str, codes: np.ndarray, scales: np.ndarray, scale: float) -> dict:
    return {f"{name}.weight_packed": ("U8", codes.shape, codes.tobytes()),
            f"{name}.weight_scale": ("F8_E4M3", scales.shape, scales.tobytes()),
            f"{name}.weight_global_scale": ("F32", (1,), np.float32(1 / scale).tobytes())}


class CheckpointTest(unittest.TestCase):
    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def write(self, content: bytes, name: str = "model.safetensors") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def refused(self, content: bytes, words: str) -> None:
        path = self.write(content)
        with self.assertRaisesRegex(nvfp4.BadData, words) as caught:
            checkpoint.Checkpoint(path)
        self.assertIn(str(path), str(caught.exception))

    def test_both_conventions_give_the_same_matrix(self) -> None:
        codes, scales, _ = exact_operands(3, 32, 1, 7)
        norm = {"norm.weight": ("BF16", (2,), b"\x80\x3f\x00\x40")}
        for form in (modelopt, compressed):
            found = checkpoint.Checkpoint(self.write(
                safetensors(norm | form("a.b", codes, scales, 0.125))))
            self.assertEqual(found.names, ("a.b",))
            (matrix,) = found
            np.testing.assert_array_equal(matrix.codes, codes)
            np.testing.assert_array_equal(matrix.scales, scales)
            self.assertEqual((matrix.global_scale, matrix.name), (0.125, "a.b"))
            self.assertIn("norm.weight", found.others)
            dtype, bits = found.tensor("norm.weight")
            self.assertEqual((dtype, list(bits)), ("BF16", [0x3F80, 0x4000]))

    def test_shards_are_read_through_their_index(self) -> None:
        codes, scales, _ = exact_operands(3, 32, 1, 8)
        tensors = modelopt("a", codes, scales, 0.5)
        names = {"one.safetensors": list(tensors)[:1], "two.safetensors": list(tensors)[1:]}
        for file, held in names.items():
            self.write(safetensors({name: tensors[name] for name in held}), file)
        weight_map = {name: file for file, held in names.items() for name in held}
        index = self.write(json.dumps({"metadata": {}, "weight_map": weight_map}).encode(),
                           checkpoint.INDEX)
        found = checkpoint.Checkpoint(self.folder)
        np.testing.assert_array_equal(found.matrix("a").codes, codes)
        for broken, words in (
                ({"weight_map": weight_map | {"x": "../one.safetensors"}}, "no file name"),
                ({"weight_map": weight_map | {"x": "three.safetensors"}}, "missing"),
                ({"weight_map": weight_map | {"x": "one.safetensors"}}, "not in one"),
                ({"weight_map": {"a": 1}}, "weight_map"), ({}, "weight_map"), ([], "object")):
            index.write_text(json.dumps(broken))
            with self.assertRaisesRegex(nvfp4.BadData, words):
                checkpoint.Checkpoint(self.folder)

    def test_a_name_in_two_shards_is_refused(self) -> None:
        tensor = {"a": ("U8", (1,), b"x")}
        for name in ("one.safetensors", "two.safetensors"):
            self.write(safetensors(tensor | {name: ("U8", (1,), b"y")}), name)
        self.write(json.dumps({"weight_map": {"a": "one.safetensors",
                                              "two.safetensors": "two.safetensors"}}).encode(),
                   checkpoint.INDEX)
        with self.assertRaisesRegex(nvfp4.BadData, "a is in"):
            checkpoint.Checkpoint(self.folder)

    def test_hostile_headers_are_refused(self) -> None:
        entry = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
        good = framed(f'{{"a":{entry}}}', b"1234")
        checkpoint.Checkpoint(self.write(good))
        cases = [
            (b"", "bytes are no"), (good[:7], "bytes are no"), (good[:-1], "end at byte"),
            (good[:20], "header of"), (b"\xff" * 8 + good[8:], "header of"),
            ((2**63).to_bytes(8, "little") + good[8:], "header of"),
            (good + b"5", "end at byte"), (framed(b"\xff{}"), "bad JSON"), (framed("{"), "bad JSON"),
            (framed("[]"), "no object"), (framed("[" * 100_000), "bad JSON"),
            (framed(f'{{"a":{entry},"a":{entry}}}', b"1234"), "twice"),
            (framed('{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
             "twice"),
            (framed('{"__metadata__":{"x":1}}'), "__metadata__"),
            (framed('{"__metadata__":[]}'), "__metadata__")]
        for entries, words in (
                ([("U9", [4], [0, 4])], "dtype"), ([(["U8"], [4], [0, 4])], "dtype"),
                ([("U8", [-4], [0, 4])], "shape"), ([("U8", [2.0, 2], [0, 4])], "shape"),
                ([("U8", [True, 4], [0, 4])], "shape"), ([("U8", "4", [0, 4])], "shape"),
                ([("U8", [1] * 33, [0, 4])], "shape"), ([("U8", [4], [4, 0])], "data_offsets"),
                ([("U8", [4], [0])], "data_offsets"), ([("U8", [4], [0, 2**70])], "data_offsets"),
                ([("U8", [5], [0, 4])], "takes 4"), ([("F32", [4], [0, 4])], "its shape 16"),
                ([("U8", [2**40, 2**40], [0, 4])], "takes 4"),
                ([("U8", [4], [4, 8])], "gap"), ([("U8", [8], [0, 8])], "end at byte"),
                ([("U8", [3], [0, 3]), ("U8", [2], [2, 4])], "overlaps"),
                ([("U8", [4], [0, 4]), ("U8", [4], [0, 4])], "overlaps"),
                ([("U8", [1], [0, 1]), ("U8", [1], [3, 4])], "gap")):
            header = {str(i): {"dtype": d, "shape": s, "data_offsets": o}
                      for i, (d, s, o) in enumerate(entries)}
            cases.append((framed(json.dumps(header), b"1234"), words))
        for missing in ("dtype", "shape", "data_offsets"):
            header = {"a": {k: v for k, v in json.loads(entry).items() if k != missing}}
            cases.append((framed(json.dumps(header), b"1234"), "exactly"))
        cases.append((framed(json.dumps({"a": json.loads(entry) | {"x": 1}}), b"1234"), "exactly"))
        cases.append((framed('{"a":7}', b""), "exactly"))
        for content, words in cases:
            with self.subTest(words=words, start=content[:90]):
                self.refused(content, words)

    def test_incomplete_or_senseless_matrices_are_refused_when_asked_for(self) -> None:
        codes, scales, _ = exact_operands(3, 32, 1, 9)
        whole = modelopt("a", codes, scales, 0.5)
        for change, words in (
                ({"a.weight": None}, "a.weight is missing"),
                ({"a.weight_scale": None}, "a.weight_scale is missing"),
                ({"a.weight": ("F16", (3, 8), bytes(48))}, "is F16, not U8"),
                ({"a.weight_scale": ("U8", (3, 2), bytes(6))}, "is U8, not F8_E4M3"),
                ({"a.weight_scale": ("F8_E4M3", (2, 3), bytes(6))}, "a: scales of shape"),
                ({"a.weight": ("U8", (48,), bytes(48))}, "a: codes of shape"),
                ({"a.weight_scale_2": ("F32", (3,), bytes(12))}, "not one number"),
                ({"a.weight_scale_2": ("F32", (), bytes(4))}, "is 0.0"),
                ({"a.weight_scale_2": ("F32", (), b"\0\0\xc0\x7f")}, "is nan"),
                ({"a.weight_scale_2": ("F32", (), b"\0\0\x80\xbf")}, "is -1.0")):
            with self.subTest(words=words):
                tensors = {k: v for k, v in (whole | change).items() if v}
                found = checkpoint.Checkpoint(self.write(safetensors(tensors)))
                with self.assertRaisesRegex(nvfp4.BadData, words):
                    found.matrix("a")
        tiny = compressed("a", codes, scales, 0.5)
        tiny["a.weight_global_scale"] = ("F32", (1,), np.float32(1e-45).tobytes())
        with self.assertRaises(nvfp4.BadData):  # its reciprocal is no float32
            checkpoint.Checkpoint(self.write(safetensors(tiny))).matrix("a")
        with self.assertRaises(KeyError):
            checkpoint.Checkpoint(self.write(safetensors(whole))).matrix("b")


if __name__ == "__main__":
    unittest.main()
