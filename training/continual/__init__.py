"""Learn on from labels as they come: the test that a challenger has to pass, and its training."""
