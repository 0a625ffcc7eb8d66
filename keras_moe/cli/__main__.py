"""`python -m keras_moe.cli`."""

from keras_moe.cli import main

main()
