from xml.etree import ElementTree

from feedmill.training.evaluation.plots import Panel, svg


def test_a_plot_is_small_the_same_twice_and_well_formed() -> None:
    points = [(i / 80, (i / 80) ** 0.5) for i in range(81)]
    panels = [
        Panel("ROC <1>", "a & b", "up", points, diagonal=True),
        Panel("dots", "x", "y", points[::20], dots=True),
        Panel("empty", "x", "y", []),
    ]
    drawn = svg("spam & sms", panels)
    assert drawn == svg("spam & sms", panels)
    assert len(drawn) < 6000
    root = ElementTree.fromstring(drawn)  # noqa: S314 made right here
    assert len(root.findall(".//{*}circle")) == 5
    assert root.findtext("{*}title") == "spam & sms"
