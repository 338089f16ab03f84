# SPDX-License-Identifier: Apache-2.0
"""What the tests of the executable share: running it, tables, images, checkpoints. No test is in this file."""

import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest
import zlib

EXECUTABLE = os.environ.get("CXR_EXECUTABLE", "cxr")
SOURCE = os.environ.get("CXR_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SAMPLE = os.path.join(SOURCE, "examples", "data", "nih-sample")
COURSE = os.path.join(SOURCE, "examples", "data", "course-csv")

# A DenseNet that trains in moments.
SMALL = ["--blocks", "1,1,1,1", "--growth", "4", "--stem", "8", "--size", "32", "--resize", "area", "--threads", "1"]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, pixels, claimed=None):
    """An 8-bit gray PNG file; `claimed` is another size for its header."""
    rows = b"".join(b"\0" + bytes(pixels[y * width : (y + 1) * width]) for y in range(height))
    w, h = claimed or (width, height)
    head = struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def samplewise(content):
    """The rows of three channels of an image that `png` made, as --preprocess samplewise makes them."""
    at, packed = 8, b""
    while at < len(content):
        (n,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + n]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            packed += body
        at += 12 + n
    rows = zlib.decompress(packed)
    pixels = [list(rows[y * (width + 1) + 1 : (y + 1) * (width + 1)]) for y in range(height)]
    every = [v for row in pixels for v in row]
    mean = sum(every) / len(every)
    deviation = (sum((v - mean) ** 2 for v in every) / len(every)) ** 0.5
    return [[[(v - mean) / (deviation + 1e-6)] * 3 for v in row] for row in pixels]


def jpeg(blocks, claimed=None):
    """An 8-bit gray baseline JPEG whose 8 × 8 blocks have the values of `blocks`, rows of them; `claimed` is another (width, height) for its header."""
    width, height = claimed or (8 * len(blocks[0]), 8 * len(blocks))

    def segment(kind, data):
        return b"\xff" + bytes([kind]) + struct.pack(">H", len(data) + 2) + data

    # Quantised by 8 the mean of a block is its value less 128: exact. Twelve codes of 4 bits for the sizes of differences, one bit for the end of a block.
    quantisation = segment(0xDB, bytes([0] + [8] * 64))
    frame = segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    means = segment(0xC4, bytes([0x00] + [0, 0, 0, 12] + [0] * 12) + bytes(range(12)))
    others = segment(0xC4, bytes([0x10] + [1] + [0] * 15) + b"\0")
    scan = segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0]))
    bits, before = "", 128
    for value in (v for row in blocks for v in row):
        difference, before = value - before, value
        size = abs(difference).bit_length()
        bits += f"{size:04b}" + (f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}" if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + quantisation + frame + means + others + scan + data + b"\xff\xd9"


class CommandTest(unittest.TestCase):
    """Each test has a folder of its own, self.folder."""

    maxDiff = None

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="cxr-test-")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, content):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read()

    def run_cxr(self, *arguments, file_limit=None, user=None, emulator=(), timeout=300):
        """Runs the executable, by `emulator` where there is one; `file_limit` is the largest file it may write, in bytes."""

        def prepare():
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
            if user is not None:
                os.setgid(user)
                os.setuid(user)

        program = EXECUTABLE
        if user is not None:  # who may not be let into the folder of the build
            place = tempfile.TemporaryDirectory(prefix="cxr-program-")
            self.addCleanup(place.cleanup)
            os.chmod(place.name, 0o755)
            program = shutil.copy2(EXECUTABLE, place.name)
        return subprocess.run(
            [*emulator, program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder if user is None else "/",
            preexec_fn=prepare,
        )

    def good(self, *arguments, **keywords):
        result = self.run_cxr(*arguments, **keywords)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def good_json(self, *arguments, **keywords):
        """Runs with --json - and returns what it wrote; nothing else may be on standard output."""
        return json.loads(self.good(*arguments, "--json", "-", **keywords).stdout)

    def bad(self, status, *arguments, says=(), **keywords):
        """Runs what must fail with this status and exactly one line on standard error, which holds every string of `says`."""
        result = self.run_cxr(*arguments, **keywords)
        self.assertEqual(result.returncode, status, f"stdout {result.stdout!r} stderr {result.stderr!r}")
        self.assertTrue(result.stderr.startswith("cxr: error:"), result.stderr)
        self.assertTrue(result.stderr.endswith("\n"), result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        for text in says:
            self.assertIn(text, result.stderr)
        return result.stderr

    def everything(self):
        """Every file and folder below self.folder, with sizes."""
        found = {}
        for place, folders, files in os.walk(self.folder):
            for name in folders:
                found[os.path.relpath(os.path.join(place, name), self.folder)] = None
            for name in files:
                path = os.path.join(place, name)
                found[os.path.relpath(path, self.folder)] = os.path.getsize(path)
        return found

    def unchanged(self):
        """A context in which no file may appear, vanish or change its size."""
        return Unchanged(self)

    def data_set(self, train=12, valid=6, size=40, classes=("A", "B")):
        """A small data set: class A is a bright left half, class B a bright upper half."""
        numbers = random.Random(7)
        os.makedirs(self.path("images"), exist_ok=True)
        for split, count, first in (("train", train, 0), ("valid", valid, 1000)):
            lines = ["Image,PatientId," + ",".join(classes)]
            for i in range(count):
                name = f"{split}-{i:02}.png"
                labels = [(i >> c) & 1 for c in range(len(classes))]
                pixels = [
                    min(255, numbers.randrange(60) + 80 * (labels[0] and x < size // 2) + 80 * (len(labels) > 1 and labels[1] and y < size // 2))
                    for y in range(size)
                    for x in range(size)
                ]
                self.write(f"images/{name}", png(size, size, pixels))
                lines.append(",".join([name, str(first + i), *map(str, labels)]))
            self.write(f"{split}.csv", "\n".join(lines) + "\n")
        return ["--train", self.path("train.csv"), "--valid", self.path("valid.csv"), "--images", self.path("images")]

    def train_arguments(self, out="run", **keywords):
        return ["train", *self.data_set(**keywords), *SMALL, "--batch", "4", "--out", self.path(out)]


class Unchanged:
    def __init__(self, test):
        self.test = test

    def __enter__(self):
        self.before = self.test.everything()

    def __exit__(self, kind, *rest):
        if kind is None:
            self.test.assertEqual(self.before, self.test.everything())


def read_safetensors(path):
    """Header and data of a safetensors file."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def safetensors(header, data, length=None):
    """A safetensors file with this header, and perhaps a false length of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def sanitized():
    """Whether the executable was built with a sanitizer, which has memory of its own."""
    with open(EXECUTABLE, "rb") as program:
        return re.search(rb"__[at]san_init", program.read()) is not None


def read_csv(path):
    with open(path) as file:
        lines = file.read().splitlines()
    head = lines[0].split(",")
    return [dict(zip(head, line.split(","))) for line in lines[1:]]


__all__ = [
    "COURSE",
    "CommandTest",
    "EXECUTABLE",
    "SAMPLE",
    "SMALL",
    "SOURCE",
    "chunk",
    "jpeg",
    "json",
    "os",
    "png",
    "read_csv",
    "read_safetensors",
    "safetensors",
    "samplewise",
    "sanitized",
    "signal",
    "struct",
    "subprocess",
    "unittest",
]
