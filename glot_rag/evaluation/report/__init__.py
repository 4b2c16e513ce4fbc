"""The results of an evaluation, and how they are shown: JSON, terminal table, CSV, page and charts."""
