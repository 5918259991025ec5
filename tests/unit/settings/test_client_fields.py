"""What is configured of a client stands in one table, and everything that is made from it agrees."""

from __future__ import annotations

from dataclasses import fields

from billfold.documents import describe_client
from billfold.model import Client
from billfold.settings import CLIENT_FIELDS, Settings, default_of, setting_fields

# Made by the registry, never chosen: the session's name, and the external id that no document shows.
MADE = {"external_id", "role_session_name", "is_registered", "enabled"}


def test_every_field_of_a_client_is_in_the_table_or_made() -> None:
    assert set(CLIENT_FIELDS) | MADE == {field.name for field in fields(Client)}


def test_every_field_has_its_setting_with_the_same_default(settings: Settings) -> None:
    known = setting_fields()

    for name, field in CLIENT_FIELDS.items():
        attribute, described = known[field.setting]
        assert described.description == field.description
        assert getattr(settings, attribute) == default_of(name), name


def test_the_documents_of_a_client_have_every_field() -> None:
    document = describe_client(Client(client_id="acme"))

    assert {"client" if name == "client_id" else name for name in CLIENT_FIELDS} <= set(document)


def test_bounds_are_part_of_what_is_expected() -> None:
    assert CLIENT_FIELDS["refresh_hours"].expected == "a whole number of hours from 1 to 8760"
    assert CLIENT_FIELDS["max_file_bytes"].expected == "a number of bytes, 1 or more"
