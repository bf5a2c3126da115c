"""The settings of a classic pipeline's fit."""

from dataclasses import dataclass

from resight.core.errors import UsageError

SMALL = 64
"""Pictures up to this many pixels are described at their own size, by small patches."""
FEW = 3000
"""Up to this many pictures, a kernel of all pairs is fast."""
MANY = 10_000
"""Above this many pictures, vectors have about 1,000 numbers, for which liblinear needs 16 bytes each."""


@dataclass(frozen=True, kw_only=True)
class ClassicRecipe:
    """Everything that a fit depends on, apart from the data.

    Attributes:
        model: name of the pipeline.
        options: of the pipeline, as key=value.
        image_size: side of its square input, in pixels.
        mirror: also learn from the mirrored pictures.
        descriptors: number of descriptors drawn to learn the codebook.
        c: weights of the SVM's loss; the one with the lowest cross-validation error is used.
        folds: of the cross-validation.
        val_share: share of the training pictures held out to fit the temperature, if the data set has no
            val split of its own; 0 for none.
        memory_gib: pictures and descriptors up to this size are kept in memory.
        seed: of every random choice.
    """

    model: str
    image_size: int
    mirror: bool
    options: tuple[str, ...] = ()
    descriptors: int = 100_000
    c: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    folds: int = 4
    val_share: float = 0.1
    memory_gib: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting, its value and the range.
        """
        for name, least in (("image_size", 16), ("descriptors", 100), ("folds", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)} must be {least} or more")
        if not self.c or min(self.c) <= 0:
            raise UsageError(f"c={','.join(map(str, self.c))} must be numbers above 0")
        if not 0 <= self.val_share < 1:
            raise UsageError(f"val_share={self.val_share} must be in [0, 1)")
        if self.memory_gib < 0 or not 0 <= self.seed < 2**32:
            raise UsageError(
                f"memory_gib={self.memory_gib}, seed={self.seed} must not be negative (seed below 2**32)"
            )
        if wrong := [word for word in self.options if "=" not in word]:
            raise UsageError(f"options={wrong[0]!r} is not key=value")


def default_recipe(model: str, pictures: int, side: int, *, mirrors: bool) -> ClassicRecipe:
    """Return the settings for a data set.

    Args:
        model: name of the pipeline.
        pictures: number of training pictures.
        side: typical shorter side of the pictures, in pixels.
        mirrors: whether a mirrored picture still belongs to its class.
    """
    small = side <= SMALL
    size = max(28, side) if small else min(256, max(128, side))
    options: dict[str, object] = {}
    if model == "hog-svm":
        options["cells"] = max(4, size // 4) if small else 16
    elif small:
        # Patches below 16 x 16 pixels, and closer: the whole picture has 28.
        options |= {"patch": 8 if size < 40 else 12, "step": 2, "scales": 1}
    elif model == "bovw":
        # 200 words of one size have an error of 76 % on grocery, these 69 %.
        options |= {"words": 400, "scales": 3}
    if model in ("fisher", "vlad") and pictures > MANY:
        options |= {"words": 16 if model == "fisher" else 32, "pca": 32}
    if model == "bovw" and pictures <= FEW:
        options["kernel"] = "intersection"
    return ClassicRecipe(
        model=model,
        image_size=size,
        mirror=mirrors and pictures <= FEW,
        options=tuple(f"{key}={value}" for key, value in options.items()),
        val_share=min(0.1, 2500 / max(pictures, 1)),
    )
