"""What a command loads: only the libraries that it uses."""

from __future__ import annotations

import subprocess
import sys

# Each takes as long to load as a tenth of a small ingest, or longer.
_UNUSED = (
    "boto3",
    "fastapi",
    "jinja2",
    "plotly",
    "psutil",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "rich.progress",
)
# The modules that an ingest of a local CSV file into a database that runs already imports.
_IMPORTS = (
    "billfold.cli.commands.ingest, billfold.app, billfold.log.output, billfold.bills.ingest, billfold.clients.registry,"
    " billfold.store.migrate, billfold.reports.checks"
)


def test_the_ingest_of_a_small_file_loads_neither_aws_nor_arrows_functions() -> None:
    program = f"import sys, {_IMPORTS}; print('loaded:', *sorted({{*{_UNUSED}}} & {{*sys.modules}}))"

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert run.stdout == "loaded:\n"
