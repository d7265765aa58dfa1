"""Settings: their sources and precedence, every fault of them at once, and the rules between them."""

from __future__ import annotations

import base64
import ipaddress
import resource
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.control import policy
from marketbell.delivery.exchange import Limits
from marketbell.errors import SettingsError
from marketbell.settings import (
    DEFAULTS,
    POLICY_KEYS,
    SETTINGS,
    BadValueError,
    Settings,
    default_of,
    ensure_files,
    ensure_secrets,
    files_needed,
    flag_of,
    load_settings,
    read_duration,
    read_size,
    sections,
    show_duration,
    show_size,
    variable_of,
)
from marketbell.store.written_store import WriterLimits

KEY = base64.b64encode(bytes(range(32))).decode()


def faults(
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    toml: Path | None = None,
) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {}, environ or {}, toml)
    return caught.value.faults


def only_fault(flags: dict[str, object]) -> str:
    (fault,) = faults(flags)
    return fault


# -- sources


def test_defaults_hold_when_nothing_is_given() -> None:
    assert load_settings({}, {}, None) == Settings() == DEFAULTS


def test_defaults_keep_their_own_rules() -> None:
    """What a fresh server starts with passes every check that a user's value must pass."""
    given_all = {
        name: setting.show(getattr(DEFAULTS, name))
        for name, setting in SETTINGS.items()
        if setting.show(getattr(DEFAULTS, name))
    }
    assert load_settings(given_all, {}, None) == DEFAULTS


def test_toml_then_environment_then_flags_win(tmp_path: Path) -> None:
    toml = tmp_path / "marketbell.toml"
    toml.write_text(
        'host = "1.1.1.1"\nport = 1\nreaders = 3\n[portal]\nmay_set = ["marketbell.timeout"]\n'
    )
    environ = {"MARKETBELL_HOST": "2.2.2.2", "MARKETBELL_PORT": "2"}
    settings = load_settings({"host": "3.3.3.3", "port": None}, environ, toml)
    assert (settings.host, settings.port, settings.readers) == ("3.3.3.3", 2, 3)
    assert settings.portal_may_set == ("marketbell.timeout",)


PAIRED = {"jwt_public_key", "jwt_private_key", "db_direct"}
"""Good together with others alone; see test_settings_tokens, and below."""


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in PAIRED])
def test_every_setting_can_be_given_by_flag_variable_and_file(name: str, tmp_path: Path) -> None:
    """The same text means the same in each of the three places."""
    value = {"jwt_secret": "s" * 32, "secrets_key": KEY, "allow_networks": "10.0.0.0/8"}.get(name)
    if name == "trusted_proxies":
        value = "10.0.0.0/8"
    if name == "portal_may_set":
        value = "marketbell.timeout"
    if name == "secrets_keys_old":
        value = KEY
    if name == "extra_ca":
        pem = tmp_path / "ca.pem"
        pem.write_text("-----BEGIN CERTIFICATE-----\n")
        value = str(pem)
    value = value or SETTINGS[name].show(getattr(DEFAULTS, name)) or "http://127.0.0.1:4318"
    toml = tmp_path / "m.toml"
    toml.write_text(f"{name.replace('_', '-')} = {msgspec.json.encode(value).decode()}\n")
    by_flag = load_settings({name: value}, {}, None)
    assert by_flag == load_settings({}, {variable_of(name): value}, None)
    assert by_flag == load_settings({}, {}, toml)
    assert SETTINGS[name].show(getattr(by_flag, name))


def test_toml_takes_numbers_and_lists_as_they_are(tmp_path: Path) -> None:
    toml = tmp_path / "m.toml"
    toml.write_text(
        'port = 9\nspeed = 2\novoko-id-bridge = false\nbody_max = 2000\nallow_networks = ["::1/128"]\n'
    )
    settings = load_settings({}, {}, toml)
    assert (settings.port, settings.speed, settings.ovoko_id_bridge) == (9, 2.0, False)
    assert settings.body_max == 2_000
    assert settings.allow_networks == (ipaddress.ip_network("::1/128"),)


# -- faults


def test_all_faults_come_in_one_report(tmp_path: Path) -> None:
    toml = tmp_path / "m.toml"
    toml.write_text('colour = "red"\nreaders = "many"\n')
    found = faults(
        {"port": "99999", "lease": "10"},
        {"MARKETBELL_SECRETS_KEY": "short", "MARKETBELL_OVOKO_ZONE": "Mars/Olympus"},
        toml,
    )
    assert len(found) == 6
    report = "\n".join(found)
    for text in (
        f"colour (in {toml}): there is no such setting",
        f"readers (readers in {toml}): 'many' is not a whole number",
        "port (--port): 99999 is too high; the most is 65535",
        "lease (--lease): '10' is not a duration; write a whole number with ms, s, m, h or d",
        "secrets_key (MARKETBELL_SECRETS_KEY): ",
        "ovoko_zone (MARKETBELL_OVOKO_ZONE): 'Mars/Olympus' is not a time zone",
    ):
        assert text in report


@pytest.mark.parametrize(
    ("name", "value", "clause"),
    [
        ("port", "eighty", "is not a whole number"),
        ("port", True, "is not a whole number"),
        ("port", "-1", "is too low; the least is 0"),
        ("lease", "2s", "2s is too low; the least is 6s"),
        ("drain_timeout", "1w", "is not a duration"),
        ("drain_timeout", "", "is empty; write a duration"),
        ("drain_timeout", 5, "is not a duration"),
        ("drain_timeout", 1.5, "is not a duration"),
        ("body_max", "1TB", "is not a size"),
        ("body_max", "17MB", "17MB is too high; the most is 16MB"),
        ("speed", "nan", "is not a finite number"),
        ("speed", "fast", "is not a number"),
        ("speed", [1], "is not a number"),
        ("unproven_share", "1.5", "1.5 is too high; the most is 1.0"),
        ("ovoko_id_bridge", "perhaps", "is neither true nor false"),
        ("log_format", "xml", "'xml' is none of auto, json, console"),
        ("portal_may_set", "marketbell.url", "'marketbell.url' is none of"),
        ("portal_may_set", 3, "is not a list of words"),
        ("allow_networks", "10.0.0.1/8", "is not a network such as 10.0.0.0/8"),
        ("extra_ca", "/nowhere/ca.pem", "cannot be read (No such file or directory)"),
        ("jwt_secret", "x" * 31, "has 31 bytes and must have at least 32"),
        ("jwt_secret", "", "is empty; leave it out"),
        ("secrets_key", "AAAA", "has 3 bytes and must have 32"),
        ("secrets_key", "not base64!", "is not base64"),
        ("secrets_key", "x" * 32, "has 24 bytes and must have 32"),
        ("secrets_keys_old", f"{KEY} AAAA", "has 3 bytes and must have 32"),
        ("db", "mysql://db/x", "is not a database; write sqlite:///FILE or postgresql://"),
        ("db", "postgresql://me@db:many/x", "its port is no number"),
        ("db", "postgresql://me:a#b@db/x", "has a # in it"),
        ("db", "postgresql://me@[::1/x", "cannot be read as an address"),
        ("db", "postgresql://db/x?sslmode=on", "sslmode 'on' is none of disable, allow"),
        ("db_direct", "postgresql://db/x", "only PostgreSQL has two addresses"),
        ("role", "api", "SQLite has exactly one node"),
        ("role", "boss", "'boss' is none of all, api, worker"),
        ("db", "sqlite:///", "names no file"),
        ("db", "sqlite:///:memory:", "would lose what was accepted"),
        ("db", 5, "is not text; put it in quotes"),
        ("host", " ", "is empty; write an address"),
        ("otel_endpoint", "localhost:4318", "is not an address"),
        (
            "public_url",
            "https://hooks.example/path",
            "is not an origin; write scheme, host and port",
        ),
        ("public_url", "hooks.example", "is not an origin"),
        ("cors_origins", "https://a.example *", "'*' is not an origin"),
        ("cors_origins", "https://a.example/", "is not an origin"),
        ("cors_origins", "null", "is not an origin"),
        ("trusted_proxies", "proxy.example", "is not a network"),
        ("workers", "2", "more than one worker needs PostgreSQL"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_the_mend(
    name: str, value: object, clause: str
) -> None:
    fault = only_fault({name: value})
    assert fault.startswith(f"{name} ({flag_of(name)}): ")
    assert clause in fault


def test_a_secret_is_never_shown() -> None:
    secret = "correct-horse-battery-staple-0123456789"
    settings = load_settings({"jwt_secret": secret, "secrets_key": KEY}, {}, None)
    assert secret not in repr(settings)
    assert KEY not in repr(settings)
    assert secret[:20] not in only_fault({"jwt_secret": secret[:20]})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@db.example:5432/shop",
        "postgres://me:hun/ter2@db.example/shop",
        "postgres://me:hunter2@x@db.example/shop",
        "postgresql://db.example/shop?user=me&password=hunter2",
        "postgresql://db.example/shop?sslpassword=hunter2&sslmode=require",
        "postgresq://me:hunter2@db.example/shop",
    ],
)
@pytest.mark.parametrize("name", ["db", "db_direct"])
def test_the_password_in_an_address_is_never_shown(name: str, url: str) -> None:
    flags = {"db": "postgresql://db/x", name: url}
    try:
        settings = load_settings(flags, {}, None)
    except SettingsError as error:
        shown = str(error)
    else:
        assert settings.db == flags["db"]
        shown = repr(settings) + settings.db_shown + SETTINGS[name].show(url)
    assert "ter2" not in shown
    assert "db.example" in shown or "port" in shown or "address" in shown


def test_a_server_on_postgresql_is_told_of_both_missing_keys_with_all_else() -> None:
    flags = {"db": "postgresql://db/x", "port": "many"}
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, {}, None, serving=True)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "port (--port)",
        "jwt_secret",
        "secrets_key",
    ]
    with pytest.raises(SettingsError, match="nodes on PostgreSQL share it"):
        ensure_secrets(Settings(db="postgresql://db/x", secrets_key=bytes(32)))
    assert load_settings({"db": "postgresql://db/x"}, {}, None).on_postgresql


def test_a_schema_and_a_direct_address_are_postgresqls() -> None:
    shared = {"db": "postgresql://db/x"}
    for name in ("Shop-1", "pg_shop", "information_schema", "1shop", "a" * 64):
        assert "cannot be a schema" in only_fault({**shared, "db_schema": name})
    assert "is no address of PostgreSQL" in only_fault({**shared, "db_direct": "sqlite:///x.db"})
    assert "its port is no number" in only_fault({**shared, "db_direct": "postgresql://db:x/y"})


def test_a_node_gives_three_signs_of_life_within_its_lease() -> None:
    assert "set node_heartbeat to 1s or less" in only_fault({"node_lease": "3s"})
    assert load_settings({"node_lease": "3s", "node_heartbeat": "1s"}, {}, None).node_lease == 3_000


def test_unknown_names_are_refused_with_the_nearest_known() -> None:
    assert only_fault({"body_maxx": "1MB"}) == (
        "--body-maxx: there is no such setting; did you mean body_max?"
    )
    (fault,) = faults(environ={"MARKETBELL_BODYMAX": "1MB"})
    assert (
        fault == "MARKETBELL_BODYMAX: there is no such setting; did you mean MARKETBELL_BODY_MAX?"
    )


def test_variables_of_other_kinds_are_left_alone() -> None:
    """Orchestrators and clients have variables of the same prefix."""
    environ = {
        "MARKETBELL_SERVICE_HOST": "10.0.0.1",
        "MARKETBELL_PORT_8080_TCP_ADDR": "10.0.0.1",
        "MARKETBELL_TOKEN": "abc",
        "MARKETBELL_CONFIG": "/etc/m.toml",
    }
    assert load_settings({}, environ, None) == DEFAULTS


def test_a_kubernetes_service_link_is_explained() -> None:
    (fault,) = faults(environ={"MARKETBELL_PORT": "tcp://10.96.0.12:8080"})
    assert "enableServiceLinks: false" in fault


def test_a_file_that_is_missing_or_not_toml_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults(toml=tmp_path / "none.toml")
    assert "cannot be read (No such file or directory)" in fault
    broken = tmp_path / "broken.toml"
    broken.write_text("port = = 1")
    (fault,) = faults(toml=broken)
    assert fault.startswith(f"{broken}: is not TOML")


# -- rules between settings


@pytest.mark.parametrize(
    ("flags", "names", "mend"),
    [
        ({"attempt_timeout": "30s"}, "lease (default), attempt_timeout (--attempt-timeout)", "65s"),
        ({"lease": "54999ms"}, "lease (--lease), attempt_timeout (default)", "55s"),
        (
            {"payload_retention": "91d"},
            "payload_retention (--payload-retention), message_retention (default)",
            "set message_retention to 91d or more",
        ),
        (
            {"attempt_retention": "2d", "message_retention": "1d", "payload_retention": "1d"},
            "attempt_retention (--attempt-retention), message_retention (--message-retention)",
            "set message_retention to 2d or more",
        ),
        ({"body_max": "5MB"}, "batch_bytes_max (default), body_max", "set it to 5MB or more"),
        (
            {"waiting_bytes_max": "1MB"},
            "waiting_bytes_max (--waiting-bytes-max), batch_bytes_max",
            "set it to 4MB or more",
        ),
        ({"waiting_rows_max": "10"}, "waiting_rows_max", "set it to 1000 or more"),
        ({"sockets_max": "63"}, "sockets_max", "set it to 64 or more"),
    ],
)
def test_a_broken_rule_names_every_setting_in_it(
    flags: dict[str, object], names: str, mend: str
) -> None:
    fault = only_fault(flags)
    assert fault.startswith(names)
    assert mend in fault


def test_the_least_lease_that_is_named_is_accepted() -> None:
    settings = load_settings({"attempt_timeout": "30s", "lease": "65s"}, {}, None)
    assert settings.timeout_max == settings.attempt_timeout == 30_000


def test_a_rule_is_not_judged_by_a_value_that_could_not_be_read() -> None:
    assert len(faults({"lease": "soon", "attempt_timeout": "5m"})) == 1


# -- how values are written


@pytest.mark.parametrize(
    ("text", "millis"),
    [("90d", 7_776_000_000), ("500ms", 500), ("1h 30m", 5_400_000), ("0", 0), (" 5s ", 5_000)],
)
def test_durations(text: str, millis: int) -> None:
    assert read_duration(text) == millis


@pytest.mark.parametrize(
    ("text", "size"),
    [("1MB", 1_000_000), ("1MiB", 1 << 20), ("20kB", 20_000), (7, 7), ("7", 7), ("3 b", 3)],
)
def test_sizes(text: object, size: int) -> None:
    assert read_size(text) == size


@given(st.integers(0, 10**12))
def test_what_is_shown_reads_back_as_it_was(value: int) -> None:
    assert read_duration(show_duration(value)) == value
    assert read_size(show_size(value)) == value


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=40))
def test_any_text_is_a_value_or_a_clear_fault(name: str, text: str) -> None:
    """Nothing but SettingsError ever leaves, whatever is written."""
    found: tuple[str, ...] = ()
    try:
        load_settings({name: text}, {}, None)
    except SettingsError as error:
        found = error.faults
    assert all(name in fault for fault in found)


def test_every_setting_is_described_once_and_stands_in_one_section() -> None:
    listed = [name for _, names in sections() for name in names]
    assert listed == list(SETTINGS) == list(Settings.__struct_fields__)
    for name, setting in SETTINGS.items():
        assert setting.purpose.endswith("."), name
        assert default_of(name), f"{name} says nothing of its default"


def test_the_policy_keys_are_those_that_there_are() -> None:
    assert {policy.PREFIX + name for name in policy._READERS} == set(POLICY_KEYS)


def test_a_database_without_a_file_is_refused_when_its_file_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="db: "):
        _ = Settings(db="nonsense").db_file


def test_the_database_file_is_relative_or_full() -> None:
    assert Settings(db="sqlite:///a/b.db").db_file == Path("a/b.db")
    assert Settings(db="sqlite:////a/b.db").db_file == Path("/a/b.db")


def test_bounds_in_words() -> None:
    assert SETTINGS["port"].bounds == "0 to 65535"
    assert SETTINGS["lease"].bounds == "6s to 1h"
    with pytest.raises(BadValueError):
        SETTINGS["lease"].read("5s")


# -- open files


def test_the_soft_limit_of_open_files_is_raised_as_far_as_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"now": (1_024, 50_000)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.update(now=pair))
    ensure_files(DEFAULTS)
    assert limits["now"] == (files_needed(DEFAULTS), 50_000)
    ensure_files(Settings(sockets_max=16))
    assert limits["now"] == (files_needed(DEFAULTS), 50_000)


def test_a_hard_limit_that_is_too_low_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1_024, 4_096))
    with pytest.raises(SettingsError, match=r"7320 open files are needed .* 4096"):
        ensure_files(DEFAULTS)


def test_an_unlimited_hard_limit_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: raised.append(pair))
    ensure_files(DEFAULTS)
    assert raised == [(files_needed(DEFAULTS), resource.RLIM_INFINITY)]


def test_a_stores_limits_are_by_default_as_the_settings() -> None:
    default = Settings()
    assert WriterLimits() == WriterLimits(
        rows_per_transaction=default.rows_per_transaction,
        waiting_rows=default.waiting_rows_max,
        waiting_bytes=default.waiting_bytes_max,
        wait_s=default.waiting_max / 1000,
        lost_claims=default.lost_claims_max,
    )


def test_the_limits_of_an_exchange_are_by_default_as_the_settings() -> None:
    default = Settings()
    assert Limits() == Limits(
        resolve_s=default.resolve_timeout / 1000,
        connect_s=default.connect_timeout / 1000,
        first_byte_s=default.first_byte_timeout / 1000,
        total_s=default.attempt_timeout / 1000,
        header_bytes=default.answer_headers_max,
        reply_bytes=default.reply_kept,
    )
