"""The paper's losses, one file each: pure functions on tensors with their true gradients.

| file | equation | what |
|---|---|---|
| ``cosine.py`` | 2 | cosines of embeddings with class weights |
| ``margin.py`` | 4 | the margin on the own class's angle |
| ``softmax.py`` | 1, 3, 5 | what the three classification losses share |
| ``arcface.py`` | 1 | the additive angular margin |
| ``combined.py`` | 3, 4 | three margins at once |
| ``support_vector.py`` | 5, 6 | wrong classes that beat the margin count more |
| ``intra.py`` | 7 | angle between a sample and its class |
| ``inter.py`` | 8 | largest cosine between classes |
| ``class_balanced.py`` | 9 | rare classes count more |
| ``objective.py`` | | their weighted sum |

``shard.py`` lets every function work on the classes of one process only; ``precision.py`` keeps them in float32.
"""
