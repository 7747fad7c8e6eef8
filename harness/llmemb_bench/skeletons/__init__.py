"""One working plugin a kind; `llmemb-bench new` copies them."""
