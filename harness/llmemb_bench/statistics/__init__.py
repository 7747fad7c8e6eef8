"""What a difference between rows is worth: pure functions on arrays of per-user values, [seeds, users, rows].

| file | what |
|---|---|
| moments.py | means, their variance over users and seeds, the paired t-test, what could be detected |
| bootstrap.py | intervals: seeds and users resampled |
| randomisation.py | the paired randomisation test |
| comparison.py | two rows side by side, all of it |
| family.py | Holm over many tests, and places that admit ties |
| agreement.py | whether two protocols or buckets put rows in one order |

A comparison is always paired: the same users, within the same seed, then over seeds. There is no Wilcoxon and no sign
test: at tens of thousands of users they reject too often (Ihemelandu & Ekstrand, SIGIR 2023). scipy is imported here
(the extra `report`).
"""
