"""A PostgreSQL server of our own in a folder of its own, as tests start and stop it."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


def programs() -> Path:
    """The folder of initdb and pg_ctl; installs Debian's package where it is missing and may be installed. OSError says why not."""

    def found() -> Path | None:
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin")) + [str(Path(p).parent) for p in [shutil.which("initdb")] if p]
        return next((Path(f) for f in reversed(folders) if Path(f, "pg_ctl").exists() and Path(f, "initdb").exists()), None)

    if (there := found()) is not None:
        return there
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise OSError("PostgreSQL is not installed, and only root can install it with apt-get")
    install = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if (there := found()) is None:
        raise OSError(f"PostgreSQL could not be installed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return there


@dataclass(frozen=True)
class Server:
    """A server on a free port of this machine, which accepts everybody."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-o", options, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "-w", "stop")

    def create(self) -> None:
        self._run("initdb", "-D", f"{self.folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        # The server refuses to run as root; Debian's package has made the user that it is to run as.
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*as_user, str(self.programs / program), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd="/",
                              stdin=subprocess.DEVNULL)  # fmt: skip
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stdout}")


def new_server() -> Server:
    """A server that runs, in a new folder under /tmp, where its user may go."""
    there = programs()
    folder = Path(tempfile.mkdtemp(prefix="actune-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(there, folder, free.getsockname()[1])
    server.create()
    server.start()
    return server
