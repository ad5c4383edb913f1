from pathlib import Path

from feedmill.training.provenance import source_sha256


def test_the_hash_is_of_code_and_lists_and_of_no_trained_model(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    (folder / "one.py").write_text("1")
    before = source_sha256([folder])
    (folder / "artifacts" / "a.npz").write_text("weights")
    (folder / "__pycache__" / "one.pyc").write_text("compiled")
    assert source_sha256([folder]) == before
    (folder / "words.txt").write_text("a")
    with_words = source_sha256([folder])
    (folder / "words.txt").rename(folder / "terms.txt")
    assert len({before, with_words, source_sha256([folder])}) == 3
