"""Build the sdist and the wheel into dist/, and try both as a user meets them: in fresh environments, elsewhere.

Usage: python .ci/dist.py (as `make dist` does; a checkout of git, and a network or a package index, are needed)

Checked are: the sdist holds the files that git knows, and no others, where a name with a dot first does not count; the
wheel that is built from the sdist is the one built from the tree; `twine check`; and in an environment that has nothing
but the wheel and what it requires, in a folder of its own: ``fastnmf --version``, ``fastnmf info`` and the ten lines of
README.md.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import readme  # noqa: E402 (what the tests take the README apart with)

OUTPUT = ROOT / "dist"
BEGAN = time.monotonic()


def say(sentence):
    print(f"{time.monotonic() - BEGAN:5.0f} s  {sentence}", flush=True)


def run(*command, **options):
    """Run a command without what would show it our tree; return what it prints, or end with that if it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FASTNMF", "NUMBA"))}
    options = {"env": clean | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}} | options
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        sys.exit(f"{done.stdout}\nThis failed with code {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def environment(folder):
    """Make a virtual environment in a folder and return its folder of commands."""
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def build(commands, wheel_of_tree):
    """Build sdist and the wheel of it into dist/, and a wheel of the tree elsewhere; return the three files."""
    for old in (*OUTPUT.glob("fastnmf-*.tar.gz"), *OUTPUT.glob("fastnmf-*.whl")):
        old.unlink()
    run(commands / "python", "-m", "build", "--outdir", OUTPUT, ROOT)
    run(commands / "python", "-m", "build", "--wheel", "--outdir", wheel_of_tree, ROOT)
    run(commands / "python", "-m", "twine", "check", "--strict", *OUTPUT.glob("fastnmf-*"))
    (sdist,), (wheel,), (other,) = OUTPUT.glob("*.tar.gz"), OUTPUT.glob("*.whl"), wheel_of_tree.glob("*.whl")
    return sdist, wheel, other


def check_same(found, wanted, of, than):
    """End with the names of files that only one side has, or that differ."""
    for names, sentence in (
        (wanted.keys() - found.keys(), f"{of} lacks"),
        (found.keys() - wanted.keys(), f"{of} has more than {than}"),
        ({name for name in found.keys() & wanted.keys() if found[name] != wanted[name]}, f"{of} holds changed"),
    ):
        if names:
            sys.exit(f"{sentence}: {', '.join(sorted(names))}. Commit, remove or ignore what is at fault.")


def files_of_git():
    """Return name -> content of the tracked files; those in folders such as .ci serve a checkout alone."""
    names = run("git", "-C", ROOT, "ls-files", "-z").split("\0")
    return {name: (ROOT / name).read_bytes() for name in names if name and not name.startswith(".")}


def files_of_sdist(path):
    """Return name -> content; PKG-INFO is written by the build."""
    with tarfile.open(path) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        found = {member.name.split("/", 1)[1]: archive.extractfile(member).read() for member in members}
    if not found.pop("PKG-INFO", b""):
        sys.exit(f"{path.name} has no PKG-INFO.")
    return {name: content for name, content in found.items() if not name.startswith(".")}


def files_of_wheel(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def try_wheel(wheel, folder):
    """Install a wheel where there is nothing else, and use it from an empty folder."""
    commands, elsewhere = environment(folder / "user"), folder / "elsewhere"
    elsewhere.mkdir()
    run(commands / "python", "-m", "pip", "install", wheel)
    place = run(commands / "python", "-c", "import fastnmf; print(fastnmf.__file__)", cwd=elsewhere)
    if not place.startswith(str(folder)):
        sys.exit(f"fastnmf is imported from {place.strip()} and not from the wheel.")
    say("the wheel is installed in an empty environment")

    version = run(commands / "fastnmf", "--version", cwd=elsewhere)
    print(version, run(commands / "fastnmf", "info", cwd=elsewhere), sep="", end="")
    if version.split() != wheel.name.split("-")[:2]:
        sys.exit(f"'fastnmf --version' prints {version.strip()!r} for {wheel.name}.")
    (elsewhere / "ten_lines.py").write_text(readme.code("Ten lines"), "utf-8")
    printed = run(commands / "python", "ten_lines.py", cwd=elsewhere)
    print(printed, end="")
    is_whole = re.match(r"StratifiedNMF of .* in 4 strata: 20 topics\.\n", printed) and "\nYes: a shift for" in printed
    if not (is_whole and (elsewhere / "report.html").exists() and (elsewhere / "model.npz").exists()):
        sys.exit("The ten lines of README.md print something else than is written there.")
    say("'fastnmf --version', 'fastnmf info' and the ten lines of README.md run there")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        commands = environment(folder / "tools")
        run(commands / "python", "-m", "pip", "install", "build", "twine")
        sdist, wheel, other = build(commands, folder / "wheel")
        say(f"built and checked by twine: {sdist.name} ({sdist.stat().st_size / 1e6:.1f} MB), {wheel.name}")
        files = files_of_git()
        check_same(files_of_sdist(sdist), files, sdist.name, "git knows")
        say(f"the sdist holds the {len(files)} files of git, those with a dot aside")
        check_same(files_of_wheel(wheel), files_of_wheel(other), "The wheel of the sdist", "that of the tree")
        say(f"the wheel of the sdist is that of the tree, in all {len(files_of_wheel(wheel))} files")
        try_wheel(wheel, folder)
    say(f"in {OUTPUT.name}/: {sdist.name}, {wheel.name}")


if __name__ == "__main__":
    main()
