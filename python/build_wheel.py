#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the wheel with the standard library alone: the package, libnvfp4.so and libnvfp4_emulator.so.

    python/build_wheel.py --libraries build-release --out dist

It is a PEP 517 back end as well: `pip wheel python/` takes the libraries from the folder named by
NVFP4_LIBRARIES, else from build-release/ or build/. The same input gives the same bytes.
"""
import argparse
import base64
import hashlib
import os
import re
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NAME = "nvfp4"
TAG = "py3-none-manylinux_2_35_x86_64"
LIBRARIES = ("libnvfp4.so", "libnvfp4_emulator.so")
DATE = (1980, 1, 1, 0, 0, 0)  # the oldest that zip knows

METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: {version}
Summary: NVFP4 weights as W4A16 on NVIDIA GPUs without FP4 units
License: Apache-2.0
Requires-Python: >=3.10
Requires-Dist: numpy
"""
WHEEL = """\
Wheel-Version: 1.0
Generator: nvfp4 build_wheel.py
Root-Is-Purelib: false
Tag: {tag}
"""


def version() -> str:
    text = (ROOT / "CMakeLists.txt").read_text()
    found = re.search(r"^project\(nvfp4 VERSION ([0-9.]+)", text, re.MULTILINE)
    if not found:
        raise SystemExit("build_wheel: CMakeLists.txt names no version")
    return found[1]


def library(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.exists():
        raise SystemExit(f"build_wheel: {path} does not exist: build it first")
    return path.read_bytes()


def contents(libraries: Path) -> dict[str, bytes]:
    """What the wheel holds, by its path there."""
    files = {f"{NAME}/{path.name}": path.read_bytes() for path in sorted((HERE / NAME).glob("*.py"))}
    for name in LIBRARIES:
        files[f"{NAME}/lib/{name}"] = library(libraries, name)
    # Tuned databases: beside the libraries in a build tree, beside their folder where installed.
    for folder in (libraries, libraries.parent):
        for path in sorted((folder / "share" / NAME).glob("*.db")):
            files.setdefault(f"{NAME}/share/{NAME}/{path.name}", path.read_bytes())
    info = f"{NAME}-{version()}.dist-info"
    files[f"{info}/METADATA"] = METADATA.format(name=NAME, version=version()).encode()
    files[f"{info}/WHEEL"] = WHEEL.format(tag=TAG).encode()
    files[f"{info}/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    # The notices of what the libraries were linked with lie beside them in the release tarball.
    for path in sorted((libraries.parent / "licenses").glob("*.txt")):
        files[f"{info}/licenses/{path.name}"] = path.read_bytes()
    record = "".join(f"{path},sha256={digest(data)},{len(data)}\n" for path, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    return files


def digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def write(libraries: Path, folder: Path) -> Path:
    wheel = folder / f"{NAME}-{version()}-{TAG}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents(libraries).items():
            entry = zipfile.ZipInfo(path, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if path.endswith(".so") else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, data)
    return wheel


def build_wheel(wheel_directory: str, config_settings: Any = None,
                metadata_directory: str | None = None) -> str:
    """The hook of PEP 517."""
    named = os.environ.get("NVFP4_LIBRARIES")
    folders = [Path(named)] if named else [ROOT / "build-release", ROOT / "build"]
    built = next((f for f in folders if (f / LIBRARIES[0]).exists()), folders[0])
    return write(built, Path(wheel_directory)).name


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--libraries", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    print(write(options.libraries, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
