"""The names of the providers that we ship, for the editor; a test compares them with the catalogue's files."""

from __future__ import annotations

from typing import ClassVar, Self


class BuiltinNames:
    """``AuthProvider.SLACK`` and so on."""

    __slots__ = ()

    APITOKEN: ClassVar[Self]
    ASANA: ClassVar[Self]
    BASICAUTH: ClassVar[Self]
    BITBUCKET: ClassVar[Self]
    CALENDLY: ClassVar[Self]
    DISCORD: ClassVar[Self]
    FACEBOOK: ClassVar[Self]
    GITHUB: ClassVar[Self]
    GOOGLE: ClassVar[Self]
    HUBSPOT: ClassVar[Self]
    JIRA: ClassVar[Self]
    KRAKEN: ClassVar[Self]
    LINEAR: ClassVar[Self]
    LINKEDIN: ClassVar[Self]
    MAILCHIMP: ClassVar[Self]
    NOTION: ClassVar[Self]
    REDDIT: ClassVar[Self]
    SALESFORCE: ClassVar[Self]
    SLACK: ClassVar[Self]
    SPOTIFY: ClassVar[Self]
    X: ClassVar[Self]
    ZOOM: ClassVar[Self]
