"""The SFTP client of asyncssh."""

from __future__ import annotations

import asyncio

import asyncssh

from benchmarks.clients.files.jobs import Job, do_jobs_with, read_job, read_plan


async def work() -> None:
    """Connect, and do what there is to do."""
    plan = read_plan()
    async with (
        asyncssh.connect(
            "127.0.0.1", plan["port"], known_hosts=None, username="anybody", config=None
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):

        async def do(job: Job) -> None:
            if job.task in ("put", "put tree"):
                await sftp.put(str(job.local), job.served, recurse=job.task == "put tree")
            else:
                await sftp.get(job.served, str(job.local), recurse=job.task == "get tree")

        async def read() -> Job | None:
            return await asyncio.to_thread(read_job)

        await do_jobs_with(do, read)


if __name__ == "__main__":
    asyncio.run(work())
