FROM python:3.12-slim

WORKDIR /fleet
COPY setup.py pyproject.toml README.md LICENSE ./
COPY crawler crawler
COPY kafka-monitor kafka-monitor
COPY redis-monitor redis-monitor
COPY rest rest
RUN pip install --no-cache-dir ".[rest,otel]" \
    && useradd --create-home fleet \
    && mkdir /pages \
    && chown fleet /pages

USER fleet
WORKDIR /fleet/crawler
VOLUME /pages
STOPSIGNAL SIGTERM
CMD ["scrapy", "runspider", "crawling/spiders/link_spider.py"]
