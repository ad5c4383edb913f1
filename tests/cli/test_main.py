"""Every command as a stranger mistypes it, and how the command line fails; without servers."""

import importlib
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner, Result

from builders.command_tree import leaves
from builders.golden import Golden
from feedmill import cli
from feedmill.cli import LazyGroup
from feedmill.cli.main import COMMANDS, main
from feedmill.events.errors import BadArtifact

# Nothing listens on port 1, so the connection is refused at once.
NO_KAFKA = "--kafka 127.0.0.1:1"
NO_REDIS = "--redis redis://user:secret@127.0.0.1:1/0"

# By command, lines that fail before they need a server; the golden files have what they print.
WRONG_LINES = {
    "run": (
        *("--scale spam", "--scale ham=2", "--scale spam=0", "--scale spam=65", "--for soon"),
        *("--partitions many", "--top few", f"{NO_KAFKA} --partitions 0", "--kafka broker"),
        *("global", "--without ham", "--isolate --scale worker=2", "--experiment"),
        *("--judges 0 --rankers 1", "--judges 2", "--judges 2 --rankers 1 --isolate"),
    ),
    "console": (
        *("start", "--port 70000", "--group mods=moderator", "--proxy somewhere", "token"),
        *("--proxy 10.0.0.1", "--proxy 10.0.0.1 --group mods=boss", "--url console"),
        *("--host 0.0.0.0", "--host somewhere"),
    ),
    "token": (
        *("", "add", "add ann", "add ann --role boss", "add '' --role viewer", "remove nobody"),
        *("list --tokens .", "add web --role reader", "add web --role reader --rate 0"),
        *("add ann --role viewer --rate 5", "add web --role reader --rate many"),
    ),
    "worker": ("ham", "--without ham", "spam --without spam", "spam --redis localhost"),
    "reader": ("global", "--port many", "--port 65536", "--tokens nowhere", "--kafka broker"),
    "page": (
        *(
            "",
            "global --top 0",
            "global --top 101",
            "global --weights alpha",
            "global --costs hide=",
        ),
        *("global --reader localhost:8090", "global --reader http://127.0.0.1:9"),
    ),
    "replay": (
        *("", "nowhere.jsonl", "demo --posts -1", "demo --rate fast", "demo --rate -1"),
        *("demo --speed 0", "demo --speed nan", "demo --audience -1", "reddit --reactions -1"),
        *("reddit --impressions inf", "demo --for -1", "demo --run 'a b'", "demo --keep-times"),
        *(
            "demo --strict",
            "demo --loop",
            "reddit --read global",
            "events.jsonl --loop",
            "broken.jsonl --strict",
        ),
        *("reddit --data nowhere", "bluesky --data .", "demo --prefix 'a b'"),
        f"demo --posts 1 {NO_KAFKA}",
    ),
    "feed": (
        *("", "global --top 0", "global --top all", "global --for -1", "global --redis localhost"),
        *(f"global {NO_REDIS}", "global --redis redis://127.0.0.1:port/0"),
    ),
    "explain": ("", f"p1 {NO_REDIS}", "p1 --feed"),
    "posts": ("hidden", "--since yesterday", "--limit 0", f"--held {NO_KAFKA}"),
    "health": ("--every 2", "--kafka broker", f"{NO_KAFKA} --redis localhost"),
    "latency": (
        *("", "--once ftp://somewhere", "--once http://", "--once 127.0.0.1:1"),
        *("--every 0", "--for soon", "--kafka broker:9092"),
    ),
    "doctor": ("everything", "--kafka broker", "--redis localhost"),
    "config": (
        *("", "fetch", "get --nonsense", f"get {NO_KAFKA}", f"history weights {NO_KAFKA}", "set"),
        *("set weights", "set weights alpha=1 --if-offset last"),
        "set weights alpha=1 --timeout -1",
        *(f"set weights alpha=1 {NO_KAFKA}", "rollback", "rollback weights --to first"),
        f"rollback weights {NO_KAFKA}",
    ),
    "override": (
        *(f"list {NO_KAFKA}", "", "clera post:p1"),
        *("approve post:p1", "hide", "hide p1", "hide post:", "hide thread:p1"),
        *("hide 'post:a b'", "hide 'post:a|spam'", "hide post:p1 --gate quality"),
        *("hide post:p1 --expires 2", "hide post:p1 --expires soon", "hide post:p1 --expires 0h"),
        *("demote post:p1 --timeout soon", "allow p1", f"allow post:p1 {NO_REDIS}"),
        *("clear post:p1 --gate nobody", f"hide author:ann {NO_KAFKA}"),
    ),
    "audit": ("--since soon", "--nonsense", "weights", NO_KAFKA),
    "dead-letters": (
        *("", "delete", "list --since soon", "list --limit 0", f"list {NO_KAFKA}", "show"),
        *("show first", "replay", "replay 1 --all", "replay 1 2 --value broken.jsonl"),
        *("replay --all --value broken.jsonl", "replay 1 --value nowhere", f"replay 1 {NO_KAFKA}"),
    ),
    "topics": (
        *("", "delete", "create --partitions 0", "create --replicas 0", "describe --kafka x"),
        *("reset posts", f"reset {NO_KAFKA}", "copy", "abort-hanging posts"),
    ),
    "acls": (
        *("", "grant", "print", "print --role nobody --principal User:a"),
        *("print --role judge", "print --role judge --principal a"),
        *(
            "print --role own-signal --principal User:a",
            "print --role judge --principal User:a --format yaml",
        ),
        "print --role judge --principal User:a --format redis",
    ),
    "groups": (
        *("", "delete worker", "list --kafka x", f"describe {NO_KAFKA}", "reset-offsets worker"),
        *("reset-offsets worker posts:1", "reset-offsets worker posts:1 --to middle"),
    ),
    "backup": ("", "broken.jsonl", ".", f"new {NO_KAFKA}"),
    "restore": ("", "nowhere", "broken.jsonl", f". {NO_KAFKA}"),
    "local": (
        *("", "restart", "status --folder nowhere", "up --kafka-port 70000"),
        *("up --redis-port x", "up --folder broken.jsonl"),
    ),
    "sample": ("broken.jsonl", "folder --seed first"),
    "score": (
        *("", "ham", "spam nowhere.jsonl", "spam broken.jsonl", "spam --model nowhere"),
        *("spam --engagements broken.jsonl", "engagement --engagements nowhere.jsonl"),
    ),
    "labels": (
        *("", "fetch", "sample", "sample quality", "sample spam nowhere.jsonl"),
        *("sample spam broken.jsonl", "sample spam --count 0", "sample spam --random 2"),
        *("sample spam --seed -1", "report ham", "report spam --since soon"),
        f"report spam {NO_KAFKA}",
    ),
    "models": (
        *("watch spam", "purge --post p1", "watch --state ."),
        *("", "promote spam", "list ham", "show", "show spam nothex"),
        *("diff spam", "diff spam nothex 000000", "release", "release ham 000000"),
        *("release spam 000000 --timeout soon", f"release spam 000000 {NO_KAFKA}", "rollback"),
        *(f"rollback spam --to first {NO_KAFKA}", "freeze", "unfreeze ham", f"health {NO_KAFKA}"),
        *("release spam 000000 --canary 0", "release spam 000000 --canary 1 --after soon"),
        *("release spam 000000 --after 5m", f"release spam 000000 --canary 1 {NO_KAFKA}"),
        *("shadow spam", "shadow spam 000000 --stop", "shadow engagement 000000"),
        *("shadow spam 000000 --core-share 0", f"shadow spam --stop {NO_KAFKA}"),
        *("compare", "compare engagement", "compare spam --since soon", "compare spam --top 0"),
        *("compare spam --version 123456", f"compare spam {NO_KAFKA}"),
    ),
    "lists": (
        *("", "show", "build", "build nowhere.txt", "build a.txt --filter spam --name a/b"),
        *("release spam", "release ham bad", f"list {NO_KAFKA}", "withdraw spam"),
        *("release spam bad --timeout soon", f"rollback spam bad {NO_KAFKA}"),
        "release spam bad 000000",
    ),
    "gates": (
        *("", "preview", "show", "preview spam.hide_at=0.8 --since soon"),
        *("preview spam.hide_at=0.8 --examples -1", f"preview spam.hide_at=0.8 {NO_KAFKA}"),
    ),
    "rates": (
        *("", "forget", "learn now", "learn --timeout soon"),
        *(f"learn {NO_KAFKA}", f"learn --set {NO_KAFKA}"),
    ),
    "weights": (
        *("", "preview", "show", "preview global", "preview global beta=1 --top 0"),
        *("preview global beta=1 --timeout soon", f"preview global beta=1 {NO_KAFKA}"),
        *("suggest global now", f"suggest {NO_KAFKA}"),
    ),
    "train": (
        *("spam --every 5m", "spam --follow --every soon", "spam --window 5m"),
        *(
            "spam --follow",
            "quality --follow --ordinary x",
            "quality --follow --base shipped",
            "spam --follow --data x --ordinary x",
        ),
        *("spam --follow --ordinary x --out y", "spam --follow --ordinary nowhere.csv"),
        *("", "ham", "spam --data nowhere.csv", "spam --since 2026-01-01"),
        "spam --out broken.jsonl",
        *("spam --from-labels --since yesterday", "quality --ordinary x", "quality --data x"),
        "engagement --from-labels",
        *("engagement --follow", "engagement --follow --ordinary x --base shipped"),
        "engagement --follow --ordinary nowhere.parquet",
        "spam --follow --ordinary x --wait 1h",
    ),
    "evaluate": (
        *(
            "",
            "ham",
            "quality --data x --folds 2",
            "quality --data nowhere.csv",
            "spam --folds 1",
            "spam --alone",
            "engagement --folds 2",
        ),
        *("spam --data nowhere.csv", "spam --jobs 0", "spam --rows 1"),
    ),
    "experiments": (
        *(
            "",
            "begin",
            "start",
            "start nowhere.json",
            "start bad.json",
            "start good.json --traffic 0",
        ),
        *("start 'a b.json'", "start good.json --name 'a b'", "stop", "status", "list all"),
        *("plan", "plan nowhere.json", "plan broken.jsonl", "plan 'a b.json'"),
        *("plan good.json", "plan good.json --assume clicks=1", "plan good.json --effect 0"),
        *("plan good.json --assume take_rate=5%", "plan good.json --before nowhere.csv"),
        *("plan good.json --assume take_rate=0.05", "plan good.json --assume actions=1:9"),
        *("plan good.json --users-a-day few", "plan bad.json", "analyse"),
        *("analyse nowhere.csv", "analyse nowhere.csv --experiment good.json"),
        *("analyse broken.jsonl --experiment good.json", "analyse x.csv --experiment nowhere.json"),
        *("export", "export --out e --keep-days 1", "export --out e --every no"),
        f"export --out e {NO_KAFKA}",
        *("join", "join nowhere fresher", "join nowhere fresher --out t.parquet"),
        *("forget nowhere", "forget nowhere ann", "demo", "demo nowhere fresher"),
        "analyse x.csv --experiment good.json --record nowhere.json",
        "analyse x.csv --experiment good.json --record broken.jsonl",
    ),
    "tune": (
        *("", "show", "preview", f"preview global {NO_KAFKA}", "preview global --effect 0"),
        *("front", "front x.csv", "front x.csv --experiment nowhere.json --record r.json"),
        *("front nowhere.csv --experiment good.json --record broken.jsonl", "half", "after"),
        *("half 'community:*' nowhere.json b", "half global good.json b", "after nowhere"),
        *("half 'community:*' good.json c", f"half 'lang:*' good.json b {NO_KAFKA}"),
        "after nowhere global",
    ),
    "examination": (
        *("nowhere.jsonl", "broken.jsonl", "--positions 1", "--positions many"),
        *("a.jsonl b.jsonl", NO_KAFKA),
    ),
}


@pytest.fixture
def _empty_environment(no_variables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of feedmill, and a folder with nothing but a broken file."""
    monkeypatch.chdir(tmp_path)
    Path("broken.jsonl").write_text("{}\nbroken\n")
    arms = '[{"name": "a", "share": 5000}, {"name": "b", "share": %d, "weights": {"quality": 2}}]'
    setting = '{"arms": %s, "feeds": ["global"], "salt": "s", "planned_n": 9000}'
    Path("good.json").write_text(setting % (arms % 5000))
    Path("bad.json").write_text(setting % (arms % 4000))
    monkeypatch.setenv("COLUMNS", "80")


def invoke(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line), prog_name="feedmill")


# --- wrong use ------------------------------------------------------------------------------


def test_every_command_is_mistyped() -> None:
    lines = [f"{name} {line} " for name, wrong in WRONG_LINES.items() for line in wrong]
    commands = leaves(main)
    assert len(commands) > 15
    without = [each for each in commands if not any(x.startswith(f"{each} ") for x in lines)]
    assert without == ["local down"]  # it has one option, and that of `local status` too


def printed_by(line: str, folder: Path) -> str:
    """The line, indented what it prints on stderr, and its exit code."""
    result = invoke(line)
    assert result.exit_code in (1, 2), (line, result.output, result.exception)
    assert result.stdout == "", line
    errors = result.stderr.replace(str(folder), "<folder>").splitlines()
    body = "".join(f"    {each}".rstrip() + "\n" for each in errors)
    return f"$ feedmill {line}".rstrip() + f"\n{body}    exit {result.exit_code}\n"


@pytest.mark.usefixtures("_empty_environment", "_connects_at_once_or_never")
@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_use_is_explained(name: str, golden: Golden, tmp_path: Path) -> None:
    blocks = [printed_by(f"{name} {line}".strip(), tmp_path) for line in WRONG_LINES[name]]
    golden.check(f"wrong_use/{name}.txt", "\n".join(blocks))


@pytest.mark.usefixtures("_empty_environment")
def test_wrong_use_of_feedmill_itself_is_explained(golden: Golden, tmp_path: Path) -> None:
    blocks = [
        printed_by(line, tmp_path) for line in ("fly", "--nonsense", "feeds global", "explian p1")
    ]
    golden.check("wrong_use/feedmill.txt", "\n".join(blocks))


@pytest.mark.usefixtures("_empty_environment")
def test_a_wrong_variable_is_explained_like_a_wrong_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDMILL_PORT", "http")
    result = invoke("config get")
    assert result.exit_code == 1
    assert result.stderr == (
        "feedmill: FEEDMILL_PORT: expected a whole number from 0 to 65535, got 'http'\n"
    )


# --- commands -------------------------------------------------------------------------------


def test_every_module_that_defines_its_command_is_wired() -> None:
    files = Path(str(cli.__file__)).parent.glob("[!_]*")
    modules = {path.stem for path in files if path.suffix in ("", ".py")}
    defined = {
        name.replace("_", "-")
        for name in modules
        if isinstance(
            getattr(importlib.import_module(f"feedmill.cli.{name}"), name, None), click.Command
        )
    }
    assert (defined - {"main"}) | {"restore"} == set(COMMANDS)  # cli/backup.py has both


def test_help_lists_the_commands_in_their_order() -> None:
    lines = invoke("--help").stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)


@pytest.mark.parametrize(("name", "command"), leaves(main).items())
def test_every_command_and_every_option_has_a_help_text(name: str, command: click.Command) -> None:
    result = invoke(f"{name} --help")
    assert result.exit_code == 0
    assert command.help
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []


def test_a_command_imports_only_what_it_needs() -> None:
    script = (
        "import sys\n"
        "from feedmill.cli.main import main\n"
        "main(['local', 'status', '--folder', 'nowhere'], standalone_mode=False)\n"
    )
    probe = (
        f"try:\n    exec({script!r})\n"  # the command fails, as nothing runs
        "except Exception as error:\n    print(type(error).__name__)\n"
        "print([m for m in ('faust', 'aiokafka', 'redis', 'lightgbm') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{probe}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["CommandFailed", "[]"]


# --- failures -------------------------------------------------------------------------------


def command_that_raises(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `feedmill feed` raise an error."""

    @click.command("feed")
    def feed() -> None:
        raise error

    module = ModuleType("feedmill.cli.feed")
    module.feed = feed  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "feedmill.cli.feed", module)


def test_an_error_of_feedmill_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(BadArtifact("spam.json is altered; train it again"), monkeypatch)
    result = invoke("feed")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "feedmill: spam.json is altered; train it again\n"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(ModuleNotFoundError("no", name="sklearn.linear_model"), monkeypatch)
    result = invoke("feed")
    assert result.exit_code == 1
    assert result.stderr == (
        "feedmill: `feed` needs sklearn.linear_model, which is not installed; install it with pip"
        " install 'feedmill[train]'\n"
    )


def test_help_lists_a_command_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(main, LazyGroup)
    monkeypatch.setitem(main.places, "feed", "sklearn:feed")
    listed = invoke("--help")
    assert listed.exit_code == 0, listed.output
    assert "Needs feedmill.cli.sklearn, which is not installed." in listed.stdout


def test_a_missing_library_of_lightgbm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(OSError("libgomp.so.1: cannot open shared object file"), monkeypatch)
    result = invoke("feed")
    assert result.exit_code == 1
    assert result.stderr == (
        "feedmill: `feed` needs LightGBM, which cannot be loaded: libgomp.so.1: cannot open shared"
        " object file; install libgomp, for example with apt install libgomp1\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        ModuleNotFoundError("no", name="feedmill.cli.fed"),
        OSError("no space left on device"),
    ],
)
def test_a_bug_is_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(error, monkeypatch)
    assert invoke("feed").exception is error


def test_a_module_without_its_command_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("feedmill.cli.feed")
    module.feed = 7  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "feedmill.cli.feed", module)
    assert str(invoke("feed").exception) == "cli/feed.py defines no click command `feed`"
