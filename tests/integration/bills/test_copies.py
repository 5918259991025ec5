"""Copies of one export's folder without the first parts of its keys: the manifest's files, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from billfold.aws import locate, resolve
from billfold.errors import BillfoldError, ManifestError
from billfold.model import Client, Delivery
from billfold.settings import Settings, load_settings
from tests.at_length import rounds
from tests.bills.export_trees import write

CLIENT = Client(client_id="acme")
MONTH = "20231101-20231201"
PERIOD = "BILLING_PERIOD=2023-11"
OLD, NEW = "0001-old", "0002-new"


@dataclass(frozen=True)
class Layout:
    """Where AWS writes one month of an export: folders below the export's, for data and manifests."""

    data: str
    metadata: str
    has_executions: bool
    list_name: str

    def data_key(self, export: str, name: str, execution: str = NEW) -> str:
        own = f"{execution}/" if self.has_executions else ""
        return f"{export}/{self.data.format(name=export.rpartition('/')[2])}/{own}{name}"

    def manifest_key(self, export: str, execution: str = "") -> str:
        own = f"{execution}/" if execution else ""
        return f"{export}/{self.metadata}/{own}{export.rpartition('/')[2]}-Manifest.json"


LAYOUTS = {
    "legacy, new versions": Layout(MONTH, MONTH, True, "reportKeys"),
    "legacy, overwritten": Layout(MONTH, MONTH, False, "reportKeys"),
    "athena": Layout("{name}/year=2023/month=11", MONTH, False, "reportKeys"),
    "data exports, new versions": Layout(f"data/{PERIOD}", f"metadata/{PERIOD}", True, "dataFiles"),
    "data exports, overwritten": Layout(f"data/{PERIOD}", f"metadata/{PERIOD}", False, "dataFiles"),
}
PREFIXES = ["", "/", "exports/", "billing//", "/billing/", "a/b/c/"]


def manifest_of(layout: Layout, keys: list[str], name: str = "acme", execution: str = NEW) -> bytes:
    return json.dumps(
        {
            "exportName": name,
            "executionId": execution,
            "billingPeriod": {"start": "2023-11-01T00:00:00.000Z"},
            layout.list_name: keys if layout.list_name == "reportKeys" else [f"s3://acme-bills/{key}" for key in keys],
        }
    ).encode()


def objects_of(layout: Layout, export: str, chunks: int = 2) -> dict[str, bytes]:
    """The keys of one delivery and what is there; a data file holds its own key."""
    keys = [layout.data_key(export, f"acme-{number}.csv.gz") for number in range(1, chunks + 1)]
    manifest = manifest_of(layout, keys)
    manifests = {layout.manifest_key(export): manifest}
    if layout.has_executions:
        manifests[layout.manifest_key(export, NEW)] = manifest
    return {**{key: key.encode() for key in keys}, **manifests}


def copy_to(root: Path, objects: dict[str, bytes], left_out: str) -> None:
    """Copy the folder `left_out` of a bucket to a local one, as `aws s3 sync s3://bucket/<left_out> root` does."""
    folder = "/".join(part for part in left_out.split("/") if part)
    for key, content in objects.items():
        path = "/".join(part for part in key.split("/") if part)
        if path.startswith(f"{folder}/") or not folder:
            write(root, path.removeprefix(f"{folder}/") if folder else path, content)


def contents(delivery: Delivery) -> list[str]:
    root = Path(delivery.bucket.removeprefix("file://"))
    return [(root / file.key).read_text() for file in delivery.files]


def ask(path: Path, settings: Settings) -> tuple[list[Delivery], list[str]]:
    """The deliveries at a path, and the manifests or sources that are refused."""
    refused: list[str] = []
    bucket, key = locate(str(path), CLIENT, settings)

    def keep(where: str, error: BillfoldError) -> None:
        assert isinstance(error, ManifestError)
        refused.append(where)

    try:
        return resolve(bucket, key, on_refused=keep), refused
    except ManifestError:
        return [], [key]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("layout", "prefix"),
    list(zip(LAYOUTS.values(), ["/billing//a/", "", "", "/a/", "exports/"], strict=True)),
    ids=LAYOUTS,
)
def test_a_copy_of_any_folder_above_the_period_holds_the_bill(
    tmp_path: Path, settings: Settings, layout: Layout, prefix: str
) -> None:
    export = f"{prefix}acme"
    objects = objects_of(layout, export)
    surplus = layout.data_key(export, "acme-3.csv.gz")
    older = layout.data_key(export, "acme-1.csv.gz", OLD)
    expected = [key for key in objects if not key.endswith(".json")]
    parts = [part for part in export.split("/") if part]

    for number in range(len(parts) + 1):
        root = tmp_path / str(number)
        copy_to(root, {**{surplus: b"surplus", older: b"older"}, **objects}, "/".join(parts[:number]))
        statements = set()

        for path in (root, *root.rglob("*")):
            deliveries, refused = ask(path, settings)

            assert ([contents(delivery) for delivery in deliveries], refused) == ([expected], []), path
            assert deliveries[0].export_name == "acme"
            assert str(deliveries[0].period) == "2023-11"
            statements.add((deliveries[0].bucket, deliveries[0].export_path))

    # The export's own folder is one statement, by whichever of its names it comes first.
    assert statements == {(f"file://{root.resolve()}", ".")}


@pytest.mark.parametrize("layout", [LAYOUTS["legacy, new versions"], LAYOUTS["legacy, overwritten"]])
def test_a_copy_of_the_periods_folder_alone_holds_the_bill(tmp_path: Path, settings: Settings, layout: Layout) -> None:
    objects = objects_of(layout, "cur/acme")
    copy_to(tmp_path / MONTH, {**objects, f"cur/acme/{MONTH}/{OLD}/acme-1.csv.gz": b"older"}, f"cur/acme/{MONTH}")

    for path in (tmp_path / MONTH, *(tmp_path / MONTH).rglob("*")):
        [delivery], refused = ask(path, settings)

        assert (contents(delivery), refused) == ([key for key in objects if not key.endswith(".json")], [])


def test_a_periods_folder_under_another_name_is_refused(root: Path, settings: Settings) -> None:
    copy_to(root, objects_of(LAYOUTS["legacy, new versions"], "cur/acme"), f"cur/acme/{MONTH}")

    for path in (root, *root.rglob("*")):
        deliveries, refused = ask(path, settings)

        assert deliveries == []
        assert refused


@pytest.mark.parametrize("has_executions", [True, False])
def test_folders_of_data_and_manifests_may_be_copied_into_one(
    root: Path, settings: Settings, has_executions: bool
) -> None:
    layout = LAYOUTS[f"data exports, {'new versions' if has_executions else 'overwritten'}"]
    objects = objects_of(layout, "exports/acme")
    copy_to(root, {**objects, layout.data_key("exports/acme", "acme-3.csv.gz"): b"surplus"}, "exports/acme/data")
    copy_to(root, objects, "exports/acme/metadata")

    for path in (root, *root.rglob("*")):
        [delivery], refused = ask(path, settings)

        assert (contents(delivery), refused) == ([key for key in objects if not key.endswith(".json")], [])
        assert delivery.export_path == "."


def test_the_years_of_an_athena_report_may_be_copied_beside_its_manifests(root: Path, settings: Settings) -> None:
    objects = objects_of(LAYOUTS["athena"], "cur/acme")
    copy_to(root, {**objects, "cur/acme/acme/year=2023/month=11/acme-3.csv.gz": b"surplus"}, "cur/acme/acme")
    copy_to(root, {key: content for key, content in objects.items() if key.endswith(".json")}, "cur/acme")

    for path in (root, *root.rglob("*")):
        [delivery], refused = ask(path, settings)

        assert (contents(delivery), refused) == ([key for key in objects if not key.endswith(".json")], [])


@pytest.mark.parametrize(("layout", "number"), list(zip(LAYOUTS.values(), [2, 0, 2, 0, 2], strict=True)), ids=LAYOUTS)
def test_a_copy_that_lacks_a_file_is_refused_however_it_is_named(
    root: Path, settings: Settings, layout: Layout, number: int
) -> None:
    objects = objects_of(layout, "exports/acme")
    lacking = layout.data_key("exports/acme", "acme-2.csv.gz")
    del objects[lacking]
    # The same name below the export's folder: in another execution's, in the period's, in none of AWS's.
    beside = ["exports/acme/acme-2.csv.gz", "exports/acme/late/acme-2.csv.gz"]
    if layout.has_executions:
        beside += [layout.data_key("exports/acme", "acme-2.csv.gz", OLD), f"exports/acme/{layout.data}/acme-2.csv.gz"]
    elsewhere = ["acme-2.csv.gz", layout.data_key("exports", "acme-2.csv.gz")]
    left_out = "/".join(["exports", "acme"][:number])
    copy_to(root, {**objects, **dict.fromkeys((*beside, *elsewhere), b"")}, left_out)
    of_the_export = set(root.rglob("acme-1.csv.gz"))
    of_the_export |= {root / key.removeprefix(f"{left_out}/") for key in beside}

    assert ask(root, settings)[1]
    for path in (root, *root.rglob("*")):
        deliveries, _ = ask(path, settings)

        roots = {delivery: Path(delivery.bucket.removeprefix("file://")) for delivery in deliveries}
        found = {roots[delivery] / file.key for delivery in deliveries for file in delivery.files}
        assert not found & of_the_export, path


UNUSABLE = {
    "torn": b"{",
    "no text": b"\xff\xfe",
    "no list": b'{"dataFiles": "all"}',
    "two buckets": b'{"dataFiles": ["s3://one/exports/acme/a.csv", "s3://two/exports/acme/b.csv"]}',
    "another month": b'{"dataFiles": [], "billingPeriod": {"start": "2024-01-01T00:00:00.000Z"}}',
}


@pytest.mark.parametrize(
    ("content", "left_out"), [("torn", ""), ("torn", "exports"), *((content, "exports/acme") for content in UNUSABLE)]
)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_files_beside_a_manifest_that_cannot_be_used_are_no_bills(
    root: Path, settings: Settings, layout: Layout, content: str, left_out: str
) -> None:
    objects = {key: UNUSABLE[content] if key.endswith(".json") else b"" for key in objects_of(layout, "exports/acme")}
    copy_to(root, objects, left_out)

    for path in (root, *root.rglob("*")):
        deliveries, refused = ask(path, settings)

        assert deliveries == []
        assert refused, path


@pytest.mark.parametrize(("data", "metadata"), [("Data", "Metadata"), ("DATA", "METADATA"), ("data", "metadata (1)")])
def test_files_of_an_export_whose_folders_a_copy_has_renamed_are_no_bills(
    root: Path, settings: Settings, data: str, metadata: str
) -> None:
    layout = LAYOUTS["data exports, overwritten"]
    objects = objects_of(layout, "exports/acme") | {layout.data_key("exports/acme", "acme-3.csv.gz"): b"surplus"}
    renamed = {
        key.replace("/data/", f"/{data}/").replace("/metadata/", f"/{metadata}/"): content
        for key, content in objects.items()
    }
    copy_to(root, renamed, "exports")

    deliveries, refused = ask(root, settings)

    assert (deliveries, refused) == ([], [f"acme/{metadata}/{PERIOD}/acme-Manifest.json"])
    if metadata != "metadata (1)":
        for path in root.rglob("*.gz"):
            assert ask(path, settings)[0] == [], path


@pytest.mark.parametrize("left_out", ["", "cur", "cur/acme"])
def test_an_earlier_version_does_not_stand_in_for_one_that_lacks_a_file(
    root: Path, settings: Settings, left_out: str
) -> None:
    layout = LAYOUTS["legacy, new versions"]
    objects = objects_of(layout, "cur/acme")
    old = layout.data_key("cur/acme", "acme-1.csv.gz", OLD)
    earlier = {old: b"", layout.manifest_key("cur/acme", OLD): manifest_of(layout, [old], execution=OLD)}
    del objects[layout.data_key("cur/acme", "acme-2.csv.gz")]
    copy_to(root, {**objects, **earlier}, left_out)

    for path in (root, *(path for path in root.rglob("*") if not path.name.endswith(".json"))):
        deliveries, refused = ask(path, settings)

        assert deliveries == []
        assert refused, path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2023-11-05T10:00:00.000Z-b", "2023-11-06T09:00:00.000Z-a"),
        ("2023-11-05T10-00-00.000Z-b", "2023-11-06T09-00-00.000Z-a"),
        ("20231105T100000Z-b", "20231106T090000Z-a"),
    ],
)
@pytest.mark.parametrize("left_out", ["", "exports/acme"])
def test_the_latest_execution_counts_whatever_times_its_copied_files_have(
    root: Path, settings: Settings, old: str, new: str, left_out: str
) -> None:
    layout = LAYOUTS["data exports, new versions"]
    for written_at, execution in ((2, old), (1, new)):
        key = layout.data_key("exports/acme", "acme-1.csv.gz", execution)
        manifest_key = layout.manifest_key("exports/acme", execution)
        objects = {key: execution.encode(), manifest_key: manifest_of(layout, [key], execution=execution)}
        copy_to(root, objects, left_out)
        for path in (path for path in root.rglob("*") if path.is_file() and execution in path.parts):
            os.utime(path, (1_700_000_000 + written_at,) * 2)

    [delivery], refused = ask(root, settings)

    assert (delivery.execution_id, refused) == (new, [])
    assert [file.key.split("/")[-2] for file in delivery.files] == [new]


def test_other_statements_of_the_folder_go_on(root: Path, settings: Settings) -> None:
    broken = objects_of(LAYOUTS["data exports, overwritten"], "exports/acme")
    del broken[LAYOUTS["data exports, overwritten"].data_key("exports/acme", "acme-2.csv.gz")]
    copy_to(root / "broken", broken, "exports/acme")
    copy_to(root / "whole", objects_of(LAYOUTS["legacy, new versions"], "cur/acme"), "cur/acme")
    write(root, "alone.csv", b"")

    deliveries, refused = ask(root, settings)

    assert [delivery.export_path for delivery in deliveries] == ["whole", "alone.csv"]
    assert refused == [f"broken/metadata/{PERIOD}/acme-Manifest.json"]


@pytest.mark.parametrize("content", [b"{", b'{"dataFiles": ["flat/acme-1.csv", "flat/acme-2.csv"]}'])
def test_what_is_below_a_refused_manifest_outside_of_every_layout_is_no_bill(
    root: Path, settings: Settings, content: bytes
) -> None:
    write(root, "loose.csv", b"")
    write(root, "flat/acme-1.csv", b"")
    write(root, "flat/deep/acme-1.csv", b"")
    write(root, "flat/acme-Manifest.json", content)

    deliveries, refused = ask(root, settings)

    assert [delivery.export_path for delivery in deliveries] == ["loose.csv"]
    assert refused == ["flat/acme-Manifest.json"]
    assert ask(root / "flat", settings) == ([], ["acme-Manifest.json"])
    assert ask(root / "flat/acme-1.csv", settings)[0] == []


def test_a_file_below_a_manifest_that_names_it_is_no_bill_of_its_own(root: Path, settings: Settings) -> None:
    objects = objects_of(LAYOUTS["legacy, overwritten"], "cur/acme")
    write(root, "bill/acme-Manifest.json", objects[f"cur/acme/{MONTH}/acme-Manifest.json"])
    write(root, "bill/chunks/acme-1.csv.gz", b"")

    assert ask(root / "bill/chunks", settings)[0] == []
    assert ask(root / "bill/chunks/acme-1.csv.gz", settings)[0] == []


def test_another_programs_manifest_claims_nothing(root: Path, settings: Settings) -> None:
    write(root, "site/app-Manifest.json", b'{"icons": []}')
    write(root, "site/may.csv", b"")

    deliveries, refused = ask(root, settings)

    assert ([delivery.export_path for delivery in deliveries], refused) == (["site/may.csv"], [])


def test_a_copied_manifest_and_the_files_beside_it_are_no_other_bill(root: Path, settings: Settings) -> None:
    objects = objects_of(LAYOUTS["data exports, overwritten"], "exports/acme")
    copy_to(root, objects, "exports/acme")
    write(root, "backup/acme-Manifest.json", objects[f"exports/acme/metadata/{PERIOD}/acme-Manifest.json"])
    write(root, "backup/acme-1.csv.gz", b"")

    deliveries, refused = ask(root, settings)

    assert ([delivery.export_path for delivery in deliveries], refused) == (["."], [])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_two_exports_in_one_folder_are_refused(root: Path, settings: Settings, layout: Layout) -> None:
    for name in ("acme", "beta"):
        keys = [layout.data_key(f"exports/{name}", f"{name}-1.csv.gz")]
        manifest = {layout.manifest_key(f"exports/{name}"): manifest_of(layout, keys, name)}
        copy_to(root, {**dict.fromkeys(keys, b""), **manifest}, f"exports/{name}")

    for path in (root, *root.rglob("*-Manifest.json"), *root.rglob("*.csv.gz")):
        deliveries, refused = ask(path, settings)

        assert deliveries == []
        assert refused


def test_two_manifests_of_one_month_outside_of_every_layout_are_not_one_statement(
    root: Path, settings: Settings
) -> None:
    for name in ("acme", "beta"):
        write(root, f"flat/{name}-1.csv", b"")
        write(root, f"flat/{name}-Manifest.json", manifest_of(LAYOUTS["athena"], [f"flat/{name}-1.csv"], name))

    deliveries, refused = ask(root, settings)

    assert [delivery.export_name for delivery in deliveries] == ["acme"]
    assert refused == ["flat/beta-Manifest.json"]


def test_full_keys_come_before_tails(root: Path, settings: Settings) -> None:
    layout = LAYOUTS["data exports, overwritten"]
    objects = objects_of(layout, "exports/acme")
    copy_to(root, objects, "")
    for key in objects:
        if not key.endswith(".json"):
            write(root, key.removeprefix("exports/acme/"), b"of another export")

    deliveries, _ = ask(root, settings)

    assert [contents(delivery) for delivery in deliveries if delivery.manifest] == [
        [key for key in objects if not key.endswith(".json")]
    ]


def test_a_half_copied_export_does_not_borrow_the_files_of_a_whole_one(root: Path, settings: Settings) -> None:
    layout = LAYOUTS["data exports, overwritten"]
    objects = objects_of(layout, "exports/acme")
    copy_to(root, objects, "")
    copy_to(root / "copy", {key: value for key, value in objects.items() if key.endswith(".json")}, "")

    deliveries, refused = ask(root, settings)

    assert [delivery.export_path for delivery in deliveries] == ["exports/acme"]
    assert refused == [f"copy/exports/acme/metadata/{PERIOD}/acme-Manifest.json"]
    assert ask(root / f"copy/exports/acme/metadata/{PERIOD}/acme-Manifest.json", settings)[0] == []


@pytest.fixture(scope="module")
def plain_settings() -> Settings:
    return load_settings()


@pytest.mark.at_length
@given(st.data())
@limits(deadline=None, max_examples=rounds(30, in_soak=150))
def test_any_copy_holds_exactly_the_manifests_files_or_is_refused(
    plain_settings: Settings, data: st.DataObject
) -> None:
    layout = data.draw(st.sampled_from(list(LAYOUTS.values())))
    export = data.draw(st.sampled_from(PREFIXES)) + "acme"
    chunks = data.draw(st.integers(1, 3))
    objects = objects_of(layout, export, chunks)
    named = [key for key in objects if not key.endswith(".json")]
    missing = data.draw(st.sets(st.sampled_from(named)) if data.draw(st.booleans()) else st.just(set()))
    period = layout.data.format(name="acme")
    surplus = data.draw(
        st.sets(
            st.sampled_from(
                [
                    f"{export}/{period}/{own}acme-{number}.csv.gz"
                    for own in ("", f"{OLD}/", f"{NEW}/")
                    for number in (1, 2, 3, 4)
                ]
            )
        )
    ) - set(named)
    parts = [part for part in export.split("/") if part]
    left_out = "/".join(parts[: data.draw(st.integers(0, len(parts)))])
    tree = dict.fromkeys(surplus, b"surplus") | {key: objects[key] for key in objects if key not in missing}
    folder = Path(tempfile.mkdtemp(prefix="copy-"))
    try:
        copy_to(folder / "copy", tree, left_out)
        paths = sorted((folder / "copy").rglob("*"))
        path = data.draw(st.sampled_from([folder / "copy", *paths]))

        deliveries, refused = ask(path, plain_settings)

        if missing:
            assert deliveries == []
            assert refused
        else:
            assert [contents(delivery) for delivery in deliveries] == [named]
            assert refused == []
    finally:
        shutil.rmtree(folder)
