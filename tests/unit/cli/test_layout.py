"""The grammar of AWS's keys, by the examples in its documentation."""

from __future__ import annotations

import pytest

from billfold.aws.layout import decode_event_key, find_places, is_data_file, is_manifest, period_of, place_of

EXECUTION = "2023-11-05T10:00:00.000Z-b81e9b52-f194-5962-b65f-ffd89e920791"
ASSEMBLY = "b81e9b52-f194-5962-b65f-ffd89e920791"


@pytest.mark.parametrize(
    ("key", "export_path", "period", "execution", "manifest_folder"),
    [
        (
            "cur/acme/20231101-20231201/acme-Manifest.json",
            "cur/acme",
            "2023-11",
            None,
            "cur/acme/20231101-20231201/",
        ),
        (
            f"cur/acme/20231201-20240101/{ASSEMBLY}/acme-1.csv.gz",
            "cur/acme",
            "2023-12",
            ASSEMBLY,
            "cur/acme/20231201-20240101/",
        ),
        (
            "cur/acme/acme/year=2023/month=1/acme-00001.snappy.parquet",
            "cur/acme",
            "2023-01",
            None,
            "cur/acme/20230101-20230201/",
        ),
        (
            "exports/acme/data/BILLING_PERIOD=2023-11/acme-00001.csv.gz",
            "exports/acme",
            "2023-11",
            None,
            "exports/acme/metadata/BILLING_PERIOD=2023-11/",
        ),
        (
            f"a/b/c/acme/data/billing_period=2023-11/{EXECUTION}/acme-00001.snappy.parquet",
            "a/b/c/acme",
            "2023-11",
            EXECUTION,
            "a/b/c/acme/metadata/billing_period=2023-11/",
        ),
        (
            f"acme/metadata/BILLING_PERIOD%3D2023-11/{EXECUTION}/acme-Manifest.json",
            "acme",
            "2023-11",
            EXECUTION,
            "acme/metadata/BILLING_PERIOD%3D2023-11/",
        ),
    ],
)
def test_a_key_tells_its_statement(
    key: str, export_path: str, period: str, execution: str | None, manifest_folder: str
) -> None:
    place = place_of(key)

    assert place is not None
    assert (place.export_path, str(place.period)) == (export_path, period)
    assert (place.execution, place.manifest_folder) == (execution, manifest_folder)
    assert place.export_name == "acme"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "acme.csv",
        "exports/acme/data/acme.csv",
        "exports/acme/data/BILLING_PERIOD=2023-13/acme.csv",
        "data/BILLING_PERIOD=2023-11/acme.csv",
        "cur/acme/20231102-20231202/acme.csv",
        "cur/acme/20231101-20240101/acme.csv",
        "cur/acme/other/year=2023/month=1/acme.parquet",
        "cur/acme/acme/year=2023/month=14/acme.parquet",
    ],
)
def test_a_key_outside_of_every_layout_has_no_place(key: str) -> None:
    assert place_of(key) is None


@pytest.mark.parametrize(
    ("key", "statements"),
    [
        ("exports/acme/data/BILLING_PERIOD=2023-11/acme.csv", [("exports/acme", "2023-11")]),
        ("data/BILLING_PERIOD=2023-11/acme.csv", [(".", "2023-11")]),
        ("BILLING_PERIOD=2023-11/acme.csv", [(".", "2023-11")]),
        ("copy/BILLING_PERIOD%3D2023-11/acme.csv", [("copy", "2023-11")]),
        ("20231101-20231201/acme.csv", [(".", "2023-11")]),
        ("/acme/20231101-20231201/acme.csv", [("/acme", "2023-11")]),
        ("billing//acme/20231101-20231201/acme.csv", [("billing//acme", "2023-11")]),
        ("cur/acme/acme/year=2023/month=1/a.parquet", [("cur/acme", "2023-01"), ("cur/acme/acme", "2023-01")]),
        ("acme/year=2023/month=1/a.parquet", [(".", "2023-01"), ("acme", "2023-01")]),
        ("year=2023/month=1/a.parquet", [(".", "2023-01")]),
        ("year=2023/month=1/acme-Manifest.json", []),
        ("acme.csv", []),
        ("data/acme.csv", []),
        ("20231102-20231202/acme.csv", []),
    ],
)
def test_a_copy_may_lack_the_folders_above_the_period(key: str, statements: list[tuple[str, str]]) -> None:
    assert [(place.export_path, str(place.period)) for place in find_places(key)] == statements


def test_a_place_knows_the_folder_of_its_period() -> None:
    keys = [
        f"exports/acme/data/BILLING_PERIOD=2023-11/{EXECUTION}/acme.csv",
        f"20231101-20231201/{ASSEMBLY}/acme.csv",
        "acme/year=2023/month=1/a.parquet",
    ]

    assert [find_places(key)[0].period_folder for key in keys] == [
        "exports/acme/data/BILLING_PERIOD=2023-11/",
        "20231101-20231201/",
        "acme/year=2023/month=1/",
    ]


def test_the_data_and_the_manifest_of_a_month_are_one_statement() -> None:
    data = place_of("exports/acme/data/BILLING_PERIOD=2023-11/acme-00001.csv.gz")
    manifest = place_of(f"exports/acme/metadata/billing_period%3d2023-11/{EXECUTION}/acme-Manifest.json")
    athena = place_of("exports/acme/acme/year=2023/month=11/acme-00001.snappy.parquet")

    assert data is not None
    assert manifest is not None
    assert athena is not None
    assert data.statement == manifest.statement == athena.statement


@pytest.mark.parametrize(
    ("key", "period"),
    [
        ("downloads/BILLING_PERIOD=2024-02/x.csv", "2024-02"),
        ("BILLING_PERIOD%3D2024-02/x.csv", "2024-02"),
        ("cur/acme/20231101-20231201/x.csv", "2023-11"),
        ("november.csv", None),
        ("MY_BILLING_PERIOD=2024-02/x.csv", None),
    ],
)
def test_a_key_may_tell_a_period_outside_of_the_layouts(key: str, period: str | None) -> None:
    found = period_of(key)

    assert (str(found) if found else None) == period


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a/acme-Manifest.json", True),
        ("a/acme-manifest.JSON", True),
        ("Manifest.json", True),
        ("a/acme-RedshiftManifest.json", False),
        ("a/acme-QuickSightManifest.json", False),
        ("a/acme-Manifest.json/x.csv", False),
    ],
)
def test_a_manifest_is_known_by_its_name(key: str, expected: bool) -> None:
    assert is_manifest(key) is expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.csv", True),
        ("a/B.CSV.GZ", True),
        ("a.zip", True),
        ("a.snappy.parquet", True),
        ("a/.hidden.csv", False),
        ("a/_temporary.csv", False),
        ("a/readme.txt", False),
        ("a/acme-Manifest.json", False),
        ("cur/acme/acme/cost_and_usage_data_status/status.parquet", False),
    ],
)
def test_a_data_file_is_known_by_its_suffix(key: str, expected: bool) -> None:
    assert is_data_file(key) is expected


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("exports/acme/data/BILLING_PERIOD%3D2025-12/a.csv", "exports/acme/data/BILLING_PERIOD=2025-12/a.csv"),
        ("a/BILLING_PERIOD%253D2025-12/a.csv", "a/BILLING_PERIOD%3D2025-12/a.csv"),
        ("a+b%2Bc.csv", "a b+c.csv"),
        ("a/2025-12-01T10%3A00%3A00.000Z-x/a.csv", "a/2025-12-01T10:00:00.000Z-x/a.csv"),
    ],
)
def test_an_event_key_is_decoded_exactly_once(encoded: str, key: str) -> None:
    assert decode_event_key(encoded) == key
