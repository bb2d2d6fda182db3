"""Who is connected, and who registered what."""

from __future__ import annotations

from valetkey.model.services import BUILT_IN, Member, Registered
from valetkey.services.directory import Directory, Watcher


class Told(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def joined(self, member: Member) -> None:
        self.told.append(("joined", member.peer, member.instance))

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        self.told.append(("left", member.peer, *(each.id for each in services)))

    def registered(self, service: Registered) -> None:
        self.told.append(("registered", service.full_id))

    def unregistered(self, service: Registered) -> None:
        self.told.append(("unregistered", service.full_id))


def member(workspace: str, client: str, *, instance: str = "one", since: float = 0.0) -> Member:
    return Member(workspace=workspace, client=client, instance=instance, principal=("i", "s"), since=since)


def service(workspace: str, client: str, service_id: str) -> Registered:
    return Registered(workspace=workspace, client=client, id=service_id)


def filled() -> tuple[Directory, Told]:
    directory, told = Directory(instance="one"), Told()
    for each in (member("w", "b", since=1), member("w", "a", since=2), member("v", "a", instance="two")):
        directory.join(each)
    for names in (("w", "b", "z"), ("w", "b", "s"), ("w", "a", "s"), ("w", "a", BUILT_IN), ("v", "a", "s")):
        directory.register(service(*names))
    directory.watch(told)
    return directory, told


def test_clients_are_listed_by_when_they_came() -> None:
    directory, _ = filled()
    assert [each.peer for each in directory.members("w")] == ["w/b", "w/a"]
    assert [each.peer for each in directory.members()] == ["v/a", "w/b", "w/a"]
    assert (directory.count("w"), directory.count("v"), directory.count("none")) == (2, 1, 0)


def test_services_are_found_by_client_by_name_and_by_workspace() -> None:
    directory, _ = filled()
    assert directory.service("w/b", "s") == service("w", "b", "s")
    assert directory.service("w/c", "s") is None
    assert [each.full_id for each in directory.named("w", "s")] == ["w/b:s", "w/a:s"]
    assert [each.full_id for each in directory.services("w")] == ["w/b:s", "w/b:z", "w/a:s"]
    assert [each.full_id for each in directory.services("w", built_in=True)][2:] == ["w/a:built-in", "w/a:s"]
    assert [each.full_id for each in directory.services()] == ["v/a:s", "w/b:s", "w/b:z", "w/a:s"]
    assert directory.count_of("w/b") == 2


def test_a_client_takes_its_services_along() -> None:
    directory, told = filled()
    assert [each.id for each in directory.leave("w/b")] == ["z", "s"]
    assert directory.leave("w/b") == ()
    assert [each.full_id for each in directory.named("w", "s")] == ["w/a:s"]
    assert list(directory.services("w")) == [service("w", "a", "s")]
    assert told.told == [("left", "w/b", "z", "s")]


def test_one_that_comes_back_begins_anew() -> None:
    directory, told = filled()
    directory.join(member("w", "b", instance="two"))
    assert told.told == [("left", "w/b", "z", "s"), ("joined", "w/b", "two")]
    assert directory.service("w/b", "s") is None


def test_a_service_is_replaced_in_its_place() -> None:
    directory, told = filled()
    again = Registered(workspace="w", client="b", id="s", name="again")
    directory.register(again)
    assert [each.name for each in directory.named("w", "s")] == ["again", ""]
    assert directory.count_of("w/b") == 2
    assert told.told == [("registered", "w/b:s")]


def test_nobody_registers_for_a_client_that_is_not_there() -> None:
    directory, told = filled()
    directory.register(service("w", "c", "s"))
    assert directory.service("w/c", "s") is None
    assert told.told == []


def test_an_unregistered_service_is_not_there() -> None:
    directory, told = filled()
    assert directory.unregister("w/a", "s") == service("w", "a", "s")
    assert directory.unregister("w/a", "s") is None
    assert directory.unregister("w/c", "s") is None
    assert [each.full_id for each in directory.named("w", "s")] == ["w/b:s"]
    assert told.told == [("unregistered", "w/a:s")]


def test_an_instance_goes_with_its_clients() -> None:
    directory, told = filled()
    assert [(each.peer, [of.id for of in services]) for each, services in directory.of_instance("two")] == [
        ("v/a", ["s"])
    ]
    assert [each.peer for each in directory.drop("two")] == ["v/a"]
    assert directory.of_instance("two") == []
    assert [each.peer for each in directory.members()] == ["w/b", "w/a"]
    assert told.told == [("left", "v/a", "s")]


def test_nothing_is_left_of_those_who_left() -> None:
    directory, _ = filled()
    for peer in ("w/a", "w/b", "v/a"):
        directory.leave(peer)
    kept = [getattr(directory, name) for name in ("_members", "_services", "_by_name", "_in")]
    assert kept == [{}, {}, {}, {}]


def test_a_watcher_may_stop_while_it_is_told() -> None:
    directory, told = filled()

    class Once(Told):
        def left(self, member: Member, services: tuple[Registered, ...]) -> None:
            super().left(member, services)
            stop()

    once = Once()
    stop = directory.watch(once)
    later = Told()
    directory.watch(later)
    directory.leave("w/a")
    directory.leave("w/b")
    assert [len(each.told) for each in (told, once, later)] == [2, 1, 2]
