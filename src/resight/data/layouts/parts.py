"""Names of folders and files that are parts of a layout, not classes."""

import re

IMAGES = frozenset(["images", "imgs", "img", "image", "jpegimages"])
"""Folders of pictures, in lower case."""

NEUTRAL = IMAGES | {"pictures", "photos", "data"}
"""The same, and names that say as little where they are the only folder in a class folder."""

MASKS = frozenset(
    [
        "annotations",
        "ground_truth",
        "groundtruth",
        "gt",
        "label",
        "labels",
        "mask",
        "masks",
        "seg",
        "segmentation",
        "segmentationclass",
        "segmentations",
    ]
)
"""Folders of masks, in lower case."""

MASK_ENDING = re.compile(
    r"[_\- ](?:mask|masks|gt|seg|segmentation|label|labels|groundtruth)(?:_\d+)?$|annot$", re.IGNORECASE
)
"""What the name of a mask, or of a folder of masks, has after its picture's."""
