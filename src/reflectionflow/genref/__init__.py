"""GenRef: triplets of a flawed picture, an enhanced picture, and the reflection that leads from one to the other.

graph.py     what a detector sees as a scene graph, and how far two graphs are apart
teacher.py   the reflection for a pair, and its chain of thought
teaching.py  what a teacher is; teacher_vlm.py one behind an endpoint
"""
