"""The settings of a chat are those of the contract: names, variables, defaults, bounds, and where they come from."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from valetkey import ConfigurationError
from valetkey.secret import Secret
from valetkey.settings import bedrock_fields
from valetkey.settings.bedrock import DEFAULT_MODEL, SYSTEM_PROMPT, ChatConfig, load_config, validate_config
from valetkey.settings.server import load_server

# Column A of contracts/bedrock-chat.md 1.2: field, variable, default, another value, one that is refused.
CONTRACT = """
temperature BEDROCK_TEMPERATURE 0.7 0.2 1.5
max_tokens BEDROCK_MAX_TOKENS 4096 100 0
top_p BEDROCK_TOP_P 0.9 0.5 -0.1
system_prompt BEDROCK_SYSTEM_PROMPT null "Be\u00a0brief." -
openapi_spec_file BEDROCK_OPENAPI_SPEC_FILE null "spec.yaml" -
api_base_url BEDROCK_API_BASE_URL null "https://api.example.com" "api.example.com"
allowed_paths BEDROCK_ALLOWED_PATHS [] ["/a","/b"] ["a"]
excluded_paths BEDROCK_EXCLUDED_PATHS ["/bedrock-chat","/docs","/redoc","/openapi.json","/health"] ["/x"] ["x"]
max_tool_calls BEDROCK_MAX_TOOL_CALLS 10 3 0
max_tool_call_rounds BEDROCK_MAX_TOOL_CALL_ROUNDS 10 3 -1
max_conversation_messages BEDROCK_MAX_CONVERSATION_MESSAGES 20 7 0
conversation_strategy BEDROCK_CONVERSATION_STRATEGY "sliding_window" "truncate" "forget"
preserve_system_message BEDROCK_PRESERVE_SYSTEM_MESSAGE true false "perhaps"
max_message_size BEDROCK_MAX_MESSAGE_SIZE 100000 5000 0
chunk_size BEDROCK_CHUNK_SIZE 80000 4000 0
chunking_strategy BEDROCK_CHUNKING_STRATEGY "preserve_context" "simple" "none"
chunk_overlap BEDROCK_CHUNK_OVERLAP 1000 0 -1
enable_message_chunking BEDROCK_ENABLE_MESSAGE_CHUNKING true false "x"
timeout BEDROCK_TIMEOUT 30 5 0
max_sessions BEDROCK_MAX_SESSIONS 1000 2 0
session_timeout BEDROCK_SESSION_TIMEOUT 3600 60 0
aws_region AWS_REGION "us-east-1" "eu-west-3" -
chat_endpoint BEDROCK_CHAT_ENDPOINT "/bedrock-chat" "/assistant" "assistant"
websocket_endpoint BEDROCK_WEBSOCKET_ENDPOINT "/bedrock-chat/ws" "/assistant/ws" "/a/../b"
ui_endpoint BEDROCK_UI_ENDPOINT "/bedrock-chat/ui" "/" "/{page}"
enable_ui BEDROCK_ENABLE_UI true false "x"
ui_title BEDROCK_UI_TITLE "AI\u00a0Assistant" "Helper" -
rate_limit BEDROCK_RATE_LIMIT null "10/minute" "often"
cors_origins BEDROCK_CORS_ORIGINS ["*"] ["https://app.example.com"] ["https://*.example.com"]
enable_tool_auth BEDROCK_ENABLE_TOOL_AUTH true false "x"
supported_auth_types BEDROCK_SUPPORTED_AUTH_TYPES ["bearer_token","basic_auth","api_key","oauth2","custom"] ["custom"] 1
require_tool_auth BEDROCK_REQUIRE_TOOL_AUTH false true "x"
auth_token_cache_ttl BEDROCK_AUTH_TOKEN_CACHE_TTL 3600 60 0
log_level BEDROCK_LOG_LEVEL "INFO" "DEBUG" "LOUD"
log_api_calls BEDROCK_LOG_API_CALLS false true "x"
log_errors BEDROCK_LOG_ERRORS true false "x"
suppress_third_party_logs BEDROCK_SUPPRESS_THIRD_PARTY_LOGS true false "x"
max_retries BEDROCK_MAX_RETRIES 3 0 -1
retry_delay BEDROCK_RETRY_DELAY 1.0 0.5 -1
exponential_backoff BEDROCK_EXPONENTIAL_BACKOFF true false "x"
fallback_model BEDROCK_FALLBACK_MODEL null "amazon.nova-lite-v1:0" -
graceful_degradation BEDROCK_GRACEFUL_DEGRADATION true false "x"
default_auth_type BEDROCK_DEFAULT_AUTH_TYPE null "api_key" "password"
auth_verification_endpoint BEDROCK_AUTH_VERIFICATION_ENDPOINT null "/me" "me"
sso_enabled BEDROCK_SSO_ENABLED false false "x"
sso_scopes BEDROCK_SSO_SCOPES "openid\u00a0profile\u00a0email" "openid" -
sso_callback_path BEDROCK_SSO_CALLBACK_PATH "/chat/auth/callback" "/cb" -
sso_session_ttl BEDROCK_SSO_SESSION_TTL 3600 60 0
"""
ROWS = [line.split(" ") for line in CONTRACT.strip().splitlines()]


def read(cell: str) -> object:
    return json.loads(cell.replace("\u00a0", " "))


def text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """No variable of the chat from outside; and what was said once can be said again."""
    monkeypatch.setattr(bedrock_fields, "_said", set())


@pytest.mark.requirement("chat.settings")
@pytest.mark.parametrize(("field", "default"), [(row[0], row[2]) for row in ROWS])
def test_a_default_is_the_contracts(field, default):
    assert getattr(load_config(), field) == read(default)
    assert field not in load_config().model_fields_set


@pytest.mark.requirement("seed003.keywords", "chat.settings")
@pytest.mark.parametrize(("field", "variable", "value"), [(row[0], row[1], row[3]) for row in ROWS])
def test_a_setting_is_taken_as_keyword_and_as_variable(field, variable, value, monkeypatch):
    wanted = read(value)
    assert getattr(load_config(**{field: wanted}), field) == wanted
    monkeypatch.setenv(variable, text_of(wanted))
    config = load_config()
    assert getattr(config, field) == wanted
    assert field in config.model_fields_set


@pytest.mark.requirement("chat.settings")
@pytest.mark.parametrize(("field", "variable", "value"), [(row[0], row[1], row[4]) for row in ROWS if row[4] != "-"])
def test_a_value_out_of_bounds_is_refused_by_name_and_source(field, variable, value, monkeypatch):
    with pytest.raises(
        ConfigurationError, match=rf"^Failed to load configuration: The setting {field} \(keywords\) .*\.$"
    ):
        load_config(**{field: read(value)})
    monkeypatch.setenv(variable, text_of(read(value)))
    with pytest.raises(ConfigurationError, match=rf"The setting {field} \(environment: {variable}\) cannot be used: "):
        load_config()


@pytest.mark.requirement("seed003.environment")
@pytest.mark.parametrize(
    "text",
    [
        "bearer_token,basic_auth,api_key",
        "bearer_token, basic_auth , api_key",
        ' [ "bearer_token", "basic_auth", "api_key" ] ',
        "bearer_token,basic_auth,api_key,",
        ["bearer_token", "basic_auth", "api_key"],
        ("bearer_token", "basic_auth", "api_key"),
    ],
)
def test_a_list_is_written_as_anyone_would(text, monkeypatch):
    wanted = ["bearer_token", "basic_auth", "api_key"]
    assert load_config(supported_auth_types=text).supported_auth_types == wanted
    if isinstance(text, str):
        monkeypatch.setenv("BEDROCK_SUPPORTED_AUTH_TYPES", text)
        assert load_config().supported_auth_types == wanted


@pytest.mark.requirement("seed003.environment")
def test_the_seeds_own_environment_works(monkeypatch):
    for line in (
        "BEDROCK_ENABLE_TOOL_AUTH=true",
        "BEDROCK_SUPPORTED_AUTH_TYPES=bearer_token,basic_auth,api_key,oauth2,custom",
        "BEDROCK_REQUIRE_TOOL_AUTH=false",
        "BEDROCK_AUTH_TOKEN_CACHE_TTL=3600",
        "BEDROCK_LOG_LEVEL=debug",
    ):
        monkeypatch.setenv(*line.split("=", 1))
    config = load_config(enable_tool_auth=True, supported_auth_types=["bearer_token", "oauth2"])
    assert config.supported_auth_types == ["bearer_token", "oauth2"]
    assert config.log_level == "DEBUG"


@pytest.mark.requirement("chat.settings-order")
def test_the_first_source_that_has_a_setting_decides(monkeypatch):
    def titled(**keywords) -> str:
        return load_config(**keywords).ui_title

    assert titled() == "AI Assistant"
    Path("valetkey.toml").write_text('[chat]\nui_title = "toml"\n')
    assert titled() == "toml"
    Path(".secrets.toml").write_text('[chat]\nui_title = "secrets"\n')
    assert titled() == "secrets"
    Path(".env").write_text("bedrock_ui_title=dotenv\n")
    assert titled() == "dotenv"
    monkeypatch.setenv("BEDROCK_UI_TITLE", "environment")
    assert titled() == "environment"
    monkeypatch.setenv("BEDROCK_UI_TITLE", "  ")
    assert titled() == "dotenv", "an empty variable says nothing"
    assert titled(ui_title="keyword") == "keyword"
    assert titled(ui_title=None) == "dotenv", "None is not given"


@pytest.mark.requirement("chat.settings-order")
def test_names_of_variables_are_taken_in_any_case_and_the_usual_one_goes_first(monkeypatch):
    monkeypatch.setenv("bedrock_ui_title", "small")
    assert load_config().ui_title == "small"
    monkeypatch.setenv("BEDROCK_UI_TITLE", "capital")
    assert load_config().ui_title == "capital"


@pytest.mark.requirement("fault.env-test")
def test_a_file_for_tests_is_nobodys_business():
    Path(".env.test").write_text("BEDROCK_UI_TITLE=test\n")
    assert load_config().ui_title == "AI Assistant"


@pytest.mark.requirement("chat.settings")
def test_tables_and_lists_of_a_file(monkeypatch):
    Path("valetkey.toml").write_text(
        "[chat]\ntoken_url_hosts = ['idp.internal']\n[chat.scheme_providers]\nghe = 'github'\n"
        "[[chat.preset_prompts]]\nlabel = 'Orders'\ntemplate = 'List my orders'\n"
    )
    config = load_config()
    assert config.scheme_providers == {"ghe": "github"}
    assert config.token_url_hosts == ["idp.internal"]
    assert config.preset_prompts == [{"label": "Orders", "template": "List my orders"}]
    monkeypatch.setenv("BEDROCK_SCHEME_PROVIDERS", '{"mine": "slack"}')
    assert load_config().scheme_providers == {"mine": "slack"}
    assert load_config(scheme_providers={"a.b": "c"}).scheme_providers == {"a.b": "c"}


@pytest.mark.requirement("d17.unknown")
def test_a_name_that_is_not_known(monkeypatch, caplog):
    with pytest.raises(ConfigurationError, match=r"There is no keyword require_tool_aut\. Did you mean require_tool_a"):
        load_config(require_tool_aut=True)
    monkeypatch.setenv("BEDROCK_MODLE_ID", "x")
    monkeypatch.setenv("VALETKEY_CHAT__UI_TITEL", "x")
    load_config()
    load_config()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "The variable BEDROCK_MODLE_ID is not known, and does nothing. Did you mean BEDROCK_MODEL_ID?",
        "environment has the setting chat.ui_titel, which is not known. Did you mean ui_title?",
    ]
    Path("settings.toml").write_text("[chat]\nxyz = 'x'\n")
    load_config()
    assert caplog.messages[-1] == "settings.toml has the setting chat.xyz, which is not known."
    Path("valetkey.toml").write_text("[chat]\nui_titel = 'x'\n")
    with pytest.raises(ConfigurationError, match=r"valetkey\.toml has the setting chat\.ui_titel.*Did you mean ui_tit"):
        load_config()
    with pytest.raises(ValidationError):
        ChatConfig(nonsense=1)  # type: ignore[call-arg]


@pytest.mark.requirement("chat.settings")
@pytest.mark.parametrize("name", ["tools", "auth_dependency"])
def test_what_only_a_program_can_give_is_no_variable(name, monkeypatch, caplog):
    monkeypatch.setenv(f"BEDROCK_{name.upper()}", "x")
    assert not getattr(load_config(), name)
    assert f"BEDROCK_{name.upper()} is not known" in caplog.text


@pytest.mark.requirement("fault.dead-settings", "d17.nothing")
def test_what_is_known_and_does_nothing_is_said_once(monkeypatch, caplog):
    names = ["llm_client_type", "enable_rag", "kb_chunk_size", "feedback_enabled", "admin_authorizer"]
    for _ in range(2):
        load_config(**dict.fromkeys(names, 1), max_tokens=1)
    assert [record.getMessage() for record in caplog.records] == [
        f"The setting {name} of the chat is known, and does nothing here." for name in names
    ]
    caplog.clear()
    for name in ("ENABLE_RAG", "KB_TOP_K_RESULTS", "BEDROCK_KB_POSTGRES_URL", "BEDROCK_ENABLE_AI_SUMMARIZATION"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KB_OF_SOMEBODY_ELSE", "1")
    load_config()
    assert len(caplog.records) == 4


@pytest.mark.requirement("D.model-keys")
def test_a_secret_is_not_printed_and_a_readable_file_is_warned_of(caplog):
    Path(".env").write_text("AWS_ACCESS_KEY_ID=AKIAEXAMPLE\nAWS_SECRET_ACCESS_KEY=very-secret-key\n")
    Path(".env").chmod(0o644)
    config = load_config(sso_client_secret="other-secret", model_api_key=Secret("third-secret"), model_id="openai:x")
    assert config.aws_secret_access_key == Secret("very-secret-key")
    assert "chmod 600" in caplog.text
    shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()} {caplog.text}"
    assert "-secret" not in shown.replace("aws-secret", "")
    with pytest.raises(ConfigurationError) as refused:
        load_config(model_api_key=["third-secret"], model_id="openai:x")
    assert "third" not in str(refused.value)
    assert "model_api_key (keywords)" in str(refused.value)


@pytest.mark.requirement("chat.settings")
@pytest.mark.parametrize(
    ("keywords", "why"),
    [
        ({"chat_endpoint": "/a", "ui_endpoint": "/a/"}, "have to be different paths"),
        ({"aws_access_key_id": "AKIA"}, "belong together"),
        ({"default_auth_type": "api_key", "supported_auth_types": "oauth2"}, "none of supported_auth_types"),
        ({"require_tool_auth": True, "enable_tool_auth": False}, "needs enable_tool_auth"),
        ({"model_base_url": "http://127.0.0.1:9"}, "need model_id"),
        ({"openapi_spec_file": "a.json", "openapi_spec_url": "https://a.example/b"}, "say the same twice"),
        ({"sso_enabled": True, "sso_client_id": "me"}, "needs sso_discovery_url"),
        ({"api_base_url": "https://user:password@api.example.com"}, "without user name"),
        ({"supported_auth_types": ["apikey"]}, "Did you mean api_key"),
    ],
)
def test_what_does_not_go_together_is_said(keywords, why):
    with pytest.raises(ConfigurationError, match=why) as refused:
        load_config(**keywords)
    assert "password" not in str(refused.value)


@pytest.mark.requirement("chat.settings")
def test_an_assignment_is_checked_and_a_refused_one_changes_nothing():
    config = load_config()
    config.supported_auth_types = "api_key, custom"  # type: ignore[assignment]
    assert config.supported_auth_types == ["api_key", "custom"]
    before, given = dict(config), set(config.model_fields_set)
    for name, value in (("temperature", 2), ("ui_endpoint", "/bedrock-chat"), ("default_auth_type", "oauth2")):
        with pytest.raises(ValidationError):
            setattr(config, name, value)
    assert dict(config) == before
    assert config.model_fields_set == given
    validate_config(config)
    with pytest.raises(ConfigurationError, match="takes a ChatConfig"):
        validate_config({})  # type: ignore[arg-type]


@pytest.mark.requirement("d14.rate")
@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/minute", (10, 60)),
        ("5/s", (5, 1)),
        ("100 per hour", (100, 3600)),
        ("1 / day", (1, 86_400)),
        ("7/Minutes", (7, 60)),
    ],
)
def test_a_rate_is_so_many_in_a_period(text, rate):
    assert load_config(rate_limit=text).rate == rate
    assert load_config().rate is None


@pytest.mark.requirement("d14.rate")
@pytest.mark.parametrize("text", ["0/minute", "10", "/minute", "10/fortnight", "-1/s", "1/2/s", "10/m\n/s"])
def test_a_rate_that_says_nothing_is_refused(text):
    with pytest.raises(ConfigurationError, match="10/minute"):
        load_config(rate_limit=text)


@pytest.mark.requirement("chat.any-model")
@pytest.mark.parametrize(
    "model",
    ["amazon.nova-pro-v1:0", "mistral.mistral-large-2407-v1:0", "us.deepseek.r1-v1:0", "openai:gpt-5", "offline"],
)
def test_any_model_is_taken(model):
    assert load_config(model_id=model).model_choice().model_id == model


@pytest.mark.parametrize("model", ["", " ", "a\nb"])
def test_a_model_without_a_name_is_not(model):
    with pytest.raises(ConfigurationError, match="model_id"):
        load_config(model_id=model)


def test_the_long_name_of_oauth2_is_the_short_one_and_sso_is_no_type(caplog):
    given = ["oauth2_client_credentials", "OAuth2", "sso"]
    config = load_config(supported_auth_types=given, default_auth_type="oauth2_client_credentials")
    assert config.supported_auth_types == ["oauth2"]
    assert config.default_auth_type == "oauth2"
    assert load_config(default_auth_type="sso").default_auth_type is None
    assert "sso is no type" in caplog.text


@pytest.mark.requirement("chat.presets")
def test_prompts_of_a_file_are_taken_where_none_are_given(tmp_path):
    prompts = [{"label": "A", "template": "Do {{WHAT}}"}]
    yaml = tmp_path / "prompts.yaml"
    yaml.write_text("prompts:\n  - label: A\n    template: Do {{WHAT}}\nvariables:\n  - name: WHAT\n")
    config = load_config(preset_prompts_file=yaml)
    assert config.preset_prompts == prompts
    assert config.preset_variables == [{"name": "WHAT"}]
    plain_list = tmp_path / "prompts.json"
    plain_list.write_text(json.dumps(prompts))
    assert load_config(preset_prompts_file=str(plain_list)).preset_prompts == prompts
    own = [{"label": "B", "template": "b"}]
    assert load_config(preset_prompts_file=yaml, preset_prompts=own).preset_prompts == own
    for text in ("prompts: 5", "- label: only", "[1, 2", "- 5"):
        yaml.write_text(text)
        with pytest.raises(ConfigurationError, match=r"^Failed to load configuration: "):
            load_config(preset_prompts_file=yaml)
    with pytest.raises(ConfigurationError, match=r"missing\.yaml is missing"):
        load_config(preset_prompts_file=tmp_path / "missing.yaml")


KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"}
CREDENTIALS = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n"


@pytest.mark.requirement("chat.any-model", "d16.offline")
@pytest.mark.parametrize(
    ("variables", "files", "found"),
    [
        ({}, {}, False),
        (KEYS, {}, True),
        ({"AWS_REGION": "eu-west-1"}, {}, False),
        ({"AWS_PROFILE": "work"}, {}, True),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x"}, {}, True),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"}, {}, True),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}, {}, True),
        ({"AWS_BEARER_TOKEN_BEDROCK": "example"}, {}, True),
        ({"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:9"}, {}, False),
        ({}, {"person/.aws/credentials": CREDENTIALS}, True),
        ({}, {"person/.aws/credentials": CREDENTIALS.replace("default", "work")}, False),
        ({}, {"person/.aws/credentials": "no ini at all"}, False),
        ({}, {"person/.aws/config": "[default]\nregion = eu-west-1\n"}, False),
        ({}, {"person/.aws/config": "[default]\nsso_session = work\nsso_account_id = 1\n"}, True),
        ({"AWS_SHARED_CREDENTIALS_FILE": "elsewhere"}, {"here/elsewhere": CREDENTIALS}, True),
        ({"AWS_SHARED_CREDENTIALS_FILE": "none"}, {"person/.aws/credentials": CREDENTIALS}, False),
        ({"AWS_CONFIG_FILE": "config"}, {"here/config": "[default]\ncredential_process = /bin/true\n"}, True),
    ],
)
def test_the_stand_in_answers_where_nothing_names_credentials_of_aws(variables, files, found, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    config = load_config()
    assert config.model_id == (DEFAULT_MODEL if found else "offline")
    assert config.offline_by_default is not found
    assert load_config(model_id="offline").offline_by_default is False


def test_the_models_own_default_is_the_contracts():
    assert DEFAULT_MODEL == "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    given = load_config(aws_access_key_id="AKIA", aws_secret_access_key="x")
    assert given.model_id == DEFAULT_MODEL


def test_settings_are_read_without_boto3_and_without_a_model_library():
    code = "import sys; from valetkey import load_config; load_config(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert not {"boto3", "botocore", "pydantic_ai", "fastapi", "sqlalchemy"} & set(ran.stdout.split())


@pytest.mark.requirement("d16.bedrock")
def test_a_model_is_told_what_was_set_and_no_more(monkeypatch):
    choice = load_config(model_id="m").model_choice()
    assert (choice.temperature, choice.top_p, choice.max_tokens, choice.region) == (None, None, 4096, "us-east-1")
    assert choice.timeout == 120
    choice = load_config(model_id="m", temperature=0.7, top_p=0, timeout=600).model_choice()
    assert (choice.temperature, choice.top_p, choice.timeout) == (0.7, 0, 600)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert load_config(model_id="m").model_choice().region == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert load_config(model_id="m").model_choice().region == "eu-west-2"


@pytest.mark.requirement("D.model-keys")
def test_keys_of_the_environment_are_left_to_boto3_and_others_are_handed_on(monkeypatch):
    for name, value in (*KEYS.items(), ("AWS_SESSION_TOKEN", "session")):
        monkeypatch.setenv(name, value)
    choice = load_config().model_choice()
    assert (choice.access_key_id, choice.secret_access_key, choice.session_token) == (None, None, None)
    choice = load_config(aws_access_key_id="AKIAOTHER", aws_secret_access_key="other").model_choice()
    assert choice.access_key_id == "AKIAOTHER"
    assert choice.secret_access_key == Secret("other")
    assert choice.session_token is None, "that of the environment belongs to its keys"
    assert load_config(aws_secret_access_key="newer").model_choice().secret_access_key == Secret("newer")
    choice = load_config(
        aws_access_key_id="AKIAOTHER", aws_secret_access_key="other", aws_session_token="theirs"
    ).model_choice()
    assert choice.session_token == Secret("theirs")


@pytest.mark.requirement("D.model-keys")
def test_one_provider_is_not_shown_the_key_of_another():
    given = {"model_id": "openai:a", "model_base_url": "http://127.0.0.1:9/v1", "model_api_key": "sk-1"}
    for fallback, same in (("openai:b", True), ("anthropic:c", False), ("amazon.nova-lite-v1:0", False)):
        config = load_config(**given, fallback_model=fallback)
        choice = config.model_choice(fallback=True)
        assert choice.model_id == fallback
        assert (choice.base_url is not None, choice.api_key is not None) == (same, same)
        assert config.model_choice().api_key == Secret("sk-1")
    given["model_id"] = "amazon.nova-lite-v1:0"
    config = load_config(**given, fallback_model="openai:b")
    assert config.model_choice().api_key is None
    assert config.model_choice(fallback=True).api_key == Secret("sk-1"), "it is the fallback's"
    with pytest.raises(ConfigurationError, match="no fallback_model"):
        load_config(model_id="m").model_choice(fallback=True)


def test_what_the_model_is_told_of_its_task():
    assert load_config().prompt == SYSTEM_PROMPT
    assert load_config(system_prompt="").prompt == ""
    assert load_config(system_prompt="Be brief.").prompt == "Be brief."


def issuers(**keywords):
    config = load_config(**keywords)
    return load_server(Path.cwd(), {}, keywords=config.mount_settings()).identity.issuers


@pytest.mark.requirement("chat.sso")
@pytest.mark.parametrize(
    ("discovery", "provider", "issuer"),
    [
        ("https://idp.example.com/realms/a/.well-known/openid-configuration", None, "https://idp.example.com/realms/a"),
        ("https://tenant.eu.auth0.com/.well-known/openid-configuration", None, "https://tenant.eu.auth0.com/"),
        ("https://login.example.com/.well-known/openid-configuration", "Auth0", "https://login.example.com/"),
        ("https://accounts.google.com", "google", "https://accounts.google.com"),
    ],
)
def test_users_of_an_openid_provider_are_let_in(discovery, provider, issuer):
    (found,) = issuers(sso_enabled=True, sso_discovery_url=discovery, sso_provider=provider, sso_client_id="my-chat")
    assert found.issuer == issuer
    assert found.audiences == {"my-chat"}
    assert found.alias == "sso"
    assert found.jwks_url == ""


@pytest.mark.requirement("chat.sso")
def test_what_is_mounted_is_told_only_what_was_set(caplog):
    assert load_config().mount_settings() == {}
    assert load_config(sso_client_id="x").mount_settings() == {}, "sso is not enabled"
    config = load_config(
        sso_enabled=True,
        sso_discovery_url="https://idp.example.com",
        sso_client_id="c",
        sso_jwks_url="https://idp.example.com/keys",
        sso_public_base_url="https://app.example.com/",
        sso_session_ttl=600,
        sso_client_secret="s",
        sso_userinfo_url="https://idp.example.com/me",
    )
    settings = load_server(Path.cwd(), {}, keywords=config.mount_settings())
    assert settings.serving.public_base_url == "https://app.example.com"
    assert settings.identity.session_lifetime == settings.identity.session_idle == 600
    assert settings.identity.issuers[0].jwks_url == "https://idp.example.com/keys"
    said = [record.getMessage().split()[2] for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["sso_client_secret", "sso_userinfo_url"]
    mine = load_config(public_base_url="https://a.example", sso_public_base_url="https://b.example")
    assert mine.mount_settings() == {"public_base_url": "https://a.example"}


def test_a_program_with_a_pocket_passes_over_the_table_of_the_chat():
    from valetkey.settings.pocket import Config

    Path("valetkey.toml").write_text("[chat]\nui_title = 'x'\n[chat.scheme_providers]\na = 'b'\n")
    assert Config.load(Path.cwd(), {"VALETKEY_CHAT__TIMEOUT": "5"}).callbacks.public_hostname == "localhost"
    assert load_config().ui_title == "x"


@pytest.mark.parametrize("service", ["", "a/b/c", "a b", "/s", "a:b:c"])
def test_a_service_that_can_be_none_is_refused(service: str) -> None:
    assert ChatConfig(services=["s", "ws/s", "ws/client:s", "ws/s@app"]).services[0] == "s"
    with pytest.raises(ValidationError, match="named by its id"):
        ChatConfig(services=[service])
