"""OpenTelemetry: the spans of one page, from its crawl request to its message on Kafka.

The trace of a page is its `requestid`.  So nothing has to be carried from one process to
the next, a page that is fetched again is in the same trace, and a sampler that goes by the
trace takes the same pages everywhere.

Loaded only where TRACING is set.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError
from crawling.messages.crawl import page_ids

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.trace import set_span_in_context
except ImportError as error:
    raise ConfigError(
        "TRACING", f"needs OpenTelemetry ({error}): pip install 'scrapy-fleet[otel]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

    from crawling.tracker.tracker import CrawlId, Submission


#: Seconds that the end of a process may take to send its last spans.
LAST_SPANS = 5.0


class _Ids(RandomIdGenerator):
    """Gives the next trace the id that it is told."""

    next = 0

    def generate_trace_id(self) -> int:
        return self.next


class Traces:
    """Makes spans, and sends them where OpenTelemetry's OTEL_ variables say.

    A collector that is away costs no more than the spans that wait for it: 2048, then the
    newest are let go.
    """

    def __init__(self, service: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", service)
        self._ids = _Ids()
        self._provider = TracerProvider(
            id_generator=self._ids,
            resource=Resource.create({"service.name": name}),
            # `close` does it, while there is a loop that may still have to end spans.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("scrapy-fleet")

    def begin(
        self,
        name: str,
        crawl: CrawlId,
        requestid: str,
        *,
        since: int,
        attributes: Mapping[str, str | int] | None = None,
    ) -> Span:
        """Return a span of a page of *crawl* that began at *since* (Unix nanoseconds)."""
        self._ids.next = int(requestid, 16)
        names = {f"fleet.{part}": value for part, value in crawl._asdict().items()}
        return self._tracer.start_span(
            name,
            context=Context(),
            start_time=since,
            attributes={**names, **(attributes or {})},
        )

    def fed(self, submitted: Submission, since: float) -> None:
        """Record a span `feed` of each seed: from *since* (Unix seconds) until now."""
        now = time.time_ns()
        for page in page_ids(submitted):
            self.begin("feed", submitted.crawl, page, since=round(since * 1e9)).end(now)

    def add(self, parent: Span, name: str, since: int, until: int) -> None:
        """Record a part of *parent*, from *since* until *until*."""
        context = set_span_in_context(parent)
        self._tracer.start_span(name, context=context, start_time=since).end(until)

    def close(self) -> None:
        """Send what waits, as far as a collector takes it within `LAST_SPANS`."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(LAST_SPANS)


def traceparent(span: Span) -> bytes:
    """Return the W3C header by which others go on in the trace of *span*."""
    context = span.get_span_context()
    return (
        f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()
    )
