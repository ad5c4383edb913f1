"""What the list of domains is worth on a file of links and labels.

``python -m feedmill.training.domain_links FILE[,key=COLUMN]…``; FILE is a table with links and
labels, as `feedmill evaluate` reads it.  Without a text the link stands for it
(`text=url,link=url`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from feedmill.features.domain_quality import lowest_scores
from feedmill.features.post_batch import PostBatch
from feedmill.filters.domain_evidence import DOUBTFUL_BELOW
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.tables import parse_table, read_table
from feedmill.training.evaluation.metrics import roc_auc


def measure(rows: LabelledPosts) -> dict[str, float]:
    """Return how many posts link to a listed domain, and how well its score tells them apart.

    The AUC is of those posts alone, the fractions that link to doubtful domains are of all posts.
    """
    scores = lowest_scores(PostBatch(rows.posts))
    listed, violating = scores < 1, rows.labels > 0.5
    doubtful = scores < DOUBTFUL_BELOW
    return {
        "rows": float(len(rows)),
        "listed": float(listed.sum()),
        "auc of listed": roc_auc(-scores[listed], violating[listed]),
        "violating doubtful": float(doubtful[violating].mean()),
        "fine doubtful": float(doubtful[~violating].mean()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the measures of a file."""
    parser = argparse.ArgumentParser(description="Measure the list of domains on links and labels.")
    parser.add_argument("file", metavar="FILE[,key=COLUMN]…")
    given = parser.parse_args(arguments).file
    for name, value in measure(read_table(parse_table(given), labelled=True)).items():
        print(f"{name:18} {value:.4g}")


if __name__ == "__main__":
    main()
