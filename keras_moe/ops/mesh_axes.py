"""The names of a mesh's axes."""

DATA = "data"
EXPERT = "expert"
# Each device has rows of the batch of its own.
AXES = (DATA, EXPERT)
