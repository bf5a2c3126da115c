"""For schemathesis: bodies that are described as pictures are pictures, which a schema cannot say."""

import schemathesis
from hypothesis import strategies

from serving import encoded, spotted


def picture(width, height, colour, form):
    return encoded(spotted(colour, (0, 0, width // 2, height // 2), (width, height)), form)


byte = strategies.integers(0, 255)
side = strategies.integers(1, 80)
pictures = strategies.builds(
    picture, side, side, strategies.tuples(byte, byte, byte), strategies.sampled_from(("JPEG", "PNG", "WEBP"))
)
for kind in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, pictures)
