"""Starting the servers that are programs of the system, each with a configuration of its own and on a free port."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from benchmarks.files.session import Command, Job, Session, Task
from benchmarks.processes import BenchmarkError

__all__ = ["Sshd", "nginx", "openssh", "rsync", "sshd", "vsftpd_port"]

_START_SECONDS = 10.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _daemon(command: list[str], port: int) -> Iterator[int]:
    """Run a server that stays in the foreground; gives its process when it listens."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _wait(process, command, port)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _wait(process: subprocess.Popen[bytes], command: list[str], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            assert process.stderr is not None
            said = process.stderr.read().decode(errors="replace").strip()
            raise BenchmarkError(f"{' '.join(command)} does not listen: {said}")
        time.sleep(0.02)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchmarkError(f"there is no {name}")
    return found


@attrs.frozen
class Sshd:
    """A loopback sshd for this account alone, and how to reach it: `options` are those that all clients take."""

    pid: int
    port: int
    key: Path
    options: tuple[str, ...]


@contextlib.contextmanager
def sshd(state: Path) -> Iterator[Sshd]:
    """An sshd with keys and a configuration of its own in the folder `state`."""
    port = _free_port()
    state.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        key = state / name
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = (state / "host.pub").read_text()
    (state / "known").write_text(f"[127.0.0.1]:{port} {public}")
    (state / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {state}/host\nPidFile none\n"
        f"AuthorizedKeysFile {state}/user.pub\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        # Debian makes it when the service starts.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    options = (
        *("-F", "/dev/null", "-q", "-i", str(state / "user")),
        *("-o", f"UserKnownHostsFile={state}/known", "-o", "BatchMode=yes"),
    )
    with _daemon([_program("sshd"), "-D", "-e", "-f", str(state / "config")], port) as pid:
        yield Sshd(pid, port, state / "user", options)


@contextlib.contextmanager
def openssh(folder: Path, state: Path, *, by: str, cipher: str | None) -> Iterator[Session]:
    """An sshd, and `scp` as its client, or `sftp` with a batch."""
    with sshd(state) as server:
        more = () if cipher is None else ("-c", cipher)
        yield _copying(server, folder, state, by, [*server.options, "-P", str(server.port), *more])


def _copying(server: Sshd, folder: Path, state: Path, by: str, options: list[str]) -> Session:
    there = f"{getpass.getuser()}@127.0.0.1"

    def scp(job: Job) -> list[str]:
        served = f"{there}:{folder / job.served}"
        is_tree = job.task in (Task.PUT_TREE, Task.GET_TREE)
        is_put = job.task in (Task.PUT, Task.PUT_TREE)
        local = "/dev/null" if job.task is Task.DISCARD else str(job.local)
        ends = [local, served] if is_put else [served, local]
        return ["scp", *options, *(["-r"] if is_tree else []), *ends]

    def sftp(job: Job) -> list[str]:
        batch = state / "batch"
        served, local = folder / job.served, job.local
        batch.write_text(
            {
                Task.PUT: f"put {local} {served}\n",
                Task.GET: f"get {served} {local}\n",
                Task.DISCARD: f"get {served} /dev/null\n",
                Task.PUT_TREE: f"mkdir {served}\nput -r {local}/. {served}\n",
                Task.GET_TREE: f"get -r {served} {local}\n",
            }[job.task]
        )
        return ["sftp", "-b", str(batch), *options, there]

    return Command(server.pid, {"scp": scp, "sftp": sftp}[by])


@contextlib.contextmanager
def rsync(folder: Path, state: Path) -> Iterator[Session]:
    """A loopback rsync daemon; whole files, as on a fast network."""
    port = _free_port()
    state.mkdir(parents=True, exist_ok=True)
    config = state / "rsyncd.conf"
    account = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.geteuid() == 0 else ""
    config.write_text(
        f"use chroot = no\n{account}log file = /dev/null\n"
        f"[files]\npath = {folder}\nread only = no\n"
    )

    def command_of(job: Job) -> list[str]:
        served = f"rsync://127.0.0.1:{port}/files/{job.served}"
        is_tree = job.task in (Task.PUT_TREE, Task.GET_TREE)
        is_put = job.task in (Task.PUT, Task.PUT_TREE)
        ends = [str(job.local), served] if is_put else [served, str(job.local)]
        if is_tree:
            ends = [f"{ends[0]}/", f"{ends[1]}/"]
        return ["rsync", "--whole-file", *(["--recursive"] if is_tree else []), *ends]

    command = [_program("rsync"), "--daemon", "--no-detach", f"--config={config}"]
    with _daemon([*command, "--address=127.0.0.1", f"--port={port}"], port) as pid:
        yield Command(pid, command_of)


@contextlib.contextmanager
def nginx(folder: Path, state: Path, certificate: tuple[Path, Path] | None) -> Iterator[Session]:
    """nginx with sendfile, and curl; with a certificate and its key it is HTTPS."""
    port = _free_port()
    state.mkdir(parents=True, exist_ok=True)
    listen = f"listen 127.0.0.1:{port}"
    if certificate is not None:
        listen += f" ssl; ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]}"
        listen += "; ssl_protocols TLSv1.3"
    account = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {state}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = state / "nginx.conf"
    config.write_text(
        f"daemon off; {account} worker_processes 1; pid {state}/pid; error_log {state}/errors;\n"
        f"events {{}} http {{ access_log off; sendfile on; {temporary}\n"
        f"server {{ {listen}; root {folder}; }} }}\n"
    )
    scheme = "http" if certificate is None else "https"

    def command_of(job: Job) -> list[str]:
        target = "/dev/null" if job.task is Task.DISCARD else str(job.local)
        return ["curl", "-sSfk", "-o", target, f"{scheme}://127.0.0.1:{port}/{job.served}"]

    with _daemon([_program("nginx"), "-c", str(config), "-p", str(state)], port) as pid:
        yield Command(pid, command_of)


@contextlib.contextmanager
def vsftpd_port(folder: Path, state: Path) -> Iterator[tuple[int, int]]:
    """vsftpd for whoever comes; gives its process and its port."""
    port = _free_port()
    state.mkdir(parents=True, exist_ok=True)
    config = state / "vsftpd.conf"
    config.write_text(
        "listen=YES\nbackground=NO\nrun_as_launching_user=YES\nanonymous_enable=YES\n"
        "no_anon_password=YES\nanon_upload_enable=YES\nwrite_enable=YES\nanon_umask=022\n"
        "anon_other_write_enable=YES\nanon_world_readable_only=NO\nallow_writeable_chroot=YES\n"
        f"seccomp_sandbox=NO\nlisten_address=127.0.0.1\nlisten_port={port}\nanon_root={folder}\n"
        "use_sendfile=YES\n"
    )
    with _daemon([_program("vsftpd"), str(config)], port) as pid:
        yield pid, port
