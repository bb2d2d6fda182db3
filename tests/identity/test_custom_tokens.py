"""Six kinds of token on one server at once, with seed 004's raising parser in place: each goes where it belongs."""

import pytest

from tests.identity.chains import Known
from tests.services.kit import ROOT_TOKEN, Place
from valetkey.errors import CouldNotTell, Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.model.caller import Owner
from valetkey.model.calls import NOTHING, Presented
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo


class Away:
    async def verify(self, presented):
        if "issuer-away" in str(presented.value.reveal()):
            raise CouldNotTell("its keys cannot be had")


def issuer() -> Known:
    owner = Owner(workspace="ws-user-corp|eve", issuer="https://corp.example", subject="eve")
    user = UserInfo(id="corp|eve", roles=[])
    return Known("corp", {"corp-good": Vouch(owner=owner, how="foreign", user=user), "corp-bad": "bad signature"})


@pytest.mark.requirement("seed004.bp-testing")
async def test_each_of_six_kinds_goes_where_it_belongs():
    asked: list[str] = []
    place = Place(foreign=(issuer(),))
    place.open()

    async def custom_parse_token(token: str) -> UserInfo:
        asked.append(token)
        if token != "custom-good":
            raise ValueError("Invalid token")
        return UserInfo(id="guest", roles=[])

    await place.plugin.register_auth_service(parse_token=custom_parse_token)
    _, ada = await place.signed_in()
    assert ada.user is not None
    key, _ = await place.tokens.issue(TokenKind.API_KEY, ada.user, ada.owner, name="a key")
    session, _ = await place.signed_in("bob")
    found = {
        "access": await place.identify(await place.access("eve")),
        "api_key": await place.identify(key.reveal()),
        "root": await place.identify(ROOT_TOKEN),
        "foreign": await place.identify("corp-good"),
        "custom": await place.identify("custom-good"),
        "session": await place.identify(session, scheme="session"),
        "anonymous": await place.chain.identify(Presented(scheme=NOTHING, value="")),
    }
    assert {kind: caller.how for kind, caller in found.items()} == {kind: kind for kind in found}
    assert [caller.principal for caller in found.values()] == [
        ("valetkey", "local|eve"),
        ("valetkey", "local|ada"),
        ("valetkey", "root"),
        ("https://corp.example", "eve"),
        ("custom", "guest"),
        ("valetkey", "local|bob"),
        ("anonymous", "anonymouz-http"),
    ]
    assert asked == ["custom-good"]
    place.end()


@pytest.mark.requirement("d22.order")
async def test_what_its_own_verifier_refuses_is_shown_to_no_parser():
    asked: list[str] = []
    place = Place(foreign=(issuer(), Away()))
    place.open()

    def weak(token: str) -> UserInfo:
        asked.append(token)
        return UserInfo(id="guest", roles=[])

    await place.plugin.register_auth_service(parse_token=weak)
    good = await place.access()
    header, payload, signature = good.split(".")
    key = "vk_" + "A" * 22 + "_" + "A" * 43 + "_" + "A" * 6
    for bad in ("corp-bad", f"{header}.{payload}.{signature[::-1]}", key):
        with pytest.raises(Unauthenticated):
            await place.identify(bad)
    with pytest.raises(CouldNotTell):
        await place.identify("issuer-away")
    assert asked == []
    place.end()
