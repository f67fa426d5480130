"""The live page: a run while it measures, in a browser, with its SQL and its files. It never touches the run."""
