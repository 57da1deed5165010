"""
The parts of `tests/peers/outage.py`: one module for each compared system, and what they share.

`experiment` runs a round and knows no system by name; `count` judges it and knows no process. A
system has the attributes and the three methods that `experiment.System` describes.
"""
