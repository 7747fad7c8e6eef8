"""`python -m llmemb_bench` is the console script, and like it imports nothing from the current folder."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # where `-m` puts the current folder: a json.py that lies there would be run

    from llmemb_bench.cli import main

    main()
