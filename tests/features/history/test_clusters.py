import pytest

from feedmill.features.history.clusters import MAX_CLUSTERS, MAX_MEMBERS, NO_CLUSTER, Clusters


@pytest.fixture
def recent() -> set[int]:
    """The entries inside the time window; a test changes it as time goes by."""
    return set()


@pytest.fixture
def clusters(recent: set[int]) -> Clusters:
    return Clusters(recent.__contains__)


def test_a_cluster_keeps_its_members_in_order(clusters: Clusters) -> None:
    cluster = clusters.create([3, 7])
    clusters.add(cluster, 9)
    assert clusters.members(cluster) == [3, 7, 9]
    assert cluster in clusters
    assert cluster + 1 not in clusters
    assert NO_CLUSTER not in clusters


def test_a_full_cluster_drops_its_oldest_member(clusters: Clusters) -> None:
    cluster = clusters.create(range(MAX_MEMBERS + 2))
    assert clusters.members(cluster) == list(range(2, MAX_MEMBERS + 2))
    clusters.add(cluster, 100)
    assert clusters.members(cluster) == [*range(3, MAX_MEMBERS + 2), 100]


def test_a_new_cluster_replaces_the_oldest_one_without_recent_members(
    clusters: Clusters, recent: set[int]
) -> None:
    numbers = [clusters.create([entry]) for entry in range(MAX_CLUSTERS)]
    recent.update((0, 1, 3))
    replacing = clusters.create([MAX_CLUSTERS])
    assert [number in clusters for number in numbers[:5]] == [True, True, False, True, True]
    assert clusters.members(replacing) == [MAX_CLUSTERS]
    assert clusters.members(numbers[3]) == [3]


def test_a_new_cluster_replaces_a_recent_one_if_there_is_no_other(
    clusters: Clusters, recent: set[int]
) -> None:
    for entry in range(MAX_CLUSTERS):
        clusters.create([entry])
    recent.update(range(MAX_CLUSTERS))
    newest = clusters.create([MAX_CLUSTERS])
    assert newest in clusters
    assert sum(number in clusters for number in range(MAX_CLUSTERS)) == MAX_CLUSTERS - 1
