"""Retrieval test sets: documents, queries and judgements, from a BEIR folder, plain files, ir_datasets or Python."""
