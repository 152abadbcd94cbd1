"""Tokenizers of the Scenes text encoders: the classes FLUX uses, with one token per word of `words.py`.

CLIP's is byte-level BPE trained until every word is one token; T5's is a unigram model with one piece per word, single
letters as a fallback, so that a word of ours never becomes an unknown token and a foreign one is spelled.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from reflectionflow.prompts.correction import REFLECTION_MARK
from reflectionflow.scenes.words import vocabulary

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, T5Tokenizer

CLIP_LENGTH = 77
T5_LENGTH = 512
LETTER_SCORE = -20.0


def clip_tokenizer() -> CLIPTokenizer:
    """Return the CLIP tokenizer: begin, end (also the padding), then bytes, then words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    begin, end = "<|startoftext|>", "<|endoftext|>"
    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted({word.strip("[]") for word in vocabulary()})
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        min_frequency=1,
        special_tokens=[begin, end, *alphabet, *(letter + "</w>" for letter in alphabet)],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(words, trainer)
    import json

    trained = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    return CLIPTokenizer(vocab=trained["vocab"], merges=merges, model_max_length=CLIP_LENGTH)


def t5_tokenizer() -> T5Tokenizer:
    """Return the T5 tokenizer: padding 0, end 1, unknown 2, then words and single characters."""
    from transformers import T5Tokenizer

    pieces: dict[str, float] = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -4.0}
    for word in (*vocabulary(), REFLECTION_MARK):
        pieces.setdefault(f"▁{word}", -2.0)
        if not word.isalpha():
            pieces.setdefault(word, -2.0)
    for letter in string.ascii_letters + string.digits + string.punctuation:
        pieces.setdefault(letter, LETTER_SCORE)
    return T5Tokenizer(vocab=list(pieces.items()), extra_ids=0, model_max_length=T5_LENGTH)
