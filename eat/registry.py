"""Tables of a family's parts, and how a part is built by name, for saved configs and for YAML alike."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from eat.checks import closest, one_line, plain, shown

P = TypeVar("P")


class Family(Mapping[str, P], Generic[P]):
    """Table of a family's parts by name: eat's own, and those that installed packages offer as entry points.

    A package offers a part in its ``pyproject.toml``, under the family's group. A name can thus load only what the user
    installed, and nothing is imported until the name is asked for. eat's own names always mean eat's own parts.

    ``in`` and ``[]`` know all parts; iterating yields eat's own, so that what sweeps, reports and tests list does not
    depend on what else is installed.

    Args:
        group: Group of entry points, such as ``eat.pruners``.
        own: eat's own parts by name.
    """

    def __init__(self, group: str, own: Mapping[str, P]) -> None:
        self.group = group
        self._own = dict(own)
        self._loaded: dict[str, P] = {}

    def __getitem__(self, name: str) -> P:
        if name in self._own:
            return self._own[name]
        if name not in self._loaded:
            offer = self._offer(name)
            if offer is None:
                raise KeyError(name)
            self._loaded[name] = self._load(offer)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    def __contains__(self, name: object) -> bool:
        if name in self._own or name in self._loaded:
            return True
        return isinstance(name, str) and self._offer(name) is not None

    @property
    def known(self) -> list[str]:
        """All names, eat's own and others', sorted; imports nothing."""
        return sorted({*self._own, *self._loaded, *self.offered()})

    def offered(self) -> tuple[str, ...]:
        """List the names that other packages offer and eat has none of its own for; imports nothing."""
        return tuple(sorted({point.name for point in entry_points(group=self.group)} - set(self._own)))

    def checked(self, option: str, name: Any) -> str:
        """Return a known name; else raise a ValueError that lists all and says where a missing one would come from."""
        if isinstance(name, str) and name in self:
            return name
        raise ValueError(
            f"{option}: expected one of {self.known}, got {shown(name)}{closest(name, self.known)}; a part of "
            f"another package needs that package installed (entry points {self.group!r})"
        )

    @contextmanager
    def lent(self, name: str, part: P) -> Iterator[None]:
        """Know a part by a name for a while, as if a package offered it: how one is tried before it is packaged."""
        if name in self:
            raise ValueError(f"{self.group}: expected a name that no part has yet, got {shown(name)}")
        self._loaded[name] = part
        try:
            yield
        finally:
            del self._loaded[name]

    def _offer(self, name: str) -> EntryPoint | None:
        offers = list(entry_points(group=self.group, name=name))
        if len(offers) > 1:
            packages = sorted(_package(offer) for offer in offers)
            raise ValueError(
                f"{self.group}: expected one package that offers {name!r}, got {' and '.join(packages)}; uninstall one"
            )
        return offers[0] if offers else None

    def _load(self, offer: EntryPoint) -> P:
        try:
            return offer.load()
        except Exception as error:
            raise ValueError(
                f"{self.group}: {offer.name!r} of {_package(offer)} cannot be loaded from {offer.value!r}: "
                f"{type(error).__name__}: {one_line(error)}"
            ) from error


def build_part(family: str, table: Family[Any], spec: Mapping[str, Any]) -> Any:
    """Build the part ``spec["name"]`` of a family with the spec's other keys as constructor arguments.

    Only names in the table can be built: loading a stranger's model never imports what its config says.

    Raises:
        ValueError: If the name or an argument is unknown, an argument is missing, or the constructor refuses a value.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise ValueError(f"{family}: expected a mapping with a 'name' out of {table.known}, got {shown(spec)}")
    name = table.checked(f"{family}.name", spec["name"])
    part = table[name]
    if not callable(part):
        raise ValueError(f"{family}.name: expected a class or a function behind {name!r}, got {part!r}")
    arguments = {str(key): plain(value) for key, value in spec.items() if key != "name"}
    parameters = inspect.signature(part).parameters
    for key in arguments:
        if key not in parameters:
            raise ValueError(
                f"{family}.{key}: {family} {name!r} takes {sorted(parameters) or 'no arguments'}, "
                f"got {shown(key)}{closest(key, parameters)}"
            )
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ValueError(f"{family}.{missing[0]}: {family} {name!r} needs a value for {missing}, got none")
    return part(**arguments)


def _package(offer: EntryPoint) -> str:
    return "an unknown package" if offer.dist is None else f"{offer.dist.name} {offer.dist.version}"
