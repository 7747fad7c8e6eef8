"""llmemb-bench: declarative benchmarks of LLM item embeddings for sequential recommendation."""

__version__ = "0.1.0"
