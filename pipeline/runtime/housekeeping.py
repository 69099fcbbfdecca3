"""What is done now and then, beside the reading thread: tidying, compressing, and looking for silences.

A tick may be late or left out; nothing here must happen at its time. Each job has its own connection to the store, so that a long
tidying does not hold up an incident.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler

from pipeline.config import Config
from pipeline.contracts.store import Silence, Store
from pipeline.errors import HeadwaterError
from pipeline.runtime import wiring
from pipeline.runtime.service import Service

SILENCES, LOG, STORE = 10, 60, 3600
"""Seconds between two runs."""
FIRST = 2.0
"""Seconds that the start waits for the first look for silences: an Alertmanager that hangs must not hold it up."""


class Threads(BaseExecutor):  # type: ignore[misc]  # it comes without types
    """A thread for each run, which does not hold up the end of the process: the scheduler's own pool waits for all that hangs."""

    def _do_submit_job(self, job: Job, run_times: Sequence[datetime]) -> None:
        threading.Thread(target=self._work, args=(job, run_times), name=f"housekeeping {job.id}", daemon=True).start()

    def _work(self, job: Job, run_times: Sequence[datetime]) -> None:
        try:
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 (as its own executors)
        except BaseException:  # noqa: BLE001 (the same)
            self._run_job_error(job.id, *sys.exc_info()[1:])
        else:
            self._run_job_success(job.id, events)


class Housekeeping:
    """The jobs of a service, from `start` to `close`."""

    def __init__(self, service: Service, config: Config) -> None:
        self._service, self._config = service, config
        self._store: Store = wiring.create(config.store, config, patience=30.0)  # type: ignore[assignment]
        self._known: dict[str, Sequence[Silence]] = {}
        once = {"coalesce": True, "max_instances": 1}
        self._scheduler = BackgroundScheduler(timezone="UTC", executors={"default": Threads()}, job_defaults=once)

    def start(self) -> None:
        """Look for silences at once, then everything in its turn."""
        first = threading.Thread(target=self._guarded, args=(self.silences,), name="housekeeping first", daemon=True)
        first.start()
        first.join(FIRST)
        jobs: list[tuple[Callable[[], None], int]] = [(self.silences, SILENCES), (self.log, LOG), (self.store, STORE)]
        for job, every in jobs:
            self._scheduler.add_job(
                self._guarded, "interval", args=[job], seconds=every, id=job.__name__, misfire_grace_time=every
            )
        self._scheduler.start()

    def silences(self) -> None:
        """What is held back: by our own silences, and by those of an Alertmanager."""
        now = time.time()
        asked: dict[str, Callable[[], Sequence[Silence]]] = {"": lambda: self._store.silences(round(now * 1e6))}
        for name, sink in self._service.parts.sinks.items():
            if hasattr(sink, "silences"):
                asked[name] = partial(sink.silences, now)
        errors = []
        for name, ask in asked.items():
            try:
                self._known[name] = ask()
            except HeadwaterError as error:  # what one cannot say now is taken to be as it was
                errors.append(error)
        self._service.silence([silence for found in self._known.values() for silence in found])
        if errors:
            raise errors[0]

    def log(self) -> None:
        """Compress full segments, and drop what is too old or too much."""
        log, kept = self._service.inputs.log, self._config.settings.log.retention
        while getattr(log, "compress", bool)():
            continue
        log.retain(time.time(), age=kept.age, size=kept.size)

    def store(self) -> None:
        """Drop what is too old or too much from the store, and what was delivered long ago."""
        kept, now = self._config.settings.store.retention, round(time.time() * 1e6)
        self._store.retain(now, age=kept.age, size=kept.size)
        self._service.parts.ledger.retain(now)

    def close(self) -> None:
        """End the jobs; one that is at work ends by itself."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        self._store.close()

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except HeadwaterError as error:
            self._service.troubles.note("housekeeping", job.__name__, str(error))
        else:
            self._service.troubles.mended("housekeeping", job.__name__)
