"""Work on many machines: a plan, idempotent units, and runners that schedule the units.

A work folder is any place that all machines can access: a shared disk or an object store. It holds ``plan.json``
(:mod:`plan`) and one object per finished unit (:mod:`folder`), written whole, with a content that depends on the plan
alone. So a unit whose object exists is done, and any order, repetition or interruption gives the same result. A kind
of job (:mod:`job`) divides the work into units, runs one, and makes the result of all. Runners (:mod:`runners`) need no
shared state except the folder, so several of them may work on it at the same time. Nothing in a work folder is a
pickle, and nothing holds credentials.
"""

from factcensus.indexer.work.folder import WorkFolder
from factcensus.indexer.work.job import Job, Run, RunUnit, Unit, job_of, run_job
from factcensus.indexer.work.plan import Plan

__all__ = ["Job", "Plan", "Run", "RunUnit", "Unit", "WorkFolder", "job_of", "run_job"]
