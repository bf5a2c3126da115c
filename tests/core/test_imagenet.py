"""ImageNet's classes are known in other spellings, by their order."""

from resight.core.imagenet import as_in_weights, imagenet_classes

NAMES = imagenet_classes()


def test_other_spellings_are_known_by_their_order():
    underscored = [name.replace(" ", "_") for name in NAMES]
    synonyms = [f"{name}, another name" for name in NAMES]
    assert as_in_weights(underscored) == as_in_weights(synonyms) == NAMES
    # In the most common list the bird is called what the machine is called here.
    place = NAMES.index("crane bird")
    assert as_in_weights([*underscored[:place], "crane", *underscored[place + 1 :]]) == NAMES


def test_other_classes_and_orders_stay_as_they_are():
    assert as_in_weights(NAMES) is None
    assert as_in_weights([name.replace(" ", "_") for name in sorted(NAMES)]) is None
    assert as_in_weights(["tench", *(f"class {number}" for number in range(999))]) is None
    assert as_in_weights(NAMES[:10]) is None
