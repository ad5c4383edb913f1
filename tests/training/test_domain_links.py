from __future__ import annotations

from pathlib import Path

import pytest

from feedmill.features import domain_quality
from feedmill.features.domain_quality import domain_key
from feedmill.training.domain_links import main


def test_a_file_of_links_and_labels_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {domain_key("liar.example"): 0.1, domain_key("paper.example"): 0.9}
    monkeypatch.setattr(domain_quality, "domain_scores", lambda: scores)
    file = tmp_path / "links.csv"
    rows = ["https://liar.example/a,1", "https://liar.example/b,1", "https://paper.example/c,0"]
    file.write_text("\n".join(["url,label", *rows, "https://other.example/d,1"]), encoding="utf-8")
    main([f"{file},text=url,link=url"])
    printed = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert printed == {
        "rows": "4",
        "listed": "3",
        "auc of listed": "1",
        "violating doubtful": "0.6667",
        "fine doubtful": "0",
    }
