"""Turn the user's files into two data sets with the columns a task asks for, or say what is wrong and where.

Files are read by our own readers, since those behind `datasets` guess types and lose a bad row's line, and handed on as
a `datasets.Dataset` in memory: nothing is cached on disk, so no stale cache can be read. A row's `origin` is its place
in the user's file: `train.csv:17` a line, `train.parquet row 17` a row counted from 1, `train/rose/1.jpg` a file.
`datasets` takes a second to load, so it is loaded where one is made: `read_rows` serves a bundle without it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy.data import unreadable
from tunedeploy.data.cells import Rows, find_columns, groups_of, parse_rows
from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.text import STRING
from tunedeploy.data.labels import closest, natural_order
from tunedeploy.data.readers.folders import EVAL_SPLITS
from tunedeploy.data.readers.open import ALL, Source, open_source
from tunedeploy.data.split import EVAL_SHARE, automatic_split, digest, limit_rows
from tunedeploy.data.table import Table, some_rows
from tunedeploy.errors import DataError

if TYPE_CHECKING:
    import datasets

    from tunedeploy.device.encoders import Row

Options = Mapping[str, Any] | Iterable[tuple[str, Any]]  # a dict, or the recipe's data section

PART = 10_000  # rows that are put into Arrow at a time
MIN_ROWS = 2  # one row has no spread, and no second class


@dataclass(frozen=True, kw_only=True)
class Data:
    """Two data sets with the same columns: the task's (labels as indices) and "origin"."""

    train: "datasets.Dataset"
    eval: "datasets.Dataset"
    labels: tuple[str, ...]  # index -> text, in natural order; () for a task without labels
    notes: tuple[str, ...]  # repairs, guesses, rows left out; one line each
    fingerprint: str  # SHA-256, hex, of the rows' content in order; independent of paths and dates
    left_out: tuple[str, ...] = ()  # one line for each row that cannot be read: its place and the reason
    eval_source: str  # "data/test.csv", "split 'test'", "automatic 20 %"


def read(options: Options, columns: Sequence[Column], *, labels: tuple[str, ...] | None = None) -> Data:
    """Read the training and the evaluation rows that a recipe's data section names.

    Args:
        options: the section: train, eval, eval_share, group, limit, and the user's column name for each `Column.key`.
        columns: what the task asks for.
        labels: known labels, in order, when a model has them already; by default those of the training rows.

    Raises:
        DataError: the data can't be used; every line has the file, the row and the cure.
    """
    section = dict(options)
    notes: list[str] = []
    train_table, eval_table, eval_source = _tables(section, notes)
    names, guesses = find_columns(train_table, section, columns)
    notes += guesses
    columns = [column for column in columns if column.key in names]
    train = parse_rows(train_table, names, columns, tolerated=_tolerated(section))
    known, labels = labels, _labels(train, labels)
    if eval_table is None:
        train, held_out, eval_source = _split(train, train_table, section, notes)
    if section.get("limit"):
        train = _limited(train, int(section["limit"]), notes)
    _check_learnable(train, columns, known)
    if eval_table is not None:
        if section.get("group"):
            notes.append("data.group: only the automatic split goes by it, and data.eval is given")
        names, _ = find_columns(eval_table, names, columns)
        held_out = parse_rows(eval_table, names, columns, tolerated=_tolerated(section))
        _check_labels(held_out, labels, "training labels")
    _check_counts(train, held_out)
    return Data(
        train=_dataset(train, columns, labels),
        eval=_dataset(held_out, columns, labels),
        labels=labels,
        notes=tuple(dict.fromkeys([*notes, *train.notes, *held_out.notes])),
        left_out=tuple(dict.fromkeys([*train.left_out, *held_out.left_out])),
        fingerprint=digest([digest(train.content), digest(held_out.content)]).hex(),
        eval_source=eval_source,
    )


def read_file(name: str, options: Options, columns: Sequence[Column], *, labels: tuple[str, ...]) -> "datasets.Dataset":
    """Read one data set for a model whose labels are known.

    A column that is not required and not there holds its kind's `absent` (a label: -1). Of a set with splits, `test` is
    read, or else its validation split.

    Raises:
        DataError: as `read`; also a label that is not among `labels`.
    """
    return _dataset(_file(name, options, columns, labels), columns, labels)


def read_rows(
    name: str,
    options: Options,
    columns: Sequence[Column],
    *,
    labels: tuple[str, ...],
    note: Callable[[str], None] = lambda line: None,
) -> list["Row"]:
    """As `read_file`, as raw rows; csv, json and images then need no package but Pillow.

    `note` is called with a line for each repair of the file.
    """
    rows = _file(name, options, columns, labels)
    for line in rows.notes:
        note(line)
    content = _content(rows, columns, labels)
    return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]


def _file(name: str, options: Options, columns: Sequence[Column], labels: tuple[str, ...]) -> Rows:
    source = open_source(name)
    preferred = ("test", *EVAL_SPLITS, "train", ALL)
    table = source.splits[next(split for split in (*preferred, *source.splits) if split in source.splits)]()
    names, _ = find_columns(table, dict(options), columns)
    rows = parse_rows(table, names, columns)
    _check_labels(rows, labels, "model's labels")
    return rows


def _tables(section: Mapping[str, Any], notes: list[str]) -> tuple[Table, Table | None, str]:
    """Training table, evaluation table (None: split automatically) and where the latter came from."""
    train, wanted = open_source(str(section["train"])), section.get("eval")
    if ALL not in train.splits and "train" not in train.splits:
        raise DataError(f"{train.name}: no split 'train'; splits: {', '.join(map(repr, train.splits))}")
    open_train = train.splits.get("train") or train.splits[ALL]
    if wanted and wanted in train.splits:
        if wanted == "train":
            raise DataError(f"{train.name}: data.eval is the split that is trained on; name another or leave it out")
        return open_train(), train.splits[wanted](), f"split {wanted!r}"
    if wanted:
        return _two_sources(train, str(wanted), notes)
    split = next((name for name in EVAL_SPLITS if name in train.splits), None)
    if split is None:
        return open_train(), None, ""
    unused = [name for name in train.splits if name not in {"train", split}]
    beside = f"; not read: {', '.join(unused)}" if unused else ""
    notes.append(f"{train.name}: evaluated on its split {split!r}{beside}")
    return open_train(), train.splits[split](), f"split {split!r}"


def _two_sources(train: Source, wanted: str, notes: list[str]) -> tuple[Table, Table, str]:
    if wanted.isidentifier() and not Path(wanted).exists():
        known = ", ".join(repr(split) for split in train.splits if split != ALL)
        cure = f"splits: {known}{closest(wanted, train.splits)}" if known else "it has no splits, so name a file"
        raise DataError(f"{train.name}: no split {wanted!r} for data.eval; {cure}")
    held_out = open_source(wanted)
    if _is_same(train, held_out):
        raise DataError(f"{train.name}: data.train and data.eval are the same; name another or leave data.eval out")
    if train.path and held_out.path and train.path.name == held_out.path.name:
        train, held_out = (
            open_source(str(path), f"{path.absolute().parent.name}/") for path in (train.path, held_out.path)
        )
    split = next((name for name in (ALL, *EVAL_SPLITS, "train") if name in held_out.splits), None)
    if split is None:
        raise DataError(f"{held_out.name}: no split to evaluate on; splits: {', '.join(map(repr, held_out.splits))}")
    if split != ALL:
        notes.append(f"{held_out.name}: its split {split!r} is taken as data.eval")
    return (train.splits.get("train") or train.splits[ALL])(), held_out.splits[split](), held_out.shown


def _tolerated(section: Mapping[str, Any]) -> float:
    return unreadable.ALL if section.get("skip_bad") else unreadable.FEW


def _is_same(train: Source, held_out: Source) -> bool:
    if train.path and held_out.path:
        return train.path.samefile(held_out.path)
    return not (train.path or held_out.path) and train.name == held_out.name


def _labels(train: Rows, known: tuple[str, ...] | None) -> tuple[str, ...]:
    """The labels in order: the known ones, or those in the training rows."""
    if known is not None:
        _check_labels(train, known, "known labels")
        return known
    return natural_order(text for texts in train.labels for text in texts)


def _check_learnable(train: Rows, columns: Sequence[Column], known: tuple[str, ...] | None) -> None:
    """Raise DataError for a target that is the same in every training row; labels that were known before are exempt."""
    for column in columns:
        constant = column.kind.constant
        if constant is None or column.key not in train.values or (known is not None and column.kind.labels is not None):
            continue
        why = constant(train.values[column.key])
        if why:
            raise DataError(f"{train.name}: {why}")


def _check_labels(rows: Rows, labels: Sequence[str], called: str) -> None:
    index = set(labels)
    unseen = [row for row, texts in enumerate(rows.labels) if not index.issuperset(texts)]
    if not unseen:
        return
    counts = Counter(text for row in unseen for text in rows.labels[row] if text not in index)
    text = next(text for text in rows.labels[unseen[0]] if text not in index)
    shown = ", ".join(map(repr, labels[:6])) + (", ..." if len(labels) > 6 else "")
    more = f" ({len(unseen)} rows, {len(counts)} such labels)" if len(unseen) > 1 else ""
    raise DataError(
        f"{rows.places[unseen[0]]}: label {text!r} is not among the {len(labels)} {called} ({shown})"
        f"{closest(text, labels) or '; correct it or remove the row'}{more}"
    )


def _split(rows: Rows, table: Table, section: Mapping[str, Any], notes: list[str]) -> tuple[Rows, Rows, str]:
    """Both sides of an automatic split, and what it is called."""
    share, group = float(section.get("eval_share") or EVAL_SHARE), str(section.get("group") or table.group)
    if rows.kept is not None:
        table = some_rows(table, rows.kept)
    groups = groups_of(table, group) if group else ()
    if groups and len(set(groups)) == 1:
        raise DataError(f"{rows.name}: every row has the same {group!r}; data.group needs two values, or leave it out")
    if group and not section.get("group"):
        grouping = f"{len(set(groups))} {group}s are kept whole by the split"
        notes.append(f"{rows.name}: {grouping}; data.group names another column")
    side = automatic_split(groups or rows.inputs, rows.labels, share)
    train = rows.take([row for row, held_out in enumerate(side) if not held_out])
    held_out = rows.take([row for row, held_out in enumerate(side) if held_out])
    seen = {text for texts in held_out.labels for text in texts}
    alone = [text for text in natural_order(text for texts in rows.labels for text in texts) if text not in seen]
    if alone:
        shown = ", ".join(map(repr, alone[:5])) + (", ..." if len(alone) > 5 else "")
        which = f"are in one {group!r} only" if group else "have one distinct row"
        notes.append(f"{rows.name}: {len(alone)} classes {which} and are not evaluated: {shown}")
    real = len(held_out) / len(rows)  # differs where classes have few rows, of which each gets one
    deviation = f", in fact {real:.0%}" if abs(real - share) > 0.05 else ""
    return train, held_out, f"automatic {share * 100:g} %" + (f" by {group!r}" if group else "") + deviation


def _limited(train: Rows, limit: int, notes: list[str]) -> Rows:
    if limit >= len(train):
        return train
    classes = len({text for texts in train.labels for text in texts})
    if limit < classes:
        raise DataError(
            f"{train.name}: data.limit {limit} leaves classes without a row; the data has {classes} classes"
        )
    notes.append(f"{train.name}: data.limit keeps {limit} of {len(train)} training rows")
    return train.take(limit_rows(train.inputs, train.labels, limit))


def _check_counts(train: Rows, held_out: Rows) -> None:
    for rows, purpose in ((train, "train on"), (held_out, "evaluate on")):
        if len(rows) < MIN_ROWS:
            count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
            raise DataError(f"{rows.name}: {count} to {purpose}; at least {MIN_ROWS} are needed, add some")


def _content(rows: Rows, columns: Sequence[Column], labels: Sequence[str]) -> dict[str, Iterable[Any]]:
    """Canonical column -> stored values: labels as indices, `absent` where the file lacks the column; "origin" last."""
    index = {text: number for number, text in enumerate(labels)}
    content: dict[str, Iterable[Any]] = {}
    for column in columns:
        kind, values = column.kind, rows.values.get(column.key)
        if values is not None:
            content[column.key] = map(partial(_encoded, kind.encode, index), values) if kind.encode else values
        elif kind.absent is not None:
            content[column.key] = repeat(kind.absent, len(rows))
    return {**content, "origin": rows.places}


def _encoded(encode: Callable[[Any, Mapping[str, int]], Any], index: Mapping[str, int], value: Any) -> Any:
    return encode(value, index)


def _dataset(rows: Rows, columns: Sequence[Column], labels: Sequence[str]) -> "datasets.Dataset":
    """The rows in Arrow, made in parts, so that never more than `PART` values of a column exist in Python."""
    import datasets
    import pyarrow as pa  # type: ignore[import-untyped]

    content = {key: iter(values) for key, values in _content(rows, columns, labels).items()}
    kinds = {column.key: column.kind for column in columns}
    stored = {key: dict(kinds[key].feature) if key in kinds else STRING for key in content}
    schema = datasets.Features.from_dict(stored).arrow_schema
    parts = [
        pa.Table.from_pydict({key: list(islice(values, PART)) for key, values in content.items()}, schema=schema)
        for _ in range(0, max(len(rows), 1), PART)
    ]
    table = datasets.table.InMemoryTable(pa.concat_tables(parts))
    # Without a fingerprint, datasets pickles all rows to compute one.
    return datasets.Dataset(table, fingerprint=digest(rows.content).hex())
