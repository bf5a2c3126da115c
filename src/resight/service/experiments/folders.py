"""Pictures of a split as a folder of class folders, for experiments that need a data set of their own."""

from pathlib import Path

from resight.data.dataset import Split


def write_split(split: Split, folder: Path, prefix: str = "") -> None:
    """Write every picture as PNG to FOLDER/PREFIXCLASS/NUMBER.png."""
    for index, label in enumerate(split.labels):
        place = folder / f"{prefix}{split.classes[label]}" / f"{index:06d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        split.decode(index).save(place)
