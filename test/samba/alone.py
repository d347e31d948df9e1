"""A Samba without a cluster, on the client, with the same configuration: what it does not do either is no fault of ours."""

import os
import subprocess

from autocluster import samba
from autocluster.machine import TOKEN
from support import wait_until

ADDRESS = "127.0.0.1"


class Alone:
    """One smbd; shares are added as on the cluster."""

    def __init__(self, cluster):
        self.cluster, self.base = cluster, cluster.state.file("alone")
        os.makedirs(self.directory("."), mode=0o777)
        self.conf = samba.install_files_alone(self.base, self.directory("."))
        argv, env = cluster.client_command([samba.SMBD, "--foreground", "--no-process-group", "--configfile", self.conf])
        with open(os.path.join(self.base, "log", "smbd"), "wb") as log:
            # Whoever removes the cluster finds it by its environment.
            self.process = subprocess.Popen(argv, env={**env, TOKEN: self.base}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: samba.listening(cluster.outside.require().pid), what="Samba without a cluster")

    def directory(self, share):
        return os.path.join(self.base, "share", share)

    def net(self, *words):
        return self.cluster.client(["net", "--configfile", self.conf, *words], check=True, capture_output=True, text=True, timeout=60,
                                   stdin=subprocess.DEVNULL)

    def end(self):
        self.process.kill()
        self.process.wait()
