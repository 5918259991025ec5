"""`billfold.clients`: whose bills are ingested, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from billfold.model import Client

if TYPE_CHECKING:
    from billfold.app.billfold import Billfold
    from billfold.app.wanted import AnyClient
    from billfold.clients.onboarding import Onboarding
    from billfold.reports.freshness import ClientFreshness, StatementFreshness
    from billfold.store.clients.registry import Holdings


class Clients:
    """The clients of one Billfold: those of the registry, and the one that the settings may describe."""

    def __init__(self, billfold: Billfold) -> None:
        self._billfold = billfold

    def __call__(self) -> Sequence[Client]:
        """All clients: short for `list`.

        >>> [client.client_id for client in billfold.clients()]
        ['acme']
        """
        return self.list()

    def list(self) -> list[Client]:
        """All clients, also those that earlier settings described.

        >>> [client.client_id for client in billfold.clients.list()]
        ['acme']
        """
        from billfold.clients import registry

        return registry.list_clients(self._billfold.database)

    def find(self, client: str) -> Client:
        """One client, registered or not; raises UsageError for an unknown id.

        >>> billfold.clients.find("acme").bucket
        'acme-billing'
        """
        from billfold.clients import registry

        return registry.find_known(self._billfold.database, client)

    def resolve(self, client: str | None = None) -> Client:
        """The client that a call without `client`, or with this one, acts as: it can ingest now.

        Raises UsageError for a client that is unknown or disabled.

        >>> billfold.clients.resolve().client_id
        'acme'
        """
        from billfold.clients import registry

        return registry.resolve_client(self._billfold.database, self._billfold.settings, client)

    def keep(self, client: str | None = None) -> Client:
        """The same, and make sure that it has its row, which settings alone do not make.

        >>> billfold.clients.keep("acme").client_id
        'acme'
        """
        from billfold.bills.ingestion import keep_client

        found = self.resolve(client)
        keep_client(self._billfold.database, found)
        return found

    def owns(self, client: Client, key: str) -> bool:
        """Whether a key of the client's bucket is in its folder.

        >>> billfold.clients.owns(billfold.clients.resolve("acme"), "exports/../secret")
        False
        """
        from billfold.clients import registry

        return registry.owns(client, key)

    def find_owner(self, bucket: str, key: str) -> Client | None:
        """The client that an object belongs to, also a disabled one; None if it belongs to none.

        >>> billfold.clients.find_owner("acme-billing", "exports/metadata/Manifest.json").client_id
        'acme'
        """
        from billfold.clients import registry

        return registry.find_owner(self._billfold.database, self._billfold.settings, bucket, key)

    def add(self, client: str, *, bucket: str, account_id: str, prefix: str = "", **fields: Any) -> Client:
        """Register a client with a new external id, and return it.

        `fields` are those of `change`. Raises UsageError for an invalid value, an id that is taken, and a folder that
        overlaps with another client's.

        >>> added = billfold.clients.add("globex", bucket="globex-billing", account_id="444455556666")
        >>> added.role_arn
        'arn:aws:iam::444455556666:role/billfold-globex'
        """
        from billfold.clients import registry

        values = {"client_id": client, "bucket": bucket, "account_id": account_id, "prefix": prefix, **fields}
        return registry.register(self._billfold.database, self._billfold.settings, values)

    def change(self, client: str, **fields: Any) -> Client:
        """Change a registered client: role_arn, region, kms_key_arn, source_identity, currency and its limits.

        None leaves a field as it is, an empty text removes an optional one. Raises UsageError for an unregistered
        client, an invalid value, and where nothing is to be changed.

        >>> billfold.clients.change("acme", refresh_hours=48).refresh_hours
        48
        """
        from billfold.clients import registry

        return registry.change(self._billfold.database, self._billfold.settings, client, fields)

    def enable(self, client: str) -> None:
        """Ingest the client's bills again.

        >>> billfold.clients.enable("acme")
        """
        from billfold.clients import registry

        registry.set_enabled(self._billfold.database, client, enabled=True)

    def disable(self, client: str) -> None:
        """Stop ingesting the client's bills; those that are published stay in all reports.

        >>> billfold.clients.disable("acme")
        >>> billfold.clients.find("acme").enabled
        False
        """
        from billfold.clients import registry

        registry.set_enabled(self._billfold.database, client, enabled=False)

    def remove(self, client: str, *, purge: bool = False) -> Holdings:
        """Remove a client, with `purge` all of its bills too, and say what that was.

        Raises UsageError for an unknown client, and for one with bills or owners unless `purge`.

        >>> billfold.clients.remove("acme", purge=True).statement_count
        1
        """
        from billfold.clients import registry

        return registry.remove(self._billfold.database, client, purge=purge)

    def prepare_onboarding(self, client: str | None = None) -> Client:
        """The client whose account is to be prepared: also a disabled one, with the role that its template creates.

        >>> billfold.clients.prepare_onboarding("acme").role_arn
        'arn:aws:iam::111122223333:role/billfold-acme'
        """
        from billfold.clients import registry

        return registry.find_for_onboarding(self._billfold.database, self._billfold.settings, client)

    def plan_onboarding(self, **options: Any) -> Onboarding:
        """What a template asks for; the options of `billfold onboard` by name.

        >>> billfold.clients.plan_onboarding(our_account="999988887777", create_export="cur2").export
        <ExportTable.CUR2: 'cur2'>
        """
        from billfold.app.onboarding import make_plan

        return make_plan(self._billfold.settings, **options)

    def onboard(
        self, plan: Onboarding, *, client: str | None = None, iam_only: bool = False, new_external_id: bool = False
    ) -> tuple[Client, dict[str, Any]]:
        """The CloudFormation template that a client deploys, with the client: it makes the role that reads its bills.

        With `iam_only` it is the role's two IAM policies. `new_external_id` first gives the client another external
        id: its role refuses Billfold until this template is deployed. Raises UsageError for what AWS would refuse.

        >>> plan = billfold.clients.plan_onboarding(our_account="999988887777")
        >>> client, template = billfold.clients.onboard(plan, client="acme")
        >>> sorted(template["Resources"])
        ['BillfoldRole']
        """
        from billfold.clients import onboarding, registry

        write = onboarding.iam_documents if iam_only else onboarding.make_template
        found = self.prepare_onboarding(client)
        document = write(found, plan)
        if new_external_id:
            # Only now that a template can be made: a mistaken option must not lock us out.
            found = registry.renew_external_id(self._billfold.database, found.client_id)
            document = write(found, plan)
        return found, document

    def onboarding_steps(self, plan: Onboarding, *, client: AnyClient = None, file: str) -> Sequence[str]:
        """What to do with the template in `file`, in order: comments begin with #, everything else is a command.

        >>> plan = billfold.clients.plan_onboarding(our_account="999988887777")
        >>> steps = billfold.clients.onboarding_steps(plan, file="acme.json")
        >>> any("--template-file acme.json" in step for step in steps)
        True
        """
        from billfold.clients.onboarding import next_steps

        return next_steps(client if isinstance(client, Client) else self.prepare_onboarding(client), plan, file)

    def freshness(self, client: str | None = None) -> tuple[ClientFreshness, ...]:
        """When each client's last delivery came, and which clients are late.

        >>> [row.client_id for row in billfold.clients.freshness()]
        ['acme']
        """
        from billfold.reports.freshness import list_client_freshness

        described = self._billfold.settings.described_client_id
        return list_client_freshness(self._billfold.database, described, client)

    def statement_freshness(self, client: str | None = None) -> tuple[StatementFreshness, ...]:
        """The same for each statement.

        >>> [row.export_name for row in billfold.clients.statement_freshness("acme")]
        ['cost-and-usage']
        """
        from billfold.reports.freshness import list_statement_freshness

        described = self._billfold.settings.described_client_id
        return list_statement_freshness(self._billfold.database, described, client)
