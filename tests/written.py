"""PNG and TIFF files written by hand, byte by byte: any depth, byte order, photometric and transparency."""

import struct
import zlib

import numpy as np

TIFF_TYPES = {1: "u", 2: "i", 3: "f"}


def packed(samples, bits):
    """Pack unsigned samples (H, N) of 1, 2, 4, 8, 12 or 16 bits into rows, the highest bit first."""
    samples = np.asarray(samples, dtype=np.uint32)
    planes = (samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.reshape(len(samples), -1).astype(np.uint8), axis=1)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples, bits, colour, *, trns=b"", palette=b"", interlaced=False, before=b""):
    """Write samples (H, W, C) as PNG of a colour type: 0 grey, 2 RGB, 3 palette, 4 grey alpha, 6 RGBA."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    passes = [(0, 0, 1, 1)]
    if interlaced:  # PNG, section 8.2: first row, first column, and the steps
        passes = [
            (0, 0, 8, 8),
            (0, 4, 8, 8),
            (4, 0, 8, 4),
            (0, 2, 4, 4),
            (2, 0, 4, 2),
            (0, 1, 2, 2),
            (1, 0, 2, 1),
        ]
    body = b""
    for row, column, down, across in passes:
        part = samples[row::down, column::across]
        if part.size:
            rows = packed(part.reshape(len(part), -1), bits)
            body += b"".join(b"\0" + line.tobytes() for line in rows)
    parts = [chunk(b"IHDR", header), before]
    parts += [chunk(b"PLTE", palette)] if palette else []
    parts += [chunk(b"tRNS", trns)] if trns else []
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")])


def tiff(samples, bits, *, order="<", photometric=1, kind=1, extra=(), deflate=False, more=(), planes=False):
    """Write samples (H, W, C) as TIFF.

    Args:
        samples: the values; of kind 1 up to 16 bits, else of the exact numpy type.
        bits: of a sample.
        order: byte order, < or >.
        photometric: tag 262.
        kind: tag 339, 1 unsigned, 2 signed, 3 float.
        extra: tag 338.
        deflate: compress.
        more: other tags, (tag, type, values).
        planes: a plane for each channel.
    """
    height, width, count = samples.shape
    data = (
        np.moveaxis(samples, 2, 0).reshape(count * height, width) if planes else samples.reshape(height, -1)
    )
    if bits in (8, 16, 32, 64):
        data = data.astype(f"{order}{TIFF_TYPES[kind]}{bits // 8}").tobytes()
    else:
        data = packed(data, bits).tobytes()
    strips = (
        [data[i * len(data) // count : (i + 1) * len(data) // count] for i in range(count)]
        if planes
        else [data]
    )
    strips = [zlib.compress(s) for s in strips] if deflate else strips
    starts = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * count), (259, 3, [8 if deflate else 1]),
        (262, 3, [photometric]), (273, 4, starts), (277, 3, [count]), (278, 4, [height]),
        (279, 4, list(map(len, strips))), (284, 3, [2 if planes else 1]), (339, 3, [kind] * count), *more,
    ]  # fmt: skip
    if extra:
        tags.append((338, 3, list(extra)))
    body = b"".join(strips)
    body += b"\0" * (len(body) % 2)
    place = 8 + len(body)
    beyond, entries = b"", b""
    for tag, form, values in sorted(tags):
        value = struct.pack(f"{order}{len(values)}{'HI'[form == 4]}", *values)
        if len(value) > 4:
            held = struct.pack(f"{order}I", place + 2 + 12 * len(tags) + 4 + len(beyond))
            beyond += value
        else:
            held = value.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, form, len(values)) + held
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(f"{order}I", place) + body + directory + beyond
