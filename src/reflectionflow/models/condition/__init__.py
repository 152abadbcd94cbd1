"""FLUX with a condition stream: the flawed picture enters joint attention as extra tokens.

options.py      what is configuration: attention, which tokens carry the LoRA, positions, resolution
blocks.py       the blocks of FLUX with a third stream
transformer.py  `ConditionedFluxTransformer`, a `FluxTransformer2DModel` that takes a condition
pipeline.py     `FluxReflectionPipeline`, a `FluxPipeline` that takes a picture to correct
"""
