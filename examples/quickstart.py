"""Prepare the quickstart's data: 3,000 sentences of film and product reviews, rated by people, and 600 unseen ones.

They come from the source archive of the package vaderSentiment (MIT), which goes with Hutto and Gilbert, "VADER: A
Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014. About twenty people rated each
sentence from -4 to 4. The archive is read in memory: nothing of it is unpacked, imported or committed.
"""

import csv
import hashlib
import html
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from itertools import chain
from pathlib import Path

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
RATINGS = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"

# Rows of each class: 3,000 rows in all train for about two minutes on two cores.
ROWS = {
    "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": 1000,
    "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt": 500,
}

# Nearer to neutral than this, the raters disagree on the sign: of film sentences rated 0 to 0.5, 35 % of the votes
# with a sign say the opposite, at 0.5 to 1 still 17 %, and at 1 to 1.5 only 6 %.
CLEAR = 1.0

Row = tuple[str, str]  # text, label


def main() -> None:
    folder = Path(__file__).resolve().parent.parent / "quickstart"
    table = folder / "reviews.csv"
    folder.mkdir(exist_ok=True)
    archive = folder / ARCHIVE
    if not archive.is_file() or not is_genuine(archive):
        download(archive)
    rows: list[Row] = []
    unseen: list[Row] = []
    for name, count in ROWS.items():
        rated = read(archive, name)
        rows += choose(rated, count)
        taken = {text for text, _ in rows}
        unseen += choose([(rating, text) for rating, text in rated if text not in taken], count // 5)
    write(table, rows)
    write(folder / "unseen.csv", unseen)
    print(f"{table}: {len(rows):,} sentences, half of them negative; unseen.csv beside it: {len(unseen)} more")


def is_genuine(archive: Path) -> bool:
    return hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256


def download(archive: Path) -> None:
    """Fetch the archive with pip, which knows the user's index, proxy and certificates.

    pip asks a source archive for its metadata, which runs its setup.py; so pip is told the hash and checks it first.
    """
    with tempfile.TemporaryDirectory() as name:
        wanted = Path(name) / "wanted.txt"
        wanted.write_text(f"vaderSentiment==3.3.2 --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "2", "--no-deps"]
        command += ["--no-binary", "vaderSentiment", "--require-hashes", "--dest", name, "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True)
        fetched = Path(name) / ARCHIVE
        if done.returncode or not fetched.is_file():
            sys.exit(reason(done.stderr))
        # Beside, then renamed: a file that exists is complete.
        beside = archive.with_suffix(".part")
        beside.write_bytes(fetched.read_bytes())
        os.replace(beside, archive)


def reason(account: str) -> str:
    """One line for pip's many."""
    if "DO NOT MATCH" in account:
        return f"{ARCHIVE}: the package index sent another file than the one known; its sha256 should be {SHA256}"
    if any(sign in account for sign in ("Connection", "Timeout", "ProxyError", "SSLError", "from versions: none")):
        return "cannot reach the package index for vaderSentiment==3.3.2; check the network and 'pip config list'"
    lines = account.split("\n")
    said = next((line for line in lines if line.startswith("ERROR")), lines[0])
    return f"pip cannot download vaderSentiment==3.3.2: {said.strip()}"


def read(archive: Path, name: str) -> list[tuple[float, str]]:
    """Mean rating and text of every sentence in one of the archive's files."""
    with tarfile.open(archive) as outer, tarfile.open(fileobj=io.BytesIO(content(outer, RATINGS))) as inner:
        lines = content(inner, name).decode("utf-8").split("\r\n")
    fields = [line.split("\t", 2) for line in lines if line]
    return [(float(rating), html.unescape(text).strip()) for _, rating, text in fields]


def content(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    assert stream is not None, f"{name} is no file"
    return stream.read()


def choose(rated: list[tuple[float, str]], count: int) -> list[Row]:
    """`count` clear sentences of each class, in turn, spread evenly over the file, none twice; always the same ones."""
    clear = {text: rating for rating, text in rated if abs(rating) >= CLEAR}
    negative = spread([text for text, rating in clear.items() if rating < 0], count)
    positive = spread([text for text, rating in clear.items() if rating > 0], count)
    rows = ([(bad, "negative"), (good, "positive")] for bad, good in zip(negative, positive, strict=True))
    return list(chain.from_iterable(rows))


def spread(texts: list[str], count: int) -> list[str]:
    assert len(texts) >= count, f"{len(texts)} clear sentences, {count} wanted"
    return [texts[index * len(texts) // count] for index in range(count)]


def write(table: Path, rows: list[Row]) -> None:
    beside = table.with_suffix(".part")
    with beside.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *rows])
    os.replace(beside, table)


if __name__ == "__main__":
    main()
