"""What the console serves of other projects is what its lock says, with the licences beside."""

from builders.vendored import ROOT, altered, locked


def test_vendored_files_are_those_of_the_lock() -> None:
    assert altered() == []


def test_each_package_has_its_licence_beside() -> None:
    files = locked()
    licensed = {one.package for one in files if "LICENSE" in one.file}
    assert licensed == {one.package for one in files}
    assert all((ROOT / one.path).stat().st_size for one in files)
