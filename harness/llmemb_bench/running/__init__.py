"""The verbs that make results: run the cells of a spec, embed a catalogue."""
