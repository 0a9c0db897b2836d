"""Set up `.venv` with what a target of the Makefile needs; `make` calls it, and so can you where there is no make.

    python3 .ci/set_up.py [run|lab|dev] [folder]

uv installs, at the versions of `.ci/lock.txt`; where uv cannot be had, pip does, from the same file. What both say goes
into `.venv/setup.log`. The file must be readable to Python 3.6, which is then told that it is too old.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST, NEWEST = (3, 11), (3, 14)
KINDS = {  # by name: the extras, the kinds that have less, and what is installed without what it asks for itself
    "run": ("example", (), ()),
    "lab": ("example,lab", ("run",), ()),
    "dev": ("dev", ("run", "lab"), ("poke-env==0.16.1",)),  # of poke-env, nbs/data reads two tables
}

# What the last lines of pip and uv mean, the first that fits; and whether nothing was changed.
REASONS = (
    (
        r"No space left on device|Errno 28\b|os error 28\b|not enough space|Disk quota exceeded",
        "The disk is full. Make room (a run needs 1 GB, everything 2 GB), then try again.",
    ),
    (
        r"ProxyError|Tunnel connection failed|\b407\b|proxy authentication|proxy connect|tunnel error",
        "The proxy does not answer, or lets nothing through. Set HTTPS_PROXY=http://user:password@host:port, then try "
        "again.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerification|invalid peer certificate|UnknownIssuer",
        "The certificate of the package index is not trusted. If your company has its own: set SSL_CERT_FILE and "
        "PIP_CERT to the file that holds it, then try again.",
    ),
    (
        r"NewConnectionError|NameResolutionError|Failed to establish a new connection|ConnectTimeout|ReadTimeout"
        r"|Temporary failure in name resolution|Name or service not known|nodename nor servname|dns error"
        r"|Connection refused|Network is unreachable|No route to host|timed out|tcp connect error"
        r"|error sending request|Could not connect|Failed to fetch",
        "The package index cannot be reached. Is there a network? Behind a proxy, set HTTPS_PROXY; for another index, "
        "PIP_INDEX_URL and UV_DEFAULT_INDEX. Then try again.",
    ),
    (
        r"Failed to build|Failed building wheel|Microsoft Visual C\+\+|No matching distribution|has no wheels",
        "A package has no build for this Python or this machine. All have one for CPython {}.{} to {}.{}, 64 bits, on "
        "macOS, Windows, and Linux of 2021 or newer (glibc 2.34).".format(*OLDEST, *NEWEST),
    ),
)
OF_THE_NETWORK = slice(1, 4)


class Failed(Exception):
    """Why there is no environment, and what to do."""


def reason(said: str) -> str:
    """Say what is wrong from what pip and uv said; empty where it is not known."""
    return next((told for pattern, told in REASONS if re.search(pattern, said, re.IGNORECASE)), "")


def is_network(told: str) -> bool:
    """Say whether a reason is one of the network: the other installer would fail as well, and nothing was changed."""
    return told in [known for _, known in REASONS[OF_THE_NETWORK]]


class Environment:
    """A virtual environment, and how it is made."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / ("python.exe" if os.name == "nt" else "python")
        self.uv = self.bin / ("uv.exe" if os.name == "nt" else "uv")
        self.log = folder / "setup.log"
        self.half = folder / ".half-made"  # is there as long as something is being installed

    def call(self, *command: object, env: dict = {}) -> str:
        """Call a command, keep what it says in the log; return the reason if it fails, else nothing."""
        words = [str(word) for word in command]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(words, cwd=str(ROOT), env=dict(os.environ, **env), **options)
        said = done.stdout.decode("utf-8", "replace")
        with self.log.open("a", encoding="utf-8") as log:
            log.write("$ {}\n{}\n".format(" ".join(words), said))
        if not done.returncode:
            return ""
        called = [os.path.basename(words[0])] + [word for word in words[1:4] if not word.startswith("--")]
        return reason(said) or "{} failed.".format(" ".join(called))

    def works(self) -> bool:
        """Say whether there is a whole environment, with a Python that is new enough."""
        code = "import sys; sys.exit(sys.version_info < {})".format(OLDEST)
        try:
            return not self.half.exists() and subprocess.call([str(self.python), "-c", code]) == 0
        except OSError:
            return False

    def make(self) -> None:
        """Make it, with pip in it, in place of what is there."""
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401
        except ImportError:
            raise Failed(
                "This Python ({}) cannot make virtual environments: its module ensurepip or venv is missing. On Debian "
                "and Ubuntu: sudo apt install python3-venv (or python{}.{}-venv). Then try again.".format(
                    sys.executable, *sys.version_info[:2]
                )
            ) from None
        if self.folder.exists():
            shutil.rmtree(str(self.folder))
        self.folder.mkdir(parents=True)
        self.half.touch()
        # In an activated environment, that may be the one that is made anew.
        told = self.call(getattr(sys, "_base_executable", None) or sys.executable, "-m", "venv", self.folder)
        if told:
            raise Failed(told)

    def settings_for_uv(self) -> dict:
        """Tell uv of pip's index, proxy and certificates: it does not read pip's files."""
        names = {"index-url": "UV_DEFAULT_INDEX", "proxy": "ALL_PROXY", "cert": "SSL_CERT_FILE"}
        done = subprocess.run([str(self.python), "-m", "pip", "config", "list"], stdout=subprocess.PIPE, check=False)
        found = re.findall(r"^\S+\.([\w-]+)='(.*)'\r?$", done.stdout.decode("utf-8", "replace"), re.MULTILINE)
        return {names[key]: value for key, value in found if key in names and names[key] not in os.environ}

    def install(self, extras: str, alone: tuple) -> None:
        """Install the project with extras, and some packages alone, by uv, else by pip."""
        lock = ROOT / ".ci" / "lock.txt"
        pip = [self.python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        wanted = [["-c", lock, "-e", ".[{}]".format(extras)], *(["--no-deps", name] for name in alone)]
        if subprocess.call([str(self.python), "-c", "import pip"], stderr=subprocess.DEVNULL):  # uv makes such ones
            self.call(self.python, "-m", "ensurepip")
        told = self.call(*pip, "-c", lock, "uv")
        if not told:
            env = self.settings_for_uv()
            uv = [self.uv, "pip", "install", "--python", self.python, "-b", lock]
            told = next(filter(None, (self.call(*uv, *words, env=env) for words in wanted)), "")
        if told and not is_network(told):  # what is run compiles itself; all of it takes as long as the rest
            told = next(filter(None, (self.call(*pip, "--no-compile", *words) for words in wanted)), "")
        if told:
            raise Failed(told)

    def set_up(self, kind: str) -> None:
        """Have all that a kind needs installed, and leave a mark for make."""
        extras, less, alone = KINDS[kind]
        is_new = not self.works()
        if is_new:
            self.make()
        else:
            self.log.write_text("", encoding="utf-8")
            self.half.touch()
        try:
            self.install(extras, alone)
        except Failed as failed:
            if not is_new and is_network(str(failed)):  # it is as it was, and may be of use
                self.half.unlink()
            raise
        self.half.unlink()
        for name in (*less, kind):
            (self.folder / ".ready-{}".format(name)).touch()


def find_python() -> str:
    """Name a Python that is new enough, where this one is not, and none was asked for by PYTHON=…; else nothing."""
    for minor in [] if os.environ.get("PYTHON") else range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which("python{}.{}".format(OLDEST[0], minor))
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:  # pyenv has some that do not
            return found
    return ""


def main(arguments: list) -> int:
    """Set up; return what the command shall exit with."""
    kind = arguments[0] if arguments else "run"
    if kind not in KINDS:
        print("usage: python3 .ci/set_up.py [{}] [folder]".format("|".join(KINDS)), file=sys.stderr)
        return 2
    environment = Environment(ROOT / (arguments[1] if arguments[1:] else ".venv"))
    try:
        if sys.version_info < OLDEST and not environment.works():
            other = find_python()
            if other:
                return subprocess.call([other, __file__, *arguments])
            raise Failed(
                "pokeml needs Python {}.{} or newer, and {} is {}.{}. Install one, and name it: "
                "make PYTHON=python{}.{}".format(*OLDEST, sys.executable, *sys.version_info[:2], *NEWEST)
            )
        print("Setting up {} (once, about half a minute)".format(os.path.relpath(str(environment.folder))), flush=True)
        environment.set_up(kind)
    except KeyboardInterrupt:
        print("Stopped. The next time, it begins anew.", file=sys.stderr)
        return 130
    except (Failed, OSError) as error:
        print("{}".format(error if isinstance(error, Failed) else reason(str(error)) or error), file=sys.stderr)
        if environment.log.is_file():
            print("What pip and uv said: {}".format(os.path.relpath(str(environment.log))), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
