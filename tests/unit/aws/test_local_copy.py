"""One base for all files of a manifest in a local copy."""

from __future__ import annotations

import pytest

from billfold.aws.local_copy import LocalFiles, find_local_files, list_missing

MONTH = "20231101-20231201"
KEYS = [f"cur/acme/{MONTH}/b81e/acme-1.csv.gz", f"cur/acme/{MONTH}/b81e/acme-2.csv.gz"]


def find(manifest_key: str, keys: list[str], *files: str) -> LocalFiles | None:
    return find_local_files(manifest_key, keys, set(files).__contains__)


@pytest.mark.parametrize(
    ("base", "dropped", "manifest_folder"),
    [("", 0, "cur/acme"), ("copy/", 0, "copy/cur/acme"), ("", 1, "acme"), ("copy/", 1, "copy/acme"), ("my/", 2, "my")],
)
def test_all_keys_lack_the_same_parts(base: str, dropped: int, manifest_folder: str) -> None:
    files = tuple(f"{base}{key.split('/', dropped)[dropped]}" for key in KEYS)

    found = find(f"{manifest_folder}/{MONTH}/acme-Manifest.json", KEYS, *files)

    assert found == LocalFiles(base=base, dropped=dropped, keys=files)


def test_files_that_lack_different_parts_are_not_all_there() -> None:
    files = [f"{MONTH}/b81e/acme-1.csv.gz", f"acme/{MONTH}/b81e/acme-2.csv.gz"]

    assert find(f"{MONTH}/acme-Manifest.json", KEYS, *files) is None


@pytest.mark.parametrize("folder", [f"{MONTH}/", "", "b81e/", f"{MONTH}/other/"])
def test_the_folders_of_period_and_assembly_are_kept(folder: str) -> None:
    files = [f"{folder}acme-1.csv.gz", f"{folder}acme-2.csv.gz"]

    assert find(f"{folder}acme-Manifest.json", KEYS, *files) is None


def test_two_keys_are_never_one_file() -> None:
    keys = [f"one/acme/{MONTH}/acme-1.csv.gz", f"two/acme/{MONTH}/acme-1.csv.gz"]

    assert find(f"acme/{MONTH}/acme-Manifest.json", keys, f"acme/{MONTH}/acme-1.csv.gz") is None


def test_keys_outside_of_every_layout_are_full_keys() -> None:
    assert find("copy/acme-Manifest.json", ["flat/acme-1.csv"], "copy/acme-1.csv", "acme-1.csv") is None
    assert find("copy/flat/acme-Manifest.json", ["flat/acme-1.csv"], "copy/flat/acme-1.csv") is not None


def test_repeated_and_leading_slashes_are_one_and_none() -> None:
    found = find(f"billing/acme/{MONTH}/m.json", [f"/billing//acme/{MONTH}/a.csv"], f"billing/acme/{MONTH}/a.csv")

    assert found == LocalFiles(base="", dropped=0, keys=(f"billing/acme/{MONTH}/a.csv",))


def test_a_manifest_outside_of_every_layout_finds_tails_below_its_own_folder_only() -> None:
    keys = ["exports/acme/data/BILLING_PERIOD=2023-11/a.csv"]

    assert find("copy/acme-Manifest.json", keys, "copy/data/BILLING_PERIOD=2023-11/a.csv") is not None
    assert find("copy/acme-Manifest.json", keys, "data/BILLING_PERIOD=2023-11/a.csv") is None


def test_what_is_missing_is_told_of_the_base_that_has_most() -> None:
    files = {f"acme/{MONTH}/b81e/acme-1.csv.gz"}

    assert list_missing(f"acme/{MONTH}/acme-Manifest.json", KEYS, files.__contains__) == [KEYS[1]]
    assert list_missing(f"acme/{MONTH}/acme-Manifest.json", KEYS, set().__contains__) == KEYS


def test_an_empty_delivery_has_all_its_files() -> None:
    assert find("acme-Manifest.json", []) == LocalFiles(base="", dropped=0, keys=())
