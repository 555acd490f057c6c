"""Settings: what comes before what, and that a wrong one is named."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
import pytest

from sockserv.classic.settings import ClassicSettings, Dialect
from sockserv.endpoints import TcpEndpoint, UnixEndpoint
from sockserv.errors import ConfigError, StateError
from sockserv.limits import ExecutionLimits, KeptLimits, Limits
from sockserv.settings import (
    AuditSettings,
    FilesSettings,
    load,
    load_file,
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "sockserv.toml"


def test_without_anything() -> None:
    settings = load(environ={})
    assert settings.listen == (TcpEndpoint(port=7700, interface=IPv4Address("127.0.0.1")),)
    assert settings.state.path.name == "sockserv"
    assert settings.limits == Limits()


def test_an_empty_file_changes_nothing(config: Path) -> None:
    config.touch()
    assert load(config=config, environ={}) == load(environ={})


def test_a_whole_file(config: Path) -> None:
    config.write_text(
        """
        listen = ["tcp:1:interface=127.0.0.1", "unix:here.sock"]
        state = "here"
        [limits]
        max_calls = 7
        login_timeout_seconds = 3
        """
    )
    settings = load_file(config)
    assert settings.listen == (
        TcpEndpoint(port=1, interface=IPv4Address("127.0.0.1")),
        UnixEndpoint(path=config.parent / "here.sock"),
    )
    assert settings.state.path == config.parent / "here"
    assert settings.limits == Limits(max_calls=7, login_timeout_seconds=3.0)
    assert load(config=config, environ={}) == settings


@pytest.mark.parametrize("field", attrs.fields(Limits), ids=lambda field: field.name)
def test_every_limit_can_be_set(config: Path, field: attrs.Attribute[float]) -> None:
    value = field.default
    config.write_text(f"[limits]\n{field.name} = {value}")
    assert getattr(load_file(config).limits, field.name) == value


def test_how_the_audit_log_is_kept(config: Path) -> None:
    assert load(environ={}).audit == AuditSettings()
    config.write_text('[audit]\nmax_file_bytes = 1000\nkeep_files = 2\non_failure = "continue"')
    assert load(config=config, environ={}).audit == AuditSettings(
        max_file_bytes=1000, keep_files=2, on_failure="continue"
    )


def test_how_files_are_served(config: Path) -> None:
    assert load(environ={}).files == FilesSettings()
    config.write_text(
        "[files]\nroot = 'here/../there'\nquota_bytes = 5\nrate_bytes_per_second = 6\n"
        "partial_expiry_seconds = 7"
    )
    expected = FilesSettings(
        root=config.parent / "there",
        quota_bytes=5,
        rate_bytes_per_second=6,
        partial_expiry_seconds=7.0,
    )
    assert load(config=config, environ={}).files == expected


@pytest.mark.parametrize(
    ("table", "kind"), [("exec", ExecutionLimits), ("kept", KeptLimits)], ids=["exec", "kept"]
)
def test_how_commands_are_run(config: Path, table: str, kind: type[Any]) -> None:
    assert getattr(load(environ={}), table) == kind()
    values = {field.name: number for number, field in enumerate(attrs.fields(kind), 3)}
    lines = [f"{name} = {value}" for name, value in values.items()]
    config.write_text("\n".join([f"[{table}]", *lines]))
    assert getattr(load_file(config), table) == kind(**values)


class TestWhatComesFirst:
    def test_the_command_line_comes_before_the_file(self, config: Path, tmp_path: Path) -> None:
        config.write_text('listen = ["unix:/file"]\nstate = "/file"\nfiles.root = "/file"')
        settings = load(
            config=config, listen=["unix:/line"], state="/line", root="/line", environ={}
        )
        assert settings.listen == (UnixEndpoint(path=Path("/line")),)
        assert settings.state.path == Path("/line")
        assert settings.files.root == Path("/line")

    def test_the_environment_stands_between_them(self, config: Path) -> None:
        config.write_text('state = "/file"')
        environ = {"SOCKSERV_STATE": "/environment"}
        assert load(config=config, environ=environ).state.path == Path("/environment")
        assert load(config=config, state="/line", environ=environ).state.path == Path("/line")

    def test_looking_at_a_file_leaves_the_environment_out(
        self, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOCKSERV_STATE", "/environment")
        config.write_text('state = "/file"')
        assert load_file(config).state.path == Path("/file")

    def test_paths_on_the_command_line_count_from_the_current_directory(
        self, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config.touch()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        settings = load(config=config, listen=["unix:s"], state="d", root="r", environ={})
        assert settings.files.root == tmp_path / "elsewhere" / "r"
        assert settings.listen == (UnixEndpoint(path=tmp_path / "elsewhere" / "s"),)
        assert settings.state.path == tmp_path / "elsewhere" / "d"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("listn = []", "listn: there is no such setting; did you mean listen?"),
        ("zzz = 1", "zzz: there is no such setting; expected listen, state, limits, audit, files"),
        (
            "limits.max_cals = 1",
            "limits.max_cals: there is no such setting; did you mean max_calls?",
        ),
        ("listen = 'unix:/s'", "listen: expected array, got str"),
        ("listen = []", "listen: expected array of length >= 1"),
        ("listen = ['unix:/s', 1]", r"listen\[1\]: expected str, got int"),
        ("listen = ['unix:/s', 'tcp:x']", r"listen\[1\]: tcp:x: the port must be a number"),
        ("state = 1", "state: expected str, got int"),
        ("state = ''", "state: expected str of length >= 1"),
        ("limits = 1", "limits: expected table, got int"),
        ("files.root = ''", "files.root: expected str of length >= 1"),
        ("files.root = '~nobody-here'", "files.root: cannot tell which folder ~nobody-here is"),
        ('files.root = "a\\u0000"', "files.root: '.*' cannot be a folder: it has a zero byte"),
        ("files.quota_bytes = 0", "files.quota_bytes: expected int >= 1"),
        ("exec.max_jobs = 0", "exec.max_jobs: expected int >= 1"),
        ("exec.max_timeout_seconds = 0", "exec.max_timeout_seconds: expected"),
        ("exec.max_job = 1", "exec.max_job: there is no such setting; did you mean max_jobs"),
        (
            "files.quota_byte = 1",
            "files.quota_byte: there is no such setting; did you mean quota_bytes",
        ),
        ("audit.keep_files = 0", "audit.keep_files: expected int >= 1"),
        (
            "audit.keep_file = 1",
            "audit.keep_file: there is no such setting; did you mean keep_files",
        ),
        ("audit.on_failure = 'shrug'", "audit.on_failure: invalid enum value 'shrug'"),
        ("limits.max_calls = '64'", "limits.max_calls: expected int, got str"),
        ("limits.max_calls = true", "limits.max_calls: expected int, got bool"),
        ("limits.max_calls = 1.5", "limits.max_calls: expected int, got float"),
        ("limits.max_calls = 0", "limits.max_calls: expected int >= 1"),
        ("limits.max_calls = 9007199254740992", "limits.max_calls: expected int <= 90071992547"),
        ("limits.login_timeout_seconds = 0", "limits.login_timeout_seconds: expected float > 0"),
        ("limits.login_timeout_seconds = nan", "limits.login_timeout_seconds: expected float"),
        ("limits.login_timeout_seconds = inf", "limits.login_timeout_seconds: expected float <="),
        ("limits.max_header_bytes = 1", r"limits: max_login_header_bytes \(4096\) is greater than"),
        ("\nlisten = ", r"is not TOML: .* \(at "),
        ("listen = 1\nlisten == 2", r"is not TOML: .* \(at line 2, column 9\)"),
        ("a = 1" + "0" * 5000, "is not TOML: "),
        ("a = " + "[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_mistake_is_named(config: Path, content: str, message: str) -> None:
    config.write_text(content)
    with pytest.raises(ConfigError, match=f"^{config}: {message}") as caught:
        load_file(config)
    assert "\n" not in str(caught.value)


def test_a_state_that_cannot_be_a_path(config: Path) -> None:
    config.write_text('state = "a\\u0000b"')
    with pytest.raises(StateError, match="it has a zero byte in it"):
        load_file(config)


def test_a_file_that_is_not_text(config: Path) -> None:
    config.write_bytes(b"listen = '\xff'")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 10\)"):
        load_file(config)


def test_a_file_that_is_not_there(config: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{config}: cannot be read: no such file or directory$"):
        load_file(config)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load_file(tmp_path)


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^tcp:7700: without an interface"):
        load(listen=["tcp:7700"], environ={})


class TestChat:
    def test_over_udp(self, config: Path) -> None:
        config.write_text('[chat]\ndatagrams = "udp:7700:interface=0.0.0.0"\nmax_rooms = 5')
        settings = load(config=config, environ={})
        assert str(settings.chat_udp) == "udp:7700:interface=0.0.0.0"
        assert settings.chat.max_rooms == 5
        settings = load(config=config, chat_udp="udp:0", environ={})
        assert str(settings.chat_udp) == "udp:0:interface=127.0.0.1"

    def test_not_unless_it_is_asked_for(self) -> None:
        assert load(environ={}).chat_udp is None

    @pytest.mark.parametrize("value", ['"tcp:7700"', '"udp:x"', "7700"])
    def test_a_mistake_is_named(self, config: Path, value: str) -> None:
        config.write_text(f"[chat]\ndatagrams = {value}")
        with pytest.raises(ConfigError, match=r"chat\.datagrams"):
            load(config=config, environ={})


class TestClassic:
    HERE = "tcp:1:interface=127.0.0.1"

    def test_all_of_it(self, config: Path) -> None:
        config.write_text(
            f"""
            [classic]
            echo = "{self.HERE}"
            exec = "unix:exec.sock:mode=660"
            put = "tcp:3:interface=0.0.0.0"
            identity = "lab"
            encoding = "utf-8"
            transcode = true
            overwrite = false
            allow_remote = true
            """
        )
        assert load_file(config).classic == ClassicSettings(
            endpoints={
                Dialect.ECHO: TcpEndpoint(port=1, interface=IPv4Address("127.0.0.1")),
                Dialect.EXEC: UnixEndpoint(path=config.parent / "exec.sock", mode=0o660),
                Dialect.PUT: TcpEndpoint(port=3, interface=IPv4Address("0.0.0.0")),
            },
            identity="lab",
            encoding="utf-8",
            transcode=True,
            overwrite=False,
            allow_remote=True,
        )

    def test_arguments_come_first(self, config: Path) -> None:
        config.write_text(f'[classic]\necho = "{self.HERE}"\nput = "{self.HERE}"\nidentity = "lab"')
        classic = load(
            config=config, classic={Dialect.PUT: "unix:/p"}, classic_identity="bench", environ={}
        ).classic
        assert classic.endpoints == {
            Dialect.ECHO: TcpEndpoint(port=1, interface=IPv4Address("127.0.0.1")),
            Dialect.PUT: UnixEndpoint(path=Path("/p")),
        }
        assert classic.identity == "bench"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('echo = "nonsense"', "classic.echo: nonsense: 'nonsense' is not a kind of endpoint"),
            ('echo = "tcp:1:interface=0.0.0.0"', "0.0.0.0 is not loopback"),
            ('echo = ":1"', "the tutorial's clients know no TLS"),
            (f'exec = "{HERE}"', "exec needs somebody on whose behalf"),
            (f'exec_low = "{HERE}"', "exec_low needs somebody on whose behalf"),
            (f'put = "{HERE}"', "put needs somebody on whose behalf"),
            ('encoding = "klingon"', "classic.encoding: unknown encoding: klingon"),
            ("overwrite = 1", "classic.overwrite"),
            ('chta = "udp:1"', "chta"),
        ],
    )
    def test_a_mistake_is_named(self, config: Path, content: str, message: str) -> None:
        config.write_text(f"[classic]\n{content}")
        with pytest.raises(ConfigError) as raised:
            load_file(config)
        assert message in str(raised.value)
