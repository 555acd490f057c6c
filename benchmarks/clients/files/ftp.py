"""The standard library's FTP client, with pieces of 256 KiB."""

from __future__ import annotations

import ftplib
import ssl

from benchmarks.clients.files.jobs import Job, do_jobs, read_plan

PIECE_BYTES = 256 * 1024


def main() -> None:
    """Connect, and do what there is to do."""
    plan = read_plan()
    ftp = ftplib.FTP()
    if plan["is_secure"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        ftp = ftplib.FTP_TLS(context=context)
    ftp.connect("127.0.0.1", plan["port"])
    ftp.login()
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()

    def do(job: Job) -> None:
        if job.task == "put":
            with job.local.open("rb") as file:
                ftp.storbinary(f"STOR {job.served}", file, PIECE_BYTES)
        elif job.task == "get":
            with job.local.open("wb", buffering=0) as file:
                ftp.retrbinary(f"RETR {job.served}", file.write, PIECE_BYTES)
        else:
            ftp.retrbinary(f"RETR {job.served}", lambda piece: None, PIECE_BYTES)

    do_jobs(do)
    ftp.close()


if __name__ == "__main__":
    main()
