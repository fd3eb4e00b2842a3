"""Gets what is missing on this machine: Debian's packages as root, Kafka's jars through Maven."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

KAFKA = "4.3.1"
CACHE = Path(__file__).resolve().parents[2] / ".cache"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId> <artifactId>kafka</artifactId> <version>1</version> <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId> <artifactId>kafka_2.13</artifactId> <version>{KAFKA}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId> <artifactId>slf4j-simple</artifactId> <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class Unavailable(Exception):
    """A part cannot be had on this machine; the text says why and what would help."""


def kafka_jars() -> Path:
    """The folder with Kafka's jars; fetches them once into the checkout's cache. Raises Unavailable."""
    find("java", "openjdk-17-jre-headless")
    jars = CACHE / "kafka" / KAFKA / "jars"
    if not jars.is_dir():
        _fetch_jars(jars)
    return jars


def postgres_programs() -> Path:
    """The folder with ``initdb`` and ``postgres``; installs them if it can. Raises Unavailable."""
    folders = _postgres_folders()
    if not folders:
        _apt_install("initdb", "postgresql")
        folders = _postgres_folders()
    if not folders:
        raise Unavailable("no initdb was found; install PostgreSQL's server")
    return folders[-1]


def chromium() -> str:
    """The path of Debian's Chromium; installs it if it can. Raises Unavailable."""
    return find("chromium", "chromium")


def find(program: str, package: str, *options: str) -> str:
    """The program's path; installs its Debian package if it is missing and we can, with these options of apt-get.
    Raises Unavailable."""
    if not shutil.which(program):
        _apt_install(program, package, *options)
    found = shutil.which(program)
    if not found:
        raise Unavailable(f"{program} is not installed")
    return found


def _postgres_folders() -> list[Path]:
    """Oldest version first; the one in PATH, if any, last."""
    on_path = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folders += [Path(on_path).resolve().parent] if on_path else []
    return [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]


def _fetch_jars(jars: Path) -> None:
    maven = find("mvn", "maven")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent) as folder:
        (Path(folder) / "pom.xml").write_text(_POM)
        _run([maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"], Path(folder))
        try:
            (Path(folder) / "jars").rename(jars)  # in one step, so that an interrupted fetch leaves nothing behind
        except OSError:
            if not jars.is_dir():  # else another run has been faster
                raise


def _apt_install(program: str, package: str, *options: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"{program} is not installed (on Debian: apt-get install {package})")
    print(f"installing {package}...", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Another process of the tests may install at the same time.
    install = ["apt-get", "install", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300", *options, package]
    if subprocess.run(install, env=env, capture_output=True).returncode:
        subprocess.run(["apt-get", "update", "-qq"], env=env, capture_output=True)
        _run(install, Path("/"), env)


def _run(command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed:\n{done.stdout.strip()[-2000:]}")
