"""The letters that shapes are written in, the same in every file.

| letter | stands for                                             |
|--------|--------------------------------------------------------|
| B      | batch                                                  |
| L      | sequence length                                        |
| G      | groups of tokens; capacity is counted in each of them  |
| S      | tokens per group                                       |
| T      | tokens, T = G * S                                      |
| E      | experts                                                |
| K      | choices per token (`top_k`)                            |
| C      | capacity: slots per expert per group                   |
| R      | routed rows, R = T * K                                 |
| H      | `hidden_dim`, the model's width                        |
| I      | `intermediate_dim`, the width inside one expert        |
| N, M   | query heads, key/value heads                           |
| D      | `head_dim`; in `ops`, the inner dimension of a product |
| F      | in `ops`, the outer dimension of a product             |
| V      | vocabulary                                             |

In einsum strings the same letters stand in lower case. A group is a row of
the batch, so that what happens to one row never depends on its neighbours;
inputs of rank 2 form a single group.
"""
