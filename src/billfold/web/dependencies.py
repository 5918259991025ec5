"""What routes get from the application that serves them: its `Billfold` and its doctor runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from billfold.app import Billfold
from billfold.web.doctor_runs import DoctorRuns


# These need no thread of their own, so they are coroutines.
async def _find_billfold(request: Request) -> Billfold:
    billfold = request.app.state.billfold
    assert isinstance(billfold, Billfold)
    return billfold


async def _find_doctor_runs(request: Request) -> DoctorRuns:
    doctor_runs = request.app.state.doctor_runs
    assert isinstance(doctor_runs, DoctorRuns)
    return doctor_runs


OurBillfold = Annotated[Billfold, Depends(_find_billfold)]
OurDoctorRuns = Annotated[DoctorRuns, Depends(_find_doctor_runs)]
