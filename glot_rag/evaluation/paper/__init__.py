"""The GLOT paper's experiments: poolings compared as classifiers on the stress test and on GLUE."""
