"""One working plugin per kind; `llmemb-bench new` copies them."""
