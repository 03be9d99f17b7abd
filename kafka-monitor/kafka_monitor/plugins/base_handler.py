from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Mapping

    from kafka_monitor.intake import Intake


class BaseHandler(ABC):
    """A plugin of the Kafka monitor: it handles the messages that its schema accepts.

    *schema* is a JSON Schema (draft 4): a dict, or the name of a file beside the plugin's
    module.  Any class with these three will do; the monitor gives it the attributes below.
    """

    schema: str | Mapping[str, Any]
    logger: logging.Logger
    #: Takes what is to go to Redis, with everything else of its batch.
    intake: Intake

    @abstractmethod
    def setup(self, settings: Mapping[str, Any]) -> None:
        """Get ready, once, before the first message; *settings* are all of the monitor's."""

    @abstractmethod
    def handle(self, message: dict[str, Any]) -> Any | Awaitable[Any]:
        """Handle a *message* that the schema accepts, its defaults and `ts` filled in.

        Return None when that was all, anything else when the next plugin should look at
        it too.  Raise `MessageError` to refuse it, `Unavailable` to be asked again later.
        """
