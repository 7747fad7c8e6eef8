"""`python -m llmemb_bench` is the console script."""

from llmemb_bench.cli import main

if __name__ == "__main__":
    main()
