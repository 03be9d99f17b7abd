from __future__ import annotations

from setuptools import find_packages, setup

#: Import package -> the folder that holds it.  The folders carry the names the operators
#: know; those of the monitors have a hyphen and cannot be imported themselves.
ROOTS = {
    "crawling": "crawler",
    "kafka_monitor": "kafka-monitor",
    "redis_monitor": "redis-monitor",
    "rest_service": "rest",
}

setup(
    packages=[
        package
        for name, root in ROOTS.items()
        for package in find_packages(root, include=[name, f"{name}.*"])
    ],
    package_dir={name: f"{root}/{name}" for name, root in ROOTS.items()},
    # Only what is named here: else setuptools takes the Lua folder for a package.
    include_package_data=False,
    package_data={
        "": ["py.typed"],
        "crawling.messages": ["schemas/*.json"],
        "crawling": ["template/*"],
        "crawling.tracker": ["lua/*.lua", "*.sql"],
        "rest_service": ["static/*", "static/**/*"],
    },
)
