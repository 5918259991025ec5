"""Owners of accounts: set one by one or from a file, all or nothing, and shown at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from billfold.clients import owners
from billfold.errors import InputError, InvalidValueError, MalformedFileError, MissingColumnError, UsageError
from billfold.reports.costs import sum_costs
from billfold.reports.owners import list_accounts_without_owner, list_owners
from billfold.selection import CostColumn
from billfold.store.clients.owners import OwnersWritten
from tests.bills.landing import Landing
from tests.bills.line_items import ACCOUNT, line_item, write_bill
from tests.services import CopyDatabase, Landed, NewDatabase, make_shared_landing

OTHER = "777788889999"
CLIENT = "default"


@pytest.fixture
def office(landing: Landing) -> Landing:
    """Has ingested nothing yet, in the name of the configured client."""
    return replace(landing, client=landing.settings.default_client())


@pytest.fixture(scope="module")
def unchanged(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """The same with one owner, for all tests of what is refused."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    office = replace(landing, client=landing.settings.default_client())
    put(office, ACCOUNT, "before")
    return office


def bring_in(landing: Landing, content: str | bytes, *, client: str = CLIENT, is_whole: bool = False) -> OwnersWritten:
    return owners.import_owners(
        landing.database,
        landing.settings,
        client,
        content if isinstance(content, bytes) else content.encode(),
        file="owners.csv",
        is_whole=is_whole,
    )


def put(landing: Landing, account: str, owner: str, name: str | None = None, *, client: str = CLIENT) -> OwnersWritten:
    return owners.set_owner(landing.database, landing.settings, client, account, owner, name)


def listed(landing: Landing) -> list[tuple[str, str, str | None]]:
    return [(row.account_id, row.owner, row.account_name) for row in list_owners(landing.database)]


def counts(added: int = 0, changed: int = 0, unchanged: int = 0, removed: int = 0) -> OwnersWritten:
    return OwnersWritten(added_count=added, changed_count=changed, unchanged_count=unchanged, removed_count=removed)


def test_an_owner_is_set_and_changed_and_keeps_the_name_that_is_not_mentioned(office: Landing) -> None:
    assert put(office, ACCOUNT, " payments ", "prod") == counts(added=1)
    assert put(office, ACCOUNT, "shops") == counts(changed=1)
    assert listed(office) == [(ACCOUNT, "shops", "prod")]

    assert put(office, ACCOUNT, "shops", "") == counts(changed=1)
    assert listed(office) == [(ACCOUNT, "shops", None)]


def test_what_is_set_again_is_not_written_again(office: Landing) -> None:
    put(office, ACCOUNT, "payments", "prod")
    before = list_owners(office.database)

    assert put(office, ACCOUNT, "payments", "prod") == counts(unchanged=1)
    assert list_owners(office.database) == before


@pytest.mark.parametrize(
    ("account", "owner", "complaint"),
    [
        ("12345678901", "a", "not an account of 12 digits"),
        ("1234567890123", "a", "not an account of 12 digits"),
        ("1234-5678-9012", "a", "not an account of 12 digits"),
        ("١٢٣٤٥٦٧٨٩٠١٢", "a", "not an account of 12 digits"),
        (ACCOUNT, " ", "an owner is needed"),
        (ACCOUNT, "a\nb", "control character"),
        (ACCOUNT, "\udcff", "not UTF-8"),
    ],
)
def test_what_is_no_account_or_no_owner_is_refused(
    unchanged: Landing, account: str, owner: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        put(unchanged, account, owner)

    assert listed(unchanged) == [(ACCOUNT, "before", None)]


def test_another_client_must_be_known(office: Landing) -> None:
    put(office, ACCOUNT, "payments")

    with pytest.raises(UsageError, match="there is no client acme: known clients: default"):
        put(office, ACCOUNT, "payments", client="acme")

    office.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
    assert put(office, ACCOUNT, "others", client="acme") == counts(added=1)
    assert [row.owner for row in list_owners(office.database, "acme")] == ["others"]


def test_a_removed_owner_is_gone_and_cannot_go_twice(office: Landing) -> None:
    put(office, ACCOUNT, "payments")

    assert owners.remove_owner(office.database, CLIENT, ACCOUNT) == "payments"
    assert listed(office) == []
    with pytest.raises(UsageError, match="has no owner"):
        owners.remove_owner(office.database, CLIENT, ACCOUNT)


def test_importing_the_same_file_twice_changes_nothing(office: Landing) -> None:
    file = f'\ufeffAccount_ID, owner ,account_name\r\n\r\n{ACCOUNT},"Payments, EU",prod\r\n{OTHER}, shops ,\r\n,,\r\n'

    assert bring_in(office, file) == counts(added=2)
    before = list_owners(office.database)
    assert listed(office) == [(ACCOUNT, "Payments, EU", "prod"), (OTHER, "shops", None)]

    assert bring_in(office, file) == bring_in(office, file, is_whole=True) == counts(unchanged=2)
    assert list_owners(office.database) == before


def test_an_import_leaves_other_accounts_alone_unless_it_is_the_whole_list(office: Landing) -> None:
    put(office, ACCOUNT, "payments", "prod")
    office.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
    put(office, ACCOUNT, "acme's", client="acme")

    assert bring_in(office, f"owner,account_id\nshops,{OTHER}\n") == counts(added=1)
    assert bring_in(office, f"account_id,owner\n{OTHER},toys\n", is_whole=True) == counts(changed=1, removed=1)
    assert listed(office) == [(ACCOUNT, "acme's", None), (OTHER, "toys", None)]


def test_without_a_column_of_names_known_names_stay_and_an_empty_one_takes_them_away(office: Landing) -> None:
    put(office, ACCOUNT, "payments", "prod")

    bring_in(office, f"account_id,owner\n{ACCOUNT},shops\n")
    assert listed(office) == [(ACCOUNT, "shops", "prod")]

    bring_in(office, f"account_id,owner,account_name\n{ACCOUNT},shops,\n")
    assert listed(office) == [(ACCOUNT, "shops", None)]


HEADER = "account_id,owner\n"


@pytest.mark.parametrize(
    ("content", "kind", "place"),
    [
        ("", MissingColumnError, "owners.csv: is empty"),
        ("\n\n", MissingColumnError, "owners.csv: is empty"),
        ("account_id\n", MissingColumnError, "owners.csv, line 1: required column missing: owner"),
        ("account_id;owner\n", MissingColumnError, "owners.csv, line 1: required columns missing: account_id, owner"),
        ("account_id,owner,team\n", MalformedFileError, "owners.csv, line 1, column team: is not a known column"),
        ("account_id,owner,owner\n", MalformedFileError, "owners.csv, line 1, column owner: appears twice"),
        (f"{HEADER}{ACCOUNT}\n", MalformedFileError, "owners.csv, line 2: expected 2 columns, found 1"),
        (f"{HEADER}{ACCOUNT},a,b\n", MalformedFileError, "owners.csv, line 2: expected 2 columns, found 3"),
        (f'{HEADER}{ACCOUNT},"a\n', MalformedFileError, "owners.csv, line 2: is not CSV"),
        (HEADER.encode() + b"1,\xff\n", MalformedFileError, "owners.csv, line 2: is not UTF-8"),
        (
            f"{HEADER}\n1234,a\n",
            InvalidValueError,
            "owners.csv, line 3, column account_id, value '1234': is not an account",
        ),
        (
            f"{HEADER}{ACCOUNT},a\n{ACCOUNT},b\n",
            InvalidValueError,
            f"owners.csv, line 3, column account_id, value '{ACCOUNT}': is also in line 2",
        ),
        (f"{HEADER}{ACCOUNT}, \n", InvalidValueError, "owners.csv, line 2, column owner, value '': an owner is needed"),
        (
            f'{HEADER}{OTHER},a\n"{ACCOUNT}","a\nb"\n{ACCOUNT},c',
            InvalidValueError,
            "owners.csv, line 3, column owner, value 'a\\nb': contains a control character",
        ),
        (
            f"account_id,owner,client\n{ACCOUNT},a,acme\n",
            InvalidValueError,
            "owners.csv, line 2, column client, value 'acme': is not default",
        ),
    ],
)
def test_a_bad_line_is_told_with_its_place_and_nothing_is_written(
    unchanged: Landing, content: str | bytes, kind: type[InputError], place: str
) -> None:
    with pytest.raises(kind) as raised:
        bring_in(unchanged, content, is_whole=True)

    assert str(raised.value).startswith(place)
    assert "\n" not in str(raised.value)
    assert listed(unchanged) == [(ACCOUNT, "before", None)]


def land_two_months(landing: Landing) -> None:
    june = {"bill_billing_period_start_date": "2026-06-01T00:00:00Z", "line_item_usage_start_date": "2026-06-03T04:00Z"}
    write_bill(
        landing.root,
        [
            line_item(cost="1.5", line_item_usage_account_name="old name"),
            line_item(cost="9", line_item_usage_account_id=OTHER),
        ],
    )
    write_bill(
        landing.root,
        [
            line_item(cost="2.25", line_item_usage_account_name="new name", **june),
            line_item(cost="3", line_item_usage_account_name="new name", line_item_currency_code="EUR", **june),
        ],
        period="2026-06",
    )
    replace(landing, client=landing.settings.default_client()).ingest_all()


@pytest.fixture
def two_months(landed: Landed) -> Landing:
    return landed((land_two_months,))


def test_accounts_that_cost_something_and_belong_to_nobody_are_listed_with_their_latest_month(
    two_months: Landing,
) -> None:
    def missing() -> list[tuple[str, str | None, str, str, str]]:
        rows = list_accounts_without_owner(two_months.database)
        return [
            (row.account_id, row.account_name, row.billing_period, row.currency, format(row.cost.normalize(), "f"))
            for row in rows
        ]

    assert missing() == [
        (ACCOUNT, "new name", "2026-06", "EUR", "3"),
        (ACCOUNT, "new name", "2026-06", "USD", "2.25"),
        (OTHER, None, "2026-05", "USD", "9"),
    ]
    assert list_accounts_without_owner(two_months.database, "acme") == ()

    put(two_months, ACCOUNT, "payments")
    assert [row[0] for row in missing()] == [OTHER]

    two_months.execute("UPDATE billing_statements SET counted = false")
    assert missing() == []


def test_a_new_owner_shows_in_the_costs_without_a_publication(two_months: Landing) -> None:
    def by_owner() -> dict[str, str]:
        report = sum_costs(two_months.database, columns=[CostColumn.OWNER])
        return {row.group[0]: format(row.amount.normalize(), "f") for row in report.rows if row.currency == "USD"}

    assert by_owner() == {"": "12.75"}

    put(two_months, ACCOUNT, "payments")
    assert by_owner() == {"payments": "3.75", "": "9"}

    owners.remove_owner(two_months.database, CLIENT, ACCOUNT)
    assert by_owner() == {"": "12.75"}
    assert two_months.count("billing_publications") == 2


@pytest.fixture(scope="module")
def landed_neighbours(shared_landing: Landing) -> Landing:
    """The configured client has a bill of ACCOUNT, and globex one of OTHER. It stays so."""
    ours = replace(shared_landing, client=shared_landing.settings.default_client())
    ours.ingest(write_bill(ours.root, [line_item(line_item_usage_account_id=ACCOUNT)]))
    theirs = replace(ours, root=ours.root.parent / "theirs").with_client(client_id="globex")
    theirs.ingest(write_bill(theirs.root, [line_item(line_item_usage_account_id=OTHER)], export_path="exports/theirs"))
    return ours


@pytest.fixture
def neighbours(landed_neighbours: Landing, copy_database: CopyDatabase) -> Landing:
    """The same for a test that changes it, whose next bills lie in the same bucket."""
    return replace(landed_neighbours, database=copy_database(landed_neighbours.database))


def test_a_file_with_another_clients_account_is_refused_as_a_whole(neighbours: Landing) -> None:
    content = f"account_id,owner\n{ACCOUNT},payments\n123456789012,new\n{OTHER},shops\n"

    with pytest.raises(InvalidValueError) as refusal:
        bring_in(neighbours, content)

    assert str(refusal.value) == (
        f"owners.csv, line 4, column account_id, value '{OTHER}': belongs to client globex, not to default, whose"
        " owners are imported: choose its client with --client"
    )
    assert listed(neighbours) == []
    assert bring_in(neighbours, f"account_id,owner\n{OTHER},shops\n", client="globex") == counts(added=1)


def test_another_clients_account_cannot_be_set_one_by_one_either(neighbours: Landing) -> None:
    with pytest.raises(UsageError, match=f"account {OTHER} belongs to client globex, not to default"):
        put(neighbours, OTHER, "shops")

    assert listed(neighbours) == []


def test_an_account_in_the_bills_of_two_clients_is_owned_in_each(neighbours: Landing) -> None:
    item = line_item(line_item_usage_account_id=OTHER, line_item_line_item_description="moved")
    neighbours.ingest(write_bill(neighbours.root, [line_item(), item], revision=2))

    assert put(neighbours, OTHER, "ours") == counts(added=1)
    assert put(neighbours, OTHER, "theirs", client="globex") == counts(added=1)


def test_a_refused_file_leaves_no_client(neighbours: Landing) -> None:
    settings = neighbours.settings.model_copy(update={"client": "initech"})

    with pytest.raises(InvalidValueError, match="line 2"):
        owners.import_owners(
            neighbours.database,
            settings,
            "initech",
            f"account_id,owner\n{OTHER},shops\n".encode(),
            file="owners.csv",
            is_whole=True,
        )

    assert neighbours.value("SELECT count(*) FROM billing_clients WHERE client_id = 'initech'") == 0
