#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unpacks gray PNG files of 8 bits into PGM files, for a machine without libpng.

    unpack.py FOLDER OUT      writes OUT/<name>.png.pgm for each FOLDER/<name>.png
"""
import pathlib
import struct
import sys
import zlib


def unfiltered(data, width, height):
    """The rows of an image whose pixels are one byte each (PNG, section 9)."""
    rows = [bytes(width)]
    for y in range(height):
        kind, *row = data[y * (width + 1) : (y + 1) * (width + 1)]
        above = rows[-1]
        for x in range(width):
            left, corner = (row[x - 1], above[x - 1]) if x else (0, 0)
            guess = left + above[x] - corner
            nearest = min((abs(guess - v), i, v) for i, v in enumerate((left, above[x], corner)))[2]
            row[x] = row[x] + (0, left, above[x], (left + above[x]) // 2, nearest)[kind] & 255
        rows.append(bytes(row))
    return b"".join(rows[1:])


def pgm_of(png, name):
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise SystemExit(f"{name}: not a PNG file")
    at, packed, header = 8, b"", None
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", png[at + 8 : at + 8 + length])
        elif kind == b"IDAT":
            packed += png[at + 8 : at + 8 + length]
        at += length + 12
    width, height, *form = header
    if form != [8, 0, 0, 0, 0]:
        raise SystemExit(f"{name}: expected 8 bits of gray, not interlaced")
    return b"P5\n%d %d\n255\n" % (width, height) + unfiltered(zlib.decompress(packed), width, height)


def main(folder, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(pathlib.Path(folder).glob("*.png")):
        (out / f"{path.name}.pgm").write_bytes(pgm_of(path.read_bytes(), path))


main(*sys.argv[1:])
