"""csv in any dialect: read as what it says, or refused with the line that is not clear."""

import csv
import io
import unicodedata
from pathlib import Path

import pytest

from resight.core.errors import DataError
from resight.data.open import open_dataset
from support import picture

ROWS = [(f"pictures/{i}.png", ("cat", "dog")[i % 2]) for i in range(6)]


@pytest.fixture(autouse=True)
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i in range(6):
        picture(seed=i).save(tmp_path / f"pictures/{i}.png")


def put(place, text, name="a.csv", encoding="utf-8"):
    (place / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return place / name


def written(rows, header=("path", "label"), **dialect):
    stream = io.StringIO()
    writer = csv.writer(stream, **dialect)
    writer.writerows([header, *rows] if header else rows)
    return stream.getvalue()


def answers(data):
    """Return split and classes of each picture, by its file's name."""
    return {
        Path(part.picture_name(i)).stem: (name, ";".join(part.class_names(i)))
        for name, part in data.splits.items()
        for i in range(len(part))
    }


def read(place, text, **about):
    """Open a csv without splits as one split."""
    return open_dataset(put(place, text, **about), whole=True)


def labels(data):
    return {stem: label for stem, (_, label) in answers(data).items()}


def refusal(place, text, **about):
    with pytest.raises(DataError) as caught:
        open_dataset(put(place, text, **about))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


PLAIN = {str(i): ("cat", "dog")[i % 2] for i in range(6)}


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.tsv", "a.Tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_delimiter_under_any_name(tmp_path, delimiter, name):
    assert labels(read(tmp_path, written(ROWS, delimiter=delimiter), name=name)) == PLAIN


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_encoding_with_its_mark_and_any_line_end(tmp_path, encoding, ending):
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    rows = [(path, label.replace("dog", "h\u00fcnd")) for path, label in ROWS]
    data = read(tmp_path, mark + written(rows, lineterminator=ending), encoding=encoding)
    assert labels(data) == {k: v.replace("dog", "h\u00fcnd") for k, v in PLAIN.items()} and not data.notes


def test_windows_1252_is_read_and_said(tmp_path):
    rows = [(path, label.replace("dog", "h\u00fcnd \u20ac")) for path, label in ROWS]
    data = read(tmp_path, written(rows), encoding="cp1252")
    assert set(data.classes) == {"cat", "h\u00fcnd \u20ac"} and "Windows-1252" in data.notes[0]
    assert "neither UTF-8 nor Windows-1252" in refusal(tmp_path, b"path,label\n\x81\xff,a\n")


@pytest.mark.parametrize(
    "header",
    [
        ("Path", " Label"), ("FILE", "Class"), ("Filename", "category"), ("img", "label"),
        ("Image Path", "class_name"), ("image-path", "LABEL"), ("filepath", "Class Label"),
        ("file_name", "Target"), ("image", "label"),
    ],
)  # fmt: skip
def test_headers_in_any_spelling(tmp_path, header):
    assert labels(read(tmp_path, written(ROWS, header))) == PLAIN


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_quoted_fields_hold_delimiters_and_quotes(tmp_path, quoting):
    rows = [(path, label.replace("dog", 'dog, "large"')) for path, label in ROWS]
    assert set(read(tmp_path, written(rows, quoting=quoting)).classes) == {"cat", 'dog, "large"'}
    spaced = "path, label\n" + "".join(f'{path}, "{label}, large"\n' for path, label in ROWS)
    assert set(read(tmp_path, spaced).classes) == {"cat, large", "dog, large"}


def test_paths_of_windows_and_other_unicode_forms_are_found(tmp_path):
    picture(seed=9).save(tmp_path / unicodedata.normalize("NFD", "pictures/\u00e9.png"))
    rows = [(path.replace("/", "\\"), label) for path, label in ROWS]
    data = read(
        tmp_path,
        written([*rows, ("pictures/\u00e9.png", "cat"), (".\\pictures\\..\\pictures/0.png ", "cat")]),
    )
    assert len(data.split("test")) == 8 and labels(data)["1"] == "dog"


def test_a_path_is_taken_as_it_is_written_first(tmp_path):
    picture(seed=8).save(tmp_path / "pictures\\0.png")
    data = read(tmp_path, written([("pictures\\0.png", "cat"), *ROWS[1:]]))
    names = [data.split("test").picture_name(i) for i in range(6)]
    assert names[0] == str(tmp_path / "pictures\\0.png")


def test_absolute_paths_and_those_above_the_csv_are_read(tmp_path):
    (tmp_path / "lists").mkdir()
    rows = [(str(tmp_path / ROWS[0][0]), "cat"), *((f"../{path}", label) for path, label in ROWS[1:])]
    assert labels(read(tmp_path, written(rows), name="lists/a.csv")) == PLAIN


def test_the_line_that_excel_puts_before_is_obeyed(tmp_path):
    assert labels(read(tmp_path, "sep=;\r\n" + written(ROWS, delimiter=";"))) == PLAIN
    assert ":4: has 3 fields" in refusal(
        tmp_path, "sep=;\npath;label\npictures/0.png;a\npictures/1.png;a;b\n"
    )


SPLITS = ["train", "Training", "TRAIN ", "val", "valid", "Validation", "dev", "test", "testing"]


@pytest.mark.parametrize("column", ["split", "Set", "subset", "partition"])
def test_splits_under_all_common_names(tmp_path, column):
    for i in range(6, 18):
        picture(seed=i).save(tmp_path / f"pictures/{i}.png")
    told = [s for s in SPLITS for _ in range(2)]
    rows = [(f"pictures/{i}.png", "ab"[i % 2], split) for i, split in enumerate(told)]
    data = open_dataset(put(tmp_path, written(rows, ("path", "label", column))))
    expected = ["train"] * 6 + ["val"] * 8 + ["test"] * 4
    assert answers(data) == {str(i): (split, "ab"[i % 2]) for i, split in enumerate(expected)}


def test_a_column_named_set_that_tells_no_split_is_said(tmp_path):
    data = read(tmp_path, written([(*row, "base") for row in ROWS], ("path", "label", "set")))
    assert labels(data) == PLAIN and "column 'set' has no split names" in data.notes[0]


def test_other_columns_and_a_first_one_without_a_name_are_left_out_and_named(tmp_path):
    rows = [(i, *row, "x") for i, row in enumerate(ROWS)]
    data = read(tmp_path, written(rows, ("", "path", "label", "author")))
    assert labels(data) == PLAIN
    assert [u.split(":")[0] for u in data.unused] == ["column 1", "column 'author'"]


def test_blank_lines_and_empty_fields_at_the_end_do_not_count(tmp_path):
    text = "path,label\n\n" + "".join(f"{path},{label},,\n" for path, label in ROWS) + ",\n\n"
    assert labels(read(tmp_path, text)) == PLAIN
    assert ":5: names 'none.png', which does not exist" in refusal(
        tmp_path, "path,label\n\npictures/0.png,a\n\nnone.png,b\n"
    )


HEAD = "path,label\npictures/0.png,a\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "pictures/1.png,dog, large\n", ":3: has 3 fields, but the header has 2"),
        (HEAD + "pictures/1.png\n", ":3: has 1 fields, but the header has 2"),
        ("path,label,split\npictures/0.png,a\n", ":2: has 2 fields, but the header has 3"),
        ("path,label,\npictures/0.png,dog, large\n", ":2: has ' large' in column 3, which has no name"),
        ("path,label,Label\npictures/0.png,a,b\n", ":1: two columns are named 'label'"),
        ("path,label,x,x\npictures/0.png,a,b,c\n", ":1: two columns are named 'x'"),
        ("file,image,label\na,b,c\n", ":1: columns file, image could each be the path"),
        ("path,class,target\na,b,c\n", ":1: columns class, target could each be the label"),
        (HEAD + "pictures/1.png,b\0\n", ":3: holds a NUL character"),
        (HEAD + 'pictures/1.png,"b\npictures/2.png,c\n', ":3: the record that begins here cannot be read"),
        (HEAD + f"pictures/1.png,{'x' * 200_000}\n", ":3: the record that begins here cannot be read"),
        (HEAD + f"pictures/1.png,{'x' * 5_000}\n", ":3: the label has 5,000 characters"),
        (HEAD + f"{'x' * 5_000},b\n", ":3: names"),
        (HEAD + "pictures/1.png,b\x1b[31m\n", ":3: the label .* holds a control character"),
        (HEAD + 'pictures/1.png,"b\nc"\n', ":3: the label .* holds a control character"),
        (HEAD + "C:\\data\\1.png,b\n", r":3: names .*\(a Windows path\), which"),
        (HEAD + ",b\n", ":3: its path is missing"),
        ("path,label,split\npictures/0.png,a,train\npictures/1.png,b,\n", ":3: split '' in column 'split'"),
        ("path,label,set\npictures/0.png,a,train\npictures/1.png,b,extra\n", ":3: split 'extra' in col"),
        ("pictures/0.png,a\npictures/1.png,b,c\n", ":2: has 3 fields, but the header has 2"),
        ("pictures/0.png,a,train\n", "needs a header line"),
        ("none.png,a\n", "needs a header line"),
        ('"path,label\n', "cannot be read"),
        ("\n\n", "holds nothing; it needs a header line"),
        ("path,label\n", "has no rows"),
        (b"\xff\xfep", "begins as UTF-16 but is not"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_with_its_line(tmp_path, text, message):
    import re

    said = refusal(tmp_path, text)
    assert re.search(message, said), said


def test_utf_16_without_its_mark_is_one_line(tmp_path):
    assert "NUL character" in refusal(tmp_path, written(ROWS), encoding="utf-16-le")


def test_without_a_header_two_columns_whose_first_names_a_picture_are_path_and_label(tmp_path):
    data = read(tmp_path, written(ROWS, None, delimiter=";"))
    assert labels(data) == PLAIN and "no header line" in data.notes[0]


def test_a_picture_in_two_rows_is_noted_or_refused(tmp_path):
    again = [*ROWS, ("pictures\\0.png", " cat"), ("pictures/./1.png", "dog")]
    data = read(tmp_path, written(again))
    assert len(data.split("test")) == 8
    assert (
        "2 rows name a picture that another row names too, with the same label, such as lines 2 and 8"
        in data.notes[0]
    )
    said = refusal(tmp_path, written([*ROWS, ("pictures/0.png", "dog")]))
    assert ":8: has the labels 'dog' for '0.png', line 2 has 'cat'" in said
    rows = [(*row, "train") for row in ROWS] + [("pictures/0.png", "cat", "test")]
    said = refusal(tmp_path, written(rows, ("path", "label", "split")))
    assert ":8: has '0.png' in test, line 2 has it in train" in said


def test_rows_without_a_label_are_counted_named_and_left_out(tmp_path):
    rows = [*ROWS[:4], (ROWS[4][0], " "), (ROWS[5][0], "nan")]
    data = read(tmp_path, written(rows))
    assert labels(data) == {k: v for k, v in PLAIN.items() if k < "4"}
    assert "2 of 6 rows of train have no label and are left out, such as line 6" in data.notes
    rows = [
        (path, "" if i > 3 else label, "test" if i > 3 else "train") for i, (path, label) in enumerate(ROWS)
    ]
    data = read(tmp_path, written(rows, ("path", "label", "split")))
    assert "the test split is left out: none of its 2 rows has a label" in data.notes
    assert "none of its 6 rows has a label" in refusal(tmp_path, written([(path, "") for path, _ in ROWS]))


@pytest.mark.parametrize(("first", "second"), [("0", "0.0"), ("1", "0001")])
def test_two_spellings_of_one_number_are_refused_with_their_lines(tmp_path, first, second):
    rows = [(path, (first, "7", second)[i % 3]) for i, (path, _) in enumerate(ROWS)]
    said = refusal(tmp_path, written(rows))
    assert ":4" in said and ":2" in said and f"'{first}', two spellings of one number" in said


def test_minus_one_is_no_class(tmp_path):
    data = read(tmp_path, written([(path, ("0", "1", "-1")[i % 3]) for i, (path, _) in enumerate(ROWS)]))
    assert data.classes == ("0", "1") and len(data.split("test")) == 4
    said = refusal(tmp_path, written([(path, ("1", "-1")[i % 2]) for i, (path, _) in enumerate(ROWS)]))
    assert "one class only, '1'" in said and "3 of 6 rows of train have no label" in said


def test_none_is_a_name_and_noted(tmp_path):
    data = read(tmp_path, written([(path, ("cat", "None")[i % 2]) for i, (path, _) in enumerate(ROWS)]))
    assert data.classes == ("None", "cat") and "'None' is read as a class name" in data.notes[0]


def test_several_classes_are_parted_by_semicolons_and_stripped(tmp_path):
    rows = [(path, ("cat; dog ", "", "dog;", "nan; cat")[i % 4]) for i, (path, _) in enumerate(ROWS)]
    data = read(tmp_path, written(rows, ("path", "labels"), delimiter=";"))
    assert list(labels(data).values()) == ["cat;dog", "", "dog", "cat", "cat;dog", ""]
    data = read(
        tmp_path,
        written([(p, ("cat,dog", "cat")[i % 2]) for i, (p, _) in enumerate(ROWS)], ("path", "labels")),
    )
    assert data.classes == ("cat", "cat,dog") and "'cat,dog' is read as one class" in data.notes[0]


def test_a_test_split_alone_is_read_for_testing_a_run(tmp_path):
    data = open_dataset(put(tmp_path, written([(*row, "test") for row in ROWS], ("path", "label", "split"))))
    assert set(data.splits) == {"test"} and labels(data) == PLAIN
