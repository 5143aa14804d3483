"""The record of a deletion: a file with which ``factcensus index verify --record`` can verify it later.

It is one JSON object, readable only by its owner:

``record``, ``version``
    ``"factcensus deletion"`` and 1.
``index``, ``made``, ``asked_by``, ``chosen_by``
    The name of the index, the time (UTC), who asked for the deletion, and how the documents were selected (``ids``,
    ``text``, ``where``). The text and the condition themselves are not stored.
``before``, ``after``
    ``generation``, ``digest`` and ``documents`` of the index.
``key``
    32 random bytes in hexadecimal, different for every record.
``documents``
    For each selected document: its ``id``; ``id_digest`` and ``text_digest``, which are BLAKE2b hashes with the key of
    the id, and of the digest and length of the text in the document table; and the number of remaining documents with
    the same id and the same text (``same_id_left``, ``same_text_left``).
``probes``
    For each probe: its ``text``, and its ``occurrences`` and ``documents`` ``before`` and ``after`` the deletion. If it
    is the text that selected the documents, also how it is found: ``verbatim``, ``normalise``, ``region``.
``seal``
    BLAKE2b with the key over all fields except the ids, so that a damaged or changed record is not accepted as proof.
    It is not a signature, because the record contains its key.

The digests are sufficient for verification, so a copy of the record may omit the ids.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from factcensus.indexer.answers import FewerOccurrences, Proof
from factcensus.indexer.changing.sought import SoughtText
from factcensus.indexer.errors import InputError, VerificationError
from factcensus.indexer.storage.chosen import Chosen, join_documents
from factcensus.indexer.storage.documents import describe_removed
from factcensus.indexer.system.files import create_file

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.storage.shard import Shard

KIND, VERSION = "factcensus deletion", 1
_KEY_BYTES = 32
#: Maximum number of contradictions listed by a failed verification.
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of the index."""

    generation: int
    digest: str
    documents: int


@dataclass(frozen=True, slots=True)
class Removed:
    """One document; ``id`` is None if it has no id, or in a copy of the record without ids."""

    id: str | None
    id_digest: str | None
    text_digest: str
    same_id_left: int
    same_text_left: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """The counts of a probe."""

    occurrences: int
    documents: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A text, its counts before and after the deletion, and how it is found."""

    text: str
    before: Numbers
    after: Numbers
    verbatim: bool = False
    normalise: str | None = None
    region: str | None = None

    @property
    def sought(self) -> SoughtText:
        """The text to count."""
        return SoughtText(self.text, self.verbatim, self.normalise, self.region)


@dataclass(frozen=True, slots=True)
class Record:
    """The content of the file, which the module describes."""

    index: str
    made: str
    asked_by: str | None
    chosen_by: tuple[str, ...]
    before: Generation
    after: Generation
    key: str
    documents: tuple[Removed, ...]
    probes: tuple[Probe, ...]


def record_of(
    before: CountIndex,
    after: CountIndex,
    removed: Chosen,
    chosen_by: Sequence[str],
    asked_by: str | None,
    probes: Sequence[SoughtText],
) -> Record:
    """Return the record of a deletion.

    Args:
        before: The index before the deletion.
        after: The index after the deletion; both have the same document tables.
        removed: The selected documents.
        chosen_by: How they were selected.
        asked_by: Who asked for the deletion.
        probes: Texts to count.

    Raises:
        EmptyQueryError: A probe has no tokens.
    """
    key = secrets.token_bytes(_KEY_BYTES)
    deleted = join_documents({shard.number: np.asarray(shard.deleted) for shard in after.shards}, {})
    documents = [
        Removed(
            id=row["id"],
            id_digest=_id_digest(key, row["id"]),
            text_digest=_text_digest(key, row["text_digest"], row["text_bytes"]),
            same_id_left=row["same_id_left"],
            same_text_left=row["same_text_left"],
        )
        for row in describe_removed(after.document_tables, removed, deleted)
    ]
    return Record(
        index=before.name,
        made=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        asked_by=asked_by,
        chosen_by=tuple(chosen_by),
        before=_generation(before),
        after=_generation(after),
        key=key.hex(),
        documents=tuple(documents),
        probes=tuple(
            Probe(
                each.text,
                _count(before, each),
                _count(after, each),
                verbatim=each.verbatim,
                normalise=each.normalise,
                region=each.region,
            )
            for each in probes
        ),
    )


def refuse_existing(path: Path) -> None:
    """Check that a record can be written to a new file.

    Raises:
        InputError: The file exists, or its folder does not exist.
    """
    if path.exists():
        raise InputError(
            f"{path} exists, and a record is never overwritten; choose another file, or check it with 'factcensus "
            "index verify --record'"
        )
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of the record does not exist; create it first")


def write_record(path: Path, record: Record) -> None:
    """Write a record to a new file that only its owner can read, and wait until it is on disk."""
    fields = {"record": KIND, "version": VERSION, **_fields_of(record), "seal": _seal(record)}
    content = json.dumps(fields, indent=1, ensure_ascii=False)
    try:
        create_file(path, content + "\n")
    except FileExistsError:
        refuse_existing(path)
        raise


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        InputError: The file cannot be read, is not a record of a deletion, or has another version.
        VerificationError: The record was changed after it was written.
    """
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot read the record {path} ({error.strerror or error}); give the path of a record"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the record {path} is damaged: it is not valid JSON ({error})") from error
    if not isinstance(content, dict) or content.get("record") != KIND:
        raise InputError(
            f"{path} is not a record of a deletion; give a file written by 'factcensus index delete --record'"
        )
    if content.get("version") != VERSION:
        raise InputError(f"{path} has version {content.get('version')!r}, but this release reads version {VERSION}")
    try:
        record = Record(
            index=_field(content, "index", str),
            made=_field(content, "made", str),
            asked_by=_field(content, "asked_by", str, None),
            chosen_by=tuple(map(str, _field(content, "chosen_by", list))),
            before=_generation_of(_field(content, "before", dict)),
            after=_generation_of(_field(content, "after", dict)),
            key=_field(content, "key", str),
            documents=tuple(map(_removed_of, _field(content, "documents", list))),
            probes=tuple(map(_probe_of, _field(content, "probes", list))),
        )
        if len(bytes.fromhex(record.key)) != _KEY_BYTES:
            raise ValueError(f"its key must have {_KEY_BYTES} bytes")
        seal = _field(content, "seal", str)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the record {path} is damaged ({type(error).__name__}: {error})") from error
    key = bytes.fromhex(record.key)
    other_ids = [
        each.id for each in record.documents if each.id is not None and _id_digest(key, each.id) != each.id_digest
    ]
    if other_ids or seal != _seal(record):
        what = f"the id {other_ids[0]!r} was changed" if other_ids else "its seal does not match"
        raise VerificationError(f"the record {path} was changed since it was written: {what}; use an unchanged copy")
    return record


def _seal(record: Record) -> str:
    fields = _fields_of(record)
    for each in fields["documents"]:
        del each["id"]  # a copy may omit them
    return _keyed(bytes.fromhex(record.key), b"record\0" + json.dumps(fields, sort_keys=True).encode())


def _fields_of(record: Record) -> dict[str, Any]:
    """Return the fields of a record; those for the search of a probe only if they are set."""
    fields = asdict(record)
    for probe in fields["probes"]:
        for name in ("verbatim", "normalise", "region"):
            if not probe[name]:
                del probe[name]
    return fields


def _field(content: dict[str, Any], name: str, kind: type, *others: None) -> Any:
    """Return a field after checking its type; pass None as ``others`` if the field may be null."""
    value = content[name] if not others else content.get(name)
    if not isinstance(value, kind) and not (others and value is None):
        raise TypeError(f"{name} is {value!r:.60}")
    return value


def _generation_of(content: dict[str, Any]) -> Generation:
    return Generation(
        _field(content, "generation", int), _field(content, "digest", str), _field(content, "documents", int)
    )


def _removed_of(content: dict[str, Any]) -> Removed:
    return Removed(
        id=_field(content, "id", str, None),
        id_digest=_field(content, "id_digest", str, None),
        text_digest=_field(content, "text_digest", str),
        same_id_left=_field(content, "same_id_left", int),
        same_text_left=_field(content, "same_text_left", int),
    )


def _probe_of(content: dict[str, Any]) -> Probe:
    before, after = (
        Numbers(_field(part, "occurrences", int), _field(part, "documents", int))
        for part in (_field(content, "before", dict), _field(content, "after", dict))
    )
    return Probe(
        _field(content, "text", str),
        before,
        after,
        verbatim=bool(_field(content, "verbatim", bool, None)),
        normalise=_field(content, "normalise", str, None),
        region=_field(content, "region", str, None),
    )


def verify_record(index: CountIndex, path: Path) -> Proof:
    """Verify that an index has no document of a record, and that its probes do not have more than the recorded counts.

    A probe may have lower counts if documents were deleted or replaced after the record was made, or if the index may
    be another one. The result lists such probes.

    Raises:
        InputError: The record cannot be read.
        VerificationError: A document is (again) in the index, more documents than recorded have its text, a probe has
            higher counts, or it has lower counts although no document was deleted or replaced since. The message lists
            up to 5 of these.
    """
    record = read_record(path)
    key = bytes.fromhex(record.key)
    wanted = {each.text_digest for each in record.documents}.union(
        each.id_digest for each in record.documents if each.id_digest is not None
    )
    living, hidden = Counter[str](), Counter[str]()
    for shard in index.shards:
        _look_through(shard, key, wanted, living, hidden)
    wrong = []
    for number, each in enumerate(record.documents, 1):
        name = f"document {number}" if each.id is None else f"the document {each.id!r}"
        if each.id_digest is not None and living[each.id_digest] > each.same_id_left:
            wrong.append(f"{name} is in the index (documents with its id: {living[each.id_digest]})")
        elif living[each.text_digest] > each.same_text_left:
            wrong.append(f"the text of {name} is in the index (documents: {living[each.text_digest]})")
    manifest = index.manifest
    later = None if manifest is None else manifest.changes_since(record.after.digest)
    deletions = None if later is None else sum(change.what in ("delete", "replace") for change in later)
    fewer: list[FewerOccurrences] = []
    for probe in record.probes:
        now, then = _count(index, probe.sought), probe.after
        is_more = now.occurrences > then.occurrences or now.documents > then.documents
        if not is_more and now != then:
            fewer.append(FewerOccurrences(probe.text, then.occurrences, then.documents, now.occurrences, now.documents))
        if is_more or (now != then and deletions == 0):
            unexplained = "" if is_more else ", and no document was deleted or replaced since"
            wrong.append(
                f"the probe {probe.text!r} occurs {now.occurrences} times in {now.documents} documents, but the record "
                f"has {then.occurrences} in {then.documents}{unexplained}"
            )
    if wrong:
        more = f"; and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise VerificationError(f"{path} is contradicted by {index.folder}: {'; '.join(wrong[:_MOST_NAMED])}{more}")
    return Proof(
        documents=len(record.documents),
        hidden=sum(hidden[each.text_digest] > 0 for each in record.documents),
        same_text_left=sum({each.text_digest: each.same_text_left for each in record.documents}.values()),
        probes=len(record.probes),
        descends=later is not None,
        fewer=fewer,
        later_deletions=deletions,
    )


def _look_through(shard: Shard, key: bytes, wanted: Set[str], living: Counter[str], hidden: Counter[str]) -> None:
    """Count the documents of a shard whose id or text has a wanted digest, separately for living and deleted ones."""
    for first, batch in shard.row_batches(["id", "text_digest", "text_bytes"]):
        gone = set(shard.deleted[(shard.deleted >= first) & (shard.deleted < first + batch.num_rows)].tolist())
        columns = (batch[name].to_pylist() for name in ("id", "text_digest", "text_bytes"))
        for row, (id, digest, size) in enumerate(zip(*columns, strict=True), first):
            for each in (_id_digest(key, id), _text_digest(key, digest, size)):
                if each is not None and each in wanted:
                    (hidden if row in gone else living)[each] += 1


def _id_digest(key: bytes, id: str | None) -> str | None:
    return None if id is None else _keyed(key, b"id\0" + id.encode())


def _text_digest(key: bytes, digest: int, size: int) -> str:
    return _keyed(key, b"text\0" + digest.to_bytes(8, "little") + size.to_bytes(8, "little"))


def _keyed(key: bytes, content: bytes) -> str:
    return hashlib.blake2b(content, key=key, digest_size=16).hexdigest()


def _generation(index: CountIndex) -> Generation:
    assert index.manifest is not None
    return Generation(index.manifest.generation, index.manifest.digest, index.manifest.documents)


def _count(index: CountIndex, sought: SoughtText) -> Numbers:
    return Numbers(*sought.count(index))
