"""Tables out of spreadsheets, old exports and web APIs: read with a note where that is safe, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunedeploy.data.columns import TEXT_ROWS, Column
from tunedeploy.data.fitting import Sample, fit
from tunedeploy.data.kinds.number import NUMBER
from tunedeploy.data.read import Data, read
from tunedeploy.data.readers.open import open_source
from tunedeploy.errors import DataError

PRICES = (TEXT_ROWS[0], Column(key="label", kind=NUMBER, guesses=("Preis",)))
TWENTY = range(20)


def _read(path: Path, content: str | bytes, columns: tuple[Column, ...] = TEXT_ROWS, **options: Any) -> Data:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read({"train": str(path), **options}, columns)


def _rows(data: Data) -> list[dict[str, Any]]:
    return [row for split in (data.train, data.eval) for row in split]


def _texts(data: Data) -> set[str]:
    return {row["text"] for row in _rows(data)}


# ---- separators


@pytest.mark.parametrize("separator", [";", "\t", "|"], ids=["semicolons", "tabs", "bars"])
def test_a_csv_with_another_separator_is_read_with_a_note(tmp_path: Path, separator: str) -> None:
    lines = "".join(f'"Satz {n}, mit Komma"{separator}{"ab"[n % 2]}\n' for n in TWENTY)
    data = _read(tmp_path / "a.csv", f"text{separator}label\n{lines}")
    assert _texts(data) == {f"Satz {n}, mit Komma" for n in TWENTY}
    named = {";": "semicolons", "\t": "tabs", "|": "|"}[separator]
    assert f"a.csv: columns are separated by {named}" in data.notes


def test_a_tsv_with_commas_is_read_with_a_note(tmp_path: Path) -> None:
    data = _read(tmp_path / "a.tsv", "text,label\n" + "".join(f"Satz {n},{'ab'[n % 2]}\n" for n in TWENTY))
    assert len(_texts(data)) == 20
    assert "a.tsv: columns are separated by commas" in data.notes


def test_a_semicolon_table_with_a_comma_in_its_header_is_read(tmp_path: Path) -> None:
    lines = "".join(f"Satz {n};Meier, Jo;{'ab'[n % 2]}\n" for n in TWENTY)
    data = _read(tmp_path / "a.csv", f"text;Name, Vorname;label\n{lines}")
    assert len(_texts(data)) == 20


def test_a_table_of_commas_keeps_them_whatever_its_texts_hold(tmp_path: Path) -> None:
    lines = "".join(f"eins; zwei; {n},{'ab'[n % 2]}\n" for n in TWENTY)
    data = _read(tmp_path / "a.csv", f"text,label\n{lines}")
    assert data.notes == ()
    assert "eins; zwei; 0" in _texts(data)


def test_a_ragged_semicolon_row_is_named_as_one_of_semicolons(tmp_path: Path) -> None:
    lines = "".join(f"Satz {n};{'ab'[n % 2]}\n" for n in TWENTY)
    with pytest.raises(DataError, match=r"a\.csv:22: 1 cell where the header has 2 \('text', 'label'\)"):
        _read(tmp_path / "a.csv", f"text;label\n{lines}allein\n")


# ---- decimal commas


def test_decimal_commas_of_a_semicolon_table_are_numbers(tmp_path: Path) -> None:
    cells = ["4,5", "1.234,56", "-0,25", "7", *(f"{n},5" for n in TWENTY)]
    lines = "".join(f"Satz {n};{cell}\n" for n, cell in enumerate(cells))
    data = _read(tmp_path / "a.csv", f"text;Preis\n{lines}", PRICES)
    numbers = {row["text"]: row["label"] for row in _rows(data)}
    assert [numbers[f"Satz {n}"] for n in range(4)] == [4.5, 1234.56, -0.25, 7.0]
    assert "a.csv: numbers in 'Preis' have decimal commas; '4,5' is read as 4.5" in data.notes


def test_a_point_beside_decimal_commas_is_asked_about(tmp_path: Path) -> None:
    lines = "".join(f"Satz {n};{cell}\n" for n, cell in enumerate(["4,5", "1.234", *(f"{n},5" for n in TWENTY)]))
    with pytest.raises(DataError) as caught:
        _read(tmp_path / "a.csv", f"text;Preis\n{lines}", PRICES)
    assert str(caught.value) == (
        "a.csv:3: data.label ('Preis'): '1.234' beside numbers with decimal commas could be 1234 or 1.234; "
        "write 1234 or 1,234"
    )


def test_decimal_points_of_a_semicolon_table_stay_points(tmp_path: Path) -> None:
    data = _read(tmp_path / "a.csv", "text;Preis\n" + "".join(f"Satz {n};{n}.125\n" for n in TWENTY), PRICES)
    assert sorted(row["label"] for row in _rows(data)) == [n + 0.125 for n in TWENTY]


def _priced(path: Path, cells: list[str], separator: str = ";") -> Data:
    lines = "".join(f"Satz {n}{separator}{cell}\n" for n, cell in enumerate(cells))
    return _read(path / "a.csv", f"text{separator}Preis\n{lines}", PRICES)


@pytest.mark.parametrize(
    ("cells", "first", "separator"),
    [
        (["980", "1.250", "12.500"], "1.250", "point"),
        (["980", "1,250", "12,500"], "1,250", "comma"),
        (["1,250", "3.5", "-2,125"], "1,250", "comma"),  # 3.5 says English: 1,250 is then 1250
        (["1.234.567", " 1.250", "980"], "1.250", "point"),
    ],
    ids=["points", "commas", "commas beside a point", "millions"],
)
def test_a_column_that_may_have_thousands_separators_is_refused_with_both_readings(
    tmp_path: Path, cells: list[str], first: str, separator: str
) -> None:
    with pytest.raises(DataError) as caught:
        _priced(tmp_path, cells)
    line = 2 + next(n for n, cell in enumerate(cells) if cell.strip() == first)
    assert str(caught.value) == (
        f"a.csv:{line}: data.label ('Preis'): {first!r} could be 1250 or 1.25, since every number with a "
        f"{separator} in the column has three digits after it; write it without a thousands separator (1250), or "
        f"with a decimal point and another number of decimals (1.2500)"
    )


def test_the_cures_for_thousands_separators_are_read(tmp_path: Path) -> None:
    for cells, numbers in (
        (["1250", "980", "12500"], [980, 1250, 12500]),
        (["1.2500", "980", "12.500"], [1.25, 12.5, 980]),
    ):
        assert sorted(row["label"] for row in _rows(_priced(tmp_path, cells * 5))) == sorted(numbers * 5)


@pytest.mark.parametrize("cells", [["0.125", "1.250"], ["0,125", "1,250"], ["2.25", "1.250"], ["2,25", "1,250"]])
def test_one_number_that_has_no_thousands_tells_that_all_are_decimals(tmp_path: Path, cells: list[str]) -> None:
    assert 1.25 in {row["label"] for row in _rows(_priced(tmp_path, cells * 5))}


def test_skip_bad_does_not_leave_out_the_numbers_that_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text;Preis\n" + "".join(f"Satz {n};{n + 1}.250\nWort {n};{n}\n" for n in TWENTY))
    with pytest.raises(DataError, match=r"'1\.250' could be 1250 or 1\.25"):
        read({"train": str(tmp_path / "a.csv"), "skip_bad": True}, PRICES)


def test_in_a_table_of_commas_a_point_is_a_decimal_point(tmp_path: Path) -> None:
    data = _priced(tmp_path, ["1.250", "980", "12.500"] * 5, separator=",")
    assert {row["label"] for row in _rows(data)} == {1.25, 980.0, 12.5}


def test_a_decimal_comma_in_a_table_of_commas_is_refused_as_before(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="write a point for its decimals"):
        _read(tmp_path / "a.csv", 'text,Preis\n"a","4,5"\n"b","1,5"\n', PRICES)


def test_init_takes_a_column_of_decimal_commas_for_numbers(tmp_path: Path) -> None:
    lines = "".join(f"Das ist Satz {n};{n * 37 % 50},{n % 10}\n" for n in range(60))
    (tmp_path / "a.csv").write_text(f"text;label\n{lines}")
    sample = Sample(open_source(str(tmp_path / "a.csv")).splits[""]())
    as_number, as_class = fit(sample, PRICES), fit(sample, TEXT_ROWS)
    assert as_number is not None
    assert as_number.score > (as_class.score if as_class else 0)


# ---- encodings


def test_windows_text_is_read_with_a_note_that_shows_what_it_became(tmp_path: Path) -> None:
    lines = "".join(f"Größe {n} für 5 €,{'ab'[n % 2]}\n" for n in TWENTY)
    data = _read(tmp_path / "a.csv", f"text,label\n{lines}".encode("cp1252"))
    assert "Größe 3 für 5 €" in _texts(data)
    note = "a.csv:2: not UTF-8 (byte 13 is 0xf6), so read as Windows-1252, in which that is 'ö'"
    assert f"{note}; if that is wrong, save it as UTF-8" in data.notes


def test_utf_8_comes_first(tmp_path: Path) -> None:
    lines = "".join(f"Größe {n} für 5 €,{'ab'[n % 2]}\n" for n in TWENTY)
    data = _read(tmp_path / "a.csv", f"text,label\n{lines}")
    assert data.notes == ()
    assert "Größe 3 für 5 €" in _texts(data)


NOT_WINDOWS = {
    "UTF-8 with a damaged row": ("Größe für €\n" * 9).encode() + b"\xe9,b\n",
    "UTF-8 with one letter and one damaged byte": "Café,a\n".encode() + b"Tee\xfc,b\n",
    "Cyrillic": "Это хороший фильм,a\n".encode("cp1251") * 9,
    "Cyrillic beside long texts in ASCII": (("a film about soup and bread, " * 5).encode() + "фильм".encode("cp1251"))
    + b"\n",
    "short words of Cyrillic": ("да,yes indeed this is so\nне,no not at all this is\n" * 9).encode("cp1251"),
    "Greek": "A film that is: πολύ καλή ταινία,a\n".encode("cp1253") * 9,
    "Polish": "Każdy mały film może być miły,a\n".encode("cp1250") * 9,
    "one word in Polish": "small film: mały,a\n".encode("cp1250"),
    "Polish of Unix": "Mały film jest bardzo miły,a\n".encode("iso8859-2") * 9,
    "Turkish": "Güneş çok güzel ve yaşlı adam iyi değil,a\n".encode("cp1254") * 9,
    "a word in Turkish": "good work: iyi iş,a\n".encode("cp1254"),
    "Japanese": "これは良い映画です,a\n".encode("shift-jis") * 9,
    "a byte that Windows-1252 has not": b"caf\x8d,a\n" * 9,
}


@pytest.mark.parametrize("claim", NOT_WINDOWS)
def test_text_that_is_not_windows_s_is_refused_in_one_line(tmp_path: Path, claim: str) -> None:
    with pytest.raises(DataError, match=r"^a\.csv:\d+: byte \d+ \(0x..\) is not UTF-8.*save it as UTF-8") as caught:
        _read(tmp_path / "a.csv", b"text,label\n" + NOT_WINDOWS[claim])
    assert len(caught.value.lines) == 1


def test_a_damaged_byte_is_not_read_as_windows_s(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _read(tmp_path / "a.csv", "text,label\nCafé,a\n".encode() + b"Tee\xfc,b\n")
    why = "though other characters are; mend that row and save it as UTF-8"
    assert str(caught.value) == f"a.csv:3: byte 22 (0xfc) is not UTF-8, {why}"


def test_the_word_that_tells_another_encoding_is_shown(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"\(0xb3\) is not UTF-8, and Windows-1252 would make a word 'ma³y' of it; save it"
    ):
        _read(tmp_path / "a.csv", "text,label\nmały film,a\n".encode("cp1250"))


WESTERN = {
    "German": ["Größe für Übergrößen", "„Das macht Spaß“, sagt er", "weiß… daß» – äääääh! Äääääh", "90 kWh/m²a, 3 m³"],
    "French": ["Où est l’été déjà passé ?", "désolé…\xa0» dit-elle à Noël", "créée, ŒUVRE, L'ÉTÉ»", "n° 5, 1º"],
    "Spanish": ["¿Qué pasó mañana?", "Hola¿cómo estás?", "el 1º año, la 2ª niña", "PINGÜINO ¡olé!"],
    "Icelandic": ["Það er gott veður í dag", "óþýður maður þíðir ísinn", "Þórður býr á Þingeyri", "iðnaður með æði"],
    "Icelandic without its accents": ["Það er gott", "Það var það", "maður", "með þig"],
    "German with Icelandic names": ["Über Seyðisfjörður nach Höfn", *["schöne Grüße für müde Füße"] * 30],
    "Danish": ["Rødgrød på øen", "æbler på åen", "Gå på, så får du øl", "ærø"],
    "Portuguese": ["não há razão", "AS AÇÕES NÃO", "à mão", "três irmãs"],
    "Catalan": ["col·lecció", "l’òpera és així", "què", "açò"],
}


@pytest.mark.parametrize("language", WESTERN)
def test_western_text_of_windows_is_read(tmp_path: Path, language: str) -> None:
    texts = WESTERN[language]
    rows = [f"{text} {at};{'ab'[at // 2 % 2]}" for at, text in enumerate(texts * 5)]
    data = _read(tmp_path / "a.csv", ("text;label\n" + "\n".join(rows)).encode("cp1252"))
    assert set(texts) <= {text.rpartition(" ")[0] for text in _texts(data)}
    assert any("so read as Windows-1252" in note for note in data.notes)


# ---- nested records


def _nested(path: Path) -> Path:
    records = [
        {"review": {"body": f"Satz {n}", "meta": {"lang": "de"}}, "label": {"name": "ab"[n % 2], "id": n % 2}}
        for n in TWENTY
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def test_a_dotted_path_reads_into_nested_records(tmp_path: Path) -> None:
    path = _nested(tmp_path / "a.jsonl")
    data = read({"train": str(path), "text": "review.body", "label": "label.name"}, TEXT_ROWS)
    assert _texts(data) == {f"Satz {n}" for n in TWENTY}
    assert data.labels == ("a", "b")


def test_a_wrong_path_lists_those_that_are_there(tmp_path: Path) -> None:
    path = _nested(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"no column 'review\.bdy'.*'review\.body'.*did you mean 'review\.body'\?"):
        read({"train": str(path), "text": "review.bdy", "label": "label.name"}, TEXT_ROWS)


def test_a_record_without_the_path_is_named(tmp_path: Path) -> None:
    records = [{"review": {"body": f"Satz {n}"} if n != 3 else None, "label": "ab"[n % 2]} for n in TWENTY]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(DataError, match=r"a\.jsonl:4: data\.text \('review\.body'\): the key is missing"):
        read({"train": str(tmp_path / "a.jsonl"), "text": "review.body"}, TEXT_ROWS)


def test_a_key_that_holds_a_point_is_that_key(tmp_path: Path) -> None:
    records = [{"review.body": f"flach {n}", "review": {"body": "tief"}, "label": "ab"[n % 2]} for n in TWENTY]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    data = read({"train": str(tmp_path / "a.jsonl"), "text": "review.body"}, TEXT_ROWS)
    assert _texts(data) == {f"flach {n}" for n in TWENTY}


def test_a_key_with_a_point_inside_a_record_is_read_by_its_path(tmp_path: Path) -> None:
    records = [{"a": {"b.c": f"Satz {n}", "d.e": {"f": n}}, "label": "ab"[n % 2]} for n in TWENTY]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert _texts(read({"train": str(tmp_path / "a.jsonl"), "text": "a.b.c"}, TEXT_ROWS)) == {
        f"Satz {n}" for n in TWENTY
    }
    table = open_source(str(tmp_path / "a.jsonl")).splits[""]()
    assert table.column("a.d.e.f") == list(TWENTY)


def test_two_paths_with_one_name_are_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    records = [{"a": {"b.c": "x", "b": {"c": "y"}}, "text": f"Satz {n}", "label": "ab"[n % 2]} for n in TWENTY]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(DataError) as caught:
        read({"train": str(tmp_path / "a.jsonl"), "text": "a.b.c"}, TEXT_ROWS)
    line = 'a.jsonl: the column \'a.b.c\' could be "a" > "b.c" or "a" > "b" > "c"; rename a key of one'
    assert str(caught.value) == line
    assert len(_texts(read({"train": str(tmp_path / "a.jsonl")}, TEXT_ROWS))) == 20


def test_a_label_that_is_a_record_is_answered_with_its_keys(tmp_path: Path) -> None:
    path = _nested(tmp_path / "a.jsonl")
    with pytest.raises(DataError) as caught:
        read({"train": str(path), "text": "review.body", "label": "label"}, TEXT_ROWS)
    (line,) = caught.value.lines
    assert line.startswith("a.jsonl:1: data.label ('label'): the label is a record with the keys 'name', 'id'")
    assert "name one by its path, such as COLUMN.name" in line


def test_a_label_that_is_a_list_is_refused_in_one_line(tmp_path: Path) -> None:
    records = [{"text": f"Satz {n}", "label": ["a", "b"][: n % 2 + 1]} for n in TWENTY]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(DataError) as caught:
        read({"train": str(tmp_path / "a.jsonl")}, TEXT_ROWS)
    (line,) = caught.value.lines
    assert line.startswith("a.jsonl:1: data.label ('label'): the label is a list (['a']); a row has one label")
    assert "19 more such rows" in line
