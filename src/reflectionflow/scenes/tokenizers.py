"""Tokenizers of the Scenes text encoders: the classes FLUX uses, with one token per word of `words.py`.

CLIP's is byte-level BPE trained until every word is one token; T5's is a unigram model with one piece per word, single
letters as a fallback, so that a word of ours never becomes an unknown token and a foreign one is spelled. Qwen's is
byte-level BPE too, with one token per word behind a space and one per word at the beginning.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from reflectionflow.prompts.correction import REFLECTION_MARK
from reflectionflow.scenes.words import vocabulary

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

CLIP_LENGTH = 77
T5_LENGTH = 512
LETTER_SCORE = -20.0
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
CHAT = (
    "{%- for message in messages -%}<|im_start|>{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>{%- else -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}<|im_end|>{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>{%- endif -%}"
)
"""One question, one answer: nothing tells who speaks, so that a question costs two tokens beside its words."""


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


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return the Qwen tokenizer of the small vision-language model, with its chat template."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    special = [END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE, VIDEO]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = sorted({word.strip("[]") for word in vocabulary()})
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        min_frequency=1,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([spaced for word in words for spaced in (word, f" {word}")], trainer)
    trained = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    words_of_chat = Qwen2Tokenizer(vocab=trained["vocab"], merges=merges, eos_token=TURN_END, pad_token=END_OF_TEXT)
    words_of_chat.add_special_tokens({"additional_special_tokens": [*special[3:], TURN_START]})
    words_of_chat.chat_template = CHAT
    return words_of_chat
