"""An SSH server that takes one key and runs commands by /bin/sh, in a process of its own: it can be in a namespace.

python -m tests.support.ssh_server ADDRESS FOLDER

It writes into the folder what a user would have in ~/.ssh, and runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncssh

from tests import ROOT


async def serve(address: str, folder: Path) -> None:
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))

    async def run(session: Any) -> None:  # noqa: ANN401  # asyncssh.SSHServerProcess, which is generic
        child = subprocess.Popen(  # noqa: ASYNC220  # started in an instant; `to_thread` waits for its end
            ["/bin/sh", "-c", session.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
            start_new_session=True,
        )
        await session.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        session.exit(await asyncio.to_thread(child.wait))

    server = await asyncssh.create_server(
        asyncssh.SSHServer,
        *(address, 0),
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(user_key.export_public_key().decode()),
        process_factory=run,
        encoding=None,
    )
    port = server.get_port()
    user_key.write_private_key(str(folder / "id"))
    (folder / "id").chmod(0o600)
    known = f"[{address}]:{port} {host_key.export_public_key().decode()}"
    (folder / "known_hosts").write_text(known, encoding="utf-8")
    (folder / "config").write_text(
        f"Host far\n HostName {address}\n Port {port}\n User somebody\n IdentitiesOnly yes\n"
        f" IdentityFile {folder}/id\n UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile /dev/null\n",
        encoding="utf-8",
    )
    print(port, flush=True)  # noqa: T201  # the one who started this waits for it
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
