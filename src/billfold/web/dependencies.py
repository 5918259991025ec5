"""What routes need from the application that serves them: its settings, its database and its doctor runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.doctor_runs import DoctorRuns


# These need no thread of their own, so they are coroutines.
async def _find_settings(request: Request) -> Settings:
    settings = request.app.state.settings
    assert isinstance(settings, Settings)
    return settings


async def _find_database(request: Request) -> Database:
    database = request.app.state.database
    assert isinstance(database, Database)
    return database


async def _find_doctor_runs(request: Request) -> DoctorRuns:
    doctor_runs = request.app.state.doctor_runs
    assert isinstance(doctor_runs, DoctorRuns)
    return doctor_runs


OurSettings = Annotated[Settings, Depends(_find_settings)]
OurDatabase = Annotated[Database, Depends(_find_database)]
OurDoctorRuns = Annotated[DoctorRuns, Depends(_find_doctor_runs)]
