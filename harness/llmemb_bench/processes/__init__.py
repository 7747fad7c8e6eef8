"""One process or several: how work is shared, how training states are saved, how a large model is sharded."""
